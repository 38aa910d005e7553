"""How long a merge waits for locks of others, and who those others are.

Whoever waits for a lock has everybody behind him wait too: an application stands still behind a merge that waits for
one transaction somebody forgot. So the server ends each wait (``lock_timeout``), and a session beside looks, several
times a second, who is waited for, and ends it all when the waits together have taken that long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors

from recyclic_backups.errors import DatabaseError
from recyclic_backups.foreign_text import in_a_sentence
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import qualified_name
from recyclic_backups.postgres.server import Server

_INTERVAL_SECONDS = 0.2
_NAMED = 3

# A prepared transaction has no process; its locks are found by the one that it holds on its own number (15.18 did not
# show them under -1 and that number, as view-pg-locks.html has it). Whoever waits for a row waits for its transaction
# to end, and holds the row's place in the queue meanwhile, which has the table's name.
_HOLDERS = """
    SELECT w.pid, coalesce(w.relation, place.relation) AS relation, n.nspname, c.relname, w.relation IS NULL,
           h.pid, a.usename, a.application_name, a.state,
           pg_catalog.to_char(coalesce(a.xact_start, p.prepared) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'),
           pg_catalog.string_agg(DISTINCT h.mode, ', ' ORDER BY h.mode), pg_catalog.bool_or(h.granted), p.gid, p.owner
    FROM pg_catalog.pg_locks w
    CROSS JOIN LATERAL (SELECT pg_catalog.pg_blocking_pids(w.pid) AS pids) blocking
    JOIN pg_catalog.pg_locks h ON h.locktype = w.locktype
        AND (h.pid = ANY (blocking.pids) OR h.pid IS NULL AND 0 = ANY (blocking.pids))
        AND (h.database, h.relation, h.page, h.tuple, h.virtualxid, h.transactionid, h.classid, h.objid, h.objsubid)
            IS NOT DISTINCT FROM
            (w.database, w.relation, w.page, w.tuple, w.virtualxid, w.transactionid, w.classid, w.objid, w.objsubid)
    LEFT JOIN pg_catalog.pg_locks place ON place.pid = w.pid AND place.locktype = 'tuple' AND place.granted
    LEFT JOIN pg_catalog.pg_class c ON c.oid = coalesce(w.relation, place.relation)
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = h.pid
    LEFT JOIN pg_catalog.pg_locks number ON h.pid IS NULL AND number.pid IS NULL AND number.granted
        AND number.locktype = 'transactionid' AND number.virtualtransaction = h.virtualtransaction
    LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = number.transactionid
    WHERE NOT w.granted AND w.pid = ANY (%s)
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14 ORDER BY bool_or(h.granted) DESC, 10
"""


class Waiting:
    """The waits of some sessions of ours, looked at from another one; made by :func:`bounded`."""

    def __init__(self, beside: Connection, seconds: float) -> None:
        self._beside, self._seconds = beside, seconds
        self._ours: list[int] = []
        self._seen: list[tuple[Any, ...]] = []
        self._waited_seconds = 0.0
        self._over = threading.Event()

    def look_at(self, connection: Connection) -> None:
        """Count the waits of a session too."""
        self._ours.append(connection.info.backend_pid)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Within the block a wait that was ended is a DatabaseError that says who was waited for."""
        try:
            yield
        except (errors.LockNotAvailable, errors.QueryCanceled) as error:
            if isinstance(error, errors.QueryCanceled) and self._waited_seconds < self._seconds:
                raise
            raise self._gave_up() from None

    def run(self) -> None:
        """Look until it is over. A look that fails is the last one: the server still ends each wait."""
        looked_at = time.monotonic()
        while not self._over.wait(_INTERVAL_SECONDS):
            try:
                seen = self._beside.execute(_HOLDERS, (self._ours,)).fetchall()
                now = time.monotonic()
                if seen:
                    self._seen = seen
                    self._waited_seconds += now - looked_at
                    if self._waited_seconds >= self._seconds:
                        waiting = list({row[0] for row in seen})
                        self._beside.execute(
                            "SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.unnest(%s::int[]) pid",
                            (waiting,),
                        )
            except psycopg.Error:
                return
            looked_at = now

    def stop(self) -> None:
        """Look no more."""
        self._over.set()

    def _gave_up(self) -> DatabaseError:
        within = f"within {self._seconds:g} s (BACKUP_LOCK_TIMEOUT); nothing was changed"
        if not self._seen:
            return DatabaseError(
                f"something else held a lock that was not had {within}", "try again", retryable=True
            )
        _, _, schema, table, is_row, *_ = self._seen[0]
        what = qualified_name(schema, table) if table is not None else "what is needed"
        if is_row:
            what = f"a row of {what}" if table is not None else "a row"
        holders = [_holder(row) for row in self._seen]
        more = f"; and {len(holders) - _NAMED} more" if len(holders) > _NAMED else ""
        return DatabaseError(
            f"{what} could not be locked {within}: {'; '.join(holders[:_NAMED])}{more}",
            _way_out(self._seen[0]),
            retryable=True,
        )


def _holder(row: tuple[Any, ...]) -> str:
    """Who holds what since when: ``process 4711 (user app, application psql, active) holds … since …``."""
    *_, is_row, pid, user, application, state, since, modes, granted, gid, owner = row
    does = "has changed it" if is_row else f"holds {modes}" if granted else f"waits for {modes} before us"
    when = f", in a transaction since {since}" if since else ""
    if pid is None:
        who = (
            "a prepared transaction"
            if gid is None
            else f"the prepared transaction {in_a_sentence(gid)!r} of {owner!r}"
        )
        return f"{who} {does}{when}"
    known = [
        f"{word}{in_a_sentence(text)}"
        for word, text in (("user ", user), ("application ", application), ("", state))
        if text
    ]
    described = f" ({', '.join(known)})" if known else ""
    return f"process {pid}{described} {does}{when}"


def _way_out(row: tuple[Any, ...]) -> str:
    pid, gid = row[5], row[12]
    if pid is None:
        named = "" if gid is None else " '" + in_a_sentence(gid).replace("'", "''") + "'"
        return (
            f"COMMIT PREPARED{named} or ROLLBACK PREPARED{named} in its database, as whoever prepared it knows; "
            "then try again"
        )
    return f"wait until it has ended, or end it (SELECT pg_terminate_backend({pid})); then try again"


@contextmanager
def bounded(server: Server, database: str, seconds: float) -> Iterator[Waiting]:
    """A look at sessions in a database until the block ends. Raises DatabaseError when it cannot connect."""
    with server.connect(database) as beside:
        waiting = Waiting(beside, seconds)
        looking = threading.Thread(target=waiting.run, name="waits", daemon=True)
        looking.start()
        try:
            yield waiting
        finally:
            waiting.stop()
            looking.join()
