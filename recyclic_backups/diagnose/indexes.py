"""Indexes that are not what their tables are: unfinished ones, and what the extension amcheck finds.

https://www.postgresql.org/docs/15/amcheck.html; the extension is used where it is installed and never created.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from psycopg import sql

from recyclic_backups.diagnose.inspection import Failed, Inspection
from recyclic_backups.diagnose.report import Finding
from recyclic_backups.postgres.names import qualified_name, some
from recyclic_backups.progress import Progress

HEAP_CHECK_MAX_BYTES = 1 << 30
"""Tables up to this size are read beside their index, to find rows that it does not have."""

_INVALID = """
SELECT n.nspname, c.relname, i.indexrelid::regclass::text, tn.nspname, t.relname
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class t ON t.oid = i.indrelid JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
WHERE NOT (i.indisvalid AND i.indisready) AND c.relkind = 'i'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
ORDER BY 1, 2
"""
# Temporary tables of other sessions cannot be read; indexes of partitioned tables hold nothing themselves.
_BTREES = """
SELECT i.indexrelid, n.nspname, c.relname, i.indexrelid::regclass::text, tn.nspname, t.relname,
       coalesce(pg_catalog.pg_relation_size(i.indrelid), 0), mn.nspname, m.relname
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class t ON t.oid = i.indrelid JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
JOIN pg_catalog.pg_am am ON am.oid = c.relam
LEFT JOIN pg_catalog.pg_class m ON m.reltoastrelid = t.oid
LEFT JOIN pg_catalog.pg_namespace mn ON mn.oid = m.relnamespace
WHERE am.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence <> 't' AND i.indisready AND i.indisvalid
ORDER BY 2, 3
"""
_STILL_THERE = "SELECT 1 FROM pg_catalog.pg_class WHERE oid = %s"
_AMCHECK = """
SELECT n.nspname, bool_and(pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
                           AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')),
       bool_and((SELECT r.rolsuper OR r.rolname = session_user FROM pg_catalog.pg_roles r
                 WHERE r.oid = CASE WHEN n.nspowner = to_regrole('pg_database_owner') THEN b.datdba
                               ELSE n.nspowner END))
FROM pg_catalog.pg_extension e
JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
JOIN pg_catalog.pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_database b ON b.datname = current_database()
WHERE e.extname = 'amcheck' AND p.proname = 'bt_index_check' AND p.pronargs = 2 GROUP BY n.nspname
"""


def look_at_indexes(
    inspection: Inspection, unreadable: Collection[str], notes: list[str], progress: Progress
) -> Iterator[Finding]:
    """Findings about indexes; ``unreadable`` tables cannot be compared with theirs. Raises DatabaseError."""
    for schema, name, quoted, table_schema, table in inspection.rows(_INVALID):
        yield Finding(
            "index",
            qualified_name(schema, name),
            "the index is invalid: queries do not use it, and a unique one does not keep duplicates out",
            table=qualified_name(table_schema, table),
            statement=f"REINDEX INDEX {quoted};",
        )
    yield from _damaged_btrees(inspection, unreadable, notes, progress)


def _damaged_btrees(
    inspection: Inspection, unreadable: Collection[str], notes: list[str], progress: Progress
) -> Iterator[Finding]:
    amcheck = inspection.rows(_AMCHECK)
    if not amcheck:
        notes.append(
            "the extension amcheck is not installed in this database: what its indexes hold was not looked at"
        )
        return
    ((schema_of_amcheck, allowed, safe),) = amcheck
    if not safe:
        notes.append(
            f"what indexes hold was not looked at: the extension amcheck is in the schema {schema_of_amcheck!r}, whose "
            "owner could put his own functions in its place; ALTER EXTENSION amcheck SET SCHEMA … to one of a superuser"
        )
        return
    if not allowed:
        inspection.incomplete.append(
            "indexes were not looked at: this role may not run amcheck's bt_index_check"
        )
        return
    too_large: set[str] = set()
    for oid, schema, name, quoted, table_schema, table, heap_bytes, *main in inspection.rows(_BTREES):
        owner = qualified_name(table_schema, table)
        # Of values stored apart (TOAST), the table that they belong to was read.
        read_as = owner if main[1] is None else qualified_name(*main)
        whole = read_as not in unreadable and heap_bytes <= HEAP_CHECK_MAX_BYTES
        if heap_bytes > HEAP_CHECK_MAX_BYTES:
            too_large.add(owner)
        index = qualified_name(schema, name)
        check = sql.Identifier(schema_of_amcheck, "bt_index_check")
        progress.stage(f"index {index}")
        answer = inspection.ask(f"index {index}", _checking(check, oid, heap_too=whole))
        if not isinstance(answer, Failed) or not inspection.rows(_STILL_THERE, (oid,)):
            continue
        if table_schema == "pg_catalog" and isinstance(_read(inspection, table), Failed):
            yield Finding("unreadable", owner, f"the system table cannot be read: {answer.sentence}")
            continue
        yield Finding(
            "index",
            index,
            f"the index is damaged: {answer.sentence}",
            table=owner,
            statement=f"REINDEX INDEX {quoted};",
        )
    if too_large:
        notes.append(
            f"indexes of {some(sorted(too_large))} were checked in themselves, not against their tables, "
            "which are larger than 1 GiB"
        )


def _checking(check: sql.Identifier, oid: int, *, heap_too: bool) -> sql.Composed:
    return sql.SQL("SELECT {}({}::oid::regclass, {})").format(check, sql.Literal(oid), sql.Literal(heap_too))


def _read(inspection: Inspection, system_table: str) -> list[tuple[Any, ...]] | Failed | None:
    """Read a system table, which nobody has done before: is it the table, or the index?"""
    query = sql.SQL("SELECT count(CAST(t AS text)) FROM {} t").format(
        sql.Identifier("pg_catalog", system_table)
    )
    return inspection.ask(f"system table {system_table}", query)
