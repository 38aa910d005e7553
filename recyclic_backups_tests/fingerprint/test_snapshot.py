"""The snapshot is held as it must be: no table can be emptied under it, and refusals say what to do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from recyclic_backups.errors import DatabaseError
from recyclic_backups.fingerprint import session as session_module
from recyclic_backups.fingerprint import snapshot as snapshot_module
from recyclic_backups.fingerprint.read import read_fingerprint, read_sequences, reading_session, snapshot
from recyclic_backups.fingerprint.relations import Table
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server

if TYPE_CHECKING:
    from recyclic_backups.postgres.connection import Connection


def _execute(server: Server, database: str, statements: str) -> None:
    with server.connect(database) as connection:
        connection.execute(statements)


@contextmanager
def _open_transaction(server: Server, database: str, statements: str) -> Iterator[None]:
    with server.connect(database, application_name="migration") as connection:
        connection.execute("BEGIN; " + statements)
        yield
        connection.execute("ROLLBACK")


def _between_list_and_lock(
    monkeypatch: pytest.MonkeyPatch, server: Server, database: str, *statements: str
) -> list[str]:
    """Run one statement before each attempt to lock; returns those that are left."""
    waiting = list(statements)
    original = snapshot_module.lock_tables

    def lock_tables(connection: Connection, tables: tuple[Table, ...]) -> bool:
        if waiting:
            _execute(server, database, waiting.pop(0))
        return original(connection, tables)

    monkeypatch.setattr(snapshot_module, "lock_tables", lock_tables)
    return waiting


def test_a_table_cannot_be_truncated_under_the_snapshot(cluster: ScratchCluster, database: str) -> None:
    """TRUNCATE is not kept back by a snapshot: without the lock the dump would hold an empty table."""
    server = cluster.server
    _execute(server, database, "CREATE TABLE t AS SELECT generate_series(1, 10) AS n")
    truncated = threading.Event()

    def truncate() -> None:
        _execute(server, database, "TRUNCATE t")
        truncated.set()

    thread = threading.Thread(target=truncate)
    with snapshot(server, database, lock_timeout_seconds=10) as held:
        thread.start()
        with server.connect(database) as connection:
            waiting = "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND NOT granted"
            while connection.execute(waiting).fetchone() != (1,):
                assert not truncated.is_set()
        # The TRUNCATE in the queue would keep another connection waiting; the holder has its lock already.
        fingerprint = read_fingerprint(server, database, level="content", held=held)
        assert fingerprint.tables["public.t"].rows == 10
        assert not truncated.is_set()
        with pytest.raises(DatabaseError) as caught:
            read_fingerprint(
                server,
                database,
                level="counts",
                snapshot_identifier=held.identifier,
                lock_timeout_seconds=1,
            )
        assert caught.value.retryable
    thread.join()
    assert truncated.is_set()


def test_rows_can_be_written_while_the_snapshot_is_held(cluster: ScratchCluster, database: str) -> None:
    """A backup that stops the application from writing would soon be switched off."""
    _execute(cluster.server, database, "CREATE TABLE t (n integer)")
    with snapshot(cluster.server, database, lock_timeout_seconds=10) as held:
        _execute(cluster.server, database, "SET lock_timeout = '5s'; INSERT INTO t VALUES (1)")
        assert held.connection.execute("SELECT count(*) FROM public.t").fetchone() == (0,)


def test_a_table_made_while_locking_is_in_the_snapshot(
    cluster: ScratchCluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that appears between list and snapshot would be in the dump without a lock and unaccounted for."""
    _execute(cluster.server, database, "CREATE TABLE first (n integer)")
    left = _between_list_and_lock(
        monkeypatch,
        cluster.server,
        database,
        "CREATE TABLE second (n integer)",
        "DROP TABLE first",
        "DROP TABLE second; CREATE TABLE second (m integer); CREATE TEMPORARY TABLE passing (n integer)",
    )
    with snapshot(cluster.server, database, lock_timeout_seconds=10) as held:
        assert [table.qualified for table in held.tables] == ["public.second"]
    assert not left


