"""The tier and moment of an old backup: its name first, the date inside otherwise, never a guess."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.adopt.header import ArchiveHeader
from recyclic_backups.adopt.naming import Place, parse_name, place
from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.errors import UsageError

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def _place(
    name: str, created: str | None = None, *, summer: bool = False, timezone: str = "Europe/Paris"
) -> Place:
    moment = None if created is None else datetime.fromisoformat(created)
    header = ArchiveHeader("recyclic", moment, summer, "15.18", "15.18")
    calendar = Calendar(ZoneInfo(timezone), date(2026, 1, 1), hour=2, minute=0)
    return place(name, header, calendar, NOW)


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("suffix", ["", ".dump", ".dump.gz", ".dump.enc", ".dump.enc.gz", ".dump.enc.gz.old"])
def test_the_names_of_the_old_script_are_understood(suffix: str) -> None:
    """Loss prevented: a year of backups of the day they were copied."""
    daily = _place(f"postgres_backup_20250127_020000{suffix}", "2025-01-27 02:00:01")
    assert daily == Place(Tier.DAILY, "2025-01-27", _utc("2025-01-27 01:00"))
    weekly = _place(f"postgres_weekly_20250126{suffix}", "2025-01-26 02:30:07")
    assert weekly == Place(Tier.WEEKLY, "2025-01-20", _utc("2025-01-26 01:30:07"))
    monthly = _place(f"postgres_monthly_202501{suffix}", "2025-01-01 02:35:00")
    assert monthly == Place(Tier.MONTHLY, "2025-01-01", _utc("2025-01-01 01:35"))


def test_a_name_without_time_takes_the_time_inside_only_of_the_same_period() -> None:
    """Loss prevented: a weekly backup of another week, under the name of this one."""
    found = _place("postgres_weekly_20250126.dump", "2025-02-03 02:30:00")
    assert found.as_of == _utc("2025-01-25 23:00")
    assert any("midnight" in note for note in found.notes)
    assert any("2025-02-03" in note for note in found.notes)
    assert _place("postgres_monthly_202501.dump", "2025-01-17 02:35:00").as_of == _utc("2025-01-17 01:35")
    assert _place("postgres_monthly_202501.dump", "2025-02-01 02:35:00").as_of == _utc("2024-12-31 23:00")
    assert _place("postgres_backup_20250127.dump").as_of == _utc("2025-01-26 23:00")


def test_a_name_without_date_takes_the_one_inside() -> None:
    """Loss prevented: a renamed file that nobody can file."""
    found = _place("before-the-migration.dump", "2025-07-01 23:30:00")
    assert (found.tier, found.partition, found.as_of) == (Tier.DAILY, "2025-07-01", _utc("2025-07-01 21:30"))
    with pytest.raises(UsageError, match="neither"):
        _place("before-the-migration.dump")


def test_the_configured_zone_decides_what_the_clock_meant() -> None:
    """Loss prevented: a backup filed under the day before it was taken."""
    name = "postgres_backup_20250127_003000.dump"
    assert _place(name, timezone="UTC").as_of == _utc("2025-01-27 00:30")
    assert _place(name, timezone="Pacific/Auckland").as_of == _utc("2025-01-26 11:30")
    assert _place(name, timezone="America/Martinique").partition == "2025-01-27"


def test_hours_that_come_twice_or_never() -> None:
    """Loss prevented: two backups an hour apart, in the wrong order."""
    twice = "postgres_backup_20251026_023000.dump"
    assert _place(twice, "2025-10-26 02:30:01", summer=True).as_of == _utc("2025-10-26 00:30")
    assert _place(twice, "2025-10-26 02:30:01", summer=False).as_of == _utc("2025-10-26 01:30")
    never = _place("postgres_backup_20250330_023000.dump")
    assert never.as_of == _utc("2025-03-30 01:30")
    assert any("skipped" in note for note in never.notes)


@pytest.mark.parametrize(
    "name",
    [
        "postgres_backup_20251301_020000.dump",
        "postgres_backup_20250127_250000.dump",
        "postgres_weekly_202501.dump",
        "postgres_monthly_202500.dump",
        "postgres_backup_00000000.dump",
    ],
)
def test_a_name_with_an_impossible_date_is_refused(name: str) -> None:
    """Loss prevented: a date made up, because the one that is there is a slip of the pen."""
    with pytest.raises(UsageError, match="no date"):
        _place(name, "2025-01-01 02:00:00")


def test_a_backup_of_the_future_is_refused() -> None:
    """Loss prevented: ``latest`` means a file of the past for as long as its wrong date is ahead."""
    with pytest.raises(UsageError, match="future"):
        _place("postgres_backup_20990101_020000.dump")


@given(st.text(max_size=60))
def test_any_name_is_read_or_refused(name: str) -> None:
    """Loss prevented: one odd name that ends the adoption of all the others."""
    parse_name(name)


@given(
    st.datetimes(datetime(2005, 1, 1), datetime(2026, 11, 20)),  # noqa: DTZ001
    st.sampled_from(["Europe/Paris", "UTC", "America/St_Johns", "Asia/Kathmandu", "Africa/Cairo"]),
    st.booleans(),
)
def test_a_daily_backup_is_of_the_day_in_its_name(wall: datetime, timezone: str, summer: bool) -> None:
    """Loss prevented: a partition that holds another day's content without saying so."""
    found = _place(f"postgres_backup_{wall:%Y%m%d_%H%M%S}.dump", summer=summer, timezone=timezone)
    assert found.partition == wall.date().isoformat()
    local = found.as_of.astimezone(ZoneInfo(timezone)).replace(tzinfo=None)
    assert local == wall.replace(microsecond=0) or any("skipped" in note for note in found.notes)
