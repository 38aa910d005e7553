"""Who owns what on a server, and which tables depend on code of others: asked before rows are loaded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from recyclic_backups.fingerprint.foreign_code import (
    ACTS_FOR_ITS_AUTHOR,
    CALLED,
    LOOKS_FOR_CODE,
    run_by_checks,
    run_by_generated_columns,
    run_by_planning,
)
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.programs import in_encoding
from recyclic_backups.restore.contents import Entry, one_line
from recyclic_backups.restore.loaders import DATABASE_OWNER, NOBODY

_ROLES = "SELECT rolname, rolsuper FROM pg_catalog.pg_roles"

_TABLES = """
    SELECT n.nspname, c.relname, r.rolname, c.oid,
        pg_catalog.has_table_privilege(r.oid, c.oid, 'INSERT')
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
"""

# Tables of superusers from which one comes, over what they depend on (pg_depend), to something of another owner that
# the server may compute when rows come in. What depends on a table and belongs to it (constraints, expressions of
# columns) is looked at with it, and so are all tables that it is a partition or child of, and those that are its own.
# Functions that a function calls are in no catalog: whoever calls a stranger's from his own has trusted him.
_WITH_FOREIGN_CODE = """
WITH RECURSIVE step(classid, objid, root) AS (
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, c.oid, c.oid
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
    WHERE r.rolsuper AND c.relkind IN ('r', 'p') AND c.oid >= 16384
  UNION
    SELECT e.classid, e.objid, s.root FROM step s CROSS JOIN LATERAL (
        SELECT d.refclassid, d.refobjid FROM pg_catalog.pg_depend d
        WHERE d.classid = s.classid AND d.objid = s.objid AND d.refobjid >= 16384
          AND d.refclassid IN ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_type'::pg_catalog.regclass,
              'pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass)
          AND s.classid <> 'pg_catalog.pg_proc'::pg_catalog.regclass
        UNION ALL
        SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid FROM pg_catalog.pg_constraint k
        WHERE k.contype = 'c' AND ((s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND k.conrelid = s.objid)
            OR (s.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND k.contypid = s.objid))
        UNION ALL
        SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, a.oid FROM pg_catalog.pg_attrdef a
        WHERE s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND a.adrelid = s.objid
        UNION ALL
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, i.inhrelid FROM pg_catalog.pg_inherits i
        WHERE s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND i.inhparent = s.objid
    ) e(classid, objid))
SELECT DISTINCT s.root FROM step s
LEFT JOIN pg_catalog.pg_proc p ON s.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = s.objid
LEFT JOIN pg_catalog.pg_type t ON s.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND t.oid = s.objid
LEFT JOIN pg_catalog.pg_operator o ON s.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = s.objid
LEFT JOIN pg_catalog.pg_class c ON s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = s.objid
    AND c.relkind IN ('r', 'p')
JOIN pg_catalog.pg_roles r ON r.oid = coalesce(p.proowner, t.typowner, o.oprowner, c.relowner)
WHERE NOT r.rolsuper
"""

_FOREIGN_CASTS = """
    SELECT EXISTS (SELECT FROM pg_catalog.pg_cast k JOIN pg_catalog.pg_proc p ON p.oid = k.castfunc
        JOIN pg_catalog.pg_roles r ON r.oid = p.proowner WHERE NOT r.rolsuper)
"""

_ANYTHING_OF_OTHERS = """
    SELECT EXISTS (SELECT FROM (
        SELECT relowner AS owner FROM pg_catalog.pg_class WHERE oid >= 16384
        UNION ALL SELECT proowner FROM pg_catalog.pg_proc WHERE oid >= 16384
        UNION ALL SELECT oprowner FROM pg_catalog.pg_operator WHERE oid >= 16384
        UNION ALL SELECT typowner FROM pg_catalog.pg_type WHERE oid >= 16384
        UNION ALL SELECT collowner FROM pg_catalog.pg_collation WHERE oid >= 16384
        UNION ALL SELECT nspowner FROM pg_catalog.pg_namespace WHERE oid >= 16384) everything
    JOIN pg_catalog.pg_roles r ON r.oid = everything.owner WHERE NOT r.rolsuper)
