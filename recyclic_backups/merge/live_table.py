"""What the backup's tables meet in the live database: columns, keys, and the foreign keys around them."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from recyclic_backups.errors import Refused
from recyclic_backups.postgres import quoting
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import qualified_name

_COLUMNS = """
    SELECT attname, pg_catalog.format_type(atttypid, atttypmod), attgenerated::text
    FROM pg_catalog.pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
    ORDER BY attname
"""
# The primary key, else a unique key whose columns cannot be null: what tells one row from another. With each column
# goes the operator by which its index takes two values for equal (strategy 3 of a B-tree, xindex.html): found by its
# place in the catalog and never by its name, so that nobody's search path decides whose operator is called.
_KEY = """
    SELECT pg_catalog.array_agg(a.attname::text ORDER BY a.attname),
           pg_catalog.array_agg(opn.nspname::text ORDER BY a.attname),
           pg_catalog.array_agg(o.oprname::text ORDER BY a.attname)
    FROM pg_catalog.pg_index i
    CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[])
        WITH ORDINALITY k(attnum, opclass, place)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    JOIN pg_catalog.pg_opclass oc ON oc.oid = k.opclass
    JOIN pg_catalog.pg_am m ON m.oid = oc.opcmethod AND m.amname = 'btree'
    JOIN pg_catalog.pg_amop op ON op.amopfamily = oc.opcfamily AND op.amopstrategy = 3
        AND op.amoplefttype = oc.opcintype AND op.amoprighttype = oc.opcintype
    JOIN pg_catalog.pg_operator o ON o.oid = op.amopopr
    JOIN pg_catalog.pg_namespace opn ON opn.oid = o.oprnamespace
    WHERE i.indrelid = %s::regclass AND i.indisunique AND i.indisvalid AND i.indimmediate
      AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts
    GROUP BY i.indexrelid, i.indisprimary, i.indnkeyatts
    HAVING pg_catalog.bool_and(a.attnotnull) AND count(*) = i.indnkeyatts
    ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1
"""
# With each pair of columns goes the constraint's own operator (conpfeqop, catalog-pg-constraint.html). The last column
# says whether an index begins with the child's columns.
_FOREIGN_KEYS = """
    SELECT c.conname, cn.nspname, ct.relname,
           (SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.n)
            FROM pg_catalog.unnest(c.conkey) WITH ORDINALITY k(attnum, n)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum),
           pn.nspname, pt.relname,
           (SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.n)
            FROM pg_catalog.unnest(c.confkey) WITH ORDINALITY k(attnum, n)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.attnum),
           ARRAY(SELECT ARRAY[opn.nspname::text, o.oprname::text]
            FROM pg_catalog.unnest(c.conpfeqop) WITH ORDINALITY k(equal, n)
            JOIN pg_catalog.pg_operator o ON o.oid = k.equal
            JOIN pg_catalog.pg_namespace opn ON opn.oid = o.oprnamespace ORDER BY k.n),
           c.confdeltype <> 'a', c.confupdtype <> 'a', ct.relkind = 'p', pt.relkind = 'p',
           EXISTS (SELECT FROM pg_catalog.pg_index i
                   WHERE i.indrelid = c.conrelid AND i.indisvalid AND i.indpred IS NULL AND c.conkey
                       <@ (i.indkey::int2[])[0:least(i.indnkeyatts, cardinality(c.conkey)) - 1])
    FROM pg_catalog.pg_constraint c
    JOIN pg_catalog.pg_class ct ON ct.oid = c.conrelid JOIN pg_catalog.pg_namespace cn ON cn.oid = ct.relnamespace
    JOIN pg_catalog.pg_class pt ON pt.oid = c.confrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = pt.relnamespace
    WHERE c.contype = 'f' AND c.conparentid = 0 ORDER BY c.conname, c.oid
