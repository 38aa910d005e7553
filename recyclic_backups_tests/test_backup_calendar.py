"""Partitions: every moment has one, and the same one as in Dagster."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.errors import ConfigurationError, UsageError

PARIS = ZoneInfo("Europe/Paris")
ZONES = ["Europe/Paris", "Pacific/Auckland", "America/New_York", "UTC", "Asia/Kolkata"]
# Clocks that change at midnight, by half an hour, and that skipped a whole day.
ODD_ZONES = ["America/Havana", "Atlantic/Azores", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns"]
SINCE = datetime(2005, 1, 1, tzinfo=UTC)
CALENDAR_TIERS = [Tier.DAILY, Tier.WEEKLY, Tier.MONTHLY]

moments = st.integers(0, 35 * 366 * 24 * 3600).map(lambda seconds: SINCE + timedelta(seconds=seconds))
any_zone = st.sampled_from(ZONES + ODD_ZONES)
calendar_tiers = st.sampled_from(CALENDAR_TIERS)


def calendar(zone: str = "Europe/Paris", start: date = date(2026, 1, 1), at: str = "02:00") -> Calendar:
    """A calendar whose daily backup is at HH:MM."""
    return Calendar(ZoneInfo(zone), start, int(at[:2]), int(at[3:]))


def paris(text: str) -> datetime:
    """An aware moment from its local time in Paris."""
    return datetime.fromisoformat(text).replace(tzinfo=PARIS)


@given(any_zone, calendar_tiers, moments)
def test_every_moment_is_in_the_window_of_its_own_partition(zone: str, tier: Tier, moment: datetime) -> None:
    """A moment outside the window of its partition would make an honest backup count as late."""
    days = calendar(zone)
    key = days.partition_of(tier, moment)
    assert days.contains(tier, key, moment)
    assert not days.is_late(tier, key, moment)


@given(any_zone, calendar_tiers, moments)
def test_windows_follow_each_other_without_gap_or_overlap(zone: str, tier: Tier, moment: datetime) -> None:
    """A gap would be a time whose backups belong nowhere, an overlap one backup in two slots."""
    days = calendar(zone)
    window = days.window(tier, days.partition_of(tier, moment))
    following = days.window(tier, days.partition_of(tier, window.end_at))
    assert window.end_at == following.start_at
    assert not window.contains(window.end_at)
    assert window.start_at < window.end_at


@given(any_zone, moments)
def test_a_moment_ends_a_day_exactly_where_the_days_window_does(zone: str, moment: datetime) -> None:
    """Loss prevented: a hold that is said to last a day more, or less, than it does."""
    days = calendar(zone)
    window = days.window(Tier.DAILY, key := days.partition_of(Tier.DAILY, moment))
    assert days.day_that_ends(window.end_at) == key
    assert days.day_that_ends(window.end_at - timedelta(microseconds=1)) is None
    assert (days.day_that_ends(moment) is None) is (moment != window.start_at)


def test_no_moment_is_too_early_or_too_late_to_ask_which_day_it_ends() -> None:
    """Loss prevented: a backup that cannot be shown because of a hold that lasts very long."""
    for day in (date.min, date(2, 1, 3), date(9999, 1, 1), date(9999, 12, 29), date.max):
        for moment in (time.min, time.max):
            for zone in ("UTC", "Pacific/Auckland", "Pacific/Honolulu"):
                calendar(zone).day_that_ends(datetime.combine(day, moment, UTC))


@given(any_zone, calendar_tiers, moments, st.integers(0, 23), st.integers(0, 59))
def test_a_backup_that_starts_when_it_is_due_is_never_late(
    zone: str, tier: Tier, moment: datetime, hour: int, minute: int
) -> None:
    """A due time outside the partition would mark every scheduled backup as late."""
    days = Calendar(ZoneInfo(zone), date(2005, 1, 1), hour, minute)
    key = days.partition_of(tier, moment)
    due = days.scheduled_for(tier, key)
    if tier is Tier.DAILY and zone != "Pacific/Apia":  # whose 30 December 2011 did not happen
        assert days.contains(tier, key, due)
    assert days.partition_due(tier, due) == key
    # Weekly and monthly ones promote; after a daily backup late in the evening they do so past midnight.
    assert timedelta(0) <= due - days.scheduled_for(Tier.DAILY, str(days.preferred_day(tier, key)))
    assert due - days.window(tier, key).end_at < timedelta(hours=1)


@pytest.mark.parametrize("zone", ZONES + ODD_ZONES)
def test_the_hours_around_every_change_of_the_clocks_have_their_place(zone: str) -> None:
    """Chance hardly finds the two nights a year on which partitions go wrong; here every one is looked at."""
    days = calendar(zone)
    start = SINCE
    while start.year < 2035:
        end = start + timedelta(days=1)
        if start.astimezone(days.timezone).utcoffset() != end.astimezone(days.timezone).utcoffset():
            for step in range(-2 * 24 * 4, 2 * 24 * 4):
                moment = start + timedelta(minutes=15 * step)
                assert days.contains(Tier.DAILY, days.partition_of(Tier.DAILY, moment), moment)
        start = end


@given(calendar_tiers, moments)
def test_the_preferred_day_is_inside_the_partition(tier: Tier, moment: datetime) -> None:
    """Promoting another week's Sunday would leave the week without a backup of its own."""
    days = calendar(start=date(2005, 1, 1))
    key = days.partition_of(tier, moment)
    day = days.preferred_day(tier, key)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=PARIS)
    assert days.contains(tier, key, noon)
    assert day.weekday() == 6 or tier is not Tier.WEEKLY


