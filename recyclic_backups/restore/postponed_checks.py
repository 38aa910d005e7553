"""CHECK constraints that stand in the way of rows that were there: taken out, and put back when the rows are there.

A constraint whose function reads other tables cannot hold while these are empty, whatever the order; one whose function
has changed may not hold for older rows at all. PostgreSQL allows both and promises nothing about either
(https://www.postgresql.org/docs/15/ddl-constraints.html#DDL-CONSTRAINTS-CHECK-CONSTRAINTS).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from recyclic_backups.errors import DatabaseError
from recyclic_backups.postgres.quoting import name, statement
from recyclic_backups.postgres.server import Server, translated
from recyclic_backups.restore.owners import Table

# Those that call a function of the database. Not of a table that is part of others, whose constraints are theirs too.
_CALLING_FUNCTIONS = """
    SELECT k.conname, pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k
    JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
    WHERE k.conrelid = %s AND k.contype = 'c' AND k.coninhcount = 0 AND NOT c.relhassubclass AND EXISTS (
        SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
          AND d.objid = k.oid AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.refobjid >= 16384)
    ORDER BY k.conname
"""


@dataclass(frozen=True, slots=True)
class TakenOut:
    """A constraint that was taken out of a table, by its name and the clause that makes it."""

    table: Table
    constraint: str
    clause: str

    @property
    def name(self) -> str:
        """What fingerprints call it."""
        schema, table = self.table.names
        return f"CHECK CONSTRAINT {schema}.{table} {self.constraint}"

    @property
    def statement(self) -> str:
        """The SQL that makes it."""
        quoted = [part.replace('"', '""') for part in (*self.table.names, self.constraint)]
        return 'ALTER TABLE "{}"."{}" ADD CONSTRAINT "{}" '.format(*quoted) + f"{self.clause};"


def take_out_checks(server: Server, database: str, table: Table) -> Sequence[TakenOut]:
    """Take the constraints that call functions out of a table; nothing is computed by that."""
    with (
        server.connect(database) as connection,
        connection.transaction(),
        translated(f"table {table.name!r}"),
    ):
        found = [
            TakenOut(table, *row) for row in connection.execute(_CALLING_FUNCTIONS, (table.oid,)).fetchall()
        ]
        for check in found:
            connection.execute(
                statement(
                    "ALTER TABLE {}.{} DROP CONSTRAINT {}",
                    *(name(each) for each in (*table.names, check.constraint)),
                )
            )
    return found


def put_back(check: TakenOut, owner: Server, database: str) -> str:
    """Put a constraint back as its table's owner; empty if the rows fulfil it, else why it holds for new rows only."""
    made = statement(
        "ALTER TABLE {}.{} ADD CONSTRAINT {} ",
        *(name(each) for each in (*check.table.names, check.constraint)),
    )
    clause = sql.SQL(check.clause)  # as the server itself writes it
    try:
        with owner.connect(database) as connection, translated(check.name):
            connection.execute(made + clause)
    except DatabaseError as refused:
        if refused.retryable:
            raise
        with owner.connect(database) as connection, translated(check.name):
            connection.execute(made + clause + sql.SQL(" NOT VALID"))
        return refused.message
    return ""
