"""Put tables of a backup back into a live database: all of them in one transaction, or nothing.

Each table's rows become those of the backup: rows it has lost come back, rows that differ are set right, rows
the backup does not have go (and are kept in the database beside). Rows of other tables that refer to one
that would go are *children that would break*; they are listed, and then nothing is changed at all.

Only differing rows are touched, found by the table's key, so that no superuser is needed to switch foreign
keys off, and no ``ON DELETE CASCADE`` ever fires on a row that stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recyclic_backups.errors import DatabaseError, Refused
from recyclic_backups.fingerprint.names import qualified_name, split_qualified_name
from recyclic_backups.fingerprint.session import SETTINGS
from recyclic_backups.postgres.server import Server, translated
from recyclic_backups.recovery.database import MAX_NAME_BYTES
from recyclic_backups.recovery.numbering import catch_up, identities_settable

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

    Connection = psycopg.Connection[tuple[Any, ...]]

_COLUMNS = """
    SELECT attname, pg_catalog.format_type(atttypid, atttypmod), attgenerated <> ''
    FROM pg_catalog.pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
    ORDER BY attname
"""
# The primary key, else a unique key whose columns cannot be null: what tells one row from another.
_KEY = """
    SELECT array_agg(a.attname::text ORDER BY a.attname)
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
    WHERE i.indrelid = %s::regclass AND i.indisunique AND i.indisvalid AND i.indimmediate
      AND i.indpred IS NULL AND i.indexprs IS NULL
    GROUP BY i.indexrelid, i.indisprimary HAVING bool_and(a.attnotnull)
    ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1
"""
_FOREIGN_KEYS = """
    SELECT c.conname, cn.nspname, ct.relname,
           (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(c.conkey) WITH ORDINALITY k(attnum, n)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum),
           pn.nspname, pt.relname,
           (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(c.confkey) WITH ORDINALITY k(attnum, n)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.attnum)
    FROM pg_catalog.pg_constraint c
    JOIN pg_catalog.pg_class ct ON ct.oid = c.conrelid JOIN pg_catalog.pg_namespace cn ON cn.oid = ct.relnamespace
    JOIN pg_catalog.pg_class pt ON pt.oid = c.confrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = pt.relnamespace
    WHERE c.contype = 'f' AND c.conparentid = 0 ORDER BY c.conname
"""
# Of a table and its partitions, those that are on, and how (catalog-pg-trigger.html, tgenabled).
_TRIGGERS = """
    SELECT n.nspname, c.relname, t.tgname, t.tgenabled::text
    FROM pg_catalog.pg_trigger t
    JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgrelid IN
        (SELECT %s::regclass UNION SELECT relid FROM pg_catalog.pg_partition_tree(%s::regclass)) ORDER BY 1, 2, 3
"""
_ENABLE = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}


# Rows travel and are compared as text, which must not depend on what either database has set for its sessions.
# The search path stays: operators of a key's type may live in a schema that only it names.
_SESSION = {name: value for name, value in SETTINGS.items() if name != "search_path"} | {
    "default_transaction_read_only": "off"
}


@dataclass(frozen=True, slots=True)
class TableMerge:
    """What putting one table back did: rows that came back, were set right, and went."""

    table: str
    inserted: int
    updated: int
    deleted: int

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "table": self.table,
            "inserted": self.inserted,
            "updated": self.updated,
            "deleted": self.deleted,
        }


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What was put back, or why nothing was: ``broken`` lists rows whose parent would be missing."""

    database: str
    tables: tuple[TableMerge, ...]
    broken: tuple[str, ...]
    kept_in: str

    @property
    def clean(self) -> bool:
        """Whether it was committed."""
        return not self.broken


@dataclass(frozen=True, slots=True)
class _ForeignKey:
    name: str
    child: str
    child_columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    columns: tuple[str, ...]
    stored: tuple[str, ...]
    key: tuple[str, ...]
    staged: str

    @property
    def others(self) -> tuple[str, ...]:
        """Columns that are not part of the key and can be set."""
        return tuple(column for column in self.stored if column not in self.key)


