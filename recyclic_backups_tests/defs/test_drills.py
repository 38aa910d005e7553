"""Drills as Dagster runs them: green with a report, red with one, and those of the command line told too."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.drill.run import drill
from recyclic_backups.drill.scenarios import Scenario
from recyclic_backups.restore.attempt import Attempt
from recyclic_backups_tests.defs.conftest import House, elsewhere

PARTITION = "2026-11-01"


def run(house: House, scenario: str) -> Any:
    """Run a drill's job."""
    job = house.definitions.resolve_job_def(f"drill_{scenario}_job")
    return job.execute_in_process(instance=house.instance, raise_on_error=False)


def reports(house: House, scenario: str = "simple") -> list[dg.AssetMaterialization]:
    """What the asset's page can show, oldest first."""
    key = dg.AssetKey([house.variables["POSTGRES_DB"], f"drill_{scenario}"])
    records = house.instance.fetch_materializations(key, limit=100).records
    return [each.asset_materialization for each in reversed(records) if each.asset_materialization]


def drill_elsewhere(house: House) -> None:
    """What ``recyclic-backups drill simple`` does."""
    settings = house.settings()
    drill(Scenario.SIMPLE, wiring.open_repository(settings), wiring.drill_plan(settings), clock=house.clock)


def test_a_drill_that_passes_shows_what_it_restored_and_how_fast(house: House) -> None:
    """A green run without a report is a claim that nobody can check."""
    elsewhere(house, Tier.DAILY, PARTITION)
    result = run(house, "simple")
    assert result.success
    (report,) = reports(house)
    assert report.metadata["passed"].value is True
    assert float(str(report.metadata["restore_s"].value)) > 0
    assert isinstance(report.metadata["comparison"], dg.TableMetadataValue)
    assert report.metadata["comparison"].records
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.passed


def test_a_drill_that_fails_turns_its_run_red_and_keeps_its_report(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a failed drill that only its log remembers."""
    elsewhere(house, Tier.DAILY, PARTITION)
    compare_with = Attempt.compare_with

    def changed(attempt: Any, name: str, *how: Any) -> Any:
        with attempt.server.connect(name) as connection:
            connection.execute("DELETE FROM sale")
        return compare_with(attempt, name, *how)

    monkeypatch.setattr(Attempt, "compare_with", changed)
    result = run(house, "simple")
    assert not result.success
    (report,) = reports(house)
    assert report.metadata["passed"].value is False
    assert "public.sale" in str(report.metadata["report"].value).replace("\\", "")
    (evaluation,) = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.ERROR


def test_a_drill_that_cannot_run_fails_and_reports_nothing(house: House) -> None:
    """A drill without any backup must not look like one that passed, or like one that found damage."""
    wiring.open_repository(house.settings())
    result = run(house, "simple")
    assert not result.success
    assert not reports(house)


def test_drills_of_the_command_line_reach_the_history_once(house: House) -> None:
    """Prevents a page that says `never drilled` to whoever drills by hand, and one that counts a drill twice."""
    elsewhere(house, Tier.DAILY, PARTITION)
    drill_elsewhere(house)
    cursor = house.evaluate("catalog_sync").cursor
    house.evaluate("catalog_sync", cursor)
    assert len(reports(house)) == 1
    run(house, "simple")
    house.evaluate("catalog_sync", cursor)
    assert len(reports(house)) == 2
    drill_elsewhere(house)
    house.evaluate("catalog_sync", None)
    told = reports(house)
    assert len(told) == 3
    assert told[-1].description == "found in the storage"
    assert told[-1].metadata["passed"].value is True


@pytest.mark.parametrize(
    ("scenario", "before", "ticks"),
    [
        # Sunday 1 November 2026 is the day after the clocks went back by an hour a week before.
        ("simple", "2026-11-01T00:00+01:00", "2026-11-01T05:00:00+01:00"),
        ("partial", "2027-03-28T00:00+01:00", "2027-03-28T06:00:00+02:00"),
        ("full", "2026-11-02T00:00+01:00", "2027-01-01T07:00:00+01:00"),
    ],
)
def test_drills_come_by_themselves(house: House, scenario: str, before: str, ticks: str) -> None:
    """Prevents proof that depends on somebody remembering to ask for it."""
    schedule = house.definitions.resolve_schedule_def(f"drill_{scenario}_schedule")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    zone = ZoneInfo(str(schedule.execution_timezone))
    start = datetime.fromisoformat(before).astimezone(zone)
    tick = _next(schedule, start)
    assert tick == datetime.fromisoformat(ticks)
    context = dg.build_schedule_context(instance=house.instance, scheduled_execution_time=tick)
    (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.partition_key is None


def _next(schedule: dg.ScheduleDefinition, start: datetime) -> datetime:
    """As Dagster's own scheduler reads the schedule."""
    from dagster._utils.schedules import schedule_execution_time_iterator

    iterator = schedule_execution_time_iterator(
        start.timestamp(), schedule.cron_schedule, schedule.execution_timezone
    )
    return next(iterator)
