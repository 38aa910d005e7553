"""Lock every table, then take the snapshot a dump is of, and hold both until the dump has ended.

The order matters. A snapshot does not protect from TRUNCATE: a table truncated after the snapshot was taken
and before its rows were read is seen empty (https://www.postgresql.org/docs/15/mvcc-caveats.html). LOCK
TABLE does not take the transaction's snapshot (https://www.postgresql.org/docs/15/sql-lock.html), so the
locks come first. What was created or dropped in the meantime shows when the list is read again.

A TRUNCATE that comes now waits in a queue for our locks, and whoever asks for the table after it waits behind
it, even to read: hence :func:`read.read_fingerprint` over the holding connection, and hence pg_dump needs a
``--lock-wait-timeout`` and another try for the moment between our locks and its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from recyclic_backups.errors import DatabaseError
from recyclic_backups.fingerprint.relations import Table, list_tables, require_readable
from recyclic_backups.fingerprint.replay_point import ReplayPoint, replay_point
from recyclic_backups.fingerprint.sequences import hold_sequences
from recyclic_backups.fingerprint.session import reading_session
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import some
from recyclic_backups.postgres.opening import NEUTRAL_DATABASE
from recyclic_backups.postgres.server import Server, encoding_of

ATTEMPTS = 5
TABLES_PER_LOCK = 200  # one round trip for each, and a statement that still reads well in the server's log

_SEEK_SECONDS, _BETWEEN_SNAPSHOTS_SECONDS = 5.0, 0.02
"""For so long a quiet moment is waited for: a server that never has one gets a backup without a place in the WAL."""

# Neither grants on them nor new objects in them wait for that.
_HELD = """
SELECT FROM pg_catalog.pg_namespace n WHERE n.nspowner NOT IN (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolsuper)
FOR KEY SHARE
"""
_MAY_HOLD = """
SELECT r.rolsuper AND NOT pg_catalog.pg_is_in_recovery() FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""
# Since 14 a lock says since when it is waited for.
_END_WAITS = """
SELECT pg_catalog.pg_cancel_backend(a.pid)
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
WHERE NOT l.granted AND a.usename = %s
  AND l.waitstart < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %s)
"""
_HOLDERS = """
SELECT l.relation, l.pid, coalesce(a.application_name, '')
FROM pg_catalog.pg_locks l
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.relation = ANY(%s::oid[]) AND l.mode = 'AccessExclusiveLock'
ORDER BY l.granted DESC, l.pid
"""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A snapshot that lives as long as its connection's transaction.

    ``identifier`` is what ``pg_dump --snapshot`` and ``SET TRANSACTION SNAPSHOT`` take. The clock is the
    server's, read just before the snapshot: everything committed by then is in it.
    """

    identifier: str
    exported_at_server: datetime
    tables: tuple[Table, ...]
    connection: Connection
    replay_point: ReplayPoint | None = None
    """Its place in the WAL, where it was looked for and found."""

    @property
    def encoding(self) -> str:
        """The database's encoding, by PostgreSQL's name for it."""
        return encoding_of(self.connection)


@contextmanager
def snapshot(
    server: Server,
    database: str,
    *,
    lock_timeout_seconds: int,
    holder: Server | None = None,
    find_replay_point: bool = False,
) -> Iterator[Snapshot]:
    """Hold a snapshot of a database whose tables nobody can truncate, alter or drop meanwhile.

    ``holder`` is the login that keeps schemas from being renamed, if ``server`` is one without power. With
    ``find_replay_point`` it is taken at a moment that has a place in the WAL, if one comes within seconds.

    Reading and writing rows goes on undisturbed (ACCESS SHARE conflicts with ACCESS EXCLUSIVE only). Each
    lock is waited for ``lock_timeout_seconds`` at most. Raises DatabaseError: a table may not be read, is
    locked for too long (retryable), or tables kept appearing and vanishing (retryable).
    """
    with (
        _schemas_held(holder or server, database, lock_timeout_seconds, server.user) as holding,
        reading_session(server, database, lock_timeout_seconds=lock_timeout_seconds) as connection,
        ExitStack() as stack,
    ):
        beside = None
        if find_replay_point and not _is_standby(connection):
            beside = stack.enter_context((holder or server).connect(NEUTRAL_DATABASE))
        seek_until = time.monotonic() + _SEEK_SECONDS
        vanished = 0
        while vanished < ATTEMPTS:
            held = _attempt(connection)
            if held is None:
                vanished += 1
                continue
            if beside is not None:
                held = replace(held, replay_point=replay_point(connection, beside, holding))
                if held.replay_point is None and time.monotonic() < seek_until:
                    connection.execute("ROLLBACK")
                    time.sleep(_BETWEEN_SNAPSHOTS_SECONDS)
                    continue
            yield held
            connection.execute("ROLLBACK")
            return
        raise DatabaseError(
            f"tables of {database!r} appeared or vanished during each of {ATTEMPTS} attempts to lock them",
            "something creates or drops tables all the time; try again later, or keep such tables temporary",
            retryable=True,
        )


@contextmanager
def _schemas_held(
    server: Server, database: str, lock_timeout_seconds: int, reader: str
) -> Iterator[tuple[int, ...]]:
    """Keep strangers' schemas from being renamed or dropped: pg_dump asks by name, long after it has looked.

    An owner could put a table in the place of a sequence meanwhile, and planning a question on it runs his code. Only
    a superuser can hold them, and only a superuser needs to; on a standby nobody can. Yields the process of the server
    that holds a transaction id for it, if one does.
    """
    with reading_session(server, database, lock_timeout_seconds=lock_timeout_seconds) as connection:
        held = connection.execute(_MAY_HOLD).fetchone()
        if held is None or not held[0]:
            yield ()
            return
        with connection.transaction(force_rollback=True):
            connection.execute("SET TRANSACTION READ WRITE")  # to lock rows counts as writing
            connection.execute(_HELD)
            if reader == server.user:
                yield (connection.info.backend_pid,)
                return
            over = threading.Event()
            watching = threading.Thread(
                target=_end_long_waits, args=(connection, reader, lock_timeout_seconds, over), daemon=True
            )
            watching.start()
            try:
                yield (connection.info.backend_pid,)
            finally:
                over.set()
                watching.join()


def _end_long_waits(
    connection: Connection, reader: str, lock_timeout_seconds: int, over: threading.Event
) -> None:
    """End what the reader asks and waits for longer than that: pg_dump, once it runs, has no such limit itself.

    Somebody may want to rename a sequence that we hold, and then pg_dump waits behind him who waits behind us.
    """
    while not over.wait(max(0.5, min(5.0, lock_timeout_seconds / 4))):
        try:
            connection.execute(
                "SELECT pg_catalog.pg_stat_clear_snapshot()"
            )  # or it is that of our first look
            connection.execute(_END_WAITS, (reader, lock_timeout_seconds))
        except psycopg.Error:
            return  # what is held is lost with the line; the dump itself goes on


def lock_tables(connection: Connection, tables: Sequence[Table]) -> bool:
    """Lock tables ACCESS SHARE inside the transaction under way; False if one of them vanished.

    Raises DatabaseError when a lock is not had in time; the message names the table and who holds it.
    """
    for first in range(0, len(tables), TABLES_PER_LOCK):
        batch = tables[first : first + TABLES_PER_LOCK]
        names = sql.SQL(", ").join(sql.SQL("ONLY {}").format(table.identifier) for table in batch)
        try:
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
        except (
            psycopg.errors.UndefinedTable,
            psycopg.errors.InvalidSchemaName,
            psycopg.errors.WrongObjectType,
            psycopg.errors.DeadlockDetected,
        ):
            return False
        except psycopg.errors.LockNotAvailable:
            connection.execute("ROLLBACK")
            raise DatabaseError(
                f"{_blocked(connection, batch)} for longer than BACKUP_LOCK_TIMEOUT",
                "wait for it to end, or give BACKUP_LOCK_TIMEOUT a higher value",
                retryable=True,
            ) from None
        except psycopg.errors.OutOfMemory:
            raise DatabaseError(
                f"the server has no room for locks on {len(tables)} tables",
                "raise max_locks_per_transaction in postgresql.conf and restart the server",
            ) from None
    return True


def _attempt(connection: Connection) -> Snapshot | None:
    tables = list_tables(connection)
    require_readable(tables)
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    if lock_tables(connection, tables):
        # The statement's start, not clock_timestamp(): that may lie after a commit the snapshot does not see.
        row = connection.execute("SELECT pg_catalog.statement_timestamp(), pg_catalog.pg_export_snapshot()")
        exported_at, identifier = row.fetchone() or (None, None)
        seen = list_tables(connection)
        held = hold_sequences(connection)  # not before: that the clock was read first is what the moment says
        if exported_at is not None and held and _identities(seen) == _identities(tables):
            return Snapshot(str(identifier), exported_at.astimezone(UTC), seen, connection)
    connection.execute("ROLLBACK")
    return None


def _is_standby(connection: Connection) -> bool:
    return connection.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone() == (True,)


def _identities(tables: Sequence[Table]) -> set[tuple[int, str]]:
    return {(table.oid, table.qualified) for table in tables}


def _blocked(connection: Connection, batch: Sequence[Table]) -> str:
    names = {table.oid: table.qualified for table in batch}
    row = connection.execute(_HOLDERS, (list(names),)).fetchone()
    if row is None:  # whoever it was has just let go
        return f"{some(list(names.values()))} could not be locked: something held a lock"
    oid, pid, application = row
    holder = f"process {pid}" + (f" ({application})" if application else "")
    return f"{names[oid]} could not be locked: {holder} held it"
