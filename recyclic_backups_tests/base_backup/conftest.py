"""A server whose WAL is received into a storage in RAM, and base backups of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.audit.verification import Verification
from recyclic_backups.base_backup.back_up import BasedUp, Wish, back_up_server
from recyclic_backups.base_backup.catalog import BaseBackups, load_base_backups
from recyclic_backups.base_backup.take import BaseBackupTerms
from recyclic_backups.base_backup.verify import verify
from recyclic_backups.compression import Compression
from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups.storage.store import Store
from recyclic_backups_tests.archive.conftest import (
    SLOT,
    archive_of,
    receiving,
    repository_of,
    server_of_its_own,
    small_segments,
)
from recyclic_backups_tests.memory_store import MemoryStore


@dataclass
class Premises:
    """A server, a storage, and the clock of whoever takes base backups of one into the other."""

    cluster: ScratchCluster
    store: Store = field(default_factory=MemoryStore)
    encrypt: bool = True
    patience_seconds: float = 30
    rate_limit_bytes: int | None = None
    now: datetime | None = None

    @property
    def archive(self) -> WalArchive:
        """Opened anew, as every command does."""
        return archive_of(self.store, self.cluster, self.encrypt)

    @property
    def bases(self) -> BaseBackups:
        """What the storage holds now."""
        return load_base_backups(self.archive)

    def clock(self) -> datetime:
        """That of the test where it set one."""
        return self.now or datetime.now(UTC)

    def take(
        self, wish: Wish | None = None, server: Server | None = None, enough_since: datetime | None = None
    ) -> BasedUp:
        """A base backup."""
        return back_up_server(
            server or self.cluster.server,
            repository_of(self.store, self.encrypt),
            wish,
            BaseBackupTerms(
                compression=Compression(),
                rate_limit_bytes=self.rate_limit_bytes,
                lock_wait_seconds=30,
                wal_patience_seconds=self.patience_seconds,
            ),
            clock=self.clock,
            enough_since=enough_since,
        )

    def verify(self, reference: str = "latest") -> Verification:
        """Read one again."""
        base = self.bases.find(reference, self.clock())
        return verify(self.archive, base, clock=self.clock)

    @property
    def base_objects(self) -> list[str]:
        """Names of everything that lies among the base backups."""
        return [each.name for each in self.store.list(f"{self.archive.root}/base/")]


@contextmanager
def forgotten_slot(cluster: ScratchCluster) -> Iterator[None]:
    """After the block the server keeps no WAL for a receiver that is gone."""
    try:
        yield
    finally:
        with cluster.server.connect("postgres") as connection:
            connection.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s",
                (SLOT,),
            )


@pytest.fixture(scope="session")
def based_cluster(installation: Installation, scratch_directory: Path) -> Iterator[ScratchCluster]:
    """A server with segments of 1 MB and one tablespace, for the tests here that leave it as they found it."""
    with small_segments(installation, scratch_directory) as cluster:
        space = cluster.socket_directory / "space"
        Account.for_servers().directory(cluster.socket_directory, space.name)
        with cluster.server.connect("postgres") as connection:
            connection.execute("CREATE TABLE public.log (id bigserial, what text)")
            connection.execute(f"CREATE TABLESPACE elsewhere LOCATION '{space}'".encode())
            connection.execute(
                "CREATE TABLE public.far TABLESPACE elsewhere AS "
                "SELECT n, 'Amélie Plaintext-Marker ' || n AS what FROM generate_series(1, 20000) n"
            )
        yield cluster


@pytest.fixture
def premises(based_cluster: ScratchCluster) -> Iterator[Premises]:
    """The server, and a receiver at work."""
    found = Premises(based_cluster)
    with forgotten_slot(based_cluster), receiving(based_cluster, found.store):
        yield found


@pytest.fixture(scope="session")
def taken_once(based_cluster: ScratchCluster) -> MemoryStore:
    """A storage with one base backup and its WAL: to be copied (:func:`based`), never changed."""
    found = Premises(based_cluster)
    with forgotten_slot(based_cluster), receiving(based_cluster, found.store):
        found.take()
    assert isinstance(found.store, MemoryStore)
    return found.store


@pytest.fixture
def based(based_cluster: ScratchCluster, taken_once: MemoryStore) -> Premises:
    """A copy of that storage; no receiver is at work."""
    copy = MemoryStore()
    for each in taken_once.list():
        with taken_once.reader(each.name) as reader, copy.writer(each.name) as upload:
            while piece := reader.read(1 << 20):
                upload.write(piece)
            upload.commit()
    return Premises(based_cluster, copy, patience_seconds=0.5)


def environment_path() -> str:
    """PATH, for a command that is started as a program."""
    return os.environ["PATH"]


__all__ = ["server_of_its_own"]
