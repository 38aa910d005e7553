"""The policy: what stays, what leaves, with every reason, and never what somebody would miss."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Damage
from recyclic_backups.retention.policy import Action, Retention, plan
from recyclic_backups_tests.retention.histories import (
    CALENDAR,
    DAY,
    DEFAULTS,
    History,
    days,
    ids,
    paris,
    reasons,
)

NOW = paris("2026-11-22T12:00")


def _a_year() -> History:
    history = History()
    history.nights("2025-11-22", "2026-11-22")
    return history


def test_a_year_of_nights_leaves_seven_days_four_weeks_twelve_months() -> None:
    """Loss prevented: a policy that nobody can count by hand."""
    found = plan(_a_year().catalog(), DEFAULTS, CALENDAR, NOW)
    dailies = [f"2026-11-{day}" for day in range(16, 23)]
    sundays = ["2026-11-01", "2026-11-08", "2026-11-15", "2026-11-22"]
    firsts = [f"2026-{month:02}-01" for month in range(1, 12)] + ["2025-12-01"]
    assert days(found.kept) == sorted({*dailies, *sundays, *firsts})
    assert not found.warnings
    assert not found.incidents


def test_every_backup_has_all_its_reasons() -> None:
    """Loss prevented: a backup that leaves one day because the one reason that was shown was not the only one."""
    history = _a_year()
    found = plan(history.catalog(), DEFAULTS, CALENDAR, NOW)
    newest = history.catalog().backups[0]
    assert reasons(found, newest) == (
        "the newest good backup",
        "one of the 3 newest good backups",
        "daily 2026-11-22, 1 of 7",
        "weekly 2026-11-16, 1 of 4",
    )
    old = next(each for each in history.catalog() if each.manifest.partition == "2026-10-04")
    assert reasons(found, old) == (
        "daily 2026-10-04: not among the newest 7",
        "weekly 2026-09-28: not among the newest 4",
    )
    assert all(decision.reasons for decision in found.decisions)


def test_a_late_dump_that_fills_seven_days_takes_one_place() -> None:
    """Loss prevented: after a week of outage, one dump pushes out the seven good days before it."""
    history = History()
    history.nights("2026-11-01", "2026-11-14")
    late = history.take(
        paris("2026-11-22T03:00"), partitions=[(Tier.DAILY, f"2026-11-{day}") for day in range(15, 23)]
    )
    found = plan(history.catalog(), DEFAULTS, CALENDAR, NOW)
    assert days(found.kept)[-7:] == [*(f"2026-11-{day:02}" for day in range(9, 15)), "2026-11-22"]
    told = reasons(found, late)
    assert "daily 2026-11-22, 1 of 7" in told
    assert "also daily 2026-11-15" in told


def test_the_older_of_two_backups_of_a_day_leaves_after_a_week() -> None:
    """Loss prevented: the good backup of the morning is gone when the one of noon turns out to be wrong."""
    history = History()
    older = history.take(paris("2026-11-10T02:00"))
    history.take(paris("2026-11-10T12:00"))
    history.nights("2026-11-11", "2026-11-22")
    at = {
        moment: plan(_until(history, moment).catalog(), DEFAULTS, CALENDAR, paris(moment))
        for moment in ("2026-11-17T11:00", "2026-11-18T11:00")
    }
    assert reasons(at["2026-11-17T11:00"], older) == (
        "without a label since 2026-11-10: stays until 2026-11-17",
    )
    assert reasons(at["2026-11-18T11:00"], older) == ("without a label since 2026-11-10, more than 7 days",)
    assert older.backup_id in ids(at["2026-11-18T11:00"].expiring)


def _until(history: History, moment: str) -> History:
    backups = [backup for backup in history.backups if backup.as_of <= paris(moment)]
    return replace(history, backups=backups)


def test_the_week_begins_when_the_label_was_lost_and_not_when_the_backup_was_taken() -> None:
    """Loss prevented: a month that is run again drops what it pointed at the same night."""
    history = History()
    first = history.take(paris("2026-11-01T02:00"))
    history.nights("2026-11-02", "2026-11-21")
    history.take(
        paris("2026-11-22T03:00"),
        partitions=[(Tier.DAILY, "2026-11-01"), (Tier.MONTHLY, "2026-11-01"), (Tier.WEEKLY, "2026-10-26")],
    )
    found = plan(history.catalog(), DEFAULTS, CALENDAR, NOW)
    assert reasons(found, first) == ("without a label since 2026-11-22: stays until 2026-11-29",)


def test_when_backups_stop_expiry_stops() -> None:
    """Loss prevented: a month of failures and the good backups before it are gone too (invariant 5)."""
    history = _a_year()
    kept = ids(plan(history.catalog(), DEFAULTS, CALENDAR, NOW).kept)
    history = history.without({each.backup_id for each in history.backups} - kept)
    twin = history.take(paris("2026-11-22T13:00"))
    history.nights("2026-11-23", "2026-12-22", state="damaged")
    for later in (30, 90, 365, 1000, 9000):
        found = plan(history.catalog(), DEFAULTS, CALENDAR, NOW + later * DAY)
        assert found.expiring == []
        assert twin.backup_id in ids(found.kept)


@pytest.mark.parametrize("states", [["damaged"], ["unverified"], ["damaged", "unverified"]])
def test_without_any_good_backup_nothing_leaves(states: list[str]) -> None:
    """Loss prevented: the last readable remains of a database, deleted for their age."""
    history = History()
    for number in range(20):
        history.take(paris("2026-01-01T02:00") + number * DAY, state=states[number % len(states)])
    found = plan(history.catalog(), DEFAULTS, CALENDAR, NOW)
    assert found.expiring == []
    assert [incident.code for incident in found.incidents] == ["retention.no_good_backup"]


def test_what_is_not_good_never_takes_a_place() -> None:
    """Loss prevented: seven damaged nights push out the seven good ones before them."""
    history = History()
    history.nights("2026-11-01", "2026-11-10")
    for day in range(11, 20):
        history.take(
            paris(f"2026-11-{day}T02:00"), state="damaged", partitions=[(Tier.DAILY, f"2026-11-{day}")]
        )
    history.nights("2026-11-20", "2026-11-22")
    found = plan(history.catalog(), DEFAULTS, CALENDAR, NOW)
    good = [each for each in found.kept if each.backup is not None and each.backup.good]
    assert days(good) == [
        "2026-11-01",  # the month's, and the week's
        *("2026-11-07", "2026-11-08", "2026-11-09", "2026-11-10"),
        *("2026-11-20", "2026-11-21", "2026-11-22"),
    ]


def test_damage_ages_with_its_partition_and_does_not_leave_in_silence() -> None:
    """Loss prevented: what could still be read of a damaged month is deleted at once, or without a word."""
    history = History()
    day = history.take(paris("2026-11-03T02:00"), state="damaged", partitions=[(Tier.DAILY, "2026-11-03")])
    month = history.take(
        paris("2026-10-01T02:00"), state="damaged", partitions=[(Tier.MONTHLY, "2026-10-01")]
    )
    history.nights("2026-11-04", "2026-11-22")
    found = plan(history.catalog(), DEFAULTS, CALENDAR, NOW)
    assert reasons(found, month) == ("monthly 2026-10-01, not counted because it is not verified",)
    assert reasons(found, day) == (
        "daily 2026-11-03: not among the newest 7",
        "found damaged on 2026-11-03: main.dump.zst is not what was stored",
    )
    assert [warning.code for warning in found.warnings] == ["retention.damaged_leaves"]
    assert day.backup_id in found.warnings[0].text()


def test_what_is_newer_than_the_newest_good_one_stays() -> None:
    """Loss prevented: a backup that only waits for its verification is taken for one that failed."""
    history = History()
    history.nights("2026-11-01", "2026-11-10")
    waiting = history.take(paris("2026-11-11T02:00"), state="unverified")
    found = plan(history.catalog(), DEFAULTS, CALENDAR, NOW)
    assert "there is no newer good backup to take its place" in reasons(found, waiting)


def test_the_newest_proven_one_stays_however_old() -> None:
    """Loss prevented: of a hundred backups none is known to restore (invariant 5)."""
    history = History()
    old = history.take(paris("2026-03-03T02:00"), state="proven")
    proven = history.take(paris("2026-03-04T02:00"), state="proven")
    history.nights("2026-05-02", "2026-11-22")
    found = plan(history.catalog(), DEFAULTS, CALENDAR, NOW)
    assert reasons(found, proven) == ("the newest backup proven by a restore",)
    assert old.backup_id in ids(found.expiring)


def test_the_newest_proven_one_stays_while_the_proof_of_a_newer_one_is_of_the_future() -> None:
    """Loss prevented: a clock that was set back lets the one backup go that every report calls proven."""
    history = History()
    proven = history.take(paris("2026-11-21T02:00"), state="proven")
    newer = history.take(paris("2026-11-22T02:00"), state="proven")
    (proof,) = [check for check in newer.checks if check.proves]
    found = plan(
        history.catalog(),
        Retention(1, 0, 0, 0, minimum=1),
        CALENDAR,
        proof.checked_at - timedelta(minutes=20),
    )
    assert reasons(found, proven) == ("the newest backup proven by a restore",)
    found = plan(history.catalog(), Retention(1, 0, 0, 0, minimum=1), CALENDAR, proof.checked_at)
    assert ids(found.expiring) == {proven.backup_id}


def test_a_hold_keeps_and_its_end_lets_go() -> None:
    """Loss prevented: evidence for a court deleted by a timer; or kept for ever."""
    history = History()
    backup = history.take(paris("2026-03-03T02:00"))
    history.nights("2026-05-02", "2026-11-22")
    history.hold(backup, paris("2026-12-01T00:00"))
    found = plan(history.catalog(), DEFAULTS, CALENDAR, NOW)
    assert reasons(found, backup) == ("held until 2026-11-30: court order",)
    history.nights("2026-11-23", "2026-12-01")
    found = plan(history.catalog(), DEFAULTS, CALENDAR, paris("2026-12-01T12:00"))
    assert backup.backup_id in ids(found.expiring)
    history.hold(backup, None, "for ever")
    found = plan(history.catalog(), DEFAULTS, CALENDAR, paris("2026-12-01T12:00"))
    assert reasons(found, backup) == ("held without an end: for ever",)


def test_a_hold_that_is_over_says_why_its_backup_stays_when_backups_have_stopped() -> None:
    """Loss prevented: two commands that say held and not held, and a clock that nobody sets right."""
    history = History()
    backup = history.take(paris("2026-03-03T02:00"))
    history.nights("2026-11-16", "2026-11-22")
    history.hold(backup, paris("2026-11-26T00:00"))
    found = plan(history.catalog(), DEFAULTS, CALENDAR, paris("2027-02-10T12:00"))
    (decision,) = [each for each in found.decisions if each.backup_id == backup.backup_id]
    (english,) = [text for text in decision.texts() if "held" in text]
    assert english.startswith(
        "was held until 2026-11-25 (court order) and stays: too few good backups were taken"
    )
    (french,) = [text for text in decision.texts("fr") if "retenue" in text]
    assert french.startswith(
        "était retenue jusqu'au 2026-11-25 (court order) et reste\u00a0: trop peu de sauvegardes"
    )
    assert "30 derniers jours" in french
    (held,) = [
        text for text in reasons(plan(history.catalog(), DEFAULTS, CALENDAR, NOW), backup) if "held" in text
    ]
    assert held == "held until 2026-11-25: court order"


def test_the_ceiling_takes_what_is_too_old_after_a_warning() -> None:
    """Loss prevented: members' data kept for years because a restore once proved them (GDPR, article 5)."""
    history = History()
    proven = history.take(paris("2025-11-01T02:00"), state="proven")
    history.nights("2026-05-02", "2026-12-24")
    ceiling_at = proven.as_of + timedelta(days=400)
    before = plan(
        _until(history, "2026-11-20T12:00").catalog(), DEFAULTS, CALENDAR, paris("2026-11-20T12:00")
    )
    assert proven.backup_id in ids(before.kept)
    (warning,) = before.warnings
    assert warning.code == "retention.ceiling_soon"
    assert ceiling_at.date().isoformat() in warning.text()
    after = plan(history.catalog(), DEFAULTS, CALENDAR, paris("2026-12-24T12:00"))
    assert reasons(after, proven) == ("its content is older than 400 days (RETENTION_MAX_DAYS)",)
    assert proven.backup_id in ids(after.expiring)
    early = plan(_until(history, "2026-10-20T12:00").catalog(), DEFAULTS, CALENDAR, paris("2026-10-20T12:00"))
    assert early.warnings == ()


