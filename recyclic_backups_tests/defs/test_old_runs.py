"""Runs that only answered questions go after two weeks; what they answered stays, and so do the runs of backups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from recyclic_backups.defs.history.old_runs import AT_ONCE, KEPT_FOR, delete_old_runs
from recyclic_backups_tests.defs.conftest import House

JOBS = ("health_job", "catalog_sync")


@pytest.fixture
def stored_house(quick_house: House, tmp_path: Path) -> Iterator[House]:
    """The quick house with Dagster's own files on disk, as an operator has them."""
    with dg.DagsterInstance.local_temp(str(tmp_path), {"telemetry": {"enabled": False}}) as instance:
        yield replace(quick_house, instance=instance, folder=tmp_path)


def files_of(house: House, run_id: str) -> list[str]:
    """The files that are named after a run, or in a folder that is."""
    return sorted(str(path.relative_to(house.folder)) for path in house.folder.rglob(f"*{run_id}*"))


def test_an_old_run_of_the_hourly_questions_leaves_no_file_and_its_answers(stored_house: House) -> None:
    """Loss prevented: a disk that Dagster fills in a year, and then no backup fits on it any more."""
    house = stored_house
    made = house.run("daily", "2026-11-01")
    asked = house.definitions.resolve_job_def("health_job").execute_in_process(instance=house.instance)
    assert made.success
    assert asked.success
    assert files_of(house, asked.run_id)
    answers = answers_of(house)
    now = datetime.now(UTC)
    assert delete_old_runs(house.instance, JOBS, now + KEPT_FOR - timedelta(hours=1)) == 0
    assert delete_old_runs(house.instance, JOBS, now + KEPT_FOR + timedelta(hours=1)) == 1
    assert house.instance.get_run_by_id(asked.run_id) is None
    assert files_of(house, asked.run_id) == []
    assert files_of(house, made.run_id)
    key = dg.AssetKey([house.variables["POSTGRES_DB"], "daily_backup"])
    assert house.instance.get_materialized_partitions(key) == {"2026-11-01"}
    assert answers_of(house) == answers


def answers_of(house: House) -> list[tuple[str, str | None]]:
    """Every answer about the age of the daily backup: the run that gave it, and the partition."""
    key = dg.AssetCheckKey(dg.AssetKey([house.variables["POSTGRES_DB"], "daily_backup"]), "age")
    history = house.instance.event_log_storage.get_asset_check_execution_history(key, limit=9)
    assert len(history) > 1
    return [(record.run_id, record.partition) for record in history]


def test_many_are_deleted_in_turns_and_none_that_is_at_work(quick_house: House) -> None:
    """Loss prevented: a sensor that runs into its time limit, and a run that is deleted under somebody's feet."""
    instance = quick_house.instance
    for _ in range(AT_ONCE + 3):
        instance.add_run(dg.DagsterRun(job_name="catalog_sync", status=dg.DagsterRunStatus.SUCCESS))
    instance.add_run(dg.DagsterRun(job_name="health_job", status=dg.DagsterRunStatus.STARTED))
    instance.add_run(dg.DagsterRun(job_name="daily_backup_job", status=dg.DagsterRunStatus.SUCCESS))
    later = datetime.now(UTC) + 2 * KEPT_FOR
    assert [delete_old_runs(instance, JOBS, later) for _ in range(3)] == [AT_ONCE, 3, 0]
    assert {run.job_name for run in instance.get_runs()} == {"health_job", "daily_backup_job"}


def test_the_sensor_does_it(stored_house: House) -> None:
    """Loss prevented: as above, by nobody calling it."""
    house = stored_house
    assert house.run("daily", "2026-11-01").success
    house.definitions.resolve_job_def("health_job").execute_in_process(instance=house.instance)
    house.clock.at = datetime.now(UTC) + 2 * KEPT_FOR
    house.evaluate("catalog_sync")
    assert {run.job_name for run in house.instance.get_runs()} == {"daily_backup_job"}
