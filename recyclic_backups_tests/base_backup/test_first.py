"""The receiver sees to it that there is a base backup: the first one, and another when WAL was lost."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.documents import Position, store_position
from recyclic_backups.base_backup import first
from recyclic_backups.base_backup.back_up import back_up_server
from recyclic_backups.base_backup.catalog import load_base_backups
from recyclic_backups.base_backup.due import why_due
from recyclic_backups.base_backup.first import FirstBase, why_needed
from recyclic_backups.base_backup.take import BaseBackupTerms
from recyclic_backups.compression import Compression
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.archive.conftest import (
    archive_of,
    lose_the_slot,
    reached,
    receiving,
    repository_of,
    write_rows,
)
from recyclic_backups_tests.memory_store import MemoryStore


def test_a_gap_that_nobody_signed_keeps_no_base_backup_from_being_taken(memory: MemoryStore) -> None:
    """Attack: a document that cannot be believed, and no base backup is taken for the WAL to be replayed on."""
    archive = WalArchive(repository_of(memory), "73")
    now = datetime.now(UTC)
    position = Position(1, 5, now, now, 1 << 20, 150000, "73")
    store_position(archive, position, archive.repository.key_for_backups(now))
    memory.create(f"{archive.wal}/gaps/00000001.0000000000000000.json", b"{}")
    assert why_needed(archive, now) == why_due((), [], now)
    assert why_due((), [], now)


def test_the_first_base_backup_and_the_one_after_lost_wal_come_by_themselves(
    server_of_its_own: ScratchCluster, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a year of WAL that can be replayed on nothing; a hole, and a week until the next Sunday."""
    monkeypatch.setattr(first, "_FIRST_LOOK_SECONDS", 0.2)
    archive = archive_of(memory, server_of_its_own)
    assert why_needed(archive, datetime.now(UTC)) is None
    terms = BaseBackupTerms(Compression(), None, lock_wait_seconds=30, wal_patience_seconds=30)
    said: list[str] = []
    keeper = FirstBase(
        lambda: archive,
        lambda: back_up_server(
            server_of_its_own.server, archive.repository, "full", terms, clock=lambda: datetime.now(UTC)
        ),
        said.append,
        lambda: datetime.now(UTC),
    )
    keeper.start()
    try:
        with receiving(server_of_its_own, memory) as running:
            write_rows(server_of_its_own)
            running.wait_until(lambda: why_needed(archive, datetime.now(UTC)) == "")
        (of_the_beginning,) = load_base_backups(archive).bases
        assert of_the_beginning.good
        lose_the_slot(server_of_its_own)
        with receiving(server_of_its_own, memory) as running:
            end = write_rows(server_of_its_own)
            running.wait_until(lambda: reached(archive) >= end)
            assert why_needed(archive, datetime.now(UTC))
            keeper.look_now()
            running.wait_until(lambda: why_needed(archive, datetime.now(UTC)) == "")
        assert len(load_base_backups(archive).bases) == 2
        assert any("taken and verified" in each for each in said)
    finally:
        keeper.end()