"""

# Whatever a name can mean that strangers own, as a listing calls it, and whether it came along with something else: the
# array of a type, the sequence of an identity. Of aggregates, whose arguments pg_dump writes in ways of its own, the
# name and a parenthesis.
_OF_OTHERS = """
    SELECT o.kind, n.nspname, o.name, r.rolname, EXISTS (
        SELECT FROM pg_catalog.pg_depend d WHERE d.classid = o.classid AND d.objid = o.oid AND d.deptype = 'i')
    FROM (
        SELECT 'FUNCTION', 'pg_catalog.pg_proc'::pg_catalog.regclass, oid, pronamespace, proowner, proname || '('
            || CASE prokind WHEN 'a' THEN '' ELSE pg_catalog.oidvectortypes(proargtypes) || ')' END
        FROM pg_catalog.pg_proc
        UNION ALL SELECT 'OPERATOR', 'pg_catalog.pg_operator'::pg_catalog.regclass, oid, oprnamespace, oprowner, oprname
        FROM pg_catalog.pg_operator
        UNION ALL SELECT CASE relkind WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, 'pg_catalog.pg_class'::pg_catalog.regclass,
            oid, relnamespace, relowner, relname
        FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
        UNION ALL SELECT 'TYPE', 'pg_catalog.pg_type'::pg_catalog.regclass, oid, typnamespace, typowner, typname
        FROM pg_catalog.pg_type WHERE typrelid = 0
        UNION ALL SELECT 'COLLATION', 'pg_catalog.pg_collation'::pg_catalog.regclass, oid, collnamespace, collowner,
            collname
        FROM pg_catalog.pg_collation
        UNION ALL SELECT 'OPERATOR CLASS', 'pg_catalog.pg_opclass'::pg_catalog.regclass, oid, opcnamespace, opcowner,
            opcname
        FROM pg_catalog.pg_opclass
        UNION ALL SELECT 'TEXT SEARCH CONFIGURATION', 'pg_catalog.pg_ts_config'::pg_catalog.regclass, oid, cfgnamespace,
            cfgowner, cfgname
        FROM pg_catalog.pg_ts_config
        UNION ALL SELECT 'TEXT SEARCH DICTIONARY', 'pg_catalog.pg_ts_dict'::pg_catalog.regclass, oid, dictnamespace,
            dictowner, dictname
        FROM pg_catalog.pg_ts_dict) o(kind, classid, oid, namespace, owner, name)
    JOIN pg_catalog.pg_namespace n ON n.oid = o.namespace JOIN pg_catalog.pg_roles r ON r.oid = o.owner
    WHERE o.oid >= 16384 AND NOT r.rolsuper AND NOT pg_catalog.starts_with(n.nspname, 'pg_') AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend d WHERE d.classid = o.classid AND d.objid = o.oid AND d.deptype = 'e')
"""

# Materialized views of superusers from which one comes, by way of views and partitions, to a function, an operator or a
# domain of another owner (also where it is a part of a type, or what JSON is RETURNING, which is in no pg_depend), or
# to a table that no query can be planned on without running his functions. Or to a foreign table of his, whose values
# are read by its domains, or to a view of his that calls anything but what a list says is harmless. Or to any table
# while a cast from somebody's type is his function: to_json(), ``||`` and others look for one, whatever they are given.
_COMPUTED_WITH_CODE = f"""
WITH RECURSIVE step(classid, objid, root) AS (
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, c.oid, c.oid
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
    WHERE r.rolsuper AND c.relkind = 'm' AND c.oid >= 16384
  UNION
    SELECT e.classid, e.objid, s.root FROM step s CROSS JOIN LATERAL (
        SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass::oid, w.oid FROM pg_catalog.pg_rewrite w
        WHERE s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND w.ev_class = s.objid
        UNION ALL
        SELECT d.refclassid, d.refobjid FROM pg_catalog.pg_depend d
        WHERE s.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.classid = s.classid
          AND d.objid = s.objid AND d.refobjid >= 16384
        UNION ALL
        SELECT s.classid, i.inhrelid FROM pg_catalog.pg_inherits i
        WHERE s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND i.inhparent = s.objid
        UNION ALL
        SELECT 'pg_catalog.pg_type'::pg_catalog.regclass::oid, m[1]::oid FROM pg_catalog.pg_rewrite w
        CROSS JOIN LATERAL pg_catalog.regexp_matches(w.ev_action::text, ':typid (\\d+)', 'g') m
        WHERE s.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND w.oid = s.objid
        UNION ALL
        SELECT d.refclassid, d.refobjid FROM pg_catalog.pg_depend d
        WHERE s.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.classid = s.classid
          AND d.objid = s.objid AND d.refclassid = s.classid AND d.refobjid >= 16384
        UNION ALL
        SELECT s.classid, a.atttypid FROM pg_catalog.pg_type y JOIN pg_catalog.pg_attribute a ON a.attrelid = y.typrelid
        WHERE s.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND y.oid = s.objid
          AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384
    ) e(classid, objid))
