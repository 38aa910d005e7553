"""Writing into live tables what was found to be done: by one statement for all tables.

Foreign keys are checked, and act, at the end of a statement, on the rows as they are then, so that neither the order of
tables nor circles among them matter. Unique and exclusion constraints are checked row by row. Where their values moved
between rows, rows are taken out and put in again within that statement; rows that must not be taken out, since others
refer to them by a key that would act on it, lose those values for a moment before. So do all where the server would
read a large table of children for each row that is taken out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import psycopg
from psycopg import errors, sql

from recyclic_backups.errors import DatabaseError
from recyclic_backups.merge.live_table import ForeignKey, LiveTable
from recyclic_backups.merge.row_changes import OF_STEP, Changes, count_steps, find_updates, referred_to
from recyclic_backups.postgres import quoting
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import qualified_name
from recyclic_backups.postgres.server import first_line

# Columns on which those unique indexes and exclusion constraints of a table depend that cannot wait for the end of a
# statement, by way of generated columns too, unless foreign keys refer to them; and how they must have a value: since
# 18 that is a constraint with a name (ddl-constraints.html).
_MOVABLE = """
    WITH index AS (
        SELECT i.indexrelid AS oid, k.oid AS of_constraint FROM pg_catalog.pg_index i
        LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
        WHERE i.indrelid = %(table)s::regclass AND (i.indisunique OR i.indisexclusion) AND i.indimmediate),
    needed(attnum) AS (
        SELECT d.refobjsubid FROM index JOIN pg_catalog.pg_depend d
            ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = index.oid
            OR d.classid = 'pg_catalog.pg_constraint'::regclass AND d.objid = index.of_constraint
        WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = %(table)s::regclass
      UNION
        SELECT base.refobjsubid FROM index JOIN pg_catalog.pg_index i ON i.indexrelid = index.oid
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attgenerated <> ''
            AND a.attnum = ANY(i.indkey::int2[])
        JOIN pg_catalog.pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
        JOIN pg_catalog.pg_depend base ON base.classid = 'pg_catalog.pg_attrdef'::regclass AND base.objid = f.oid
            AND base.refobjid = a.attrelid)
    SELECT a.attname::text, a.attnotnull, k.conname::text
    FROM needed JOIN pg_catalog.pg_attribute a ON a.attrelid = %(table)s::regclass AND a.attnum = needed.attnum
    LEFT JOIN pg_catalog.pg_constraint k
        ON k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum]
    WHERE a.attnum > 0 AND a.attgenerated = '' AND a.attidentity = ''
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k
                      WHERE k.contype = 'f' AND k.confrelid = a.attrelid AND a.attnum = ANY(k.confkey))
    ORDER BY 1
"""
# For each row that is deleted, the server looks for those that refer to it by a key with an action
# (RI_FKey_cascade_del in src/backend/utils/adt/ri_triggers.c): without an index it reads the whole table.
_PAGES_READ = """
    SELECT (SELECT count(*) FROM {} WHERE step = 'u') * coalesce(sum(
        pg_catalog.pg_relation_size(part.oid) / pg_catalog.current_setting('block_size')::int8), 0)
    FROM pg_catalog.unnest(%(children)s::regclass[]) child(oid)
    CROSS JOIN LATERAL (SELECT child.oid UNION SELECT relid FROM pg_catalog.pg_partition_tree(child.oid)) part(oid)
"""
_MOST_PAGES = 200_000  # seconds; half of 40,000 rows beside a child as large took 30
# What the server demands of a table whose changes are published (logical-replication-publication.html).
_WITHOUT_IDENTITY = """
    SELECT n.nspname, c.relname, pg_catalog.min(v.pubname)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_class p ON p.oid = c.oid
        OR p.oid IN (SELECT relid FROM pg_catalog.pg_partition_ancestors(c.oid))
    JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
    JOIN pg_catalog.pg_publication_tables v ON v.schemaname = pn.nspname AND v.tablename = p.relname
    WHERE (c.oid = %(table)s::regclass
           OR c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(%(table)s::regclass)))
      AND c.relkind = 'r' AND (c.relreplident = 'n' OR NOT EXISTS (
            SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisvalid
            AND (i.indisreplident OR c.relreplident = 'd' AND i.indisprimary) OR c.relreplident = 'f'))
    GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 1
