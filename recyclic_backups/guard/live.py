"""Ask the probes of the live database: read-only, and as the application would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime

from recyclic_backups.drill.probes import Answer, Columns, Probe, ask, columns_of
from recyclic_backups.drill.simple import as_application, role_of_application
from recyclic_backups.fingerprint.foreign_code import has_foreign_views, run_by_planning
from recyclic_backups.fingerprint.session import refuse_views
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import qualified_name
from recyclic_backups.postgres.reader import reading_login
from recyclic_backups.postgres.server import Server, translated

_SETTINGS = {"statement_timeout": "300s", "default_transaction_read_only": "on", "row_security": "on"}
_TABLES = """
SELECT n.nspname, c.relname, c.oid::bigint
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""


@dataclass(frozen=True, slots=True)
class Findings:
    """What the probes said, in whose name they were asked (empty: our own), and which tables and columns there were."""

    answers: tuple[Answer, ...]
    role: str = ""
    columns: Columns = field(default_factory=dict, repr=False)

    @property
    def failed(self) -> tuple[Answer, ...]:
        """Those that failed."""
        return tuple(answer for answer in self.answers if answer.passed is False)


def ask_live(
    server: Server,
    database: str,
    probes: Sequence[Probe],
    now: datetime,
    *,
    before: Findings | None = None,
) -> Findings:
    """Every probe's answer. Changes nothing.

    After a command, ``before`` tells how it was: probes are asked as the same role, which may have lost its grants,
    and about tables and columns that were there, which may be gone. A superuser's login asks nothing but of the
    catalog: a login of the role's rights does, or one that can only read. With any other login than the role's, what
    would run the code of somebody without our rights is passed over. Raises DatabaseError.
    """
    with ExitStack() as stack:
        connection = stack.enter_context(server.connect(database, settings=_SETTINGS))
        stack.enter_context(translated(f"the probes of {database!r}"))
        found = {qualified_name(row[0], row[1]): row[2] for row in connection.execute(_TABLES).fetchall()}
        columns = columns_of(connection)
        role = _role(connection) if before is None else before.role
        running: Mapping[str, Sequence[str]] = {}
        views_refused = False
        # Whatever role we put on, code that runs in our session can take it off again.
        superuser = _is_superuser(connection)
        if role and superuser:
            connection = stack.enter_context(as_application(server, database, role, _SETTINGS))
        else:
            if superuser:
                reader = stack.enter_context(reading_login(server, database))
                connection = stack.enter_context(reader.connect(database, settings=_SETTINGS))
            foreign = run_by_planning(connection)
            running = {name: foreign[oid] for name, oid in found.items() if oid in foreign}
            if views_refused := has_foreign_views(connection):
                refuse_views(connection)
            if role:
                connection.execute("SELECT pg_catalog.set_config('role', %s, false)", (role,))
        expected = columns if before is None else {**columns, **before.columns}
        answers = ask(connection, probes, expected, now, running=running, views_refused=views_refused)
        return Findings(tuple(answers), role, columns)


def _is_superuser(connection: Connection) -> bool:
    query = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user"
    row = connection.execute(query).fetchone()
    return row is not None and bool(row[0])


def _role(connection: Connection) -> str:
    """The application's role, if we may be it."""
    role = role_of_application(connection)
    row = connection.execute(
        "SELECT pg_catalog.pg_has_role(rolname, 'MEMBER') FROM pg_catalog.pg_roles WHERE rolname = %s",
        (role,),
    ).fetchone()
    return role if row is not None and row[0] else ""
