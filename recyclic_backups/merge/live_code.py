"""Whose code runs when rows are put back into live tables: asked of the catalogs alone, under locks that keep it true.

A row that comes in has CHECK constraints, domains, generated columns, index expressions and partition keys computed
in the name of whoever writes it; planning any query on a table computes the constant parts of its indexes' expressions
(:mod:`recyclic_backups.fingerprint.foreign_code`); a foreign key reads other tables, and may write into them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from recyclic_backups.errors import DatabaseError
from recyclic_backups.fingerprint.foreign_code import (
    ACTS_FOR_ITS_AUTHOR,
    CALLED,
    FIRST_MADE_BY_PEOPLE,
    LOOKS_FOR_CODE,
    PARTS_OF_TYPE,
)
from recyclic_backups.postgres import quoting
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import qualified_name

_ATTEMPTS = 5

_TREE = """
WITH RECURSIVE tree(oid) AS (
    SELECT pg_catalog.unnest(%(oids)s::oid[])
  UNION
    SELECT i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid)
SELECT oid::bigint FROM tree ORDER BY 1
"""

# Tables that a foreign key leads to from some tables, and those from which one leads to them. Where rows that go take
# others with them (CASCADE, SET NULL, SET DEFAULT), those are written into, and it goes on from there.
_NEIGHBOURS = """
WITH RECURSIVE children(oid, written) AS (
    SELECT k.conrelid, k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd')
    FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.confrelid = ANY(%(oids)s::oid[])
  UNION
    SELECT k.conrelid, k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd')
    FROM children JOIN pg_catalog.pg_constraint k ON k.contype = 'f' AND k.confrelid = children.oid
    WHERE children.written)
SELECT oid::bigint, pg_catalog.bool_or(written) FROM (
    SELECT oid, written FROM children
    UNION ALL
    SELECT k.confrelid, false FROM pg_catalog.pg_constraint k
    WHERE k.contype = 'f' AND k.conrelid = ANY(%(oids)s::oid[])) near(oid, written)
WHERE oid <> ALL(%(oids)s::oid[]) GROUP BY oid ORDER BY oid
"""

_DESCRIBED = """
SELECT n.nspname, c.relname, r.rolname, r.rolsuper FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
WHERE c.oid = ANY(%(oids)s::oid[]) ORDER BY c.oid
"""

# A schema that is renamed would have our next statement find another table of the same name, or none.
_SCHEMAS_HELD = """
SELECT FROM pg_catalog.pg_namespace n
WHERE n.oid IN (SELECT c.relnamespace FROM pg_catalog.pg_class c WHERE c.oid = ANY(%(oids)s::oid[])) FOR SHARE
"""

_TRUSTED = "(SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolsuper OR r.rolname = ANY(%(trusted)s))"

# The expressions of tables and of what they are partitions of, the types that occur in them, and what those consist of.
# A type is its owner's code: a domain's checks can be added while a table is locked, and a cast from it is found by
# the server on its own. Of PostgreSQL's own functions some run what a text says (foreign_code.ACTS_FOR_ITS_AUTHOR), and
# so does the syntax of JSON and XML, which looks for casts and types by itself.
_COMPUTED = rf"""
WITH RECURSIVE trusted(oid) AS {_TRUSTED},
relation(oid) AS (
    SELECT pg_catalog.unnest(%(oids)s::oid[])
  UNION
    SELECT i.inhparent FROM relation JOIN pg_catalog.pg_inherits i ON i.inhrelid = relation.oid),
expression(relid, maker, tree) AS (
    SELECT c.oid, c.relowner, e.tree FROM relation JOIN pg_catalog.pg_class c ON c.oid = relation.oid
    CROSS JOIN LATERAL (
        SELECT k.conbin::text FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c'
        UNION ALL
        SELECT d.adbin::text FROM pg_catalog.pg_attrdef d
        JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
        WHERE d.adrelid = c.oid AND a.attgenerated <> ''
        UNION ALL SELECT i.indexprs::text FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid
        UNION ALL SELECT i.indpred::text FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid
        UNION ALL SELECT s.stxexprs::text FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = c.oid
        UNION ALL SELECT t.partexprs::text FROM pg_catalog.pg_partitioned_table t WHERE t.partrelid = c.oid
    ) e(tree) WHERE e.tree IS NOT NULL),