def merge(
    server: Server,
    restored: str,
    live: str,
    tables: Sequence[str],
    before_commit: Callable[[Sequence[TableMerge]], None] = lambda _: None,
) -> MergeReport:
    """Make ``tables`` of the database ``live`` equal to those of ``restored``, a database beside it.

    ``before_commit`` is told what was done just before it counts. Rows that go are kept in ``restored``, in a schema
    ``replaced``. Raises Refused when the tables are not the same any more (columns), DatabaseError when the server
    refuses a row; then nothing was changed.
    """
    with (
        server.connect(restored, settings=_SESSION) as source,
        server.connect(live, autocommit=False, settings=_SESSION) as target,
        translated(f"database {live!r} on {server.label}"),
    ):
        plan = [_describe(source, target, name, number) for number, name in enumerate(tables)]
        for table in plan:
            # Readers go on; nobody else writes until we are done (sql-lock.html, SHARE ROW EXCLUSIVE).
            target.execute(_sql("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", _relation(table.name)))
            _stage(source, target, table)
        foreign_keys = _foreign_keys(target)
        broken = tuple(_broken(target, plan, foreign_keys))
        if broken:
            target.rollback()
            return MergeReport(live, (), broken, kept_in=restored)
        keys = {table.name: table.key for table in plan}
        with identities_settable(target, keys), _user_triggers_off(target, plan):
            _keep_rows_that_go(source, target, plan)
            done = _apply(target, _parents_first(plan, foreign_keys))
        for table in plan:
            _require_equal(target, table)
        catch_up(source, target, keys)
        before_commit(done)
        target.commit()
    return MergeReport(live, tuple(done), (), kept_in=restored)


def _describe(source: Connection, target: Connection, name: str, number: int) -> _Table:
    quoted = _relation(name).as_string(None)
    exists = target.execute("SELECT pg_catalog.to_regclass(%s) IS NOT NULL", (quoted,)).fetchone()
    if not exists or not exists[0]:
        raise Refused(
            f"the live database has no table {name} any more",
            "restore it into a database of its own with --into, and create it from there",
        )
    children = target.execute(
        "SELECT count(*) FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhparent"
        " WHERE i.inhparent = %s::regclass AND c.relkind = 'r'",
        (quoted,),
    ).fetchone()
    if children and children[0]:
        raise Refused(
            f"other tables inherit from {name}, whose rows would be mixed with theirs",
            "restore it into a database of its own with --into, and copy the rows from there",
        )
    there, here = (connection.execute(_COLUMNS, (quoted,)).fetchall() for connection in (source, target))
    if there != here:
        differing = sorted({str(row[0]) for row in set(there) ^ set(here)})
        raise Refused(
            f"the columns of {name} have changed since the backup: {', '.join(differing)}",
            "restore it into a database of its own with --into, and copy the rows from there",
        )
    key = target.execute(_KEY, (quoted,)).fetchone()
    return _Table(
        name=name,
        columns=tuple(str(row[0]) for row in here),
        stored=tuple(str(row[0]) for row in here if not row[2]),
        key=tuple(key[0]) if key else (),
        staged=f"recyclic_staged_{number}",
    )


def _stage(source: Connection, target: Connection, table: _Table) -> None:
    """The backup's rows as a temporary table of the live database's transaction."""
    target.execute(
        _sql(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA",
            _name(table.staged),
            _names(table.stored),
            _relation(table.name),
        )
    )
    out = _sql("COPY (SELECT {} FROM {}) TO STDOUT", _names(table.stored), _relation(table.name))
    into = _sql("COPY {} ({}) FROM STDIN", _name(table.staged), _names(table.stored))
    with source.cursor().copy(out) as reading, target.cursor().copy(into) as writing:
        for piece in reading:
            writing.write(piece)
    if table.key:
        target.execute(_sql("CREATE INDEX ON {} ({})", _name(table.staged), _names(table.key)))
    target.execute(_sql("ANALYZE {}", _name(table.staged)))


