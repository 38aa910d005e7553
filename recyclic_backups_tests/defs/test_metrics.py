"""Health in Dagster: the metrics of every hour, their checks, the page, and what happens on a full disk."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.errors import StorageError
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.defs.conftest import House, elsewhere

PARTITION = "2026-11-01"
PLENTY = 10**15


def run(house: House, job: str = "health_job") -> Any:
    """Run a job without a partition."""
    return house.definitions.resolve_job_def(job).execute_in_process(
        instance=house.instance, raise_on_error=False
    )


def shown(house: House, asset: str = "backup_metrics") -> dict[str, Any]:
    """Metadata of the newest materialization."""
    key = dg.AssetKey([house.variables["POSTGRES_DB"], asset])
    event = house.instance.get_latest_materialization_event(key)
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def answers(result: Any, asset: str = "backup_metrics") -> dict[str, dg.AssetCheckEvaluation]:
    """The checks of an asset that a run has answered."""
    return {
        each.check_name: each
        for each in result.get_asset_check_evaluations()
        if each.asset_key.path[-1] == asset
    }


def with_free_space(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    """A disk with so much space left."""
    monkeypatch.setattr(LocalStore, "free_bytes", lambda _store: free_bytes)


def test_every_hour_the_figures_are_measured_and_the_page_is_written(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: an installation whose state nobody can see without asking for it."""
    with_free_space(monkeypatch, PLENTY)
    elsewhere(house, Tier.DAILY, PARTITION)
    result = run(house)
    assert result.success
    figures = shown(house)
    assert figures["backups"] == 1
    assert figures["health_status"] == "healthy"
    assert figures["age_h"] < 1
    assert figures["stored_mb"] > 0
    assert {name: each.passed for name, each in answers(result).items()} == {
        "disk_space": True,
        "availability": True,
        "anomalies": True,
    }
    written = Path(figures["report"])
    assert written.name == "report.html"
    assert house.catalog.backups[0].backup_id in written.read_text()


def test_the_age_and_the_proof_are_still_asked_every_hour(house: House) -> None:
    """Loss prevented: an old backup, unseen because the figures beside it are new."""
    elsewhere(house, Tier.DAILY, PARTITION)
    assert run(house).success
    for name in ("age", "proven"):
        key = dg.AssetCheckKey(dg.AssetKey([house.variables["POSTGRES_DB"], "daily_backup"]), name)
        records = house.instance.event_log_storage.get_asset_check_execution_history(key, limit=5)
        assert "SUCCEEDED" in {record.status.value for record in records}


def test_the_daily_verification_reads_the_newest_backups_again(house: House) -> None:
    """Loss prevented: bytes that rot on the disk, found on the day of the restore."""
    backup = elsewhere(house, Tier.DAILY, PARTITION).backup
    (stored,) = Path(house.variables["BACKUP_STORAGE"].removeprefix("file://")).rglob("main.dump*")
    damaged = bytearray(stored.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    stored.write_bytes(damaged)
    assert run(house, "metric_verification_job").success
    assert not house.catalog.find(backup.backup_id).good


def test_a_disk_too_full_for_the_page_still_tells_its_figures(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: the one hour in which the figures matter, shown as a failure of the figures."""
    with_free_space(monkeypatch, 10)
    elsewhere(house, Tier.DAILY, PARTITION)

    def full(_store: LocalStore, _name: str, _data: bytes) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(LocalStore, "replace", full)
    result = run(house)
    assert result.success
    assert "not written" in shown(house)["report"]
    check = answers(result)["disk_space"]
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.ERROR
    assert "10 B are free" in str(check.description)
    assert "could be freed: no backup" in str(check.description)


def test_a_critical_disk_starts_retention_by_itself_once_and_again_each_day(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: backups that stop on a full disk although half of it may go; a run every five minutes for it."""
    elsewhere(house, Tier.DAILY, PARTITION)
    with_free_space(monkeypatch, PLENTY)
    quiet = house.evaluate("disk_space")
    assert not quiet.run_requests
    with_free_space(monkeypatch, 10)
    first = house.evaluate("disk_space", quiet.cursor)
    assert len(first.run_requests or []) == 1
    again = house.evaluate("disk_space", first.cursor)
    assert not again.run_requests
    assert "see expired_backups" in str(again.skip_message)
    house.clock.at += timedelta(days=1)
    later = house.evaluate("disk_space", again.cursor)
    assert len(later.run_requests or []) == 1
    with_free_space(monkeypatch, PLENTY)
    assert house.evaluate("disk_space", later.cursor).cursor == "{}"


def test_a_cursor_that_is_not_ours_does_not_stop_the_sensor(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a sensor that raises for ever after an upgrade."""
    elsewhere(house, Tier.DAILY, PARTITION)
    with_free_space(monkeypatch, 10)
    for cursor in ("", "nonsense", "[]", '{"asked_at": 3}'):
        assert house.evaluate("disk_space", cursor).run_requests
