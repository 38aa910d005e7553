"""Questions to a live database that may be damaged: read-only, patient within limits, one failure at a time.

Each question is a transaction of its own, so that its locks (ACCESS SHARE) end with it and a long diagnosis keeps
no old row versions alive. Indexes are not used to find rows, because a damaged one would hide those it has lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from psycopg import sql

from recyclic_backups.fingerprint.session import SETTINGS, is_still, refuse_views
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.reader import reading_login
from recyclic_backups.postgres.server import Server, first_line, translated

_WITHOUT_INDEXES = {
    # What an index says is what is in doubt (runtime-config-query.html).
    "enable_indexscan": "off",
    "enable_indexonlyscan": "off",
    "enable_bitmapscan": "off",
    # A constraint that is violated must not be taken as proof that no row violates it.
    "constraint_exclusion": "off",
    "enable_partition_pruning": "off",
}
# Conflicts with others, and resources that ran out, such as the disk for sorting (errcodes-appendix.html).
_NOT_THE_DATA = ("40", "53", "54", "55")
_AT_ONCE = "1ms"
"""How long a question waits for a lock: whoever holds one could change what was judged just before, and then let go."""
_GRACE_SECONDS = 30
"""How much later than the server's own limit we hang up: its answer says which question it was."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A question the server answered with an error that concerns the data themselves; ``state`` is its SQLSTATE."""

    sentence: str
    state: str


@dataclass
class Inspection:
    """An open session, and what was not looked at so far, one sentence each.

    ``incomplete`` is what should have been; ``not_looked_at`` is what no diagnosis looks at. ``beside`` is a second
    session in the same database, for what cannot be asked while rows are on their way, and for what is asked of the
    catalog before each of thousands of questions. It uses indexes, as the planner does, which would find nothing else.
    Both are of a role that can only read (:mod:`recyclic_backups.postgres.reader`), if there is one; ``as_login`` is
    ours.
    """

    connection: Connection
    beside: Connection
    as_login: Connection
    label: str
    lock_timeout_seconds: float
    incomplete: list[str] = field(default_factory=list)
    not_looked_at: list[str] = field(default_factory=list)

    @property
    def of_indexes(self) -> Inspection:
        """The same with our own login's session: amcheck is for superusers, and itself acts as an index's owner."""
        return replace(self, connection=self.as_login, beside=self.as_login)

    def ask(
        self, subject: str, query: str | sql.Composed, parameters: tuple[Any, ...] | None = None
    ) -> list[tuple[Any, ...]] | Failed | None:
        """The rows of an answer; Failed if the data are at fault; None, and a note, if that cannot be told.

        ``subject`` begins sentences about it. Raises DatabaseError when the server is lost.
        """
        # psycopg wants literals, for fear of values pasted in; names here went through psycopg.sql
        return self.attempt(subject, lambda: self.connection.execute(query, parameters).fetchall())

    def waited_for(
        self, subject: str, *relations: sql.Composable, named: Sequence[tuple[int, sql.Identifier]]
    ) -> bool:
        """Wait until nobody keeps tables locked; False, and a note, if somebody goes on with it.

        What planning a question would run is looked at after that, and the question then waits for nobody. It asks by
        the names of the tables, which are ``named`` by oid: False, and a note, if they mean others by now.
        """
        # Sent at once, which makes them one transaction (protocol-flow.html, multiple statements in a simple query).
        lock = sql.SQL("SET LOCAL lock_timeout = {}; LOCK TABLE {} IN ACCESS SHARE MODE").format(
            sql.Literal(f"{round(self.lock_timeout_seconds * 1000)}ms"), sql.SQL(", ").join(relations)
        )

        def waiting() -> list[tuple[Any, ...]]:
            self.connection.execute(lock, prepare=False)
            return []

        if not isinstance(self.attempt(subject, waiting), list):
            return False
        return is_still(self.beside, *named) or self.changed(subject)

    def changed(self, subject: str) -> bool:
        """False, and a note: what was going to be asked for by its name has another one by now."""
        self.incomplete.append(f"{subject} was not looked at: it was renamed or replaced meanwhile")
        return False

    def attempt(
        self, subject: str, asking: Callable[[], list[tuple[Any, ...]]]
    ) -> list[tuple[Any, ...]] | Failed | None:
        """As :meth:`ask`, for an answer that takes more than one question.

        Nothing of it stays, not even a setting: code that was run could else begin the next transaction as it likes.
        """
        try:
            with self.connection.transaction(force_rollback=True):
                return asking()
        except psycopg.errors.InsufficientPrivilege as error:
            self.incomplete.append(f"{subject} was not looked at: {first_line(str(error))}")
        except psycopg.errors.LockNotAvailable:
            self.incomplete.append(
                f"{subject} was not looked at: it stayed locked for longer than BACKUP_LOCK_TIMEOUT"
            )
        except psycopg.errors.QueryCanceled:
            self.incomplete.append(
                f"{subject} was not looked at to the end: it takes longer than BACKUP_TIMEOUT"
            )
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            self.incomplete.append(f"{subject} was not looked at: it was dropped meanwhile")
        except psycopg.Error as error:
            if self.connection.closed or (error.sqlstate or "").startswith("57"):
                with translated(f"{self.label}, while {subject} was read"):
                    raise
            if (error.sqlstate or "")[:2] in _NOT_THE_DATA:
                self.incomplete.append(f"{subject} was not looked at: {first_line(str(error))}")
                return None
            return Failed(first_line(str(error)), error.sqlstate or "")
        return None

    def copies(self, subject: str, query: sql.Composed) -> bool:
        """Whether a COPY to us runs to its end. Unlike a query it is not planned, so that it opens no index."""
        try:
            with (
                self.connection.transaction(force_rollback=True),
                self.connection.cursor().copy(query) as copying,
            ):
                for _ in copying:
                    pass
        except psycopg.Error:
            if self.connection.closed:
                with translated(f"{self.label}, while {subject} was read"):
                    raise
            return False
        return True

    def rows(self, query: str, parameters: tuple[Any, ...] | None = None) -> list[tuple[Any, ...]]:
        """The answer to a question about the catalog, which must be had. Raises DatabaseError.

        Asked beside: code that ran in a session could make its later answers what it likes, and they become commands.
        """
        return self.beside.execute(query.encode(), parameters).fetchall()


@contextmanager
def inspection(
    server: Server, database: str, *, timeout_seconds: float, lock_timeout_seconds: float
) -> Iterator[Inspection]:
    """A read-only session; no question takes longer than ``timeout_seconds``. Raises DatabaseError."""
    settings = {
        **SETTINGS,
        "default_transaction_read_only": "on",
        "statement_timeout": f"{round(timeout_seconds * 1000)}ms",
        "lock_timeout": _AT_ONCE,
    }
    patient = server.answering_within(timeout_seconds + _GRACE_SECONDS)
    with (
        reading_login(patient, database) as reader,
        reader.connect(database, settings=settings | _WITHOUT_INDEXES) as connection,
        reader.connect(database, settings=settings) as beside,
        nullcontext(connection)
        if reader is patient
        else patient.connect(database, settings=settings | _WITHOUT_INDEXES) as as_login,
    ):
        for session in (connection, beside):
            refuse_views(session)
        label = f"database {database!r} on {server.label}"
        yield Inspection(connection, beside, as_login, label, lock_timeout_seconds)