def _broken(target: Connection, plan: Sequence[_Table], foreign_keys: Sequence[_ForeignKey]) -> Iterator[str]:
    """Rows that would refer to nothing: children of rows that go, and rows that come back without a parent."""
    staged = {table.name: table for table in plan}
    for key in foreign_keys:
        if key.child not in staged and key.parent not in staged:
            continue
        child = _name(staged[key.child].staged) if key.child in staged else _relation(key.child)
        parent = _name(staged[key.parent].staged) if key.parent in staged else _relation(key.parent)
        columns = list(zip(key.child_columns, key.parent_columns, strict=True))
        query = _sql(
            "SELECT count(*) FROM {} c WHERE {} AND NOT EXISTS (SELECT FROM {} p WHERE {})",
            child,
            # MATCH SIMPLE: a row with a null in its key refers to nothing (ddl-constraints.html).
            _joined(" AND ", [_sql("c.{} IS NOT NULL", _name(column)) for column in key.child_columns]),
            parent,
            _joined(" AND ", [_sql("p.{} = c.{}", _name(there), _name(here)) for here, there in columns]),
        )
        count = (target.execute(query).fetchone() or (0,))[0]
        if count:
            rows = "1 row" if count == 1 else f"{count} rows"
            yield f"{rows} of {key.child} would refer to rows that {key.parent} would not have ({key.name})"


def _keep_rows_that_go(source: Connection, target: Connection, plan: Sequence[_Table]) -> None:
    """Copy what will be deleted or overwritten into the database beside: a restore destroys nothing (invariant 6)."""
    source.execute("CREATE SCHEMA IF NOT EXISTS replaced")
    for table in plan:
        schema, name = split_qualified_name(table.name)
        kept = _sql("replaced.{}", _name(_kept_name(f"{schema}.{name}", table.staged)))
        source.execute(
            _sql(
                "CREATE TABLE {} AS SELECT {} FROM {} WITH NO DATA",
                kept,
                _names(table.stored),
                _relation(table.name),
            )
        )
        as_it_is = _sql("SELECT {} FROM {} t", _of("t", table.stored), _relation(table.name))
        unchanged = _sql(
            "SELECT FROM {} s WHERE {} AND ROW({})::text IS NOT DISTINCT FROM ROW({})::text",
            _name(table.staged),
            _same_key(table) if table.key else _sql("false"),
            _of("t", table.stored),
            _of("s", table.stored),
        )
        out = _sql("COPY ({} WHERE NOT EXISTS ({})) TO STDOUT", as_it_is, unchanged)
        into = _sql("COPY {} FROM STDIN", kept)
        with target.cursor().copy(out) as reading, source.cursor().copy(into) as writing:
            for piece in reading:
                writing.write(piece)


def _kept_name(name: str, staged: str) -> str:
    """``schema.table``, cut to the length of a name where it has to be, and then with the table's number."""
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    number = f"~{staged.rpartition('_')[2]}"
    return name.encode()[: MAX_NAME_BYTES - len(number)].decode(errors="ignore") + number


def _apply(target: Connection, plan: Sequence[_Table]) -> list[TableMerge]:
    """Delete children before parents, bring back parents before children."""
    deleted = {table.name: _delete(target, table) for table in reversed(plan)}
    return [
        TableMerge(
            table.name,
            inserted=_insert(target, table),
            updated=_update(target, table),
            deleted=deleted[table.name],
        )
        for table in plan
    ]


def _delete(target: Connection, table: _Table) -> int:
    if not table.key:
        return target.execute(_sql("DELETE FROM {}", _relation(table.name))).rowcount
    return target.execute(
        _sql(
            "DELETE FROM {} t WHERE NOT EXISTS (SELECT FROM {} s WHERE {})",
            _relation(table.name),
            _name(table.staged),
            _same_key(table),
        )
    ).rowcount


def _update(target: Connection, table: _Table) -> int:
    if not table.key or not table.others:
        return 0
    return target.execute(
        _sql(
            "UPDATE {} t SET {} FROM {} s WHERE {} AND ROW({})::text IS DISTINCT FROM ROW({})::text",
            _relation(table.name),
            _joined(", ", [_sql("{} = s.{}", _name(column), _name(column)) for column in table.others]),
            _name(table.staged),
            _same_key(table),
            _of("t", table.others),
            _of("s", table.others),
        )
    ).rowcount


def _insert(target: Connection, table: _Table) -> int:
    condition = (
        _sql("WHERE NOT EXISTS (SELECT FROM {} t WHERE {})", _relation(table.name), _same_key(table))
        if table.key
        else _sql("")
    )
    return target.execute(
        _sql(
            # The dump's own values, also for columns GENERATED ALWAYS AS IDENTITY (sql-insert.html).
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} s {}",
            _relation(table.name),
            _names(table.stored),
            _of("s", table.stored),
            _name(table.staged),
            condition,
        )
    ).rowcount


