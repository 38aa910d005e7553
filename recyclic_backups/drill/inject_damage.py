"""Damage a scratch copy on purpose, as accidents do: rows deleted, values nulled, a constraint broken.

Which tables are hit is drawn at random, seeded with the backup id: another drill hits others, the same one repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from recyclic_backups.catalog.fields import Document
from recyclic_backups.merge.disabled_triggers import user_triggers_off
from recyclic_backups.postgres import quoting
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import qualified_name

T = TypeVar("T")

_SHARE = 10
"""One row in so many is hit, and at least one."""

# Tables whose rows a merge can put back: neither partitions nor parents that others inherit from, nor those of
# extensions, nor those that only compute or that reach another server, nor those with a CHECK that older rows may break
# (NOT VALID). Of an index's columns the first are its key; the others are only included (catalog-pg-index.html,
# indnkeyatts).
_TABLES = """
    SELECT n.nspname, c.relname, c.relkind = 'p',
        ARRAY(SELECT a.attname::text FROM pg_catalog.pg_index i
            CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
            WHERE i.indrelid = c.oid AND i.indisprimary AND k.place <= i.indnkeyatts ORDER BY k.place),
        ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT a.attnotnull
                AND a.attgenerated = '' ORDER BY a.attnum)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_'
        AND EXISTS (SELECT FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')
        AND NOT (c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid))
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_partition_tree(c.oid) t
            JOIN pg_catalog.pg_class f ON f.oid = t.relid AND f.relkind = 'f')
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k
            WHERE k.conrelid = c.oid AND k.contype = 'c' AND NOT k.convalidated)
    ORDER BY 1, 2
"""
# Foreign keys of one column to another table, with both columns and the operator that compares them.
_REFERENCES = """
    SELECT cn.nspname, cc.relname, ca.attname, pn.nspname, pc.relname, pa.attname, opn.nspname, o.oprname
    FROM pg_catalog.pg_constraint k
    JOIN pg_catalog.pg_class cc ON cc.oid = k.conrelid JOIN pg_catalog.pg_namespace cn ON cn.oid = cc.relnamespace
    JOIN pg_catalog.pg_class pc ON pc.oid = k.confrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace
    JOIN pg_catalog.pg_attribute ca ON ca.attrelid = cc.oid AND ca.attnum = k.conkey[1]
    JOIN pg_catalog.pg_attribute pa ON pa.attrelid = pc.oid AND pa.attnum = k.confkey[1]
    JOIN pg_catalog.pg_operator o ON o.oid = k.conpfeqop[1]
    JOIN pg_catalog.pg_namespace opn ON opn.oid = o.oprnamespace
    WHERE k.contype = 'f' AND k.conparentid = 0 AND array_length(k.conkey, 1) = 1 AND k.conrelid <> k.confrelid
    ORDER BY 1, 2, 3, 4, 5
