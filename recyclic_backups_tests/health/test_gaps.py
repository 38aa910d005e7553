"""Gaps: every hole in the calendar is seen, what is due is started once, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.documents import Label
from recyclic_backups.health.gaps import (
    GRACE,
    Remedy,
    Start,
    before_the_first,
    due,
    missing_partitions,
    stretches,
)
from recyclic_backups_tests.health.catalogs import calendar, days, nights, paris


def missing(catalog: Catalog, now: str, start: str = "2026-10-01") -> list[tuple[str, str, str]]:
    """Tier, partition and remedy of every gap."""
    found = missing_partitions(catalog, calendar(start), paris(now))
    return [(gap.tier.value, gap.partition, gap.remedy.value) for gap in found]


def starts(catalog: Catalog, now: str, **changes: object) -> list[tuple[str, str]]:
    """Tier and partition of everything to be started."""
    found = due(catalog, calendar(**changes), paris(now))  # type: ignore[arg-type]
    return [(start.tier.value, start.partition) for start in found]


def test_a_machine_that_was_off_for_a_week_starts_today_and_lists_the_rest() -> None:
    """Loss prevented: six late dumps of one and the same day, or none at all."""
    catalog = nights(
        *days("2026-10-01", "2026-11-09"),
        weeks=[f"{key}={sunday}" for key, sunday in WEEKS],
        months=["2026-10-01=2026-10-01", "2026-11-01=2026-11-01"],
    )
    now = "2026-11-17T09:30"
    assert starts(catalog, now) == [("daily", "2026-11-17")]
    assert missing(catalog, now) == [
        *(("daily", day, "late dump") for day in days("2026-11-10", "2026-11-16")),
        ("weekly", "2026-11-09", "promote"),  # Monday's backup lies in it
    ]
    # Once today is there, the week that ended meanwhile gets its label; nothing is dumped for it.
    catalog = nights(
        *days("2026-10-01", "2026-11-09"),
        "2026-11-17",
        weeks=[f"{key}={sunday}" for key, sunday in WEEKS],
        months=["2026-10-01=2026-10-01", "2026-11-01=2026-11-01"],
    )
    assert starts(catalog, now) == [("weekly", "2026-11-09")]


WEEKS = [
    ("2026-10-05", "2026-10-11"),
    ("2026-10-12", "2026-10-18"),
    ("2026-10-19", "2026-10-25"),
    ("2026-10-26", "2026-11-01"),
    ("2026-11-02", "2026-11-08"),
]


def test_a_week_that_nothing_lies_in_is_listed_as_lost_and_not_started() -> None:
    """Loss prevented: a run every hour that can only fail, or a week filled with another week's data."""
    catalog = nights(
        "2026-11-01", "2026-11-16", months=["2026-11-01=2026-11-01"], weeks=["2026-10-26=2026-11-01"]
    )
    gaps = missing(catalog, "2026-11-16T12:00")
    assert ("weekly", "2026-11-02", "nothing") in gaps
    assert ("weekly", "2026-11-09", "nothing") in gaps
    assert starts(catalog, "2026-11-16T12:00") == []


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-18T01:59", []),
        ("2026-11-18T02:00", []),  # the schedule's own run has its chance
        ("2026-11-18T02:10", [("daily", "2026-11-18")]),
        ("2026-11-18T23:59", [("daily", "2026-11-18")]),
        ("2026-11-19T00:30", []),  # over: a person decides
        ("2026-11-19T02:10", [("daily", "2026-11-19")]),
    ],
)
def test_a_day_is_started_once_its_hour_has_passed_and_while_it_lasts(
    now: str, expected: list[tuple[str, str]]
) -> None:
    """Loss prevented: a second dump beside the schedule's, a dump of tomorrow in the place of today."""
    catalog = nights(
        *days("2026-11-01", "2026-11-17"),
        weeks=["2026-11-09=2026-11-15"],
        months=["2026-11-01=2026-11-01"],
    )
    assert starts(catalog, now, start="2026-11-01") == expected


def test_weeks_and_months_wait_for_todays_backup() -> None:
    """Loss prevented: three dumps at once of a server that has just come back."""
    now = "2026-11-01T08:00"  # Sunday, and the first of a month
    catalog = nights("2026-10-31", weeks=["2026-10-19=2026-10-31"])
    assert starts(catalog, now) == [("daily", "2026-11-01")]
    catalog = nights("2026-10-31", "2026-11-01")
    assert starts(catalog, now) == [("weekly", "2026-10-26"), ("monthly", "2026-11-01")]