def test_tables_that_keep_appearing_end_in_an_error(
    cluster: ScratchCluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying for ever would be a backup that never happens and never says so."""
    statements = [f"CREATE TABLE t{number} (n integer)" for number in range(snapshot_module.ATTEMPTS)]
    _between_list_and_lock(monkeypatch, cluster.server, database, *statements)
    with (
        pytest.raises(DatabaseError, match="appeared or vanished") as caught,
        snapshot(cluster.server, database, lock_timeout_seconds=10),
    ):
        pass
    assert caught.value.retryable


def test_a_lock_held_too_long_is_named(cluster: ScratchCluster, database: str) -> None:
    """The operator must learn which table is locked and by whom, not only that something was."""
    tables = "; ".join(f"CREATE TABLE t{number} (n integer)" for number in range(5))
    _execute(cluster.server, database, tables)
    with (
        _open_transaction(cluster.server, database, "ALTER TABLE t3 ADD m integer"),
        pytest.raises(
            DatabaseError, match=r"public\.t3 could not be locked: process \d+ \(migration\)"
        ) as caught,
        snapshot(cluster.server, database, lock_timeout_seconds=1),
    ):
        pass
    assert caught.value.retryable
    assert "BACKUP_LOCK_TIMEOUT" in caught.value.hint


def test_many_tables_are_locked_in_batches(
    cluster: ScratchCluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every batch counts: a table of the last one that is not locked can be truncated."""
    monkeypatch.setattr(snapshot_module, "TABLES_PER_LOCK", 3)
    _execute(
        cluster.server, database, "; ".join(f"CREATE TABLE t{number} (n integer)" for number in range(8))
    )
    with snapshot(cluster.server, database, lock_timeout_seconds=10) as held:
        locked = held.connection.execute(
            "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation >= 16384"
            " AND mode = 'AccessShareLock'"
        ).fetchone()
        assert locked == (8,)
        clock = held.connection.execute("SELECT clock_timestamp(), transaction_timestamp()").fetchone()
        assert clock
        assert clock[1] <= held.exported_at_server <= clock[0]


@contextmanager
def _role(cluster: ScratchCluster, database: str, grants: str = "") -> Iterator[Server]:
    server = cluster.server
    _execute(server, database, f"CREATE ROLE weak LOGIN PASSWORD 'weak'; {grants}")
    try:
        yield replace(server, user="weak", password="weak")
    finally:
        _execute(server, database, "DROP OWNED BY weak; DROP ROLE weak")


def test_a_role_without_rights_is_told_which_table_and_what_to_grant(
    cluster: ScratchCluster, database: str
) -> None:
    """A backup that silently left out what it may not read would be found out at the restore."""
    _execute(cluster.server, database, "CREATE TABLE secret (n integer)")
    with _role(cluster, database) as weak:
        for attempt in (
            lambda: snapshot(weak, database, lock_timeout_seconds=10).__enter__(),
            lambda: read_fingerprint(weak, database, level="counts"),
        ):
            with pytest.raises(DatabaseError, match=r"may not read public\.secret") as caught:
                attempt()
            assert "pg_read_all_data" in caught.value.hint


def test_a_role_that_would_see_some_rows_only_is_refused(cluster: ScratchCluster, database: str) -> None:
    """Row-level security hides rows without a word: the dump would lack them, and its fingerprint too."""
    _execute(
        cluster.server,
        database,
        "CREATE TABLE filtered (n integer); ALTER TABLE filtered ENABLE ROW LEVEL SECURITY",
    )
    with (
        _role(cluster, database, "GRANT pg_read_all_data TO weak") as weak,
        pytest.raises(DatabaseError, match=r"does not see all rows of public\.filtered") as caught,
        snapshot(weak, database, lock_timeout_seconds=10),
    ):
        pass
    assert "BYPASSRLS" in caught.value.hint


def test_pg_read_all_data_is_enough(cluster: ScratchCluster, database: str) -> None:
    """A backup role needs no superuser: asking for more would make people give more."""
    _execute(
        cluster.server,
        database,
        "CREATE SCHEMA apart; CREATE TABLE apart.t (n serial); INSERT INTO apart.t DEFAULT VALUES",
    )
    with _role(cluster, database, "GRANT pg_read_all_data TO weak") as weak:
        with snapshot(weak, database, lock_timeout_seconds=10) as held:
            fingerprint = read_fingerprint(weak, database, level="content", held=held)
        with reading_session(weak, database) as connection:
            assert read_sequences(connection)["apart.t_n_seq"].next_value == 2
    assert fingerprint.tables["apart.t"].rows == 1


def test_a_large_object_that_may_not_be_read_is_an_error(cluster: ScratchCluster, database: str) -> None:
    """pg_read_all_data does not cover large objects before 18: they must not be left out in silence."""
    _execute(cluster.server, database, "SELECT lo_from_bytea(0, 'x'); CREATE TABLE t (n integer)")
    with _role(cluster, database) as weak:
        _execute(cluster.server, database, "GRANT SELECT ON t TO weak")
        with pytest.raises(DatabaseError, match="large object cannot be read"):
            read_fingerprint(weak, database, level="counts")


def test_a_refresh_under_way_does_not_stop_the_fingerprint(
    cluster: ScratchCluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A materialized view holds nothing a restore cannot compute: no backup may fail over it."""
    monkeypatch.setattr(session_module, "PATIENCE_MILLISECONDS", 100)
    _execute(
        cluster.server,
        database,
        "CREATE MATERIALIZED VIEW busy AS SELECT 1 AS one; CREATE VIEW over_busy AS SELECT * FROM busy;"
        "CREATE MATERIALIZED VIEW calm AS SELECT 1 AS one",
    )
    with _open_transaction(cluster.server, database, "REFRESH MATERIALIZED VIEW busy"):
        views = read_fingerprint(cluster.server, database, level="content").materialized_views
    assert (views["public.busy"].populated, views["public.busy"].rows) == (True, None)
    assert (views["public.calm"].populated, views["public.calm"].rows) == (True, 1)


def test_sequences_can_be_made_and_dropped_while_they_are_read(
    cluster: ScratchCluster, database: str
) -> None:
    """An identity column added by a migration at two in the morning must not fail the backup."""
    _execute(cluster.server, database, "CREATE SEQUENCE steady; CREATE SEQUENCE passing")
    with reading_session(cluster.server, database) as connection:
        original = connection.execute
        dropped = threading.Event()

        def execute(query: Any, *arguments: Any) -> Any:
            if "UNION ALL" in str(query) and not dropped.is_set():
                dropped.set()
                _execute(cluster.server, database, "DROP SEQUENCE passing")
            return original(query, *arguments)

        connection.execute = execute  # type: ignore[assignment, method-assign]
        assert set(read_sequences(connection)) == {"public.steady"}
        assert dropped.is_set()


def test_a_snapshot_that_is_gone_is_an_error(cluster: ScratchCluster, database: str) -> None:
    """A fingerprint of another moment than the dump's would prove nothing."""
    with snapshot(cluster.server, database, lock_timeout_seconds=10) as held:
        identifier = held.identifier
    with pytest.raises(DatabaseError):
        read_fingerprint(cluster.server, database, level="counts", snapshot_identifier=identifier)
