"""The tables a dump holds rows of, as the catalog lists them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg import sql

from recyclic_backups.errors import DatabaseError
from recyclic_backups.fingerprint.session import BYPASS_HINT, READ_HINT
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import qualified_name, some

USER_SCHEMA = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

# A member of an extension comes back with its extension, except for the rows of a configuration table
# (https://www.postgresql.org/docs/15/extend-extensions.html#EXTEND-EXTENSIONS-CONFIG-TABLES).
_TABLES = f"""
SELECT c.oid, n.nspname, c.relname, c.relkind::text, e.extcondition[e.place],
       pg_catalog.has_schema_privilege(n.oid, 'USAGE')
         AND pg_catalog.has_table_privilege(c.oid, 'SELECT'),
       pg_catalog.row_security_active(c.oid),
       c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery()
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
      AND d.objsubid = 0 AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
LEFT JOIN LATERAL (
    SELECT x.extcondition, pg_catalog.array_position(x.extconfig, c.oid) AS place
    FROM pg_catalog.pg_extension x WHERE x.oid = d.refobjid) e ON true
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {USER_SCHEMA}
  AND (d.objid IS NULL OR e.place IS NOT NULL)
ORDER BY n.nspname, c.relname
"""

# Generated columns are not in a dump (https://www.postgresql.org/docs/15/ddl-generated-columns.html).
_COLUMNS = """
SELECT attrelid, attname, pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute
WHERE attrelid = ANY(%s::oid[]) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attrelid, attname COLLATE "C"
"""

_REFERENCES = """
SELECT conrelid, confrelid FROM pg_catalog.pg_constraint WHERE contype = 'f' AND conparentid = 0
UNION
SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits
"""

_PARTITIONS = """
SELECT i.inhparent, i.inhrelid FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class c ON c.oid = i.inhparent AND c.relkind = 'p'
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table (``r``) or partitioned table (``p``); ``condition`` is the WHERE of a configuration table.

    ``readable`` and ``filtered`` are about the role that asked: may it read, and would it see some rows only.
    ``unreplicated`` is an unlogged table on a standby: its rows are on the primary alone, and pg_dump leaves them out
    (https://www.postgresql.org/docs/15/app-pgdump.html, --no-unlogged-table-data). A dump holds it empty.
    """

    oid: int
    schema: str
    name: str
    kind: str
    condition: str = ""
    readable: bool = True
    filtered: bool = False
    unreplicated: bool = False

    @property
    def qualified(self) -> str:
        """Its name in fingerprints and messages."""
        return qualified_name(self.schema, self.name)

    @property
    def identifier(self) -> sql.Identifier:
        """Its name in a statement."""
        return sql.Identifier(self.schema, self.name)


def list_tables(connection: Connection) -> tuple[Table, ...]:
    """Tables whose rows a dump holds, by name: none of the system, of extensions, or temporary."""
    rows = connection.execute(_TABLES).fetchall()
    return tuple(
        # NULL for a privilege means that the table vanished while we asked; locking it finds that out.
        Table(
            oid,
            schema,
            name,
            kind,
            condition or "",
            readable is not False,
            bool(filtered),
            bool(unreplicated),
        )
        for oid, schema, name, kind, condition, readable, filtered, unreplicated in rows
    )


def require_readable(tables: Iterable[Table]) -> None:
    """Raises DatabaseError naming tables that this role may not read, or not read whole."""
    tables = list(tables)
    if denied := [table.qualified for table in tables if not table.readable]:
        raise DatabaseError(f"this role may not read {some(denied)}", READ_HINT)
    if filtered := [table.qualified for table in tables if table.filtered]:
        raise DatabaseError(f"this role does not see all rows of {some(filtered)}", BYPASS_HINT)


def columns_of(connection: Connection, tables: Sequence[Table]) -> dict[int, dict[str, str]]:
    """By oid, the columns of each table and their types, in name order, without generated and dropped ones."""
    columns: dict[int, dict[str, str]] = {table.oid: {} for table in tables}
    for oid, name, type_ in connection.execute(_COLUMNS, (list(columns),)):
        columns[oid][name] = type_
    return columns


def references_of(connection: Connection, tables: Sequence[Table]) -> dict[int, tuple[str, ...]]:
    """By oid, the tables each one refers to with a foreign key, or is a partition or child of."""
    return _links(connection, _REFERENCES, tables)


def partitions_of(connection: Connection, tables: Sequence[Table]) -> dict[int, tuple[str, ...]]:
    """By oid, the partitions of each partitioned table."""
    return _links(connection, _PARTITIONS, tables)


def _links(connection: Connection, query: str, tables: Sequence[Table]) -> dict[int, tuple[str, ...]]:
    names = {table.oid: table.qualified for table in tables}
    links: dict[int, set[str]] = {oid: set() for oid in names}
    for source, target in connection.execute(query):
        if source in names and target in names and source != target:
            links[source].add(names[target])
    return {oid: tuple(sorted(found)) for oid, found in links.items()}
