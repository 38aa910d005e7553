"""A merge that cannot have its locks gives up in time, with the application not far behind, and says who has them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recyclic_backups.errors import DatabaseError
from recyclic_backups.merge.merge import MergeReport, merge_backup
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups.restore.selection import Request
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore

_SINCE = r"in a transaction since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC"


@pytest.fixture(scope="module")
def waiting_cluster(installation: Installation, scratch_directory: Path) -> Iterator[ScratchCluster]:
    """A server that knows prepared transactions."""
    settings = {"max_prepared_transactions": "4"}
    with ScratchCluster.start(installation, scratch_directory, settings=settings) as running:
        yield running


@pytest.fixture
def shop(waiting_cluster: ScratchCluster) -> Iterator[House]:
    """Two tables of an owner, with a row missing in each."""
    server = waiting_cluster.server
    with server.connect("postgres") as connection:
        connection.execute("DROP ROLE IF EXISTS shopkeeper; CREATE ROLE shopkeeper LOGIN PASSWORD 'x'")
        connection.execute("CREATE DATABASE shop OWNER shopkeeper")
    house = House(server, "shop", MemoryStore())
    with server.connect("shop") as connection:
        connection.execute(
            "CREATE TABLE member (id int PRIMARY KEY, name text); CREATE TABLE sale (id int PRIMARY KEY, member int"
            " REFERENCES member); INSERT INTO member VALUES (1, 'a'), (2, 'b'); INSERT INTO sale VALUES (1, 1), (2, 2);"
            "ALTER TABLE member OWNER TO shopkeeper; ALTER TABLE sale OWNER TO shopkeeper"
        )
    house.back_up()
    with server.connect("shop") as connection:
        connection.execute("DELETE FROM sale WHERE id = 2; UPDATE member SET name = 'x' WHERE id = 1")
    yield house
    with server.connect("postgres") as connection:
        names = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'shop%'").fetchall()
        for (name,) in names:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        assert names == [("shop",)]
        roles = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'recyclic_loads_%'"
        assert connection.execute(roles).fetchall() == []
        connection.execute("DROP ROLE shopkeeper")


def _put_back(house: House, *tables: str, seconds: float = 1, trust_owners: bool = False) -> MergeReport:
    return merge_backup(
        house.repository,
        house.catalog.find("latest"),
        house.server,
        "shop",
        Request(tables),
        RestoreOptions(
            house.plan.options.installations,
            timeout_seconds=60,
            lock_timeout_seconds=seconds,
            trust_owners=trust_owners,
        ),
        clock=house.clock,
    )


@contextmanager
def _open(house: House, statement: str) -> Iterator[int]:
    """Somebody in the midst of a transaction: by its process id."""
    with house.server.connect("shop", autocommit=False, application_name="psql\x1b[1m") as connection:
        connection.execute(statement)
        yield connection.info.backend_pid
        connection.rollback()


def _rows(house: House, table: str) -> list[tuple[object, ...]]:
    with house.server.connect("shop") as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()


@pytest.mark.parametrize("trust_owners", some([False, True], {False}), ids=["as the owner", "as a superuser"])
def test_who_holds_a_table_is_said_and_nobody_stands_behind_for_longer(
    shop: House, trust_owners: bool
) -> None:
    """Loss prevented: the application stands still all night behind a merge that waits for a forgotten session."""
    behind: list[float] = []

    def application() -> None:
        time.sleep(0.5)
        begun = time.monotonic()
        with shop.server.connect("shop") as connection:
            connection.execute("INSERT INTO sale VALUES (7, 1); DELETE FROM sale WHERE id = 7")
        behind.append(time.monotonic() - begun)

    with _open(shop, "DELETE FROM sale WHERE id = 1") as pid:
        beside = threading.Thread(target=application)
        beside.start()
        with pytest.raises(DatabaseError) as refused:
            _put_back(shop, "sale", trust_owners=trust_owners)
        beside.join()
    found = refused.value
    assert re.search(
        rf"^public\.sale could not be locked within 1 s \(BACKUP_LOCK_TIMEOUT\); nothing was changed: process {pid} "
        rf"\(user postgres, application psql\S*, idle in transaction\) holds RowExclusiveLock, {_SINCE}$",
        found.message,
    )
    assert "\x1b" not in found.message
    assert f"pg_terminate_backend({pid})" in found.hint
    assert (found.exit_code, found.retryable) == (20, True)
    assert behind
    assert behind[0] < 10
    assert _rows(shop, "sale") == [(1, 1)]


def test_a_prepared_transaction_is_named_which_no_process_holds(shop: House) -> None:
    """Loss prevented: nobody is connected, yet nothing comes back; a prepared transaction outlives restarts."""
    with shop.server.connect("shop") as connection:
        connection.execute(
            "BEGIN; UPDATE sale SET member = 2 WHERE id = 1; PREPARE TRANSACTION 'it''s forgotten'"
        )
        try:
            with pytest.raises(DatabaseError) as refused:
                _put_back(shop, "sale")
        finally:
            connection.execute("ROLLBACK PREPARED 'it''s forgotten'")
    assert re.search(
        rf"""the prepared transaction "it's forgotten" of 'postgres' holds .*RowExclusiveLock, {_SINCE}$""",
        refused.value.message,
    )
    assert "ROLLBACK PREPARED 'it''s forgotten'" in refused.value.hint
    assert _put_back(shop, "sale").merged is not None


def test_a_row_beyond_a_foreign_key_is_not_waited_for_either(shop: House) -> None:
    """Loss prevented: the tables are had, and kept from all others while one row of a parent is waited for."""
    with (
        _open(shop, "UPDATE member SET id = 3 WHERE id = 2; UPDATE member SET id = 2 WHERE id = 3") as pid,
        pytest.raises(
            DatabaseError, match=r"a row of public\.member could not be locked within 1 s"
        ) as refused,
    ):
        _put_back(shop, "sale")
    assert f"process {pid} (user postgres" in refused.value.message
    assert "has changed it" in refused.value.message
    assert _rows(shop, "sale") == [(1, 1)]


def test_a_table_beyond_a_foreign_key_is_named_too(shop: House) -> None:
    """Loss prevented: a wait before the first table of the merge, told as something that held something."""
    with (
        _open(shop, "LOCK TABLE member IN ACCESS EXCLUSIVE MODE") as pid,
        pytest.raises(
            DatabaseError, match=rf"public.member could not be locked .* process {pid} .*AccessExclusive"
        ),
    ):
        _put_back(shop, "sale")


def test_waits_are_bounded_together_and_not_one_by_one(shop: House) -> None:
    """Loss prevented: a hundred tables, a minute each, and the first of them locked for others all the while."""

    holds = threading.Event()

    def first() -> None:
        with _open(shop, "LOCK TABLE member IN ROW EXCLUSIVE MODE"), shop.server.connect("shop") as looking:
            holds.set()
            waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'member'::regclass AND NOT granted"
            deadline = time.monotonic() + 60
            while looking.execute(waiting).fetchone() == (0,) and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(1.2)

    beside = threading.Thread(target=first)
    beside.start()
    assert holds.wait(30)
    with _open(shop, "LOCK TABLE sale IN ROW EXCLUSIVE MODE"):
        begun = time.monotonic()
        # Each of the two by itself would have been had, or not, within three seconds of its own.
        with pytest.raises(DatabaseError, match=r"public\.sale could not be locked within 3 s"):
            _put_back(shop, "member", "sale", seconds=3)
        took = time.monotonic() - begun
    beside.join()
    assert took < 30
