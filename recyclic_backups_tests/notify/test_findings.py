"""What the catalog tells of: gaps, ages, drills, damage."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from string import Formatter

from recyclic_backups.catalog.catalog import Catalog, Damage
from recyclic_backups.catalog.documents import Check
from recyclic_backups.health.judge import Facts, HealthTerms, findings
from recyclic_backups.health.thresholds import Thresholds
from recyclic_backups.notify.findings import MOST_TOLD, TOLD, Circumstances, told_findings
from recyclic_backups.notify.incidents import Change, Observation, OpenIncidents, advance
from recyclic_backups.notify.severity import Severity
from recyclic_backups.notify.state import AlertState, read, to_cursor
from recyclic_backups.retention.policy import Retention
from recyclic_backups.texts.alerts import WORDS
from recyclic_backups_tests.health.catalogs import calendar, days, nights, paris

TERMS = HealthTerms(
    "recyclic", calendar("2026-11-01"), Retention(daily=7, weekly=4, monthly=12), Thresholds()
)
GIVEN = Circumstances(working=False, began_at=paris("2026-11-01T02:00"), had_backups=True)
EMPTY = Catalog((), {})
OF_ANOTHER_TEST = ("check failed", "anomaly", "availability", "promise", "not proven")
"""What else is found in catalogs that are made up."""


def look(
    catalog: Catalog, now: datetime, given: Circumstances = GIVEN, known: tuple[str, ...] = ()
) -> Observation:
    """One look."""
    found = told_findings(findings(Facts(catalog), TERMS, now), catalog, TERMS, given, known, now)
    return replace(found, problems=tuple(each for each in found.problems if each.kind not in OF_ANOTHER_TEST))


def kinds(seen: Observation) -> list[str]:
    """What was found."""
    return [each.kind for each in seen.problems]


def test_every_night_backed_up_and_drilled_is_well() -> None:
    """Loss prevented: a false alarm every morning."""
    now = paris("2026-11-07T22:00")
    assert kinds(look(nights(*days("2026-11-01", "2026-11-07"), weeks=["2026-10-26=2026-11-01"]), now)) == []


def test_an_old_backup_is_critical_but_not_while_one_is_taken() -> None:
    """Loss prevented: a night without a backup; an alarm for the one that takes two hours longer."""
    catalog, now = nights("2026-11-01"), paris("2026-11-02T03:00")
    assert kinds(look(catalog, now)) == []
    assert kinds(look(catalog, now + timedelta(seconds=1))) == ["too old"]
    working = look(catalog, now + timedelta(hours=1), replace(GIVEN, working=True))
    assert (kinds(working), working.could_see("age")) == ([], False)


def test_six_hours_are_told_only_once_wal_is_archived() -> None:
    """Loss prevented: a warning every morning about what nobody can help."""
    catalog, now = nights("2026-11-01"), paris("2026-11-01T09:00")
    assert kinds(look(catalog, now)) == []
    (warned,) = look(catalog, now, replace(GIVEN, wal_archived=True)).problems
    assert (warned.kind, warned.severity) == ("too old", Severity.WARNING)
    (worse,) = look(catalog, now + timedelta(days=1), replace(GIVEN, wal_archived=True)).problems[-1:]
    assert worse.kind == "missed day" or worse.severity is Severity.CRITICAL


def test_no_backup_at_all() -> None:
    """Loss prevented: an installation that never takes one; an emptied disk that looks like a new one."""
    new = replace(GIVEN, had_backups=False)
    assert kinds(look(EMPTY, GIVEN.began_at + timedelta(hours=25), new)) == []
    assert kinds(look(EMPTY, GIVEN.began_at + timedelta(hours=26), new)) == ["no backup"]
    assert kinds(look(EMPTY, GIVEN.began_at)) == ["backups gone"]
    assert "no backup" in kinds(look(nights("2026-11-01", damaged=["2026-11-01"]), GIVEN.began_at))


def test_manifests_that_are_all_damaged_are_not_another_disk() -> None:
    """Loss prevented: people sent to look for a disk that is there, with every manifest on it damaged."""
    rotten = replace(EMPTY, damage=(Damage("recyclic/backups/x/manifest.json", "no JSON"),))
    assert kinds(look(rotten, GIVEN.began_at)) == ["no backup", "damage"]


def test_backups_that_are_gone_are_news_to_whoever_knows_that_they_are_old() -> None:
    """Loss prevented: an emptied disk, told by tomorrow's reminder of a backup that is a day too old."""
    now = paris("2026-11-03T03:00")
    state, _ = advance(OpenIncidents(), look(nights("2026-11-01"), now), now)
    emptied = now + timedelta(minutes=1)
    state, news = advance(state, look(EMPTY, emptied), emptied)
    opened = [each.problem.kind for one in news if one.change is Change.OPENED for each in one.incidents]
    assert opened == ["backups gone"]
    assert {each.problem.kind for each in state.incidents.values()} >= {"too old", "backups gone"}


