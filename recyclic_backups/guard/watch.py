"""Look who is in a database, many times a second, from a session in another one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from recyclic_backups.errors import DatabaseError, Refused
from recyclic_backups.guard.counted import Tally
from recyclic_backups.guard.session_count import Account, Count, Names, Session, note
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.server import Server, translated
from recyclic_backups.restore import database as databases

LOOK_EVERY_SECONDS = 0.02
"""Shorter sessions may be missed: then the counter tells that there was one, and nobody goes back by himself."""

_SETTLE_SECONDS = 3.0
_LAG_OF_COLLECTOR_SECONDS = 1.5
"""Up to PostgreSQL 14 counts travel through a collector that writes them down at most twice a second."""

# What works for the server itself writes nothing of its own; all else, background workers of extensions and of
# logical replication included, may write. A session that still begins has no state yet and perhaps no name: it is seen
# later, or counted by the server.
_WHO = """
SELECT pid, backend_start, coalesce(application_name, ''), coalesce(usename::text, '')
FROM pg_catalog.pg_stat_activity
WHERE datid = %s AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'parallel worker', 'walsender')
  AND (backend_type = 'client backend' AND state IS NULL) IS NOT TRUE
"""
# By the object identifier: the name may be another's by then. Through jsonb, since a column that this version does
# not have is no error there.
_COUNT = """
SELECT (to_jsonb(s) ->> 'sessions')::bigint, s.stats_reset, pg_catalog.pg_postmaster_start_time()
FROM pg_catalog.pg_stat_database s JOIN pg_catalog.pg_database d ON d.oid = s.datid
WHERE s.datid = %s AND d.datname = %s
"""


@dataclass
class Watch:
    """A watch that is kept from the moment of :func:`watching` on. Used by one thread, looking in another."""

    connection: Connection
    database: str
    oid: int
    names: Names
    before: Count
    seen: dict[tuple[int, datetime | None], Session] = field(default_factory=dict)
    trouble: str = ""
    over: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def look(self) -> int:
        """Note who is there now; how many they are."""
        with translated(f"who is in {self.database!r}"):
            rows = self.connection.execute(_WHO, (self.oid,)).fetchall()
        note(self.seen, (Session(*row) for row in rows), self.names)
        return len(rows)

    def keep(self) -> None:
        """Look until it is over. What goes wrong is remembered: a watch that slept has seen nothing."""
        try:
            while not self.over.wait(LOOK_EVERY_SECONDS):
                self.look()
        except DatabaseError as error:
            self.trouble = error.message

    def stop(self) -> None:
        """End the looking; the connection is the caller's again."""
        self.over.set()
        if self.thread is not None:
            self.thread.join()

    def objections(self, tally: Tally) -> tuple[str, ...]:
        """Why the command and we were perhaps not alone (see :mod:`recyclic_backups.guard.session_count`)."""
        self.stop()
        try:
            if self.trouble:
                raise DatabaseError(self.trouble)
            account = self._settled(tally)
        except DatabaseError as error:
            return (f"the watch was interrupted: {error.message}",)
        return account.objections()

    def _settled(self, tally: Tally) -> Account:
        """The account once sessions that have just ended are gone, and counted."""
        if self.connection.info.server_version < 150000:
            time.sleep(_LAG_OF_COLLECTOR_SECONDS)
        give_up_at = time.monotonic() + _SETTLE_SECONDS
        while True:
            there = self.look()
            after = count(self.connection, self.database, self.oid)
            account = self._account(after, tally)
            # Only what is missing may still come: sessions that end, and counts that are on their way.
            if account.strangers or not (there or account.missing) or time.monotonic() > give_up_at:
                self.look()
                return self._account(after, tally)
            time.sleep(LOOK_EVERY_SECONDS)

    def _account(self, after: Count | None, tally: Tally) -> Account:
        return Account(self.names, tuple(self.seen.values()), self.before, after, tally.sessions)


@contextmanager
def watching(server: Server, database: str, names: Names) -> Iterator[Watch]:
    """Watch a database while the block lasts, beginning with who is there already.

    Raises DatabaseError, and Refused when the database is not there.
    """
    with databases.maintenance(server, apart_from=database) as connection:
        row = connection.execute(
            "SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = %s", (database,)
        ).fetchone()
        before = None if row is None else count(connection, database, row[0])
        if row is None or before is None:
            raise Refused(f"there is no database {database!r} to guard", "check POSTGRES_DB")
        watch = Watch(connection, database, row[0], names, before)
        watch.look()
        watch.thread = threading.Thread(target=watch.keep, name="guard", daemon=True)
        watch.thread.start()
        try:
            yield watch
        finally:
            watch.stop()


def count(connection: Connection, database: str, oid: int) -> Count | None:
    """What the server has counted; None when the database of that name is not that one any more."""
    with translated(f"the statistics of {database!r}"):
        row = connection.execute(_COUNT, (oid, database)).fetchone()
    return None if row is None else Count(*row)