"""


def apply(
    target: Connection,
    plan: Sequence[LiveTable],
    found: Mapping[str, Changes],
    foreign_keys: Sequence[ForeignKey],
) -> None:
    """Do what was found. Raises DatabaseError where the server does not take it; then the transaction is of no use."""
    statement = _statement(plan, found)
    try:
        if not _refusal(target, statement):
            return
        left = _take_out_and_put_in(target, plan, foreign_keys, _MOST_PAGES)
        if not (refused := _refusal(target, statement)):
            return
        last = _refusal(target, statement, emptied=plan)
        if last and left:
            _take_out_and_put_in(target, plan, foreign_keys, math.inf)
            last = _refusal(target, statement, emptied=plan)
    except errors.ObjectNotInPrerequisiteState as error:
        raise _published(target, plan, error) from None
    if last:
        raise DatabaseError(
            f"the backup's rows do not go in: {refused}; nor after their values were taken away: "
            f"{last}; nothing was changed",
            "the constraint is newer than the backup, or its values are to be exchanged between rows that the server "
            "may neither take out (rows of others refer to them, ON DELETE …) nor leave without one meanwhile: "
            "change one of them by hand first, to a value that no row has",
        )


def _refusal(target: Connection, statement: sql.Composed, *, emptied: Sequence[LiveTable] = ()) -> str:
    """Write, into tables ``emptied`` meanwhile. What the server says to values that moved, if it takes none of it."""
    refusals: tuple[type[psycopg.Error], ...] = (errors.UniqueViolation, errors.ExclusionViolation)
    if emptied:
        refusals = (errors.IntegrityError, errors.InvalidTableDefinition)
    try:
        with target.transaction(), _emptied(target, emptied) if emptied else nullcontext():
            target.execute(statement)
    except refusals as error:
        return first_line(str(error))
    return ""


def _statement(plan: Sequence[LiveTable], found: Mapping[str, Changes]) -> sql.Composed:
    """One for all tables. Each of its parts begins when the one before it, of the same table, is done."""
    parts = []
    for table in plan:
        number = table.number
        parts.append(
            quoting.statement(
                f"out_{number} AS (DELETE FROM {{}} t USING {{}} x"
                f" WHERE {OF_STEP} AND x.step IN ('g', 'm') RETURNING 1)",
                *(table.relation, table.steps),
            )
        )
        before = "out"
        written = [column for column in table.key if column in found[table.name].respelled]
        settable = [*table.others, *(column for column in written if column in table.stored)]
        if table.key and settable:
            values = [
                quoting.statement("{} = s.{}", quoting.name(each), quoting.name(each)) for each in settable
            ]
            parts.append(
                quoting.statement(
                    f"set_{number} AS (UPDATE {{}} t SET {{}} FROM {{}} x JOIN {{}} s ON s.ctid = x.staged"
                    f" WHERE {OF_STEP} AND x.step = 'u' AND (SELECT count(*) FROM out_{number}) >= 0 RETURNING 1)",
                    *(table.relation, quoting.joined(", ", values), table.steps, table.staged),
                )
            )
            before = "set"
        parts.append(
            quoting.statement(
                # The dump's own values, also for columns GENERATED ALWAYS AS IDENTITY (sql-insert.html).
                f"put_{number} AS (INSERT INTO {{}} ({{}}) OVERRIDING SYSTEM VALUE SELECT {{}} FROM {{}} x"
                f" JOIN {{}} s ON s.ctid = x.staged WHERE x.step IN ('n', 'm')"
                f" AND (SELECT count(*) FROM {before}_{number}) >= 0 RETURNING 1)",
                *(table.relation, quoting.names(table.stored), quoting.columns_of("s", table.stored)),
                *(table.steps, table.staged),
            )
        )
    return quoting.statement("WITH {} SELECT", quoting.joined(", ", parts))


def _take_out_and_put_in(
    target: Connection, plan: Sequence[LiveTable], foreign_keys: Sequence[ForeignKey], most_pages: float
) -> bool:
    """Turn updates into that, but for rows which others refer to by a foreign key that would act on it.

    Tables for which the server would read more than ``most_pages`` are left; whether there are any comes back.
    """
    tables, left = {table.name: table for table in plan}, False
    for table in plan:
        acting = [key for key in foreign_keys if key.parent == table.name and key.acts_on_delete]
        if _pages_read(target, table, acting) > most_pages:
            left = True
            continue
        target.execute(quoting.statement("UPDATE {} SET step = 'm' WHERE step = 'u'", table.steps))
        count_steps(target, table)
        for key in acting:
            target.execute(
                quoting.statement(
                    "UPDATE {} x SET step = 'u' WHERE x.step = 'm' AND {}",
                    *(table.steps, referred_to(key, table, tables)),
                )
            )
            count_steps(target, table)
    return left


def _pages_read(target: Connection, table: LiveTable, acting: Sequence[ForeignKey]) -> int:
    """How many pages the server reads if updates become that: those of a child without index, for each row."""
    children = [quoting.relation(key.child).as_string(None) for key in acting if not key.child_is_indexed]
    query = quoting.statement(_PAGES_READ, table.steps)
    row = target.execute(query, {"children": children}).fetchone() if children else None
    return int(row[0]) if row else 0


@contextmanager
def _emptied(target: Connection, plan: Sequence[LiveTable]) -> Iterator[None]:
    """Rows that are still to be updated have no value, meanwhile, in columns of unique and exclusion constraints.

    Such a constraint passes over a row without value. Where a column must have one, that promise is lifted and given
    again in the same transaction, for which readers have to wait (sql-altertable.html).
    """

    lifted: list[sql.Composed] = []
    for table in plan:
        name = table.relation.as_string(None)
        found = [
            (quoting.name(column), required, constraint)
            for column, required, constraint in target.execute(_MOVABLE.encode(), {"table": name}).fetchall()
            if column not in table.key
        ]
        waiting = quoting.statement("SELECT EXISTS (SELECT FROM {} WHERE step = 'u')", table.steps)
        if not found or not (target.execute(waiting).fetchone() or (False,))[0]:
            continue
        for column, required, constraint in found:
            if required:
                alter = quoting.statement("ALTER TABLE {} ALTER COLUMN {}", table.relation, column)
                target.execute(quoting.statement("{} DROP NOT NULL", alter))
                lifted.append(
                    quoting.statement("{} SET NOT NULL", alter)
                    if constraint is None
                    else quoting.statement(
                        "ALTER TABLE {} ADD CONSTRAINT {} NOT NULL {}",
                        *(table.relation, quoting.name(constraint), column),
                    )
                )
        target.execute(
            quoting.statement(
                f"UPDATE {{}} t SET {{}} FROM {{}} x WHERE {OF_STEP} AND x.step = 'u'",
                table.relation,
                quoting.joined(", ", [quoting.statement("{} = NULL", column) for column, *_ in found]),
                table.steps,
            )
        )
        # The rows are in other places now.
        target.execute(quoting.statement("DELETE FROM {} WHERE step = 'u'", table.steps))
        find_updates(target, table)
        count_steps(target, table)
    yield
    target.execute(quoting.statement("SET CONSTRAINTS ALL IMMEDIATE"))
    for statement in lifted:
        target.execute(statement)


def _published(target: Connection, plan: Sequence[LiveTable], error: psycopg.Error) -> DatabaseError:
    """Why the server writes nothing into a table: it is published, and its rows cannot be told apart."""
    target.rollback()
    for table in plan:
        name = table.relation.as_string(None)
        row = target.execute(_WITHOUT_IDENTITY.encode(), {"table": name}).fetchone()
        if row is not None:
            relation = quoting.relation(qualified_name(row[0], row[1])).as_string(None)
            return DatabaseError(
                f"{qualified_name(row[0], row[1])} is in the publication {row[2]!r} and has no replica identity by "
                "which subscribers could tell its rows; nothing was changed",
                f"ALTER TABLE {relation} REPLICA IDENTITY FULL; put its rows back; and then REPLICA IDENTITY DEFAULT",
            )
    return DatabaseError(f"the server does not take the rows: {first_line(str(error))}; nothing was changed")
