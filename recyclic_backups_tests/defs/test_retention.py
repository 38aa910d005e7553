"""Retention in Dagster: what leaves, what never does, what is said on a full disk, and the monthly review."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.defs.conftest import House, elsewhere
from recyclic_backups_tests.defs.test_metrics import answers, run, shown


def nights(house: House, count: int) -> list[str]:
    """So many nights with a backup, from the first on; their ids, oldest first."""
    found = []
    for number in range(count):
        key = (datetime(2026, 11, 1) + timedelta(days=number)).strftime("%Y-%m-%d")  # noqa: DTZ001 - a key
        found.append(elsewhere(house, Tier.DAILY, key).backup.backup_id)
        house.clock.at += timedelta(days=1)
    return found


@pytest.fixture
def few(quick_house: House) -> House:
    """Retention that keeps four days and nothing else."""
    quick_house.variables |= {
        "RETENTION_DAILY": "4",
        "RETENTION_WEEKLY": "0",
        "RETENTION_MONTHLY": "0",
        "RETENTION_CHECKPOINT": "0",
    }
    return quick_house


def test_old_backups_leave_and_are_seen_to_be_gone(few: House) -> None:
    """Loss prevented: a disk that fills up, because nobody ran `expire`; a deletion that nobody can look up."""
    taken = nights(few, 6)
    result = run(few, "retention_job")
    assert result.success
    assert [each.backup_id for each in few.catalog] == taken[:1:-1]
    assert few.catalog.tombstones == set(taken[:2])
    figures = shown(few, "expired_backups")
    assert (figures["expired"], figures["kept"]) == (2, 4)
    assert figures["freed_mb"] > 0
    assert [record.data["backup"] for record in figures["what_left"].records] == taken[:2]
    assert answers(result, "expired_backups")["promises"].passed


def test_a_full_disk_takes_nothing_that_is_protected_and_says_what_else_could_go(
    few: House, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Loss prevented: the newest good backups, given away for a few megabytes (invariant 5)."""
    taken = nights(few, 6)
    monkeypatch.setattr(LocalStore, "free_bytes", lambda _store: 10)
    assert run(few, "retention_job").success
    assert {each.backup_id for each in few.catalog} == set(taken[2:])
    summary = str(shown(few, "expired_backups")["summary"])
    assert "RETENTION\\_DAILY=3" in summary
    assert run(few, "retention_job").success
    assert {each.backup_id for each in few.catalog} == set(taken[2:])


def test_nothing_leaves_without_the_database_and_the_run_says_so(few: House) -> None:
    """Loss prevented: old backups deleted in the very hour in which the server is lost."""
    taken = nights(few, 6)
    few.variables["POSTGRES_PORT"] = "1"
    few.variables["POSTGRES_CONNECT_TIMEOUT"] = "1"
    result = run(few, "retention_job")
    assert not result.success
    assert len(few.catalog) == len(taken)


def test_the_review_is_there_to_be_read_in_the_language_of_the_house(few: House) -> None:
    """Loss prevented: a review in a language that those who answer for the data do not read."""
    taken = nights(few, 2)
    few.variables["BACKUP_LOCALE"] = "fr"
    assert run(few, "retention_review_job").success
    text = str(shown(few, "retention_review")["review"])
    assert text.startswith("# Revue de conservation")
    assert all(backup_id in text for backup_id in taken)


def test_the_calendar_of_maintenance_is_the_one_that_is_documented(few: House) -> None:
    """Loss prevented: expiry before the weekly label is given; a review that nobody finds."""
    repository = few.definitions.get_repository_def()
    crons = {each.name: each.cron_schedule for each in repository.schedule_defs}
    assert crons["retention_schedule"] == "0 3 * * *"
    assert crons["retention_review_schedule"] == "0 8 2 * *"
    assert crons["metric_verification_schedule"] == "0 8 * * *"
    for name in ("retention_schedule", "retention_review_schedule", "metric_verification_schedule"):
        schedule = repository.get_schedule_def(name)
        with dg.build_schedule_context(
            scheduled_execution_time=few.clock(), instance=few.instance
        ) as context:
            assert len(schedule.evaluate_tick(context).run_requests or []) == 1