def test_a_backup_that_is_damaged_leaves_a_gap_and_one_that_expired_does_not() -> None:
    """Loss prevented: a day believed safe whose bytes are rotten; a list of gaps nobody reads for its length."""
    catalog = nights(*days("2026-11-09", "2026-11-15"), damaged=["2026-11-15"], expired=["2026-11-09"])
    assert [gap for gap in missing(catalog, "2026-11-16T01:00", "2026-11-09") if gap[0] == "daily"] == [
        ("daily", "2026-11-15", "late dump")
    ]
    assert starts(catalog, "2026-11-15T12:00", start="2026-11-09") == [("daily", "2026-11-15")]


def test_attempts_are_counted_by_the_hour() -> None:
    """Loss prevented: a broken backup started every minute, or a mended one not until the next night."""
    catalog, when = (
        nights("2026-11-01", "2026-11-17", weeks=["2026-11-09=x"], months=["2026-11-01=2026-11-01"]),
        calendar(),
    )
    found = [
        due(catalog, when, paris(f"2026-11-18T{clock}")) for clock in ("02:15", "02:59", "03:00", "11:30")
    ]
    assert found == [[Start(Tier.DAILY, "2026-11-18", attempt)] for attempt in (0, 0, 1, 9)]
    # The night of 25 hours: 02:00 of winter time is one hour later than it looks.
    catalog = nights("2026-10-24", weeks=["2026-10-12=x"], months=["2026-10-01=2026-10-24"])
    assert due(catalog, when, paris("2026-10-25T04:00")) == [Start(Tier.DAILY, "2026-10-25", 2)]


def test_late_in_the_evening_the_week_is_promoted_after_midnight() -> None:
    """Loss prevented: a week without label because its backup is due when it is already over."""
    catalog = nights(
        *days("2026-11-01", "2026-11-22"), months=["2026-11-01=2026-11-01"], weeks=["2026-11-09=2026-11-15"]
    )
    assert starts(catalog, "2026-11-23T00:20", hour=23, minute=45) == []
    assert starts(catalog, "2026-11-23T00:25", hour=23, minute=45) == [("weekly", "2026-11-16")]


def test_what_nobody_was_there_for_is_told_apart() -> None:
    """Loss prevented: a real gap unread in a list of three hundred days before the installation."""
    days_since = days("2026-11-18", "2026-11-21")
    catalog, when = nights(*days_since), calendar("2026-01-01")
    gaps = missing_partitions(catalog, when, paris("2026-11-23T12:00"))
    earlier, since = before_the_first(gaps, catalog, when)
    assert {(gap.tier, gap.partition) for gap in since} == {
        (Tier.DAILY, "2026-11-22"),
        (Tier.WEEKLY, "2026-11-16"),
    }
    assert earlier[0].partition == "2026-01-01"
    assert len([gap for gap in earlier if gap.tier is Tier.DAILY]) == 321
    assert before_the_first(gaps, nights(), when) == (gaps, [])


def test_neighbours_are_one_stretch() -> None:
    """Loss prevented: a list too long to be read."""
    catalog = nights(*days("2026-10-01", "2026-10-03"), "2026-10-06")
    gaps = missing_partitions(catalog, calendar(), paris("2026-10-08T12:00"))
    drawn = [(each.tier.value, each.first, each.last, each.count) for each in stretches(gaps, calendar())]
    assert drawn == [
        ("daily", "2026-10-04", "2026-10-05", 2),
        ("daily", "2026-10-07", "2026-10-07", 1),
    ]
    assert [each.remedy for each in stretches(gaps, calendar())] == [Remedy.LATE_DUMP] * 2


@pytest.mark.parametrize("start", ["2026-11-18", "2027-06-01"])
def test_before_its_first_partition_a_tier_is_never_due(start: str) -> None:
    """Loss prevented: a run that fails every hour of the first days because there is no week yet."""
    began = start < "2026-11-22"
    expected = [("daily", "2026-11-22")] if began else []
    assert starts(nights(), "2026-11-22T12:00", start=start) == expected
    assert starts(nights("2026-11-22"), "2026-11-22T12:00", start=start) == []


