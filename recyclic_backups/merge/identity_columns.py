"""What numbers the rows of tables that are put back: identity columns and the sequences behind them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from psycopg import sql

from recyclic_backups.fingerprint.sequences import read_sequences
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import split_qualified_name

_ALWAYS = """
    SELECT attname FROM pg_catalog.pg_attribute
    WHERE attrelid = %s::regclass AND attidentity = 'a' AND NOT attisdropped ORDER BY attnum
"""


@contextmanager
def identities_settable(target: Connection, keys: Mapping[str, Collection[str]]) -> Iterator[None]:
    """Let columns GENERATED ALWAYS AS IDENTITY be updated meanwhile, in the transaction under way.

    ``keys`` are the columns of each table by which its rows are told apart: those are inserted, never updated.
    Only where there are others, because readers have to wait for it (sql-altertable.html).
    """
    columns = []
    for table, key in keys.items():
        relation = sql.Identifier(*split_qualified_name(table))
        found = target.execute(_ALWAYS, (relation.as_string(None),)).fetchall()
        columns += [(relation, sql.Identifier(name)) for (name,) in found if key and name not in key]

    def generate(how: str) -> None:
        for relation, column in columns:
            statement = sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET GENERATED {}")
            target.execute(statement.format(relation, column, sql.SQL(how)))

    generate("BY DEFAULT")
    yield
    generate("ALWAYS")


def catch_up(reader: Callable[[str], Connection], target: Connection, tables: Collection[str]) -> None:
    """Move sequences of ``tables`` on to where the backup had them, so that no number that came back is given again.

    Only ever onwards: what a sequence has given since stays given. That is not undone with the transaction
    (https://www.postgresql.org/docs/15/functions-sequence.html), and does no harm. ``reader`` gives the session that
    reads a table in the restored database.
    """
    live = read_sequences(target, owned_by=tables)
    for table in tables:
        for name, then in read_sequences(reader(table), owned_by=(table,)).items():
            now = live.get(name)
            if now is None or now.cycles:
                continue
            if (now.next_value - then.next_value) * then.increment < 0:
                relation = sql.Identifier(*split_qualified_name(name)).as_string(None)
                target.execute(
                    "SELECT pg_catalog.setval(%s::regclass, %s, %s)",
                    (relation, then.last_value, then.is_called),
                )