@given(calendar_tiers, moments, st.dates(date(2005, 1, 1), date(2040, 1, 1)))
def test_the_partitions_are_exactly_the_keys_that_pass_the_check(
    tier: Tier, now: datetime, day: date
) -> None:
    """A key that is listed but refused, or the other way round, would break a backfill or invent a slot."""
    days = calendar(start=now.date() - timedelta(days=100))
    keys = days.partitions(tier, now)
    assert keys == sorted(set(keys))
    for key in keys:
        days.check_key(tier, key, now)
        assert days.is_valid_key(tier, key)
    if day.isoformat() not in keys:
        with pytest.raises(UsageError):
            days.check_key(tier, day.isoformat(), now)


def test_the_backup_of_a_sunday_night_is_that_day_and_the_week_it_ends() -> None:
    """The contract's own example; a week that began on Sunday would promote a backup six days old."""
    days = calendar()
    tick = paris("2026-11-22T02:00")
    assert days.partition_of(Tier.DAILY, tick) == "2026-11-22"
    assert days.partition_of(Tier.WEEKLY, tick) == "2026-11-16"
    assert days.partition_of(Tier.MONTHLY, tick) == "2026-11-01"
    assert days.preferred_day(Tier.WEEKLY, "2026-11-16") == date(2026, 11, 22)
    assert days.preferred_day(Tier.MONTHLY, "2026-11-01") == date(2026, 11, 1)
    assert days.scheduled_for(Tier.DAILY, "2026-11-22") == datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
    assert days.scheduled_for(Tier.WEEKLY, "2026-11-16") == datetime(2026, 11, 22, 1, 30, tzinfo=UTC)
    assert days.scheduled_for(Tier.MONTHLY, "2026-11-01") == datetime(2026, 11, 1, 1, 35, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "daily", "weekly", "monthly"),
    [
        ("2026-12-31T23:59:59", "2026-12-31", "2026-12-28", "2026-12-01"),
        ("2027-01-01T00:00", "2027-01-01", "2026-12-28", "2027-01-01"),  # ISO week 53 of 2026
        ("2028-02-29T12:00", "2028-02-29", "2028-02-28", "2028-02-01"),
        ("2028-03-01T00:00", "2028-03-01", "2028-02-28", "2028-03-01"),
        ("2026-11-23T00:00", "2026-11-23", "2026-11-23", "2026-11-01"),
    ],
)
def test_year_ends_and_leap_days_fall_where_the_calendar_says(
    moment: str, daily: str, weekly: str, monthly: str
) -> None:
    """A wrong key at the end of a year would overwrite, or never make, the backup that is kept longest."""
    days = calendar()
    found = [days.partition_of(tier, paris(moment)) for tier in CALENDAR_TIERS]
    assert found == [daily, weekly, monthly]


