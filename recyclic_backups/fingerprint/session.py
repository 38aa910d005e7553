"""How a fingerprint speaks to a server: fixed settings, and refusals that name the table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg import sql

from recyclic_backups.errors import DatabaseError
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.server import Server, first_line
from recyclic_backups.postgres.startup import SEARCH_PATH

# The text of a value depends on these, and hashes are made of texts. They are pg_dump's own, where it has
# one; `row_security` off turns "you see only some rows" into an error.
SETTINGS = {
    "search_path": SEARCH_PATH,
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "xmlbinary": "base64",
    "quote_all_identifiers": "off",
    "row_security": "off",
    "synchronize_seqscans": "off",
    "jit": "off",
    "enable_hashagg": "on",  # without it, 32 groups of a table's rows would be sorted for, on disk
    "statement_timeout": "0",
}

# A table or sequence may become a view between two questions of ours, or while we wait for its lock, and a view runs
# what its owner likes (CVE-2024-7348); a foreign table has us log in where he likes. Not every version has it, and none
# of before August 2024.
_NO_VIEWS = """
SELECT pg_catalog.set_config(name, 'view, foreign-table', false) FROM pg_catalog.pg_settings
WHERE name = 'restrict_nonsystem_relation_kind'
"""
_REFUSES_VIEWS_SINCE = {12: 20, 13: 16, 14: 13, 15: 8, 16: 4}

PATIENCE_MILLISECONDS = 1
"""Whoever has us wait could change what was judged just before, and then let go."""

READ_HINT = "grant pg_read_all_data to the backup role, or make it the owner"
BYPASS_HINT = "row-level security hides rows from this role: give it BYPASSRLS, or use the tables' owner"


def cannot_refuse_views(server_version: int) -> bool:
    """Whether a server, by its ``server_version_num``, is older than what keeps views out of a dump.

    There an owner may put one in the place of a sequence, and pg_dump asks it as whoever takes the backup
    (https://www.postgresql.org/support/security/CVE-2024-7348/).
    """
    major, minor = divmod(server_version, 10000)
    return major <= max(_REFUSES_VIEWS_SINCE) and minor < _REFUSES_VIEWS_SINCE.get(major, 1 << 30)


@contextmanager
def reading_session(server: Server, database: str, *, lock_timeout_seconds: int = 60) -> Iterator[Connection]:
    """A read-only connection in autocommit with the fixed settings, never waiting longer than this for a lock.

    Raises DatabaseError.
    """
    settings = {
        **SETTINGS,
        "default_transaction_read_only": "on",
        "lock_timeout": f"{lock_timeout_seconds}s",
    }
    with server.connect(database, settings=settings) as connection:
        refuse_views(connection)
        yield connection


_STILL = """
SELECT coalesce(pg_catalog.bool_and(pg_catalog.to_regclass(s.name)::pg_catalog.oid::bigint IS NOT DISTINCT FROM s.oid),
    true)
FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::bigint[])) s(name, oid)
"""


def refuse_views(connection: Connection) -> None:
    """Have the server refuse questions that lead to a view or foreign table of the database, where it can."""
    connection.execute(_NO_VIEWS)


def is_still(connection: Connection, *relations: tuple[int, sql.Composable]) -> bool:
    """Whether names mean, at this moment, the relations that were looked at under them: each by its oid and its name.

    What is asked of a relation is asked by its name, and its owner, or that of its schema, may have given that to
    another one. ``connection`` is in no transaction, or holds locks on them.
    """
    names = [name.as_string(connection) for _, name in relations]
    row = connection.execute(_STILL, (names, [oid for oid, _ in relations])).fetchone()
    return row is not None and bool(row[0])


@contextmanager
def without_waiting(connection: Connection) -> Iterator[None]:
    """Inside a transaction, do what is mere information: given up when a lock is not had soon."""
    connection.execute("SAVEPOINT without_waiting")
    connection.execute(f"SET LOCAL lock_timeout = {PATIENCE_MILLISECONDS}")
    with suppress(psycopg.errors.LockNotAvailable):
        yield
    # Rolling back also puts lock_timeout back to what it was.
    connection.execute("ROLLBACK TO SAVEPOINT without_waiting")
    connection.execute("RELEASE SAVEPOINT without_waiting")


@contextmanager
def reading(subject: str) -> Iterator[None]:
    """Name what was being read (a table, a sequence) when the server refuses it. Raises DatabaseError."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        text = first_line(str(error))
        hint = BYPASS_HINT if "row-level security" in text else READ_HINT
        raise DatabaseError(f"{subject} cannot be read: {text}", hint) from None
    except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
        raise  # a lost connection, a lock, a cancellation, a dropped table: no matter of what was being read
    except psycopg.Error as error:
        raise DatabaseError(f"{subject} cannot be read: {first_line(str(error))}") from None
