"""Runs that wait or work for too long are said, in words that lead somewhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.defs.slow_runs import MAX_RUNTIME_TAG, runs_too_long
from recyclic_backups_tests.defs.conftest import House
from recyclic_backups_tests.defs.test_missed_backups import in_work

LIMIT_SECONDS = 7200


def said(instance: dg.DagsterInstance, after: timedelta) -> list[str]:
    """What is said so long after now."""
    return runs_too_long(instance, datetime.now(UTC) + after, LIMIT_SECONDS)


@pytest.mark.parametrize(
    ("status", "minutes", "expected"),
    [
        ("QUEUED", 59, None),
        ("QUEUED", 61, "has not begun for 1 h 1 min"),
        ("STARTING", 61, "has not begun"),
        ("STARTED", 119, None),
        ("STARTED", 121, "has worked for 2 h 1 min, longer than it may: terminate it"),
        ("CANCELING", 121, "has worked"),
        ("SUCCESS", 10_000, None),
        ("FAILURE", 10_000, None),
    ],
)
def test_a_run_is_listed_once_it_takes_too_long(
    quick_house: House, status: str, minutes: int, expected: str | None
) -> None:
    """Loss prevented: a queue that nobody serves, for days, while every page is green."""
    house = quick_house
    in_work(house, "2026-11-01", dg.DagsterRunStatus.QUEUED)
    (run,) = house.instance.get_runs()
    if status != "QUEUED":
        house.instance.report_engine_event("begins", run)
        begin(house.instance, run, dg.DagsterRunStatus[status])
    found = said(house.instance, timedelta(minutes=minutes))
    if expected is None:
        assert found == []
    else:
        assert [expected in line for line in found] == [True]
        assert f"run {run.run_id[:8]} (daily_backup_job 2026-11-01)" in found[0]


def begin(instance: dg.DagsterInstance, run: dg.DagsterRun, status: dg.DagsterRunStatus) -> None:
    """Let Dagster believe that the run got so far, through the events that a run reports."""
    events = {
        dg.DagsterRunStatus.STARTING: [dg.DagsterEventType.PIPELINE_STARTING],
        dg.DagsterRunStatus.STARTED: [dg.DagsterEventType.PIPELINE_START],
        dg.DagsterRunStatus.CANCELING: [
            dg.DagsterEventType.PIPELINE_START,
            dg.DagsterEventType.PIPELINE_CANCELING,
        ],
        dg.DagsterRunStatus.SUCCESS: [dg.DagsterEventType.PIPELINE_SUCCESS],
        dg.DagsterRunStatus.FAILURE: [dg.DagsterEventType.PIPELINE_FAILURE],
    }[status]
    for event in events:
        instance.report_dagster_event(
            dg.DagsterEvent(event_type_value=event.value, job_name=run.job_name), run_id=run.run_id
        )


def test_a_run_with_a_limit_of_its_own_has_that_one(quick_house: House) -> None:
    """Loss prevented: a drill called hung because it takes longer than a backup."""
    house = quick_house
    in_work(house, "2026-11-01", dg.DagsterRunStatus.QUEUED)
    (run,) = house.instance.get_runs()
    house.instance.add_run_tags(run.run_id, {MAX_RUNTIME_TAG: "60"})
    begin(house.instance, run, dg.DagsterRunStatus.STARTED)
    assert said(house.instance, timedelta(seconds=30)) == []
    assert len(said(house.instance, timedelta(seconds=90))) == 1


def test_the_sensor_says_it_among_what_is_missing(quick_house: House) -> None:
    """Loss prevented: a sentence that is nowhere to be read."""
    house = quick_house
    house.clock.at = datetime.now(UTC) + timedelta(hours=2)
    house.variables["BACKUP_START_DATE"] = "2026-11-01"
    house.variables["BACKUP_TIME"] = "0"  # the day of the clock is due, whenever this test is run
    today = house.settings().calendar.partition_of(Tier.DAILY, house.clock.at)
    in_work(house, today, dg.DagsterRunStatus.QUEUED)
    assert "has not begun for 2 h" in house.evaluate("missed_backups").skip_message
