"""Schedules, evaluated by Dagster: the partition that is due is requested, once, on every kind of night."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.config.load import load_settings
from recyclic_backups.config.settings import Settings
from recyclic_backups.definitions import definitions_in
from recyclic_backups.defs.database import Environment

PARIS = ZoneInfo("Europe/Paris")
TIERS = ("daily", "weekly", "monthly")


def requested(settings: Settings, local_date: str) -> dict[str, list[tuple[str, str]]]:
    """What Dagster's scheduler would launch on that day in Paris: tier, and (time of day, partition)."""
    definitions = definitions_in(Environment(lambda: settings))
    midnight = datetime.fromisoformat(local_date).replace(tzinfo=PARIS)
    launched: dict[str, list[tuple[str, str]]] = {}
    for tier in TIERS:
        schedule = definitions.resolve_schedule_def(f"{tier}_backup_schedule")
        ticks = schedule_execution_time_iterator(
            midnight.timestamp(), schedule.cron_schedule, schedule.execution_timezone, ascending=True
        )
        for tick in ticks:
            if tick.astimezone(PARIS).date() != midnight.date():
                break
            context = dg.build_schedule_context(
                scheduled_execution_time=tick, repository_def=definitions.get_repository_def()
            )
            with dg.partition_loading_context(effective_dt=tick):
                data = schedule.evaluate_tick(context)
            for request in data.run_requests or []:
                assert request.run_key == request.partition_key == request.tags["dagster/partition"]
                local = tick.astimezone(PARIS).strftime("%H:%M")
                launched.setdefault(tier, []).append((local, str(request.partition_key)))
    return launched


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2026-11-18", {"daily": [("02:00", "2026-11-18")]}),
        (
            "2026-11-22",
            {"daily": [("02:00", "2026-11-22")], "weekly": [("02:30", "2026-11-16")]},
        ),
        (
            "2026-11-01",  # Sunday and first of the month
            {
                "daily": [("02:00", "2026-11-01")],
                "weekly": [("02:30", "2026-10-26")],
                "monthly": [("02:35", "2026-11-01")],
            },
        ),
        (
            "2027-03-28",  # Sunday without 02:00 and 02:30: both at the first instant there is
            {"daily": [("03:00", "2027-03-28")], "weekly": [("03:00", "2027-03-22")]},
        ),
        (
            "2026-10-25",  # Sunday with 02:00 twice: still one backup
            {"daily": [("02:00", "2026-10-25")], "weekly": [("02:30", "2026-10-19")]},
        ),
    ],
)
def test_each_night_requests_the_partitions_that_are_due(
    offline: Settings, day: str, expected: dict[str, list[tuple[str, str]]]
) -> None:
    """A night requested twice, not at all, or for the wrong partition is a hole in the calendar."""
    assert requested(offline, day) == expected


def test_a_year_of_nights_leaves_no_partition_out(offline: Settings) -> None:
    """One forgotten kind of day a year is one day lost a year."""
    definitions = definitions_in(Environment(lambda: offline))
    schedule = definitions.resolve_schedule_def("daily_backup_schedule")
    ticks = schedule_execution_time_iterator(
        datetime(2026, 10, 20, tzinfo=UTC).timestamp(), schedule.cron_schedule, "Europe/Paris", ascending=True
    )
    keys = [offline.calendar.partition_due(Tier.DAILY, next(ticks)) for _ in range(366)]
    first = datetime.fromisoformat(keys[0])
    assert keys == [(first + timedelta(days=number)).date().isoformat() for number in range(366)]


def test_a_week_that_began_before_the_first_partition_is_skipped() -> None:
    """The tick must not fail, or the scheduler shows an error on the first Sunday after the installation."""
    settings = load_settings({"BACKUP_START_DATE": "2026-11-18"})
    definitions = definitions_in(Environment(lambda: settings))
    schedule = definitions.resolve_schedule_def("weekly_backup_schedule")
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 11, 22, 1, 30, tzinfo=UTC))
    data = schedule.evaluate_tick(context)
    assert not data.run_requests
    assert "2026-11-16" in (data.skip_message or "")