def test_the_advice_before_the_ceiling_is_one_that_helps() -> None:
    """Loss prevented: the month that the accounts need, gone although somebody proved a newer backup as told."""
    history = History()
    monthly = history.take(paris("2025-11-01T02:00"), partitions=[(Tier.MONTHLY, "2025-11-01")])
    history.nights("2026-11-01", "2026-11-22")
    (warning,) = plan(history.catalog(), DEFAULTS, CALENDAR, NOW).warnings
    assert warning.text().endswith("; hold it if it must stay longer")
    assert warning.text("fr").endswith("\u00a0; retenez-la si elle doit rester plus longtemps")
    history = History()
    history.take(monthly.as_of, partitions=[(Tier.MONTHLY, "2025-11-01")], state="proven")
    history.nights("2026-11-01", "2026-11-22")
    (warning,) = plan(history.catalog(), DEFAULTS, CALENDAR, NOW).warnings
    assert warning.text().endswith("; take a newer one and prove it by a restore, or hold this one")
    assert "prouvez-la par une restauration" in warning.text("fr")


def test_the_ceiling_never_takes_the_newest_good_ones_and_says_so() -> None:
    """Loss prevented: backups stopped, nobody looked, and the law's timer deleted the last ones."""
    history = History()
    history.nights("2025-06-04", "2025-06-10")
    found = plan(history.catalog(), DEFAULTS, CALENDAR, NOW)
    assert found.expiring == []
    assert {incident.code for incident in found.incidents} == {
        "retention.newest_past_ceiling",
        "retention.ceiling_suspended",
    }
    assert history.catalog().backups[0].backup_id in found.incidents[0].text()