@pytest.mark.parametrize(
    ("moment", "weekly", "monthly"),
    [
        ("2026-11-17T23:59", None, None),  # before the start: asking for a backup is a mistake
        ("2026-11-18T00:00", "2026-11-23", "2026-12-01"),
        ("2026-11-22T02:30", "2026-11-23", "2026-12-01"),
        ("2026-11-23T00:00", None, "2026-12-01"),
        ("2026-12-01T00:00", None, None),
    ],
)
def test_a_start_in_midweek_has_its_first_week_and_month_to_come(
    moment: str, weekly: str | None, monthly: str | None
) -> None:
    """The first Sunday's line of cron would fail, or a start date in the wrong year pass for success."""
    days = calendar(start=date(2026, 11, 18))
    assert days.first_to_come(Tier.WEEKLY, paris(moment)) == weekly
    assert days.first_to_come(Tier.MONTHLY, paris(moment)) == monthly
    assert days.first_to_come(Tier.DAILY, paris(moment)) is None


@given(any_zone, calendar_tiers, st.integers(0, 23), st.integers(0, 23), moments)
def test_a_changed_hour_moves_the_ticks_and_no_partition(
    zone: str, tier: Tier, hour: int, later: int, moment: datetime
) -> None:
    """With the hour in them, a changed BACKUP_TIME would make every backup there is a late one."""
    before, after = (Calendar(ZoneInfo(zone), date(2005, 1, 1), each, 0) for each in (hour, later))
    key = before.partition_of(tier, moment)
    assert after.partition_of(tier, moment) == key
    assert after.window(tier, key) == before.window(tier, key)
    assert after.partition_due(tier, after.scheduled_for(tier, key)) == key


def test_midnight_is_the_one_of_the_configured_time_zone() -> None:
    """By UTC the first two hours of a summer day in Paris would belong to the day before."""
    assert calendar().partition_of(Tier.DAILY, datetime(2026, 7, 1, 22, 30, tzinfo=UTC)) == "2026-07-02"
    assert calendar("UTC").partition_of(Tier.DAILY, datetime(2026, 7, 1, 22, 30, tzinfo=UTC)) == "2026-07-01"


@pytest.mark.parametrize(("key", "hours"), [("2027-03-28", 23), ("2026-10-25", 25), ("2026-11-22", 24)])
def test_a_day_is_as_long_as_its_clock_says(key: str, hours: int) -> None:
    """A fixed 24 hours would put an hour of two nights a year into the wrong partition."""
    window = calendar().window(Tier.DAILY, key)
    assert window.end_at - window.start_at == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("tier", "at", "key", "due"),
    [
        (Tier.DAILY, "02:00", "2027-03-28", "2027-03-28T03:00+02:00"),  # 02:00 does not exist
        (Tier.DAILY, "02:59", "2027-03-28", "2027-03-28T03:00+02:00"),
        (Tier.WEEKLY, "02:00", "2027-03-22", "2027-03-28T03:00+02:00"),
        (Tier.DAILY, "02:00", "2026-10-25", "2026-10-25T02:00+01:00"),  # 02:00 comes twice
        (Tier.WEEKLY, "02:00", "2026-10-19", "2026-10-25T02:30+01:00"),
        (Tier.DAILY, "01:59", "2026-10-25", "2026-10-25T01:59+02:00"),
        (Tier.WEEKLY, "23:45", "2026-11-16", "2026-11-23T00:15+01:00"),  # past midnight: still that week's
        (Tier.MONTHLY, "23:45", "2026-11-01", "2026-11-02T00:20+01:00"),
    ],
)
def test_backups_are_due_at_an_instant_that_exists_once(tier: Tier, at: str, key: str, due: str) -> None:
    """On the two nights a year that lose or repeat an hour, a backup is due once: not never and not twice."""
    days = calendar(at=at)
    instant = days.scheduled_for(tier, key)
    assert instant == datetime.fromisoformat(due)
    assert instant.utcoffset() == timedelta(0)
    assert days.partition_due(tier, instant) == key


