"""The sensor that looks for gaps: what it starts, what it lists, and that it never fails in silence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.errors import StorageError
from recyclic_backups_tests.defs.conftest import House, elsewhere


def requested(data: Any) -> list[tuple[str, str]]:
    """Job and partition of every requested run."""
    return [(request.job_name, request.partition_key) for request in data.run_requests or []]


def in_work(
    house: House,
    partition: str,
    status: dg.DagsterRunStatus,
    job: str = "daily_backup_job",
    more_tags: Mapping[str, str] | None = None,
    **more: Any,
) -> None:
    """A run of the partition that Dagster believes to be in that state."""
    location = RegisteredCodeLocationOrigin("recyclic_backups")
    run = dg.DagsterRun(
        job_name=job,
        status=status,
        tags={"dagster/partition": partition, **(more_tags or {})},
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job),
        **more,
    )
    house.instance.add_run(run)


def test_the_first_start_takes_todays_backup_and_then_the_labels(quick_house: House) -> None:
    """Loss prevented: an installation in the afternoon that has nothing until the next night."""
    house = quick_house
    house.clock.at = datetime(2026, 11, 17, 14, 0, tzinfo=UTC)
    data = house.evaluate("missed_backups")
    assert requested(data) == [("daily_backup_job", "2026-11-17")]
    (request,) = data.run_requests
    assert house.run("daily", "2026-11-17", {**request.tags, "dagster/sensor_name": "missed_backups"}).success
    (backup,) = house.catalog
    assert backup.manifest.source == "scheduled"

    data = house.evaluate("missed_backups", data.cursor)
    assert requested(data) == [("monthly_backup_job", "2026-11-01")]
    assert house.run("monthly", "2026-11-01").success
    assert len(house.catalog) == 1

    data = house.evaluate("missed_backups", data.cursor)
    assert requested(data) == []
    # What nobody was there for is one line, not forty-seven.
    assert "47 daily, 6 weekly, 1 monthly: between BACKUP_START_DATE" in data.skip_message
    assert len(data.skip_message.splitlines()) == 2


def test_after_a_week_off_today_is_started_once_and_the_rest_is_listed(quick_house: House) -> None:
    """Loss prevented: a week of late dumps of one day, or a week of gaps that nobody hears of."""
    house = quick_house
    house.variables["BACKUP_START_DATE"] = "2026-10-26"
    for tier, key in ((Tier.DAILY, "2026-11-01"), (Tier.WEEKLY, "2026-10-26"), (Tier.MONTHLY, "2026-11-01")):
        elsewhere(house, tier, key)
    house.clock.at = datetime(2026, 11, 9, 8, 0, tzinfo=UTC)
    data = house.evaluate("missed_backups")
    assert requested(data) == [("daily_backup_job", "2026-11-09")]
    daily, weekly = json.loads(data.cursor)["missing"]
    assert daily.startswith(
        "daily 2026-11-02 to 2026-11-08 (7): filled with one dump taken now, marked late by: "
    )
    assert weekly.startswith("weekly 2026-11-02: no good backup is of that time any more")
    # The same minute, hour and slot: the same run key, which Dagster starts once whatever became of the run.
    again = house.evaluate("missed_backups", data.cursor)
    assert [each.run_key for each in again.run_requests] == [each.run_key for each in data.run_requests]
    house.clock.at += timedelta(hours=1)
    later = house.evaluate("missed_backups", data.cursor)
    assert [each.run_key for each in later.run_requests] != [each.run_key for each in data.run_requests]

    elsewhere(house, Tier.DAILY, "2026-11-09")
    data = house.evaluate("missed_backups", data.cursor)
    assert requested(data) == []
    assert "-j daily_backup_job --from 2026-11-02 --to 2026-11-08 --noprompt" in data.skip_message
    assert "weekly 2026-11-02: no good backup is of that time any more" in data.skip_message


@pytest.mark.parametrize("status", ["QUEUED", "STARTING", "STARTED", "CANCELING"])
def test_a_partition_that_a_run_is_at_is_left_alone(quick_house: House, status: str) -> None:
    """Loss prevented: a queue of runs that all want the same backup."""
    house = quick_house
    in_work(house, "2026-11-01", dg.DagsterRunStatus[status])
    house.clock.at += timedelta(minutes=30)
    assert requested(house.evaluate("missed_backups")) == []


def test_a_run_of_a_backfill_counts_and_one_that_is_over_does_not(quick_house: House) -> None:
    """Loss prevented: a partition kept for ever by a run that ended, or that never began."""
    house = quick_house
    house.clock.at += timedelta(minutes=30)
    for status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.NOT_STARTED):
        in_work(house, "2026-11-01", status)
    in_work(house, "2026-10-31", dg.DagsterRunStatus.STARTED)  # another day
    in_work(house, "2026-11-01", dg.DagsterRunStatus.STARTED, "monthly_backup_job")  # another tier
    assert requested(house.evaluate("missed_backups")) == [("daily_backup_job", "2026-11-01")]
    key = dg.AssetKey([house.variables["POSTGRES_DB"], "daily_backup"])
    in_work(
        house,
        "2026-11-01",
        dg.DagsterRunStatus.QUEUED,
        "__ASSET_JOB",
        asset_selection=frozenset({key}),
    )
    assert requested(house.evaluate("missed_backups")) == []


def test_a_storage_that_is_gone_or_empty_fails_the_tick_with_a_sentence(quick_house: House) -> None:
    """Loss prevented: an unmounted disk taken for a fresh start, and the next backup written beneath it."""
    house = quick_house
    elsewhere(house, Tier.DAILY, "2026-11-01")
    cursor = house.evaluate("missed_backups").cursor
    storage = house.folder.parent / "storage"
    storage.rename(house.folder.parent / "elsewhere")
    with pytest.raises(StorageError, match="Hint: "):
        house.evaluate("missed_backups", cursor)
    assert not storage.exists()
    storage.mkdir(mode=0o700)
    with pytest.raises(StorageError, match="holds none now"):
        house.evaluate("missed_backups", cursor)
    # Another storage, named on purpose, is a new beginning.
    house.variables["BACKUP_STORAGE"] = f"file://{house.folder.parent / 'new'}"
    house.clock.at += timedelta(hours=1)
    assert requested(house.evaluate("missed_backups", cursor)) == [("daily_backup_job", "2026-11-01")]


@pytest.mark.parametrize(
    "cursor", [None, "x", "[]", '{"version": 2}', '{"version": 1, "missing": 3}', "null"]
)
def test_any_cursor_is_survived(quick_house: House, cursor: str | None) -> None:
    """Loss prevented: a sensor that fails every minute since an update."""
    before = json.loads(quick_house.evaluate("missed_backups", cursor).cursor)
    assert before["had_backups"] is False
    assert quick_house.evaluate("missed_backups", json.dumps(before)).cursor == json.dumps(before)