type(relid, oid) AS (
    SELECT relation.oid, a.atttypid FROM relation
    JOIN pg_catalog.pg_attribute a ON a.attrelid = relation.oid AND a.attnum > 0 AND NOT a.attisdropped
  UNION
    SELECT e.relid, m[1]::oid FROM expression e
    CROSS JOIN LATERAL pg_catalog.regexp_matches(e.tree, ':\w*(?:type\w*|typid) (\d+)', 'gi') m
  UNION
    SELECT type.relid, part.oid FROM type JOIN pg_catalog.pg_type t ON t.oid = type.oid
    {PARTS_OF_TYPE} WHERE part.oid <> 0),
computed(relid, maker, tree) AS (
    SELECT relid, maker, tree FROM expression
  UNION ALL
    SELECT type.relid, t.typowner, k.conbin::text FROM type JOIN pg_catalog.pg_type t ON t.oid = type.oid
    JOIN pg_catalog.pg_constraint k ON k.contypid = t.oid AND k.conbin IS NOT NULL),
found(relid, whose) AS (
    SELECT e.relid, CASE WHEN p.proowner IN (SELECT oid FROM trusted) THEN e.maker ELSE p.proowner END FROM computed e
    {CALLED}
    WHERE (p.oid >= {FIRST_MADE_BY_PEOPLE} AND p.proowner NOT IN (SELECT oid FROM trusted))
       OR (e.maker NOT IN (SELECT oid FROM trusted) AND {ACTS_FOR_ITS_AUTHOR})
  UNION
    SELECT e.relid, e.maker FROM computed e
    WHERE e.maker NOT IN (SELECT oid FROM trusted) AND e.tree ~ '{LOOKS_FOR_CODE}'
  UNION
    SELECT type.relid, t.typowner FROM type JOIN pg_catalog.pg_type t ON t.oid = type.oid
    WHERE t.oid >= {FIRST_MADE_BY_PEOPLE} AND t.typowner NOT IN (SELECT oid FROM trusted)
  UNION
    SELECT t.tgrelid, CASE WHEN p.proowner IN (SELECT oid FROM trusted) THEN c.relowner ELSE p.proowner END
    FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
    WHERE t.tgrelid = ANY(%(written)s::oid[]) AND NOT t.tgisinternal AND t.tgenabled <> 'D'
      AND NOT (p.proowner IN (SELECT oid FROM trusted) AND c.relowner IN (SELECT oid FROM trusted))
  UNION
    SELECT w.ev_class, c.relowner FROM pg_catalog.pg_rewrite w JOIN pg_catalog.pg_class c ON c.oid = w.ev_class
    WHERE w.ev_class = ANY(%(written)s::oid[]) AND w.ev_enabled <> 'D'
      AND c.relowner NOT IN (SELECT oid FROM trusted))