SELECT DISTINCT n.nspname, v.relname, pg_catalog.pg_get_userbyid(v.relowner) FROM step s
JOIN pg_catalog.pg_class v ON v.oid = s.root JOIN pg_catalog.pg_namespace n ON n.oid = v.relnamespace
LEFT JOIN pg_catalog.pg_proc p ON s.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = s.objid
LEFT JOIN pg_catalog.pg_operator o ON s.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = s.objid
LEFT JOIN pg_catalog.pg_proc c ON c.oid = o.oprcode
LEFT JOIN pg_catalog.pg_type t ON s.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND t.oid = s.objid
    AND t.typtype = 'd'
LEFT JOIN pg_catalog.pg_roles r ON r.oid = coalesce(p.proowner, c.proowner, t.typowner)
WHERE NOT r.rolsuper
   OR (s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND s.objid = ANY(%(planned)s::oid[]))
   OR EXISTS (SELECT FROM pg_catalog.pg_class f JOIN pg_catalog.pg_roles r2 ON r2.oid = f.relowner
        WHERE s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND f.oid = s.objid
          AND f.relkind = 'f' AND NOT r2.rolsuper)
   OR EXISTS (SELECT FROM pg_catalog.pg_rewrite w JOIN pg_catalog.pg_class v2 ON v2.oid = w.ev_class
        JOIN pg_catalog.pg_roles r4 ON r4.oid = v2.relowner
        WHERE s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND v2.oid = s.objid
          AND v2.relkind = 'v' AND NOT r4.rolsuper AND (w.ev_action::text ~ '{LOOKS_FOR_CODE}' OR EXISTS (
            SELECT FROM (SELECT w.ev_action::text, v2.relowner) e(tree, maker) {CALLED} WHERE {ACTS_FOR_ITS_AUTHOR})))
   OR (s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND s.objid <> s.root
        AND EXISTS (SELECT FROM pg_catalog.pg_cast k JOIN pg_catalog.pg_proc f ON f.oid = k.castfunc
            JOIN pg_catalog.pg_roles r3 ON r3.oid = f.proowner WHERE k.castsource >= 16384 AND NOT r3.rolsuper))
"""

# Names of tables, of those that they are parts of or consist of, and of the indexes of all of these.
_NAMES_AROUND = """
    WITH RECURSIVE around(oid) AS (
        SELECT pg_catalog.unnest(%s::oid[])
      UNION
        SELECT CASE around.oid WHEN i.inhrelid THEN i.inhparent ELSE i.inhrelid END
        FROM around JOIN pg_catalog.pg_inherits i ON around.oid IN (i.inhrelid, i.inhparent))
    SELECT c.relname FROM around
    LEFT JOIN pg_catalog.pg_index i ON i.indrelid = around.oid
    JOIN pg_catalog.pg_class c ON c.oid IN (around.oid, i.indexrelid)