"""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key by the qualified names of its tables; columns pair up in order.

    ``equals`` are the operators that compare a pair, the parent's column on the left, by schema and name.
    """

    name: str
    child: str
    child_columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    equals: tuple[tuple[str, str], ...]
    acts_on_delete: bool
    """Whether the server refuses at once, or writes into the children, when a row they refer to is deleted."""
    acts_on_update: bool
    child_is_partitioned: bool
    parent_is_partitioned: bool
    child_is_indexed: bool
    """Whether the server finds the rows that refer to one without reading all of the child."""

    @property
    def child_rows(self) -> sql.Composed:
        """The rows that the key holds for: not those of tables that inherit (ddl-inherit.html, caveats)."""
        return quoting.own_rows(self.child, partitioned=self.child_is_partitioned)

    @property
    def parent_rows(self) -> sql.Composed:
        """The rows that the key may refer to."""
        return quoting.own_rows(self.parent, partitioned=self.parent_is_partitioned)

    def refers(self, child: str, parent: str) -> sql.Composed:
        """That a row of the child, by its alias, refers to one of the parent, by its alias."""
        pairs = zip(self.parent_columns, self.equals, self.child_columns, strict=True)
        return quoting.joined(
            " AND ",
            [
                quoting.statement(
                    "{}.{} {} {}.{}",
                    *(quoting.name(parent), quoting.name(there), quoting.operator(equal)),
                    *(quoting.name(child), quoting.name(here)),
                )
                for there, equal, here in pairs
            ],
        )


@dataclass(frozen=True, slots=True)
class LiveTable:
    """A table to put back, and its number in this merge.

    ``columns`` are those with a value of their own on disk, ``stored`` those of them that are not generated, ``key``
    those that tell one row from another.
    ``equals`` are the operators of the key's index, one for each column of ``key``, by schema and name.
    """

    name: str
    columns: tuple[str, ...]
    stored: tuple[str, ...]
    key: tuple[str, ...]
    equals: tuple[tuple[str, str], ...]
    number: int

    @property
    def staged(self) -> sql.Identifier:
        """The temporary table of the live session with the backup's rows."""
        return quoting.temporary(f"recyclic_staged_{self.number}")

    @property
    def steps(self) -> sql.Identifier:
        """The temporary table that says what becomes of which row."""
        return quoting.temporary(f"recyclic_steps_{self.number}")

    @property
    def relation(self) -> sql.Identifier:
        """The live table itself."""
        return quoting.relation(self.name)

    @property
    def others(self) -> tuple[str, ...]:
        """Columns that are not part of the key and can be set."""
        return tuple(column for column in self.stored if column not in self.key)

    @property
    def same_key(self) -> sql.Composed:
        """That a staged row ``s`` and a live one ``t`` have the same key."""
        return quoting.joined(
            " AND ",
            [
                quoting.statement(
                    "s.{} {} t.{}", quoting.name(column), quoting.operator(equal), quoting.name(column)
                )
                for column, equal in zip(self.key, self.equals, strict=True)
            ],
        )


def describe(source: Connection, target: Connection, name: str, number: int) -> LiveTable:
    """A table that ``source``, the restored database, and ``target``, the live one, both have alike. Raises Refused."""
    quoted = quoting.relation(name).as_string(None)
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
    if all(generated for _, _, generated in here):
        raise Refused(
            f"{name} has no columns by which its rows could be told apart",
            "restore it into a database of its own with --into",
        )
    key = target.execute(_KEY, (quoted,)).fetchone()
    return LiveTable(
        name=name,
        columns=tuple(str(row[0]) for row in here if row[2] != "v"),
        stored=tuple(str(row[0]) for row in here if not row[2]),
        key=tuple(key[0]) if key else (),
        equals=tuple(zip(key[1], key[2], strict=True)) if key else (),
        number=number,
    )


def foreign_keys_of(target: Connection) -> list[ForeignKey]:
    """Every foreign key of the live database; those of partitions are their parents'."""
    return [
        ForeignKey(
            name=str(name),
            child=qualified_name(child_schema, child),
            child_columns=tuple(child_columns),
            parent=qualified_name(parent_schema, parent),
            parent_columns=tuple(parent_columns),
            equals=tuple((schema, symbol) for schema, symbol in equals),
            acts_on_delete=facts[0],
            acts_on_update=facts[1],
            child_is_partitioned=facts[2],
            parent_is_partitioned=facts[3],
            child_is_indexed=facts[4],
        )
        for name, child_schema, child, child_columns, parent_schema, parent, parent_columns, equals, *facts in (
            target.execute(_FOREIGN_KEYS).fetchall()
        )
    ]
