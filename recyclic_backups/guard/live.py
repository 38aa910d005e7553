"""Ask the probes of the live database: read-only, and as the application would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from recyclic_backups.drill.probes import Answer, Columns, Probe, ask, columns_of
from recyclic_backups.drill.rehearse import role_of_application
from recyclic_backups.postgres.server import Server, translated

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

_SETTINGS = {"statement_timeout": "300s", "default_transaction_read_only": "on"}


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
    and about tables and columns that were there, which may be gone. Raises DatabaseError.
    """
    with (
        server.connect(database, settings=_SETTINGS) as connection,
        translated(f"the probes of {database!r}"),
    ):
        columns = columns_of(connection)
        role = _role(connection) if before is None else before.role
        if role:
            connection.execute("SELECT pg_catalog.set_config('role', %s, false)", (role,))
        expected = columns if before is None else {**columns, **before.columns}
        return Findings(tuple(ask(connection, probes, expected, now)), role, columns)


def _role(connection: Connection) -> str:
    """The application's role, if we may be it."""
    role = role_of_application(connection)
    row = connection.execute(
        "SELECT pg_catalog.pg_has_role(rolname, 'MEMBER') FROM pg_catalog.pg_roles WHERE rolname = %s",
        (role,),
    ).fetchone()
    return role if row is not None and row[0] else ""
