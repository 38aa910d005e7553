"""Where sequences stand, at this very moment and not in any snapshot."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from recyclic_backups.errors import DatabaseError
from recyclic_backups.fingerprint.model import SequenceReading
from recyclic_backups.fingerprint.relations import USER_SCHEMA
from recyclic_backups.fingerprint.session import is_still, reading
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import qualified_name

Row: TypeAlias = tuple[Any, ...]
"""What :data:`_SEQUENCES` says of one."""

SEQUENCES_PER_QUERY = 200
_ATTEMPTS = 5

_SEQUENCES = f"""
SELECT n.nspname, c.relname, s.seqincrement, s.seqmin, s.seqmax, s.seqcycle, tn.nspname, t.relname,
       CASE WHEN c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery() THEN s.seqstart END, c.oid::bigint
FROM pg_catalog.pg_sequence s
JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend o ON o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.objsubid = 0
      AND o.refclassid = 'pg_class'::regclass AND o.refobjsubid > 0 AND o.deptype IN ('a', 'i')
LEFT JOIN pg_catalog.pg_class t ON t.oid = o.refobjid
LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
WHERE c.relpersistence <> 't' AND {USER_SCHEMA}
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension x
                      WHERE x.oid = d.refobjid AND c.oid = ANY(x.extconfig)))
ORDER BY 1, 2
"""


def list_sequences(connection: Connection) -> tuple[str, ...]:
    """Qualified names of the sequences a dump holds, as this transaction's snapshot knows them."""
    return tuple(qualified_name(row[0], row[1]) for row in connection.execute(_SEQUENCES))


def ways_to_read(connection: Connection) -> Iterator[tuple[str, Callable[[], list[Row]]]]:
    """Each sequence by its qualified name, and how to read it alone. That raises psycopg's errors."""

    def read(row: Row) -> list[Row]:
        query = sql.SQL("SELECT last_value FROM {}").format(sql.Identifier(*row[:2]))
        with _held(connection, query, [row]) as held:
            return connection.execute(held).fetchall()

    for row in connection.execute(_SEQUENCES).fetchall():
        yield qualified_name(row[0], row[1]), partial(read, row)


def read_sequences(
    connection: Connection, *, owned_by: Collection[str] | None = None
) -> dict[str, SequenceReading]:
    """Every sequence a dump holds, as it stands now. The connection is in autocommit mode.

    With ``owned_by`` only those that belong to columns of these tables, by qualified name.

    Of an unlogged one a standby knows nothing, and pg_dump leaves its place out: it is where a restore makes it begin.
    The sequences themselves are asked: the view pg_sequences shows no ``last_value`` while ``is_called`` is
    false, which is where ``setval(..., false)`` and a restore leave one. Raises DatabaseError.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _read(connection, owned_by)
        # Dropped, or replaced by a view, between the list and the reading: list again.
        except (psycopg.errors.UndefinedTable, psycopg.errors.ObjectNotInPrerequisiteState):
            continue
    raise DatabaseError(
        f"sequences appeared or vanished during each of {_ATTEMPTS} attempts to read them",
        "something creates or drops tables all the time; try again later",
        retryable=True,
    )


def _read(connection: Connection, owned_by: Collection[str] | None) -> dict[str, SequenceReading]:
    listed = [
        row
        for row in connection.execute(_SEQUENCES).fetchall()
        if owned_by is None or (row[7] is not None and qualified_name(row[6], row[7]) in owned_by)
    ]
    return dict(_reading_of(*each) for each in _positions(connection, listed))


def _positions(connection: Connection, listed: Sequence[Row]) -> Iterator[tuple[Row, int, bool]]:
    """Where each stands; of an unlogged one a standby knows nothing, and it is not asked."""
    yield from ((row, row[8], False) for row in listed if row[8] is not None)
    asked = [row for row in listed if row[8] is None]
    for first in range(0, len(asked), SEQUENCES_PER_QUERY):
        batch = asked[first : first + SEQUENCES_PER_QUERY]
        query = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {}, last_value, is_called FROM {}").format(
                sql.Literal(index), sql.Identifier(schema, name)
            )
            for index, (schema, name, *_) in enumerate(batch)
        )
        with reading("a sequence"), _held(connection, query, batch) as held:
            positions = connection.execute(held).fetchall()
        for index, last_value, is_called in positions:
            yield batch[index], last_value, is_called


@contextmanager
def _held(connection: Connection, query: sql.Composed, batch: Sequence[Row]) -> Iterator[sql.Composed]:
    """A statement that asks sequences which are locked, and which the names still mean.

    To read a question locks what it is about, and plans nothing yet. Else a table may be in a sequence's place once we
    have waited for its lock, with an index by which planning runs its owner's code.
    """
    question = sql.Identifier(
        f"recyclic_{secrets.token_hex(6)}"
    )  # one that fails stays until the session ends
    # Nothing of it is to stay; but a transaction that was there before keeps the locks.
    idle = connection.info.transaction_status is TransactionStatus.IDLE
    with connection.transaction(force_rollback=idle):
        connection.execute(sql.SQL("PREPARE {} AS {}").format(question, query))
        if not is_still(connection, *((row[9], sql.Identifier(*row[:2])) for row in batch)):
            raise psycopg.errors.UndefinedTable("a sequence was replaced")
        yield sql.SQL("EXECUTE {}").format(question)
        connection.execute(sql.SQL("DEALLOCATE {}").format(question))


def hold_sequences(connection: Connection) -> bool:
    """Keep all sequences from being renamed or dropped until the transaction ends; False if one was just now."""
    try:
        for _ in _positions(connection, connection.execute(_SEQUENCES).fetchall()):
            pass
    except (psycopg.errors.UndefinedTable, psycopg.errors.ObjectNotInPrerequisiteState):
        return False
    return True


def _reading_of(row: Row, last_value: int, is_called: bool) -> tuple[str, SequenceReading]:
    schema, name, increment, minimum, maximum, cycle, owner_schema, owner_table, *_ = row
    return qualified_name(schema, name), SequenceReading(
        last_value=last_value,
        is_called=is_called,
        increment=increment,
        minimum=minimum if cycle else None,
        maximum=maximum if cycle else None,
        owned_by=None if owner_table is None else qualified_name(owner_schema, owner_table),
    )