"""


@dataclass(frozen=True, slots=True)
class InjectedDamage(Document):
    """One piece of damage: the table it is in, and what was done, for people."""

    table: str
    what: str
    rows: int


@dataclass(frozen=True, slots=True)
class Table:
    """A table that may be hit: columns of its primary key, if it has one, and those that may be null."""

    name: str
    partitioned: bool
    key: tuple[str, ...]
    nullable: tuple[str, ...]

    @property
    def rows(self) -> sql.Composed:
        """Its own rows, for a FROM: those of a partitioned table are in its partitions."""
        return quoting.statement("{}" if self.partitioned else "ONLY {}", quoting.relation(self.name))

    @property
    def order(self) -> sql.Composed:
        """By what its rows are sorted, so that the same seed hits the same ones."""
        return quoting.names(self.key or ("tableoid", "ctid"))


def tables_of(connection: Connection) -> list[Table]:
    """The tables that can be damaged and put right, those with at least one row."""
    found = [
        Table(qualified_name(schema, name), partitioned, tuple(key), tuple(nullable))
        for schema, name, partitioned, key, nullable in connection.execute(_TABLES).fetchall()
    ]
    return [table for table in found if _one(connection, "SELECT EXISTS (SELECT FROM {})", table.rows)]


def inject_damage(connection: Connection, seed: str) -> list[InjectedDamage]:
    """Do all the harm that the database offers room for, each kind to another table where there are enough.

    A table whose own rules forbid it (a check, a domain, a publication that needs a key) is passed over.
    """
    rng = Random(seed)  # noqa: S311 - repeatable, not secret
    tables = tables_of(connection)
    rng.shuffle(tables)
    done: list[InjectedDamage] = []
    references: dict[str, list[_Reference]] = {}
    for reference in _references(connection):
        references.setdefault(reference.parent, []).append(reference)
    with _unguarded(connection):
        for harm in (partial(_break_reference, references), _null_values, _delete_rows):
            hit = {each.table for each in done}
            fresh = [table for table in tables if table.name not in hit]
            for table in [*fresh, *(each for each in tables if each.name in hit)]:
                if found := _tried(connection, [table.name], partial(harm, connection, table)):
                    done.append(found)
                    break
    return done


def _delete_rows(connection: Connection, table: Table) -> InjectedDamage | None:
    rows = _execute(
        connection,
        # By their place: operators of the key's type may be an extension's, which no path of ours leads to.
        "DELETE FROM {} WHERE (tableoid, ctid) IN (SELECT tableoid, ctid FROM {} ORDER BY {} LIMIT"
        f" (SELECT greatest(1, count(*) / {_SHARE}) FROM {{}}))",
        *(table.rows, table.rows, table.order, table.rows),
    )
    return InjectedDamage(table.name, "rows deleted", rows) if rows else None


def _null_values(connection: Connection, table: Table) -> InjectedDamage | None:
    # Of a handful of values, one that went is not told from an ordinary day's change.
    counts = quoting.joined(", ", [quoting.statement("count({})", quoting.name(c)) for c in table.nullable])
    query = quoting.statement("SELECT {} FROM {}", counts, table.rows)
    values = connection.execute(query).fetchone() if table.nullable else ()
    for column, count in zip(table.nullable, values or (), strict=False):
        if count < _SHARE:
            continue
        name = quoting.name(column)
        nulled = partial(
            _execute,
            connection,
            "UPDATE {} SET {} = NULL WHERE (tableoid, ctid) IN (SELECT tableoid, ctid FROM {} WHERE {} IS NOT NULL"
            f" ORDER BY {{}} LIMIT {count // _SHARE})",
            *(table.rows, name, table.rows, name, table.order),
        )
        if rows := _tried(
            connection, (), nulled
        ):  # else a check, a domain or an exclusion wants a value there
            return InjectedDamage(table.name, f"values of {column} nulled", rows)
    return None


@dataclass(frozen=True, slots=True)
class _Reference:
    """A foreign key of one column, and the operator that compares."""

    child: str
    child_column: str
    parent: str
    column: str
    equal: tuple[str, str]


def _references(connection: Connection) -> list[_Reference]:
    return [
        _Reference(qualified_name(*row[:2]), row[2], qualified_name(*row[3:5]), row[5], (row[6], row[7]))
        for row in connection.execute(_REFERENCES).fetchall()
    ]


def _break_reference(
    references: Mapping[str, Sequence[_Reference]], connection: Connection, table: Table
) -> InjectedDamage | None:
    """Delete a row that another table refers to, as somebody does who has switched triggers off."""
    for reference in references.get(table.name, ()):
        referring = quoting.name(reference.child_column)
        rows = _execute(
            connection,
            "DELETE FROM {} WHERE (tableoid, ctid) IN (SELECT p.tableoid, p.ctid FROM {} p JOIN {} c ON p.{} {} c.{}"
            " ORDER BY c.{} LIMIT 1)",
            *(table.rows, table.rows, quoting.relation(reference.child)),
            *(quoting.name(reference.column), quoting.operator(reference.equal), referring, referring),
        )
        if rows:
            return InjectedDamage(table.name, f"a row deleted that {reference.child} refers to", rows)
    return None


def add_newer_rows(
    connection: Connection, avoid: Sequence[str], seed: str, at_most: int = 3
) -> dict[str, int]:
    """Rows that the backup does not have, in tables that were not hit: work of the day that must survive.

    Each is a copy of a row under a new key, where the key is one number or uuid and nothing else forbids it. Where a
    whole copy is refused, as where what it refers to was deleted, it is one without the values that may be null.
    """
    rng = Random(seed)  # noqa: S311
    tables = [table for table in tables_of(connection) if table.name not in avoid]
    rng.shuffle(tables)
    added: dict[str, int] = {}
    for table in tables:
        if len(added) == at_most:
            break
        for left_out in ((), table.nullable):
            copying = partial(clone_row, connection, table, left_out)
            if _tried(connection, [table.name], copying) is not None:
                added[table.name] = 1
                break
    return added


def clone_row(connection: Connection, table: Table, left_out: Sequence[str] = ()) -> Any:
    """Copy one row under a new key, which is returned; None where the key's type does not offer one.

    Columns ``left_out`` are null in the copy.
    """
    columns = connection.execute(
        "SELECT attname::text, pg_catalog.format_type(atttypid, NULL) FROM pg_catalog.pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
        (_text_of(connection, table.name),),
    ).fetchall()
    types: dict[str, str] = dict(columns)
    if len(table.key) != 1 or table.key[0] not in types:  # nor can a generated one be chosen
        return None
    (key,) = table.key
    own = quoting.name(key)
    if types[key] == "uuid":
        fresh = quoting.statement("pg_catalog.gen_random_uuid()")
    elif types[key] in ("smallint", "integer", "bigint", "numeric"):
        fresh = quoting.statement("(SELECT max({}) + 1 FROM {})", own, table.rows)
    else:
        return None
    empty = quoting.statement("NULL")
    values = [
        fresh if column == key else empty if column in left_out else quoting.name(column) for column in types
    ]
    row = connection.execute(
        quoting.statement(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} ORDER BY {} DESC LIMIT 1 RETURNING {}",
            quoting.relation(table.name),
            quoting.names(list(types)),
            quoting.joined(", ", values),
            table.rows,
            own,
            own,
        )
    ).fetchone()
    return None if row is None else row[0]


@dataclass(frozen=True, slots=True)
class Dependent:
    """A row of ``child`` that was made to refer to a new row of ``parent``, and what it referred to before."""

    parent: str
    child: str
    column: str
    referred_to: Any
    refers_to: Any

    def undo(self, connection: Connection) -> None:
        """Refer to the former row again. Raises psycopg.Error."""
        with connection.transaction(), user_triggers_off(connection, [self.child]):
            _execute(
                connection,
                "UPDATE {} SET {} = {} WHERE {} = {}",
                *_assignment(self.child, self.column, self.referred_to, self.refers_to),
            )


def depend_on(connection: Connection, parents: Sequence[str]) -> Dependent | None:
    """Work newer than the backup that needs a row of a damaged table which the backup does not have.

    Putting that table back as it was would orphan it. None where no table offers it.
    """
    known = {table.name: table for table in tables_of(connection)}
    for each in _references(connection):
        parent = known.get(each.parent)
        if (
            parent is None
            or parent.name not in parents
            or each.child in parents
            or parent.key != (each.column,)
        ):
            continue
        moved = _tried(
            connection,
            [parent.name, each.child],
            partial(_move_child, connection, parent, each.column, each.child, each.child_column),
        )
        if moved is not None:
            return moved
    return None


def _move_child(
    connection: Connection, parent: Table, column: str, child: str, child_column: str
) -> Dependent | None:
    """Make a row of ``child`` refer to a new row of ``parent``."""
    referring = (quoting.name(child_column), quoting.relation(child), quoting.name(child_column))
    row = connection.execute(
        quoting.statement(
            "SELECT {} FROM {} WHERE {} IN (SELECT {} FROM {}) LIMIT 1",
            *(*referring, quoting.name(column), quoting.relation(parent.name)),
        )
    ).fetchone()
    fresh = None if row is None else clone_row(connection, parent)
    if row is None or fresh is None:  # nor is the type one whose operators are PostgreSQL's own
        return None
    connection.execute(
        quoting.statement(
            "UPDATE {} SET {} = {} WHERE (tableoid, ctid) IN (SELECT tableoid, ctid FROM {} WHERE {} = {} LIMIT 1)",
            *_assignment(child, child_column, fresh, row[0], once=True),
        )
    )
    return Dependent(parent.name, child, child_column, row[0], fresh)


def _assignment(table: str, column: str, value: Any, where: Any, *, once: bool = False) -> tuple[Any, ...]:
    relation, name = quoting.relation(table), quoting.name(column)
    found = (relation, name, sql.Literal(where)) if once else (name, sql.Literal(where))
    return (relation, name, sql.Literal(value), *found)


def _tried(connection: Connection, tables: Sequence[str], act: Callable[[], T]) -> T | None:
    """What ``act`` returns, done with the triggers and rules of ``tables`` off; None, and nothing done, if refused.

    Foreign keys stay as they are. Any error is a refusal: a check or trigger of somebody raises what it likes.
    """
    try:
        with connection.transaction(), user_triggers_off(connection, tables):
            return act()
    except psycopg.Error:
        if connection.closed:
            raise
        return None


@contextmanager
def _unguarded(connection: Connection) -> Iterator[None]:
    """With neither triggers nor foreign keys (runtime-config-client.html, session_replication_role)."""
    connection.execute("SET session_replication_role = replica")
    try:
        yield
    finally:
        connection.execute("RESET session_replication_role")


def _execute(connection: Connection, template: str, *parts: Any) -> int:
    return connection.execute(quoting.statement(template, *parts)).rowcount


def _one(connection: Connection, template: str, rows: sql.Composed) -> Any:
    row = connection.execute(quoting.statement(template, rows)).fetchone()
    return row[0] if row else None


def _text_of(connection: Connection, table: str) -> str:
    return quoting.relation(table).as_string(connection)