"""

# Functions and operators of strangers beside one of that name that others own and that fits not only exactly.
_CALLED_INSTEAD = """
    SELECT p.proname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_roles r ON r.oid = p.proowner
    WHERE p.oid >= 16384 AND NOT r.rolsuper AND r.rolname <> %s AND EXISTS (
        SELECT FROM pg_catalog.pg_proc q WHERE q.pronamespace = p.pronamespace AND q.proname = p.proname
          AND q.proowner <> p.proowner AND (q.pronargdefaults > 0 OR q.provariadic <> 0 OR EXISTS (
            SELECT FROM pg_catalog.pg_type t WHERE t.oid = ANY(q.proargtypes::oid[]) AND t.typtype = 'p')))
  UNION
    SELECT p.oprname FROM pg_catalog.pg_operator p JOIN pg_catalog.pg_roles r ON r.oid = p.oprowner
    WHERE p.oid >= 16384 AND NOT r.rolsuper AND r.rolname <> %s AND EXISTS (
        SELECT FROM pg_catalog.pg_operator q JOIN pg_catalog.pg_type t ON t.oid IN (q.oprleft, q.oprright)
        WHERE q.oprnamespace = p.oprnamespace AND q.oprname = p.oprname AND q.oprowner <> p.oprowner
          AND t.typtype = 'p')
"""
_CAST_TO = """
    SELECT DISTINCT pg_catalog.format_type(k.casttarget, NULL) FROM pg_catalog.pg_cast k
    JOIN pg_catalog.pg_proc p ON p.oid = k.castfunc JOIN pg_catalog.pg_roles r ON r.oid = p.proowner
    WHERE NOT r.rolsuper AND r.rolname <> %s
"""
# Not to be read, or not to be written, by people: as the owner of a view or a rule on them a superuser would lend both.
_OF_SYSTEM = """
    SELECT c.relname FROM pg_catalog.pg_class c
    WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND c.relkind IN ('r', 'v')
      AND (c.relkind = 'r' OR NOT EXISTS (
        SELECT FROM pg_catalog.aclexplode(c.relacl) x WHERE x.grantee = 0 AND x.privilege_type = 'SELECT'))
"""
# What PostgreSQL lets everybody call once it is made, though it acts as its owner or without bounds.
_WITH_POWERS = """
    SELECT pg_catalog.format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid))
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE p.oid >= 16384 AND (p.prosecdef OR NOT (l.lanpltrusted OR l.lanname IN ('c', 'internal'))) AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
          AND d.objid = p.oid AND d.deptype = 'e')
    ORDER BY 1
"""

# Partitioned tables of strangers with a column of a type of somebody's: a bound is a value of it.
_PARTITIONED = """
    SELECT c.oid::bigint FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
    WHERE c.relkind = 'p' AND NOT r.rolsuper AND EXISTS (
        SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND t.oid >= 16384 AND t.typtype <> 'e')
"""
_TABLES_OF_CHECKS = """
    SELECT k.conrelid::bigint FROM pg_catalog.pg_constraint k WHERE k.conrelid <> 0 AND k.oid = ANY(%s::oid[])
"""
_MADE_WITH_DEFINITIONS = """
    SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint k LEFT JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
        WHERE k.oid = ANY(%s::oid[]) AND (k.contypid <> 0 OR c.relkind = 'p' OR c.relispartition))
"""


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles of a server, as an archive names them, and as the connection does."""

    superusers: Mapping[str, str]
    others: Mapping[str, str]

    def is_foreign(self, entry: Entry) -> bool:
        """Whether an entry may belong to somebody who is no superuser here."""
        return bool(entry.belongs_to(self.others)) or not entry.belongs_to(self.superusers)

    def owner_of(self, entry: Entry) -> str | None:
        """The owner of an entry that is foreign, as the connection names him; None if this server has no such role."""
        return next((self.others[listed] for listed in entry.belongs_to(self.others)), None)


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is there, still empty. ``oid`` is the server's; names are as the archive has them."""

    schema: str
    name: str
    owner: str
    superuser: bool
    oid: int
    may_insert: bool
    foreign_code: bool = False
    names: tuple[str, str] = ("", "")
    """Schema and name as the connection has them."""
    owner_name: str = ""

    def name_fits(self, entry: Entry) -> bool:
        """Whether an entry may be of this table."""
        return entry.is_in(self.schema, self.name, self.owner)

    @property
    def loader(self) -> str | None:
        """With whose rights its rows are loaded; None for those of the superuser who restores."""
        if not self.superuser:
            return self.owner_name
        return NOBODY if self.foreign_code else None


