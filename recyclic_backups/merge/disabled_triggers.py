"""What is switched off on live tables while rows are put back, in one transaction, and given back the state it had."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from recyclic_backups.postgres import quoting
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import qualified_name

# Of a table and its partitions, those that are on, and how (tgenabled in catalog-pg-trigger.html, ev_enabled in
# catalog-pg-rewrite.html).
# Given as an array, they are found by the catalogs' indexes: each foreign key has four triggers of the server's own.
_OF_TABLE = """
    ANY(ARRAY(SELECT %(table)s::regclass UNION SELECT relid FROM pg_catalog.pg_partition_tree(%(table)s::regclass)))
"""
_TRIGGERS_AND_RULES = f"""
    SELECT 'TRIGGER', n.nspname, c.relname, t.tgname, t.tgenabled::text
    FROM pg_catalog.pg_trigger t
    JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgrelid = {_OF_TABLE}
    UNION ALL
    SELECT 'RULE', n.nspname, c.relname, r.rulename, r.ev_enabled::text
    FROM pg_catalog.pg_rewrite r
    JOIN pg_catalog.pg_class c ON c.oid = r.ev_class JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE r.rulename <> '_RETURN' AND r.ev_enabled <> 'D' AND r.ev_class = {_OF_TABLE}
    ORDER BY 1 DESC, 2, 3, 4
"""
_ENABLE = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}
# A table's owner is not subject to its policies unless he has asked for it (ddl-rowsecurity.html).
_FORCED = """
    SELECT relrowsecurity AND relforcerowsecurity
        AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = current_user)
    FROM pg_catalog.pg_class WHERE oid = %s::regclass
"""


@contextmanager
def user_triggers_off(target: Connection, tables: Collection[str]) -> Iterator[None]:
    """Without the application's triggers and rules, which would write new timestamps and audit rows.

    Foreign keys stay on. Each is given back the state it had: one that was off stays off, one that fires on replicas
    still does. For a table with rules readers have to wait too (sql-altertable.html).
    """
    found: dict[tuple[str, str, str, str], str] = {}
    for table in tables:
        name = quoting.relation(table).as_string(None)
        found |= {
            (row[0], row[1], row[2], row[3]): row[4]
            for row in target.execute(_TRIGGERS_AND_RULES.encode(), {"table": name}).fetchall()
        }

    def alter(how: str, kind: str, schema: str, relation: str, each: str) -> None:
        template = f"ALTER TABLE ONLY {{}} {how} {kind} {{}}"
        target.execute(
            quoting.statement(
                template, quoting.relation(qualified_name(schema, relation)), quoting.name(each)
            )
        )

    for key in found:
        alter("DISABLE", *key)
    yield
    # A table with checks still waiting cannot be altered; and a violation is better known now.
    target.execute(quoting.statement("SET CONSTRAINTS ALL IMMEDIATE"))
    for key, state in found.items():
        alter(_ENABLE[state], *key)


@contextmanager
def policies_off(target: Connection, tables: Collection[str]) -> Iterator[None]:
    """See and write all rows although the tables' owner has their policies apply to himself.

    Only where we write as that owner. Readers have to wait then (sql-altertable.html).
    """
    forced = []
    for table in tables:
        relation = quoting.relation(table)
        row = target.execute(_FORCED, (relation.as_string(None),)).fetchone()
        if row is not None and row[0]:
            forced.append(relation)
    for relation in forced:
        target.execute(quoting.statement("ALTER TABLE ONLY {} NO FORCE ROW LEVEL SECURITY", relation))
    yield
    for relation in forced:
        target.execute(quoting.statement("ALTER TABLE ONLY {} FORCE ROW LEVEL SECURITY", relation))