def test_missed_partitions_are_told_as_long_as_they_would_be_kept() -> None:
    """Loss prevented: a gap that nobody notices until the day is needed; one that is told of for a year."""
    taken = [day for day in days("2026-11-01", "2026-11-30") if day not in ("2026-11-10", "2026-11-28")]
    catalog, now = nights(*taken), paris("2026-11-30T22:00")
    seen = look(catalog, now, known=("missed/daily/2026-11-10",))
    found = {each.key: each for each in seen.problems}
    assert found["missed/daily/2026-11-28"].kind == "missed day"
    assert not found["missed/daily/2026-11-28"].remind
    assert "missed/daily/2026-11-10" not in found
    assert seen.lapsed == {"missed/daily/2026-11-10"}
    assert look(EMPTY, now, known=("missed/daily/2026-11-28",)).lapsed == set()
    # Weeks were never labelled here; good backups lie in them.
    assert found["missed/weekly/2026-11-16"].kind == "missed period"


def test_a_stale_drill_is_told_a_week_after_the_last_or_the_first_backup() -> None:
    """Loss prevented: a year of backups of which none can be restored."""
    catalog = nights(*days("2026-11-01", "2026-11-20"))
    assert "drill never" not in kinds(look(catalog, paris("2026-11-09T01:00")))
    assert "drill never" in kinds(look(catalog, paris("2026-11-09T03:00")))
    newest = catalog.backups[0]
    drill = Check("drill", newest.backup_id, paris("2026-11-12T05:00"), passed=True, proves=True)
    drilled = replace(
        catalog, backups=(replace(newest, checks=(*newest.checks, drill)), *catalog.backups[1:])
    )
    assert "drill stale" not in kinds(look(drilled, paris("2026-11-20T04:00")))
    assert "drill stale" in kinds(look(drilled, paris("2026-11-20T06:00")))
    assert kinds(look(EMPTY, paris("2026-12-20T06:00"))) == ["backups gone"]
    # Backups adopted today may be of years ago.
    old = nights("2020-01-01").backups[0]
    adopted = replace(
        old, manifest=replace(old.manifest, source="adopted", taken_at=paris("2026-11-20T02:00"))
    )
    assert "drill never" not in kinds(look(Catalog((adopted,), {}), paris("2026-11-20T03:00")))
    assert "drill never" in kinds(look(Catalog((adopted,), {}), paris("2026-11-29T03:00")))


def test_drills_are_not_taken_up_again_because_every_backup_turned_bad() -> None:
    """Loss prevented: "restores are rehearsed again", said in the hour in which nothing can be restored any more."""
    now, state, told = paris("2026-11-20T04:00"), OpenIncidents(), []
    state, _ = advance(state, look(nights("2026-11-01", "2026-11-20"), now), now)
    assert "drills" in state.incidents
    bad = nights("2026-11-01", "2026-11-20", damaged=["2026-11-01", "2026-11-20"])
    for minutes in (1, 20):
        later = now + timedelta(minutes=minutes)
        state, news = advance(state, look(bad, later), later)
        told += [each.key for one in news if one.change is Change.RESOLVED for each in one.incidents]
    assert "drills" not in told
    assert "drills" in state.incidents


def test_damaged_documents_are_told_one_by_one() -> None:
    """Loss prevented: a manifest that rots while its backup is believed to be there."""
    catalog = replace(nights("2026-11-01"), damage=(Damage("recyclic/backups/x/manifest.json", "no JSON"),))
    (found,) = look(catalog, paris("2026-11-01T03:00")).problems
    assert (found.key, found.kind) == ("damage/recyclic/backups/x/manifest.json", "damage")