@dataclass(frozen=True, slots=True)
class Tables:
    """All tables of a database, and whether a function of a foreign owner is a cast there."""

    tables: Sequence[Table]
    foreign_casts: bool

    def of(self, entry: Entry) -> Table | None:
        """The table of an entry, or that a constraint is of; the one of least rights if several may be meant."""
        found = [each for each in self.tables if each.name_fits(entry)]
        return min(
            found, key=lambda each: (each.superuser, not each.foreign_code, -len(each.name)), default=None
        )


def read_roles(connection: Connection, encoding: str, database_owner: str) -> Roles:
    """Who is on the server; ``pg_database_owner`` is a superuser if the ``database_owner`` of the source is one.

    While a restore lasts the database still belongs to whoever restores, which says nothing.
    """
    superusers = _superusers(connection, database_owner)
    roles = [str(row[0]) for row in connection.execute(_ROLES)]
    return Roles(
        {in_encoding(role, encoding): role for role in roles if role in superusers},
        {in_encoding(role, encoding): role for role in roles if role not in superusers},
    )


def _superusers(connection: Connection, database_owner: str) -> set[str]:
    found = {str(role) for role, superuser in connection.execute(_ROLES) if superuser}
    return found | ({DATABASE_OWNER} if database_owner in found else set())


def read_tables(
    connection: Connection, encoding: str, database_owner: str, stands_for_owner: str = ""
) -> Tables:
    """What is there once the definitions are restored.

    ``stands_for_owner`` is the role that owns for the time what is of ``pg_database_owner``.
    """
    foreign = {int(row[0]) for row in connection.execute(_WITH_FOREIGN_CODE)}
    superusers = _superusers(connection, database_owner)
    tables = []
    for schema, table, role, oid, may_insert in connection.execute(_TABLES):
        owner = DATABASE_OWNER if role == stands_for_owner else role
        tables.append(
            Table(
                schema=in_encoding(schema, encoding),
                name=in_encoding(table, encoding),
                owner=in_encoding(owner, encoding),
                superuser=owner in superusers,
                oid=oid,
                may_insert=may_insert,
                foreign_code=oid in foreign,
                names=(schema, table),
                owner_name=owner,
            )
        )
    return Tables(tables, foreign_casts=has_foreign_casts(connection))


def has_foreign_casts(connection: Connection) -> bool:
    """Whether a function of somebody who is no superuser is a cast."""
    row = connection.execute(_FOREIGN_CASTS).fetchone()
    return row is None or bool(row[0])


def named_before_others(connection: Connection, encoding: str, owner: str = "") -> frozenset[str]:
    """Names of functions and operators of strangers that may be called where a text of the ``owner``'s meant others.

    Those beside one of the same name that takes several types, or fewer than all of its arguments: theirs may fit
    better. Where one fits exactly the texts of pg_dump say so, by casts.
    """
    return frozenset(
        in_encoding(row[0], encoding) for row in connection.execute(_CALLED_INSTEAD, (owner, owner))
    )


def cast_by_others(connection: Connection, encoding: str, owner: str = "") -> frozenset[str]:
    """Types, as SQL, to which a function of a stranger casts some other type."""
    return frozenset(in_encoding(row[0], encoding) for row in connection.execute(_CAST_TO, (owner,)))


def relations_of_system(connection: Connection) -> Sequence[str]:
    """Relations of PostgreSQL's own that only superusers may read, or write."""
    return [row[0] for row in connection.execute(_OF_SYSTEM)]


def keep_powers(connection: Connection) -> Sequence[str]:
    """Take functions that act as their owner, or without bounds, from whoever is given no right to call them."""
    found = [str(row[0]) for row in connection.execute(_WITH_POWERS)]
    for function in found:
        connection.execute(f"REVOKE EXECUTE ON ROUTINE {function} FROM PUBLIC".encode())
    return found


