"""Rows of tables, materialized views and large objects, as counts and sums of hashes that the server makes.

**Why the text of a row is hashed.** ``hash_record_extended`` would be three times as fast, but it hashes
what compares equal alike: 1.0 and 1.00, or citext in another case, would pass for unchanged. The text is
also what a dump holds. ``COLLATE "C"`` keeps the hash from depending on a nondeterministic collation.

**Why a sum.** It does not depend on the order of rows, needs no sorting and no memory, and rows that trade
places leave it alone while rows that trade *values* do not: a row is hashed whole. Columns are taken in
name order, because a table that had columns dropped has them in another order after a restore.

**How many rows changed** the sum does not tell. The same hashes, dealt into buckets, also make a sketch that does:
see :mod:`~recyclic_backups.fingerprint.sketch`.

**What it depends on.** The encoding of the database (a restore keeps it) and the byte order of the server's
processor. PostgreSQL places rows of hash partitions by the same function, so versions do not change it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any

from psycopg import sql

from recyclic_backups.errors import DatabaseError
from recyclic_backups.fingerprint.foreign_code import run_by_planning
from recyclic_backups.fingerprint.model import Level, MaterializedViewFingerprint, TableFingerprint
from recyclic_backups.fingerprint.relations import (
    USER_SCHEMA,
    Table,
    columns_of,
    partitions_of,
    references_of,
)
from recyclic_backups.fingerprint.session import is_still, reading, without_waiting
from recyclic_backups.fingerprint.sketch import BUCKET_BITS, KEPT_BITS, KEPT_SHIFT, sketch_of
from recyclic_backups.fingerprint.unplanned import read_unplanned
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import qualified_name

_MATERIALIZED_VIEWS = f"""
SELECT c.oid, n.nspname, c.relname, c.relispopulated
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND {USER_SCHEMA}
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 2, 3
"""


def read_tables(
    connection: Connection,
    beside: Connection,
    tables: Sequence[Table],
    level: Level,
    progress: Callable[[str, int], None] | None = None,
) -> dict[str, TableFingerprint]:
    """Every table's fingerprint, one query each; ``progress`` is told each one's name and rows.

    ``beside`` is another session in the same database, in no transaction: it tells whose code a query would run, and
    then the table is read without one. Raises DatabaseError naming the table that cannot be read.
    """
    columns = columns_of(connection, tables)
    references = references_of(connection, tables)
    partitions = partitions_of(connection, tables)
    found: dict[str, TableFingerprint] = {}
    for table in tables:
        of_table = columns[table.oid]
        row: Sequence[Any]
        with reading(f"table {table.qualified}"):
            # Asked anew for each: an index may be made at any moment, and a name be another table's.
            if not table.unreplicated and not is_still(beside, (table.oid, table.identifier)):
                raise DatabaseError(
                    "it was renamed or replaced meanwhile", "try again once nobody changes it", retryable=True
                )
            if not table.unreplicated and not table.condition and run_by_planning(beside, table.oid):
                row = read_unplanned(connection, beside, table, of_table, level)
            else:
                (row,) = connection.execute(table_query(table, of_table, level)).fetchall()
        fingerprint = table_fingerprint(row, of_table, references[table.oid], partitions[table.oid])
        found[table.qualified] = fingerprint
        if progress is not None:
            progress(table.qualified, fingerprint.rows)
    return found


def table_query(table: Table, columns: Collection[str], level: Level) -> sql.Composed:
    """One row, for :func:`table_fingerprint`.

    ONLY leaves the rows of partitions and children to them. A configuration table of an extension has its
    condition put in as it is, just as pg_dump does. A table without replicated rows is not touched: it is empty.
    """
    names = [sql.Identifier("t", column) for column in columns]
    if table.unreplicated:
        none = sql.SQL(", ").join(
            sql.SQL("NULL::text AS {}").format(sql.Identifier(column)) for column in columns
        )
        rows = sql.SQL("FROM (SELECT {} WHERE false) AS t").format(none)
    else:
        rows = sql.SQL("FROM ONLY {} AS t {}").format(table.identifier, sql.SQL(table.condition))
    if level != "content":
        counts = [sql.SQL("count({})").format(name) for name in names]
        return sql.SQL("SELECT {} {}").format(
            sql.SQL(", ").join([sql.SQL("count(*), NULL, NULL"), *counts]), rows
        )
    numbered = range(len(columns))
    # The volatile function keeps the planner from merging the innermost query into the one around it, which would
    # compute the hash three times. OFFSET 0 would do that too, and keep parallel workers out.
    hashed = [
        sql.SQL('hashtextextended(CAST(ROW({}) AS text) COLLATE "C", 0) AS hash').format(
            sql.SQL(", ").join(names)
        ),
        sql.SQL("pg_is_in_recovery() AS fence"),
        *(sql.SQL("{} AS {}").format(name, _column(number)) for number, name in enumerate(names)),
    ]
    dealt = [
        sql.SQL("hash & {} AS bucket, min(hash) AS smallest, count(*) AS rows, sum(hash) AS content").format(
            BUCKET_BITS
        ),
        *(sql.SQL("count({column}) AS {column}").format(column=_column(number)) for number in numbered),
    ]
    gathered = [
        sql.SQL("coalesce(sum(rows), 0)::bigint, coalesce(sum(content), 0)::text"),
        sql.SQL("array_agg(ARRAY[bucket, smallest >> {} & {}])").format(KEPT_SHIFT, KEPT_BITS),
        *(sql.SQL("coalesce(sum({}), 0)::bigint").format(_column(number)) for number in numbered),
    ]
    return sql.SQL("SELECT {} FROM (SELECT {} FROM (SELECT {} {}) AS h GROUP BY bucket) AS b").format(
        sql.SQL(", ").join(gathered), sql.SQL(", ").join(dealt), sql.SQL(", ").join(hashed), rows
    )


def table_fingerprint(
    row: Sequence[Any],
    columns: Mapping[str, str],
    references: tuple[str, ...],
    partitions: tuple[str, ...],
) -> TableFingerprint:
    """What the answer to :func:`table_query` says; ``columns`` as ``columns_of`` gives them."""
    rows, content, buckets, *counts = row
    return TableFingerprint(
        rows=rows,
        non_null=dict(zip(columns, counts, strict=True)),
        content=content,
        references=references,
        partitions=partitions,
        sketch=None if content is None else sketch_of(buckets or ()),
        types=sha256("\0".join(f"{name}\0{of}" for name, of in columns.items()).encode()).hexdigest()[:8],
    )


def _column(number: int) -> sql.Identifier:
    """A name of ours for a column: that of the table could be one of those beside it."""
    return sql.Identifier(f"c{number}")


def read_materialized_views(
    connection: Connection, beside: Connection
) -> dict[str, MaterializedViewFingerprint]:
    """Every materialized view: populated or not, and its rows, unless its indexes would run somebody's code.

    One that is being refreshed is not waited for: its rows are only information, and pg_dump does not lock
    it either. The connection is inside a transaction.
    """
    found: dict[str, MaterializedViewFingerprint] = {}
    for oid, schema, name, populated in connection.execute(_MATERIALIZED_VIEWS).fetchall():
        rows: int | None = None
        qualified = qualified_name(schema, name)
        relation = sql.Identifier(schema, name)
        if populated and is_still(beside, (oid, relation)) and not run_by_planning(beside, oid):
            query = sql.SQL("SELECT count(*) FROM {}").format(relation)
            with without_waiting(connection), reading(f"materialized view {qualified}"):
                (rows,) = connection.execute(query).fetchone() or (None,)
        found[qualified] = MaterializedViewFingerprint(populated=populated, rows=rows)
    return found