def test_thousands_of_damaged_documents_do_not_make_alerts_forget_what_they_knew() -> None:
    """Prevents a cursor that cannot be read again: with it goes what tells that an older storage was put back.

    Nor is one that was told before them called over, because others come first.
    """
    now = paris("2026-11-01T03:00")
    flood = tuple(Damage(f"recyclic/{'x' * 200}/{number}", "y" * 600) for number in range(30_000))
    real = Damage("recyclic/backups/x/manifest.json", "no JSON")
    before = look(replace(nights("2026-11-01"), damage=(real,)), now)
    state, _ = advance(OpenIncidents(), before, now)
    seen = look(replace(nights("2026-11-01"), damage=(*flood, real)), now, known=tuple(state.incidents))
    state, _ = advance(state, seen, now)

    assert len(seen.problems) == MOST_TOLD + 1
    assert "more documents than the 100" in seen.problems[-1].facts["reason"]
    assert state.incidents[f"damage/{real.name}"].gone_since is None
    remembered = AlertState(serial=1, open=state)
    assert read(to_cursor(remembered)) == remembered


def test_a_backup_of_the_future_is_told_and_silences_nothing() -> None:
    """Loss prevented: one night with a wrong clock, and backups that may stop for months without an alarm."""
    catalog, now = nights("2026-11-01", "2027-02-01"), paris("2026-11-02T04:00")
    newest = catalog.backups[0]
    drill = Check("drill", newest.backup_id, newest.as_of, passed=True)
    catalog = replace(
        catalog, backups=(replace(newest, checks=(*newest.checks, drill)), *catalog.backups[1:])
    )
    early = look(catalog, now - timedelta(hours=2))
    assert [(each.kind, each.severity) for each in early.problems] == [("clock", Severity.WARNING)]
    assert "too old" in kinds(look(catalog, now))
    assert "drill never" in kinds(look(catalog, paris("2026-11-20T04:00")))
    assert kinds(look(nights("2027-02-01"), now)) == ["no backup", "clock"]
    assert "clock" not in kinds(look(catalog, paris("2027-02-01T02:00")))


def test_a_damaged_newest_backup_is_told_until_a_newer_one_is_whole() -> None:
    """The attack, and the loss: the newest night damaged, and "latest" silently another; a checkpoint has no check.

    Or a month found rotten by verify --all, that only the metrics told of.
    """
    now = paris("2026-11-03T03:00")

    def with_damaged(*damaged: str) -> Catalog:
        catalog = nights("2026-11-01", "2026-11-02", "2026-11-03")
        spoilt = [
            replace(each, checks=(Check("verify", each.backup_id, now, passed=False, reasons=("cut",)),))
            if any(f"{each.as_of:%Y-%m-%d}".endswith(day) for day in damaged)
            else each
            for each in catalog
        ]
        return replace(catalog, backups=tuple(spoilt))

    newest, second, _ = with_damaged().backups
    told = [each for each in look(with_damaged("02", "03"), now).problems if each.kind == "damage"]
    assert {each.key for each in told} == {f"damage/backup/{each.backup_id}" for each in (newest, second)}
    assert {each.facts["reason"] for each in told} == {"cut"}
    assert all(each.severity is Severity.CRITICAL for each in told)
    (older,) = [each for each in look(with_damaged("02"), now).problems if each.kind == "damage"]
    assert (older.key, older.severity) == (f"damage/backup/{second.backup_id}", Severity.WARNING)


def test_what_a_mail_says_of_a_finding_has_every_value() -> None:
    """Loss prevented: ‘The check “” of’, in the mail that wakes somebody up."""
    with_more = {
        "missed day",
        "missed day in wal",
        "missed period",
        "missed for ever",
        "clock",
        "drill stale",
        "drill never",
    }
    with_more |= {"rescue", "no backup", "too old", "damage"}
    for kind in {each.kind for each in TOLD.values()} | {"promise"}:
        if kind not in with_more:
            asked = {name for text in WORDS[kind].what for _, name, _, _ in Formatter().parse(text) if name}
            assert asked <= {"reason"}, kind
