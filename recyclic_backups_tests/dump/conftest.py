"""Fixtures of the backup tests."""

from __future__ import annotations

import pytest

from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.storage.memory import MemoryStore
from recyclic_backups_tests.dump.house import House


@pytest.fixture
def small_database(cluster: ScratchCluster, database: str) -> str:
    """A database that dumps in no time: two tables, a sequence, a secret to look for."""
    with cluster.server.connect(database) as connection:
        connection.execute(
            "CREATE TABLE member (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);"
            "INSERT INTO member (name) SELECT 'Amélie Plaintext-Marker ' || n FROM generate_series(1, 500) n;"
            "CREATE TABLE sale (id int PRIMARY KEY, member_id int REFERENCES member, total numeric(12,2));"
            "INSERT INTO sale SELECT n, n, n * 1.5 FROM generate_series(1, 500) n"
        )
    return database


@pytest.fixture
def memory() -> MemoryStore:
    """A storage in RAM into which faults can be put."""
    return MemoryStore()


@pytest.fixture
def house(cluster: ScratchCluster, small_database: str, memory: MemoryStore) -> House:
    """The small database, a storage in RAM, encryption on."""
    return House(cluster.server, small_database, memory)