def test_an_adopted_backup_older_than_the_ceiling_gets_its_notice() -> None:
    """Loss prevented: the archive of three years, adopted in the evening and deleted in the night."""
    history = History()
    history.nights("2026-10-01", "2026-11-22")
    old = history.take(
        paris("2024-03-01T02:00"),
        source="adopted",
        taken_at=paris("2026-11-20T10:00"),
        partitions=[(Tier.MONTHLY, "2024-03-01")],
    )
    found = plan(history.catalog(), DEFAULTS, CALENDAR, NOW)
    assert old.backup_id in ids(found.kept)
    assert any(old.backup_id in warning.text() for warning in found.warnings)
    history.nights("2026-11-23", "2026-12-21")
    found = plan(history.catalog(), DEFAULTS, CALENDAR, paris("2026-12-21T12:00"))
    assert old.backup_id in ids(found.expiring)


@pytest.mark.parametrize("years", [1, 5, 60])
@pytest.mark.parametrize("backed_up", [False, True])
def test_a_clock_that_jumped_ahead_deletes_nothing_it_should_not(years: int, backed_up: bool) -> None:
    """Loss prevented: a machine that wakes in 2086 takes every backup for ancient, and one new one for a year's."""
    history = _a_year()
    history = history.without(ids(plan(history.catalog(), DEFAULTS, CALENDAR, NOW).expiring))
    kept = {backup.backup_id for backup in history.backups}
    held = history.catalog().backups[-1]
    history.hold(held, NOW + 10 * DAY)
    later = NOW + years * 365 * DAY
    if backed_up:
        history.take(later)
    leaving = ids(plan(history.catalog(), DEFAULTS, CALENDAR, later).expiring)
    assert held.backup_id not in leaving
    # One new day takes one day's place, and nothing else happens.
    assert len(leaving) <= (1 if backed_up else 0)
    assert len(kept - leaving) >= len(kept) - 1


