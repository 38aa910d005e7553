"""One at a time: a lock on the server itself, shared by everything that backs the same database up.

A session-level advisory lock (https://www.postgresql.org/docs/15/explicit-locking.html#ADVISORY-LOCKS) is seen by
the command line and by Dagster, from any host, and ends with its session: a killed process leaves none behind.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from recyclic_backups.errors import DatabaseError, Refused
from recyclic_backups.postgres.server import Server, translated

_LONGEST_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class HeldLock:
    """A lock that was had; the server gives it to others as soon as our session is gone."""

    connection: psycopg.Connection[tuple[Any, ...]]
    subject: str

    def require(self) -> None:
        """Raises DatabaseError (retryable) unless it is still ours."""
        try:
            with translated(self.subject):
                self.connection.execute("SELECT 1")
        except DatabaseError as lost:
            raise DatabaseError(
                f"the lock against other runs was lost: {lost.message}",
                "something ended the session that held it; try again",
                retryable=True,
            ) from None


@contextmanager
def exclusive(server: Server, database: str, purpose: str, *, wait_seconds: float) -> Iterator[HeldLock]:
    """Hold the lock ``purpose`` of a database, waiting for it at most ``wait_seconds``.

    Raises Refused (70, retryable) when somebody else still holds it then.
    """
    # Advisory locks are 64-bit numbers per database; ours is drawn from a name nobody else would hash.
    number = int.from_bytes(
        hashlib.sha256(f"recyclic_backups:{purpose}".encode()).digest()[:8], "big", signed=True
    )
    with server.connect(database, application_name=f"recyclic_backups {purpose} lock") as connection:
        give_up_at = time.monotonic() + wait_seconds
        pause_seconds = 0.02
        while True:
            row = connection.execute("SELECT pg_catalog.pg_try_advisory_lock(%s)", (number,)).fetchone()
            if row and row[0]:
                break
            if time.monotonic() >= give_up_at:
                raise Refused(
                    f"another {purpose} of {database!r} has been running for over {wait_seconds:.0f} s",
                    "wait for it to end, or raise BACKUP_LOCK_WAIT",
                    retryable=True,
                )
            time.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
        # Closing the connection gives the lock back, even when the server has stopped answering.
        yield HeldLock(connection, f"database {database!r} on {server.label}")
