"""A missed day rebuilt from WAL is what the database was when its backup was due; others stay late."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recyclic_backups.archive import stream
from recyclic_backups.archive.documents import read_position
from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.fingerprint.read import read_fingerprint
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.recovery.missed_day import rebuild
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.archive.conftest import archive_of, receiving, small_segments, write_rows
from recyclic_backups_tests.base_backup.conftest import Premises
from recyclic_backups_tests.house import House
from recyclic_backups_tests.recovery.conftest import PARIS


@dataclass
class Missed:
    """A house whose clock is a day ahead: the backup of the real today is the one that was missed."""

    house: House
    day: str
    rows: int
    """How many there were when it was due."""


@pytest.fixture
def missed(
    installation: Installation, scratch_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Missed]:
    """Rows, a base backup, more rows, the moment at which the backup is due, other rows."""
    monkeypatch.setattr(stream, "_IDLE_POSITION_SECONDS", 0.2)
    store = LocalStore.open(tmp_path / "backups", create=True)
    with small_segments(installation, scratch_directory) as cluster:
        with cluster.server.connect("postgres") as connection:
            connection.execute("CREATE TABLE public.log (id bigserial, what text)")
        archive = archive_of(store, cluster)
        with receiving(cluster, store) as running:
            Premises(cluster, store).take()
            write_rows(cluster, 700)
            due = _whole_minute(cluster)
            write_rows(cluster, 50, "the day after")
            end = datetime.now(UTC)
            running.wait_until(
                lambda: (found := read_position(archive)) is not None and found.server_time > end
            )
        house = House(cluster.server, "postgres", store, end + timedelta(days=1))
        local = due.astimezone(PARIS)
        calendar = Calendar(PARIS, local.date().replace(day=1), hour=local.hour, minute=local.minute)
        house.plan = replace(
            house.plan, calendar=calendar, rebuild=lambda day: rebuild(day, scratch_directory, PARIS)
        )
        yield Missed(house, calendar.partition_of(Tier.DAILY, due), 700)


def _whole_minute(cluster: ScratchCluster) -> datetime:
    """The whole minute at which the backup is due: the running one's, as the calendar knows no seconds.

    So the rows are made to be older by changing nothing but when the test goes on.
    """
    import time

    now = datetime.now(UTC)
    due = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    time.sleep(max(0.0, (due - now).total_seconds()) + 0.2)
    return due


@pytest.mark.slow
def test_a_missed_day_that_wal_reaches_is_what_the_database_was(missed: Missed) -> None:
    """Loss prevented: a day of which nothing but a later dump exists, marked late."""
    house = missed.house
    done = house.back_up(partition=missed.day, source="backfill")
    manifest = done.backup.manifest
    assert manifest.source == "reconstructed"
    assert not manifest.late
    assert not done.label.late
    assert "rebuilt from WAL" in done.label.reason
    assert manifest.as_of == house.plan.calendar.scheduled_for(Tier.DAILY, missed.day).astimezone(UTC)
    assert manifest.fingerprint is not None
    assert manifest.fingerprint["tables"]["public.log"]["rows"] == missed.rows
    assert any("sequences may stand" in note for note in manifest.notes)
    assert [each.passed for each in house.verify()] == [True]


def test_a_day_that_wal_does_not_reach_is_late_as_before(house: House, tmp_path: Path) -> None:
    """Loss prevented: a backfill that ends with an error where it used to make the best of it."""
    house.plan = replace(house.plan, rebuild=lambda day: rebuild(day, tmp_path, PARIS))
    done = house.back_up(partition="2026-11-20", source="backfill")
    assert done.label.late
    assert done.label.reason.startswith("the day was missed; not rebuilt from WAL: ")
    assert done.backup.manifest.source == "backfill"
    assert read_fingerprint(house.server, house.database, level="counts").tables