def is_plain_table(connection: Connection, table: str) -> bool:
    """Whether this is a table that has no partitions; its name is as SQL."""
    query = "SELECT FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass(%s) AND relkind = 'r'"
    return connection.execute(query, (table,)).fetchone() is not None


def read_schemas(connection: Connection, encoding: str) -> Sequence[tuple[str, str]]:
    """Schemas that are not PostgreSQL's own, as a listing has their names and as the connection has them."""
    rows = connection.execute(
        "SELECT nspname FROM pg_catalog.pg_namespace"
        " WHERE nspname <> 'information_schema' AND NOT pg_catalog.starts_with(nspname, 'pg_')"
    )
    return [(one_line(in_encoding(schema, encoding)), schema) for (schema,) in rows]


def objects_of_others(
    connection: Connection, encoding: str, stands_for_owner: str
) -> Iterator[tuple[str, str, str, bool]]:
    """Kind, schema with name, and owner of whatever strangers own, as a listing has them; and whether it came along."""
    for kind, schema, name, role, came_along in connection.execute(_OF_OTHERS):
        owner = DATABASE_OWNER if role == stands_for_owner else role
        named = f"{in_encoding(schema, encoding)} {in_encoding(name, encoding)}"
        yield kind, one_line(named), one_line(in_encoding(owner, encoding)), came_along


def anything_of_others(connection: Connection) -> bool:
    """Whether somebody who is no superuser owns something that a name could mean, or a schema to make it in."""
    row = connection.execute(_ANYTHING_OF_OTHERS).fetchone()
    return row is None or bool(row[0])


def planned_with_code_of_others(connection: Connection, encoding: str) -> frozenset[str]:
    """Names, without schemas, of tables on which no query is planned without somebody's functions, and of indexes.

    To validate a foreign key the server asks one query of both its tables, as whoever adds it (RI_Initial_Check in
    src/backend/utils/adt/ri_triggers.c): by then their indexes are there.
    """
    return _names_around(connection, encoding, _planned_with_code_of_others(connection))


def attached_with_code_of_others(connection: Connection, encoding: str) -> frozenset[str]:
    """Names, without schemas, of tables to which no partition is attached without running somebody's functions."""
    by_checks = list(run_by_checks(connection))
    oids = {
        *_planned_with_code_of_others(connection),
        *(row[0] for row in connection.execute(_PARTITIONED)),
        *(row[0] for row in connection.execute(_TABLES_OF_CHECKS, (by_checks,))),
    }
    return _names_around(connection, encoding, oids)


def definitions_run_code_of_others(connection: Connection) -> bool:
    """Whether making these definitions in a database without rows runs somebody's functions.

    Read off definitions that were made already: whatever ran last among them is still there.
    """
    if _planned_with_code_of_others(connection) or run_by_generated_columns(connection):
        return True
    row = connection.execute(_MADE_WITH_DEFINITIONS, (list(run_by_checks(connection)),)).fetchone()
    return row is None or bool(row[0])


def _names_around(connection: Connection, encoding: str, oids: Collection[int]) -> frozenset[str]:
    rows = connection.execute(_NAMES_AROUND, (list(oids),)).fetchall() if oids else []
    return frozenset(in_encoding(row[0], encoding) for row in rows)


def computed_with_code_of_others(connection: Connection, encoding: str) -> frozenset[str]:
    """Materialized views of superusers, as a listing has them, that run somebody's functions when they are filled.

    They are filled in the name of their owner (https://www.postgresql.org/docs/15/sql-refreshmaterializedview.html).
    """
    planned = {"planned": _planned_with_code_of_others(connection)}
    rows = connection.execute(_COMPUTED_WITH_CODE, planned).fetchall()
    return frozenset(" ".join(one_line(in_encoding(each, encoding)) for each in row) for row in rows)


def _planned_with_code_of_others(connection: Connection) -> list[int]:
    superusers = {role for role, superuser in connection.execute(_ROLES) if superuser}
    found = run_by_planning(connection)  # functions in SQL of superusers too, for another reason
    return [oid for oid, owners in found.items() if not superusers.issuperset(owners)]