def _require_equal(target: Connection, table: _Table) -> None:
    """The proof inside the transaction: the same rows, as texts, as often."""
    rows = _sql("SELECT ROW({})::text AS row FROM {}", _names(table.stored), _relation(table.name))
    staged = _sql("SELECT ROW({})::text AS row FROM {}", _names(table.stored), _name(table.staged))
    query = _sql(
        "SELECT (SELECT count(*) FROM (({}) EXCEPT ALL ({})) a) + (SELECT count(*) FROM (({}) EXCEPT ALL ({})) b)",
        rows,
        staged,
        staged,
        rows,
    )
    different = (target.execute(query).fetchone() or (1,))[0]
    if different:
        target.rollback()
        raise DatabaseError(
            f"{table.name} would differ from the backup in {different} rows after being put back; nothing was changed",
            "a trigger or rule of the server changes rows on their way in",
        )


@contextmanager
def _user_triggers_off(target: Connection, plan: Sequence[_Table]) -> Iterator[None]:
    """Without the application's triggers, which would write new timestamps and audit rows; foreign keys stay on.

    Each is given back the state it had: one that was off stays off, one that fires on replicas still does.
    """
    triggers: dict[tuple[str, str, str], str] = {}
    for table in plan:
        name = _relation(table.name).as_string(None)
        triggers |= {
            (row[0], row[1], row[2]): row[3] for row in target.execute(_TRIGGERS, (name, name)).fetchall()
        }

    def alter(how: str, schema: str, relation: str, trigger: str) -> None:
        template = f"ALTER TABLE ONLY {{}} {how} TRIGGER {{}}"
        target.execute(_sql(template, _relation(qualified_name(schema, relation)), _name(trigger)))

    for key in triggers:
        alter("DISABLE", *key)
    yield
    # A table with checks still waiting cannot be altered; and a violation is better known now.
    target.execute(_sql("SET CONSTRAINTS ALL IMMEDIATE"))
    for key, state in triggers.items():
        alter(_ENABLE[state], *key)


def _foreign_keys(target: Connection) -> list[_ForeignKey]:
    return [
        _ForeignKey(
            name=str(name),
            child=qualified_name(child_schema, child),
            child_columns=tuple(child_columns),
            parent=qualified_name(parent_schema, parent),
            parent_columns=tuple(parent_columns),
        )
        for name, child_schema, child, child_columns, parent_schema, parent, parent_columns in target.execute(
            _FOREIGN_KEYS
        ).fetchall()
    ]


def _parents_first(plan: Sequence[_Table], foreign_keys: Sequence[_ForeignKey]) -> list[_Table]:
    ordered: list[_Table] = []
    waiting = list(plan)
    while waiting:
        names = {table.name for table in waiting}
        free = [
            table
            for table in waiting
            if not any(key.child == table.name and key.parent in names - {table.name} for key in foreign_keys)
        ]
        # A circle of references cannot be ordered: the server decides whether its constraints can wait.
        ordered += free or waiting
        waiting = [table for table in waiting if table not in ordered]
    return ordered


def _same_key(table: _Table) -> sql.Composable:
    return _joined(" AND ", [_sql("s.{} = t.{}", _name(column), _name(column)) for column in table.key])


def _sql(template: str, *parts: sql.Composable) -> sql.Composed:
    from psycopg import sql  # noqa: PLC0415

    return sql.SQL(template).format(*parts)


def _name(name: str) -> sql.Identifier:
    from psycopg import sql  # noqa: PLC0415

    return sql.Identifier(name)


def _names(names: Sequence[str]) -> sql.Composed:
    return _joined(", ", [_name(name) for name in names])


def _of(alias: str, columns: Sequence[str]) -> sql.Composed:
    return _joined(", ", [_sql("{}.{}", _name(alias), _name(column)) for column in columns])


def _relation(name: str) -> sql.Identifier:
    from psycopg import sql  # noqa: PLC0415

    return sql.Identifier(*split_qualified_name(name))


def _joined(separator: str, parts: Sequence[sql.Composable]) -> sql.Composed:
    from psycopg import sql  # noqa: PLC0415

    return sql.SQL(separator).join(parts)