def test_a_first_start_in_the_middle_of_everything_begins_with_today() -> None:
    """Loss prevented: waiting until two in the morning for the first backup ever."""
    assert starts(nights(), "2026-11-22T15:00", start="2026-01-01") == [("daily", "2026-11-22")]
    assert starts(nights("2026-11-22"), "2026-11-22T15:00", start="2026-01-01") == [
        ("weekly", "2026-11-16"),
        ("monthly", "2026-11-01"),
    ]


def test_a_changed_hour_or_time_zone_leaves_no_night_out() -> None:
    """Loss prevented: a setting changed at noon that costs the night between the two calendars."""
    catalog = nights(*days("2026-11-01", "2026-11-17"), weeks=["2026-11-09=2026-11-15"])
    noon = paris("2026-11-18T12:00")
    evening, night = calendar("2026-11-01", hour=20), calendar("2026-11-01", hour=2)
    labelled = replace(catalog, labels={**catalog.labels, (Tier.MONTHLY, "2026-11-01"): _label(catalog)})
    assert due(labelled, evening, noon) == []
    assert [start.partition for start in due(labelled, night, noon)] == ["2026-11-18"]
    auckland = Calendar(ZoneInfo("Pacific/Auckland"), date(2026, 11, 1), 0, 0)
    # There the nineteenth has begun, and the eighteenth went by without a backup of its own.
    found = due(labelled, auckland, noon + timedelta(hours=1))
    assert [start.partition for start in found] == ["2026-11-19"]
    gaps = missing_partitions(labelled, auckland, noon + timedelta(hours=1))
    assert [gap.partition for gap in gaps if gap.tier is Tier.DAILY] == ["2026-11-18"]


def _label(catalog: Catalog) -> Label:
    return replace(catalog.labels[Tier.DAILY, "2026-11-01"], tier=Tier.MONTHLY)


@given(
    st.sampled_from(["Europe/Paris", "America/New_York", "Pacific/Auckland", "America/Havana", "UTC"]),
    st.integers(0, 400 * 24 * 60),
    st.integers(0, 23),
    st.sets(st.integers(0, 400), max_size=30),
)
def test_what_is_started_is_always_missing_due_and_allowed(
    zone: str, minutes: int, hour: int, taken: set[int]
) -> None:
    """Loss prevented: a run for a partition that is filled, to come, or before the first."""
    when = Calendar(ZoneInfo(zone), date(2026, 1, 1), hour, 0)
    now = datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")) + timedelta(days=1, minutes=minutes)
    catalog = nights(*((date(2026, 1, 1) + timedelta(days=each)).isoformat() for each in taken))
    found = due(catalog, when, now)
    assert len({start.tier for start in found}) == len(found)
    for start in found:
        when.check_key(start.tier, start.partition, now)
        due_at = when.scheduled_for(start.tier, start.partition)
        assert due_at + GRACE <= now
        assert start.attempt == (now - due_at) // timedelta(hours=1)
        assert catalog.labelled(start.tier, start.partition) is None
    gaps = missing_partitions(catalog, when, now)
    assert sum(stretch.count for stretch in stretches(gaps, when)) == len(gaps)
    earlier, since = before_the_first(gaps, catalog, when)
    assert sorted(earlier + since, key=str) == sorted(gaps, key=str)


def test_the_newest_partition_has_begun() -> None:
    """Loss prevented: one label of the future, and every check asks about it alone until then."""
    catalog = nights(
        "2026-11-01", "2026-11-22", "2027-02-01", weeks=["2026-11-16=2026-11-22", "2027-02-01=2027-02-01"]
    )
    for tier, newest in ((Tier.DAILY, "2026-11-22"), (Tier.WEEKLY, "2026-11-16"), (Tier.MONTHLY, None)):
        assert catalog.newest_partition(tier, calendar(), paris("2026-12-24T12:00")) == newest
    assert catalog.newest_partition(Tier.DAILY, calendar(), paris("2027-02-01T02:00")) == "2027-02-01"
    # A clock that is a minute behind does not lose the day that began elsewhere.
    assert catalog.newest_partition(Tier.DAILY, calendar(), paris("2026-11-21T23:59")) == "2026-11-22"
    assert catalog.newest_partition(Tier.DAILY, calendar(), paris("2026-10-24T12:00")) is None
