"""Read everything a fingerprint holds, in one snapshot.

The three verbs of a backup are here together: :func:`snapshot`, :func:`read_sequences` (before and after)
and :func:`read_fingerprint`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

from psycopg import sql

from recyclic_backups.errors import DatabaseError
from recyclic_backups.fingerprint.contents import read_materialized_views, read_tables
from recyclic_backups.fingerprint.large_objects import read_large_objects
from recyclic_backups.fingerprint.listing import read_listing
from recyclic_backups.fingerprint.model import Fingerprint, Level, SequenceFingerprint, SequenceReading
from recyclic_backups.fingerprint.relations import list_tables, require_readable
from recyclic_backups.fingerprint.roles import read_roles
from recyclic_backups.fingerprint.schema_text import schema_entries
from recyclic_backups.fingerprint.sequences import list_sequences, read_sequences
from recyclic_backups.fingerprint.session import reading_session
from recyclic_backups.fingerprint.snapshot import Snapshot, lock_tables, snapshot
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.reader import reading_login
from recyclic_backups.postgres.server import Server

__all__ = ["Snapshot", "read_fingerprint", "read_sequences", "reading_session", "snapshot"]


def read_fingerprint(
    server: Server,
    database: str,
    *,
    level: Level,
    snapshot_identifier: str | None = None,
    held: Snapshot | None = None,
    sequences_before: Mapping[str, SequenceReading] | None = None,
    sequences_after: Mapping[str, SequenceReading] | None = None,
    schema_text: str | None = None,
    lock_timeout_seconds: int = 60,
    progress: Callable[[str, int], None] | None = None,
) -> Fingerprint:
    """The fingerprint of a database as one snapshot shows it. Raises DatabaseError.

    Three ways to say which: ``held`` reads over the connection that holds the snapshot and its locks, and is
    what a backup should use: a TRUNCATE that queues up behind those locks would keep any other connection
    waiting; ``server`` is then the login that holds it. ``snapshot_identifier`` imports an exported snapshot into a
    connection of its own. With neither, the database is one to be compared, a restored one: it is read as it stands
    now, and *all* roles of its server are listed, because a role can be there without the restored database referring
    to it.

    ``schema_text`` is the output of ``pg_dump --schema-only``, by the same program that the other side's
    comes from and with SCHEMA_DUMP_ENVIRONMENT (see :mod:`schema_text`). Sequences that were not read before
    and after are read now. ``progress`` is called with each table's name and rows.
    """
    if level == "off":
        return Fingerprint(level="off")
    with (
        nullcontext(server) if held else reading_login(server, database, large_objects=True) as reader,
        _connection(reader, database, snapshot_identifier, held, lock_timeout_seconds) as connection,
        reading_session(reader, database) as beside,
    ):
        tables = held.tables if held else list_tables(connection)
        require_readable(tables)
        if sequences_before is None and sequences_after is None:
            sequences_before = sequences_after = read_sequences(connection)
        # The catalog comes first: code that ran in a session could make its later answers what it likes.
        sequences = sequences_between(list_sequences(connection), sequences_before, sequences_after)
        roles = read_roles(connection, everyone=held is None and snapshot_identifier is None)
        extensions, listing = _extensions(connection), read_listing(connection)
        large_objects = read_large_objects(connection, level)
        return Fingerprint(
            level=level,
            tables=read_tables(connection, beside, tables, level, progress),
            sequences=sequences,
            materialized_views=read_materialized_views(connection, beside),
            large_objects=large_objects,
            roles=roles,
            extensions=extensions,
            schema=None if schema_text is None else schema_entries(schema_text),
            listing=listing,
        )


def sequences_between(
    names: tuple[str, ...],
    before: Mapping[str, SequenceReading] | None,
    after: Mapping[str, SequenceReading] | None,
) -> dict[str, SequenceFingerprint]:
    """The sequences of a snapshot with what was read of them around it."""
    return {name: SequenceFingerprint((before or {}).get(name), (after or {}).get(name)) for name in names}


@contextmanager
def _connection(
    server: Server,
    database: str,
    snapshot_identifier: str | None,
    held: Snapshot | None,
    lock_timeout_seconds: int,
) -> Iterator[Connection]:
    if held is not None:
        yield held.connection
        return
    with reading_session(server, database, lock_timeout_seconds=lock_timeout_seconds) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if snapshot_identifier is not None:
            connection.execute(
                sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot_identifier))
            )
        tables = list_tables(connection)
        require_readable(tables)
        # All locks at once, now: whoever wants a table for itself later on then waits behind us, not before.
        if not lock_tables(connection, tables):
            raise DatabaseError(
                f"a table of {database!r} was dropped while its fingerprint was being read",
                "try again once nobody changes the database",
                retryable=True,
            )
        yield connection
        connection.execute("ROLLBACK")


def _extensions(connection: Connection) -> dict[str, str]:
    query = "SELECT extname, extversion FROM pg_catalog.pg_extension ORDER BY extname"
    return dict(connection.execute(query).fetchall())
