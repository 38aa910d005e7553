"""Rows of tables, materialized views and large objects, as counts and sums of hashes that the server makes.

**Why the text of a row is hashed.** ``hash_record_extended`` would be three times as fast, but it hashes
what compares equal alike: 1.0 and 1.00, or citext in another case, would pass for unchanged. The text is
also what a dump holds. ``COLLATE "C"`` keeps the hash from depending on a nondeterministic collation.

**Why a sum.** It does not depend on the order of rows, needs no sorting and no memory, and rows that trade
places leave it alone while rows that trade *values* do not: a row is hashed whole. Columns are taken in
name order, because a table that had columns dropped has them in another order after a restore.

**What it depends on.** The encoding of the database (a restore keeps it) and the byte order of the server's
processor. PostgreSQL places rows of hash partitions by the same function, so versions do not change it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from recyclic_backups.fingerprint.model import Level, MaterializedViewFingerprint, TableFingerprint
from recyclic_backups.fingerprint.names import qualified_name
from recyclic_backups.fingerprint.relations import (
    USER_SCHEMA,
    Table,
    columns_of,
    partitions_of,
    references_of,
)
from recyclic_backups.fingerprint.session import reading, without_waiting

if TYPE_CHECKING:
    from psycopg import sql

    from recyclic_backups.fingerprint.session import Connection

_MATERIALIZED_VIEWS = f"""
SELECT n.nspname, c.relname, c.relispopulated
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND {USER_SCHEMA}
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""


def read_tables(
    connection: Connection,
    tables: Sequence[Table],
    level: Level,
    progress: Callable[[str, int], None] | None = None,
) -> dict[str, TableFingerprint]:
    """Every table's fingerprint, one query each; ``progress`` is told each one's name and rows.

    Raises DatabaseError naming the table that cannot be read.
    """
    columns = columns_of(connection, tables)
    references = references_of(connection, tables)
    partitions = partitions_of(connection, tables)
    found: dict[str, TableFingerprint] = {}
    for table in tables:
        names = columns[table.oid]
        with reading(f"table {table.qualified}"):
            row = connection.execute(table_query(table, names, level)).fetchone() or (0, None)
        rows, content, *counts = row
        found[table.qualified] = TableFingerprint(
            rows=rows,
            non_null=dict(zip(names, counts, strict=True)),
            content=content,
            references=references[table.oid],
            partitions=partitions[table.oid],
        )
        if progress is not None:
            progress(table.qualified, rows)
    return found


def table_query(table: Table, columns: Sequence[str], level: Level) -> sql.Composed:
    """One row: number of rows, content (NULL at level ``counts``), then non-null values of each column.

    ONLY leaves the rows of partitions and children to them. A configuration table of an extension has its
    condition put in as it is, just as pg_dump does.
    """
    from psycopg import sql  # noqa: PLC0415 - see Server.connect

    names = [sql.Identifier("t", column) for column in columns]
    content: sql.Composable = sql.SQL("NULL")
    if level == "content":
        content = sql.SQL(
            'coalesce(sum(hashtextextended(CAST(ROW({}) AS text) COLLATE "C", 0)), 0)::text'
        ).format(sql.SQL(", ").join(names))
    counts = [sql.SQL("count({})").format(name) for name in names]
    return sql.SQL("SELECT {} FROM ONLY {} AS t {}").format(
        sql.SQL(", ").join([sql.SQL("count(*)"), content, *counts]),
        table.identifier,
        sql.SQL(table.condition),
    )


def read_materialized_views(connection: Connection) -> dict[str, MaterializedViewFingerprint]:
    """Every materialized view: populated or not, and its rows.

    One that is being refreshed is not waited for: its rows are only information, and pg_dump does not lock
    it either. The connection is inside a transaction.
    """
    from psycopg import sql  # noqa: PLC0415 - see Server.connect

    found: dict[str, MaterializedViewFingerprint] = {}
    for schema, name, populated in connection.execute(_MATERIALIZED_VIEWS).fetchall():
        rows: int | None = None
        qualified = qualified_name(schema, name)
        if populated:
            query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, name))
            with without_waiting(connection), reading(f"materialized view {qualified}"):
                (rows,) = connection.execute(query).fetchone() or (None,)
        found[qualified] = MaterializedViewFingerprint(populated=populated, rows=rows)
    return found