def test_a_backup_of_the_future_stays_and_pushes_nothing_out() -> None:
    """Loss prevented: one night with a wrong clock takes a place in every tier for years."""
    history = History()
    history.nights("2026-11-01", "2026-11-22")
    before = ids(plan(history.catalog(), DEFAULTS, CALENDAR, NOW).kept)
    future = [history.take(paris(f"2031-05-0{day}T02:00"), state="proven") for day in range(1, 9)]
    misfiled = history.take(paris("2026-11-21T14:00"), partitions=[(Tier.DAILY, "2031-06-01")])
    found = plan(history.catalog(), DEFAULTS, CALENDAR, NOW)
    assert ids(found.kept) == before | {each.backup_id for each in (*future, misfiled)}
    assert reasons(found, future[0])[0] == "it is of the future (2031-05-01): a clock is or was wrong"


def test_what_cannot_be_trusted_stays_and_takes_no_place() -> None:
    """Loss prevented: a manifest that a disk spoilt, deleted instead of repaired."""
    history = History()
    history.nights("2026-11-01", "2026-11-22")
    spoilt = "20260101T010000Z-ABCDEF"
    catalog = replace(
        history.catalog(), damage=(Damage(f"recyclic/backups/{spoilt}/manifest.json", "it is not JSON"),)
    )
    found = plan(catalog, DEFAULTS, CALENDAR, NOW)
    last = found.decisions[-1]
    assert (last.backup_id, last.action) == (spoilt, Action.KEEP)
    assert last.texts() == ("its documents cannot be trusted: it is not JSON",)