@pytest.mark.parametrize(
    ("tier", "key", "sentence"),
    [
        (Tier.DAILY, "yesterday", "'yesterday' is not a date"),
        (Tier.DAILY, "2026-02-29", "'2026-02-29' is not a date"),
        (Tier.DAILY, "20261122", "'20261122' is not a date"),
        (Tier.DAILY, "2026-W47-7", "'2026-W47-7' is not a date"),
        (Tier.DAILY, "0001-01-01", "'0001-01-01' is not a date"),
        (Tier.DAILY, "9999-12-31", "'9999-12-31' is not a date"),
        (Tier.DAILY, "", "'' is not a date"),
        (Tier.DAILY, "2026-11-23", "the daily partition 2026-11-23 is in the future"),
        (Tier.DAILY, "2025-12-31", "2025-12-31 is before the first daily partition, 2026-01-01"),
        (Tier.WEEKLY, "2026-11-22", "2026-11-22 is a Sunday; its week is 2026-11-16"),
        (Tier.WEEKLY, "2025-12-29", "2025-12-29 is before the first weekly partition, 2026-01-05"),
        (Tier.WEEKLY, "2026-11-23", "the weekly partition 2026-11-23 is in the future"),
        (Tier.MONTHLY, "2026-11-22", "2026-11-22 is not the first of a month; its month is 2026-11-01"),
        (Tier.CHECKPOINT, "2026-11-22", "a checkpoint has no partition"),
    ],
)
def test_a_wrong_key_is_refused_with_the_reason_and_the_right_one(
    tier: Tier, key: str, sentence: str
) -> None:
    """A key taken for another, as Dagster does with a Sunday, would store a backup in a wrong slot."""
    days = calendar()
    with pytest.raises(UsageError) as refused:
        days.check_key(tier, key, paris("2026-11-22T12:00"))
    assert str(refused.value) == sentence
    assert refused.value.exit_code == 2
    assert refused.value.hint


def test_a_backup_is_late_outside_its_own_window_on_either_side() -> None:
    """A dump of Tuesday in Monday's slot must say so; 'restore Monday' would restore another day's data."""
    days = calendar()
    assert not days.is_late(Tier.DAILY, "2026-11-22", paris("2026-11-22T00:00"))
    assert not days.is_late(Tier.DAILY, "2026-11-22", paris("2026-11-22T23:59:59"))
    assert days.is_late(Tier.DAILY, "2026-11-22", paris("2026-11-23T00:00"))
    assert days.is_late(Tier.DAILY, "2026-11-22", paris("2026-11-21T23:59:59"))
    assert not days.is_late(Tier.CHECKPOINT, "before-migration", paris("2026-11-22T12:00"))


def test_a_time_of_day_that_does_not_exist_is_a_wrong_setting() -> None:
    """Hour 24 would silently be no hour at all, and no backup would ever be due."""
    for hour, minute in [(24, 0), (-1, 0), (2, 60)]:
        with pytest.raises(ConfigurationError):
            Calendar(PARIS, date(2026, 1, 1), hour, minute)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(("start", "at"), [("2026-01-01", "02:00"), ("2025-12-29", "23:45")])
def test_partitions_windows_and_ticks_are_those_of_dagster(zone: str, start: str, at: str) -> None:
    """If the two disagreed, the scheduler would ask for slots that the command line does not know."""
    import dagster as dg
    from dagster._utils.schedules import schedule_execution_time_iterator

    days = calendar(zone, date.fromisoformat(start), at)
    definitions = {
        Tier.DAILY: dg.DailyPartitionsDefinition(start_date=start, timezone=zone, end_offset=1),
        Tier.WEEKLY: dg.WeeklyPartitionsDefinition(
            start_date=start, timezone=zone, end_offset=1, day_offset=1
        ),
        Tier.MONTHLY: dg.MonthlyPartitionsDefinition(start_date=start, timezone=zone, end_offset=1),
    }
    begin = datetime.fromisoformat(start).replace(tzinfo=days.timezone)
    now = begin + timedelta(days=800, hours=3)
    for tier, theirs in definitions.items():
        ours = days.partitions(tier, now)
        with dg.partition_loading_context(effective_dt=now):
            assert list(theirs.get_partition_keys()) == ours
        windows = [days.window(tier, key) for key in ours]
        assert [tuple(theirs.time_window_for_partition_key(key))[:2] for key in ours] == [
            (window.start_at, window.end_at) for window in windows
        ]
        assert all(earlier.end_at == later.start_at for earlier, later in pairwise(windows))

        due = [days.scheduled_for(tier, key) for key in ours]
        ticks = schedule_execution_time_iterator(begin.timestamp(), days.cron(tier), zone, True)
        fired = [tick.astimezone(UTC) for tick in takewhile(lambda tick: tick <= due[-1], ticks)]  # noqa: B023 - consumed at once
        # A tick before the first partition (of a period that had begun before the start) is not one of ours.
        assert [tick for tick in fired if days.is_valid_key(tier, days.partition_due(tier, tick))] == due
