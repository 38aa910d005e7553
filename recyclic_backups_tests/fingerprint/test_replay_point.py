"""The place of a dump's snapshot in the WAL: found where the server is quiet, and never a wrong one."""

from __future__ import annotations

import threading

import pytest

from recyclic_backups.fingerprint import snapshot as snapshots
from recyclic_backups.fingerprint.read import snapshot
from recyclic_backups_tests.house import House


def test_a_backup_of_a_quiet_server_says_where_a_recovery_finds_the_same(house: House) -> None:
    """Loss prevented: base backups and WAL that nothing was ever compared with."""
    house.options(find_replay_point=True)
    manifest = house.back_up().backup.manifest
    assert manifest.replay_point is not None
    assert manifest.replay_point.lsn > 0
    assert house.catalog.find("latest").manifest.replay_point == manifest.replay_point


def test_without_an_archive_no_place_is_looked_for(house: House) -> None:
    """Loss prevented: a wait for nothing, with every table locked."""
    assert house.back_up().backup.manifest.replay_point is None


def test_while_somebody_writes_there_is_none_and_the_backup_is_taken_all_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a place that misses a row, and a drill that is red for nothing; or no backup at all."""
    monkeypatch.setattr(snapshots, "_SEEK_SECONDS", 0.3)
    with house.server.connect(house.database, autocommit=False) as writer:
        writer.execute("INSERT INTO member (name) VALUES ('at work')")
        with snapshot(house.server, house.database, lock_timeout_seconds=5, find_replay_point=True) as held:
            assert held.replay_point is None


def test_a_moment_between_two_writers_is_waited_for(house: House) -> None:
    """Loss prevented: busy tills, whose backups never had a place."""
    over = threading.Event()

    def work() -> None:
        with house.server.connect(house.database) as connection:
            while not over.is_set():
                connection.execute("INSERT INTO member (name) VALUES ('sale')")
                over.wait(0.002)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        with snapshot(house.server, house.database, lock_timeout_seconds=5, find_replay_point=True) as held:
            assert held.replay_point is not None
    finally:
        over.set()
        worker.join()