def test_a_label_that_is_no_partition_protects_and_counts_nowhere() -> None:
    """Loss prevented: a tier's name written by another version makes its backups vanish, or counts as the newest."""
    history = History()
    history.nights("2026-11-01", "2026-11-22")
    odd = history.take(paris("2026-11-02T12:00"), partitions=[(Tier.WEEKLY, "2026-W45")])
    found = plan(history.catalog(), DEFAULTS, CALENDAR, NOW)
    assert reasons(found, odd) == ("its label weekly 2026-W45 is no partition",)
    assert "2026-11-16" in days(found.kept)


def test_the_newest_checkpoints_stay() -> None:
    """Loss prevented: the dump taken before an upgrade is gone before the upgrade is regretted."""
    history = History()
    history.nights("2026-10-01", "2026-11-22")
    points = [
        history.take(paris(f"2026-10-{day}T15:00"), tier=Tier.CHECKPOINT, source="checkpoint", partitions=[])
        for day in range(10, 18)
    ]
    found = plan(history.catalog(), DEFAULTS, CALENDAR, NOW)
    assert {each.backup_id for each in points} & ids(found.kept) == {each.backup_id for each in points[3:]}
    assert reasons(found, points[-1]) == ("checkpoint, 1 of 5",)
    assert reasons(found, points[0]) == ("checkpoint: not among the newest 5",)


def test_small_numbers_mean_what_they_say() -> None:
    """Loss prevented: a disk that fills although two backups were asked for."""
    history = _a_year()
    small = replace(DEFAULTS, daily=2, weekly=0, monthly=0, checkpoint=0, minimum=1)
    found = plan(history.catalog(), small, CALENDAR, NOW)
    assert days(found.kept) == ["2026-11-21", "2026-11-22"]
    tiny = replace(small, daily=1, minimum=3)
    assert len(plan(history.catalog(), tiny, CALENDAR, NOW).kept) == 3


def test_reasons_speak_french() -> None:
    """Loss prevented: the person who answers for the data cannot read why they are kept."""
    found = plan(_a_year().catalog(), DEFAULTS, CALENDAR, NOW)
    texts = {text for decision in found.decisions for text in decision.texts("fr")}
    assert "quotidienne 2026-11-22, 1 sur 7" in texts
    assert "la sauvegarde valide la plus récente" in texts