SELECT DISTINCT n.nspname, c.relname, pg_catalog.pg_get_userbyid(f.whose) FROM found f
JOIN pg_catalog.pg_class c ON c.oid = f.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY 1, 2, 3
"""

# What an owner may lack to write into his own tables, and to see that no foreign key breaks.
_LACKING = """
SELECT pg_catalog.format('%%I may not connect to the database', %(owner)s::name)
WHERE NOT pg_catalog.has_database_privilege(%(owner)s::name, pg_catalog.current_database(), 'CONNECT')
UNION ALL
SELECT pg_catalog.format('%%I may not make temporary tables in the database', %(owner)s::name)
WHERE NOT pg_catalog.has_database_privilege(%(owner)s::name, pg_catalog.current_database(), 'TEMPORARY')
UNION ALL
SELECT DISTINCT pg_catalog.format('%%I may not use the schema %%I', %(owner)s::name, n.nspname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY(%(oids)s::oid[]) AND NOT pg_catalog.has_schema_privilege(%(owner)s::name, n.oid, 'USAGE')
UNION ALL
SELECT pg_catalog.format('%%I may not read %%I.%%I, which a foreign key leads to or comes from', %(owner)s::name,
    n.nspname, c.relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY(%(near)s::oid[]) AND NOT pg_catalog.has_table_privilege(%(owner)s::name, c.oid, 'SELECT')
UNION ALL
SELECT pg_catalog.format('row-level security may hide rows of %%I.%%I from %%I', n.nspname, c.relname, %(owner)s::name)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY(%(near)s::oid[]) AND c.relrowsecurity
  AND (c.relforcerowsecurity OR NOT pg_catalog.pg_has_role(%(owner)s::name, c.relowner, 'USAGE'))
"""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Tables to be written, with their partitions, and those beyond foreign keys, by oid.

    ``written`` are those of ``near`` into which a foreign key may write.
    """

    merged: tuple[int, ...]
    near: tuple[int, ...]
    written: tuple[int, ...]


def _oids_of(connection: Connection, tables: Sequence[str]) -> list[int]:
    """The tables that are there, by oid."""
    names = [quoting.relation(table).as_string(None) for table in tables]
    query = (
        "SELECT pg_catalog.to_regclass(t)::oid::bigint FROM pg_catalog.unnest(%s::text[]) t"
        " WHERE pg_catalog.to_regclass(t) IS NOT NULL"
    )
    return [row[0] for row in connection.execute(query, (names,))]


def hold(connection: Connection, tables: Sequence[str], *, to_write: bool) -> Surroundings:
    """Lock tables and what surrounds them until the transaction ends: nobody adds code, renames or exchanges any.

    ``to_write`` locks the tables themselves too, for a session that writes into them: others wait to write. Into their
    surroundings everybody may go on writing (https://www.postgresql.org/docs/15/explicit-locking.html).
    """
    seen: Surroundings | None = None
    for _ in range(_ATTEMPTS):
        now = surroundings(connection, tables)
        if now == seen:
            return now
        seen = now
        connection.execute(_SCHEMAS_HELD, {"oids": [*now.merged, *now.near]})
        if to_write:
            # Readers go on; nobody else writes until we are done (sql-lock.html, SHARE ROW EXCLUSIVE).
            _lock(connection, now.merged, "SHARE ROW EXCLUSIVE")
        _lock(connection, now.near, "SHARE UPDATE EXCLUSIVE")
    raise DatabaseError(
        f"foreign keys of the tables changed during each of {_ATTEMPTS} attempts to hold them",
        "something alters tables all the time; try again later",
        retryable=True,
    )


def surroundings(connection: Connection, tables: Sequence[str]) -> Surroundings:
    """The tables of these names and what surrounds them now."""
    merged = _tree(connection, _oids_of(connection, tables))
    near = connection.execute(_NEIGHBOURS, {"oids": merged}).fetchall()
    written = _tree(connection, [oid for oid, is_written in near if is_written])
    beyond = _tree(connection, [oid for oid, _ in near])
    return Surroundings(
        tuple(merged),
        tuple(oid for oid in beyond if oid not in set(merged)),
        tuple(oid for oid in written if oid not in set(merged)),
    )


def _tree(connection: Connection, oids: Sequence[int]) -> list[int]:
    return [row[0] for row in connection.execute(_TREE, {"oids": list(oids)})]


def _lock(connection: Connection, oids: Collection[int], mode: str) -> None:
    for schema, name, *_ in connection.execute(_DESCRIBED, {"oids": list(oids)}).fetchall():
        # ONLY: each partition is in the list itself.
        relation = quoting.relation(qualified_name(schema, name))
        connection.execute(quoting.statement(f"LOCK TABLE ONLY {{}} IN {mode} MODE", relation))


def owners_of(connection: Connection, oids: Collection[int]) -> dict[str, bool]:
    """Who owns these relations, and whether he is a superuser."""
    return {row[2]: row[3] for row in connection.execute(_DESCRIBED, {"oids": list(oids)})}


def code_of_strangers(
    connection: Connection, oids: Collection[int], written: Collection[int], *, trusted: Collection[str] = ()
) -> list[tuple[str, str]]:
    """Tables, by qualified name, of which something is computed that is not of superusers or ``trusted``; and whose."""
    answers = {"oids": list(oids), "written": list(written), "trusted": list(trusted)}
    return [
        (qualified_name(schema, name), owner)
        for schema, name, owner in connection.execute(_COMPUTED.encode(), answers)
    ]


def what_an_owner_lacks(connection: Connection, owner: str, around: Surroundings) -> list[str]:
    """Why an owner's own rights do not do for putting rows back into his tables; empty if they do."""
    answers = {"owner": owner, "oids": [*around.merged, *around.near], "near": list(around.near)}
    return [str(row[0]) for row in connection.execute(_LACKING, answers)]
