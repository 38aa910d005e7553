"""What must hold for every history: nothing protected leaves, and a plan ends the same however it is carried out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.proof import proven_at
from recyclic_backups.retention.forecast import departures
from recyclic_backups.retention.policy import ExpiryPlan, Retention, plan
from recyclic_backups_tests.retention.histories import History, ids

# Both nights of Paris and Lord Howe in which clocks change lie inside a history of a year.
ZONES = st.sampled_from(["Europe/Paris", "UTC", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia"])
STATES = st.sampled_from(["good", "good", "good", "good", "proven", "damaged", "unverified"])
RETENTIONS = st.builds(
    Retention,
    daily=st.integers(1, 8),
    weekly=st.integers(0, 5),
    monthly=st.integers(0, 13),
    checkpoint=st.integers(0, 3),
    minimum=st.integers(1, 4),
    max_days=st.sampled_from([5, 40, 200, 400, 100_000]),
)
START = datetime(2026, 2, 1, tzinfo=UTC)


@st.composite
def histories(draw: st.DrawFn) -> tuple[History, datetime]:
    """A history with gaps, lateness, failures and clocks that were wrong, and a moment to judge it at."""
    calendar = Calendar(ZoneInfo(draw(ZONES)), date(2026, 1, 1), draw(st.integers(0, 23)), 0)
    history = History(calendar)
    moment = START + timedelta(minutes=draw(st.integers(0, 24 * 60)))
    for _ in range(draw(st.integers(1, 40))):
        moment += draw(
            st.sampled_from(
                [timedelta(hours=6), *[timedelta(days=1)] * 6, timedelta(days=3), timedelta(days=45)]
            )
        )
        wrong_by = timedelta(days=draw(st.sampled_from([0] * 12 + [-30, 400, 9000])))
        _take(draw, history, moment + wrong_by)
    for backup in draw(st.lists(st.sampled_from(history.backups), max_size=2)):
        days = draw(st.integers(-30, 400) | st.none())
        history.hold(backup, None if days is None else moment + timedelta(days=days))
    late = draw(
        st.sampled_from([timedelta(0), timedelta(hours=3), timedelta(days=8), timedelta(days=500)])
        | st.builds(timedelta, days=st.integers(-40, 20_000))
    )
    return history, moment + late


def _take(draw: st.DrawFn, history: History, as_of: datetime) -> None:
    kind = draw(st.sampled_from(["night"] * 8 + ["late", "again", "checkpoint", "adopted"]))
    state = draw(STATES)
    if kind == "checkpoint":
        history.take(as_of, tier=Tier.CHECKPOINT, source="checkpoint", state=state, partitions=[])
    elif kind == "late":
        day = history.calendar.partition_of(Tier.DAILY, as_of)
        earlier = [
            (date.fromisoformat(day) - timedelta(days=number)).isoformat()
            for number in range(draw(st.integers(1, 9)))
        ]
        history.take(as_of, state=state, partitions=[(Tier.DAILY, each) for each in earlier])
    elif kind == "adopted":
        content = as_of - timedelta(days=draw(st.integers(0, 900)))
        slots = draw(
            st.sampled_from([[], [(Tier.MONTHLY, history.calendar.partition_of(Tier.MONTHLY, content))]])
        )
        history.take(content, state=state, source="adopted", taken_at=as_of, partitions=slots)
    elif kind == "again":
        history.take(as_of, state=state, partitions=[] if draw(st.booleans()) else None)
    else:
        history.take(as_of, state=state)


def _protected(catalog: Catalog, retention: Retention, now: datetime) -> set[str]:
    """What invariant 5 names, said without looking at the policy."""
    present = [backup for backup in catalog if backup.as_of <= now]
    good = [backup for backup in present if backup.good]
    held = [backup for backup in catalog if backup.hold is not None and backup.hold.holds(now)]
    youngest = [backup for backup in good if now - backup.as_of <= timedelta(days=retention.max_days)]
    proven = [backup for backup in youngest if proven_at(backup, now) is not None]
    return {backup.backup_id for backup in (*good[: retention.minimum], *proven[:1], *held)}


@given(histories(), RETENTIONS)
def test_nothing_protected_leaves_and_something_stays(
    made: tuple[History, datetime], retention: Retention
) -> None:
    """Loss prevented: any combination of failures, gaps and clocks in which the last good backup goes (invariant 5)."""
    history, now = made
    catalog = history.catalog()
    found = plan(catalog, retention, history.calendar, now)
    assert [decision.backup_id for decision in found.decisions] == [each.backup_id for each in catalog]
    assert all(decision.reasons for decision in found.decisions)
    assert not ids(found.expiring) & _protected(catalog, retention, now)
    assert found.kept
    good = [backup for backup in catalog if backup.good]
    kept_good = [each for each in found.kept if each.backup is not None and each.backup.good]
    assert len(kept_good) >= min(retention.minimum, len(good))
    # Nothing that leaves was the last word of anything: a newer good one is always there.
    for decision in found.expiring:
        assert decision.backup is not None
        assert any(
            each.backup is not None and each.backup.good and each.backup.as_of >= decision.backup.as_of
            for each in found.kept
        )


@given(histories(), RETENTIONS, st.randoms(use_true_random=False))
def test_a_plan_carried_out_in_any_order_halfway_and_again_ends_the_same(
    made: tuple[History, datetime], retention: Retention, chance: object
) -> None:
    """Loss prevented: a deletion that was interrupted goes on to delete what it would not have."""
    history, now = made
    whole = plan(history.catalog(), retention, history.calendar, now)
    leaving = sorted(ids(whole.expiring))
    assume(leaving)
    chance.shuffle(leaving)  # type: ignore[attr-defined]
    for done in (leaving[: len(leaving) // 2], leaving):
        left = history.without(done)
        again = plan(left.catalog(), retention, history.calendar, now)
        assert ids(again.expiring) == set(leaving) - set(done)
        assert ids(again.kept) == ids(whole.kept)


@given(histories(), RETENTIONS, st.integers(0, 20_000))
def test_time_alone_takes_nothing_that_newer_backups_do_not_replace(
    made: tuple[History, datetime], retention: Retention, days: int
) -> None:
    """Loss prevented: backups stopped, and the days that pass delete the ones before (invariant 5)."""
    history, now = made
    retention = replace(retention, max_days=max(retention.max_days, 400))
    checked = (check.checked_at for backup in history.backups for check in backup.checks)
    now = max([now, *(backup.as_of for backup in history.backups), *checked])
    history = replace(history, backups=[replace(each, hold=None) for each in history.backups])
    kept = _settled(history, retention, now)
    newest_good = kept.catalog().newest_good()
    assume(newest_good is not None)
    later = plan(kept.catalog(), retention, history.calendar, now + timedelta(days=days))
    # The only thing that passes without newer backups is the ceiling, and only while it is believed: thirty days.
    for decision in later.expiring:
        assert decision.backup is not None
        assert newest_good is not None
        assert days < 31
        assert now + timedelta(days=days) - decision.backup.as_of > timedelta(days=retention.max_days)


def _settled(history: History, retention: Retention, now: datetime) -> History:
    found = plan(history.catalog(), retention, history.calendar, now)
    return history.without(ids(found.expiring))


@settings(max_examples=15)
@given(histories(), RETENTIONS)
def test_the_forecast_names_each_backup_once_and_begins_with_the_plan(
    made: tuple[History, datetime], retention: Retention
) -> None:
    """Loss prevented: a report that promises a backup for a day on which it is gone."""
    history, now = made
    catalog = history.catalog()
    coming = departures(catalog, retention, history.calendar, now, days=10)
    names = [departure.backup_id for departure in coming]
    assert len(names) == len(set(names))
    today: ExpiryPlan = plan(catalog, retention, history.calendar, now)
    assert set(names[: len(today.expiring)]) == ids(today.expiring)
    assert [departure.day for departure in coming] == sorted(departure.day for departure in coming)
