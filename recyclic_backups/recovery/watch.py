"""Watch a server that recovers: where it is, whether it is paused, whether it waits for more WAL."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from recyclic_backups.errors import DatabaseError, ProgramFailed
from recyclic_backups.postgres.cluster import children_of
from recyclic_backups.postgres.lsn import lsn_of

_END_LOOKS = 4
"""So many looks in a row have to find the server waiting for more WAL, each after it has looked for it once more."""
_BLIND_END_LOOKS = 40
"""The same where the system does not tell how often it looked."""
_WAITS = ("RecoveryRetrieveRetryInterval", "RecoveryWalStream")

_TITLE = re.compile(rb"startup +(?:recovering|waiting for) ([0-9A-F]{24})")

_LOOK = """
SELECT pg_catalog.pg_get_wal_replay_pause_state(), pg_catalog.pg_last_wal_replay_lsn()::pg_catalog.text,
    pg_catalog.pg_last_xact_replay_timestamp(),
    (SELECT a.pid FROM pg_catalog.pg_stat_activity AS a WHERE a.backend_type OPERATOR(pg_catalog.=) 'startup'),
    (SELECT a.wait_event FROM pg_catalog.pg_stat_activity AS a WHERE a.backend_type OPERATOR(pg_catalog.=) 'startup')
WHERE pg_catalog.pg_is_in_recovery()
"""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the recovering server showed."""

    pause_state: str
    lsn: int
    last_commit_at: datetime | None
    startup_pid: int | None
    waits: bool


class Eyes:
    """A session in the recovering server that asks where it is, begun when it lets us in, and again if it ends."""

    def __init__(
        self, state: Callable[[], str], connected: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        self._state, self._connected = state, connected
        self._stack = ExitStack()
        self._connection: Any = None

    def __enter__(self) -> Eyes:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(DatabaseError):
            self._stack.close()

    def look(self) -> Look | None:
        """Where it is; None while it lets nobody in. Raises DatabaseError if it never will."""
        if self._state() != "ready":  # which a standby says too, once somebody may come in
            return None
        try:
            if self._connection is None:
                self._connection = self._stack.enter_context(self._connected())
            row = self._connection.execute(_LOOK).fetchone()
        except DatabaseError as error:
            self._forget()
            if not error.retryable:
                raise
            return None
        except psycopg.Error:  # replay ends sessions, such as those of a database that is dropped
            self._forget()
            return None
        if row is None:
            raise ProgramFailed("somebody ended the recovery of this server")
        state, lsn, at, pid, wait = row
        return Look(
            str(state),
            lsn_of(lsn) if lsn else 0,
            None if at is None else at.astimezone(UTC),
            pid,
            wait in _WAITS,
        )

    def _forget(self) -> None:
        self._connection = None
        with suppress(DatabaseError):
            self._stack.close()
        self._stack = ExitStack()


class EndOfWal:
    """Whether the server has all there is and waits for more: seen several times, between which it looked again."""

    def __init__(self) -> None:
        self._lsn = -1
        self._switches = -1
        self._looks = 0

    def is_it(self, look: Look) -> bool:
        """Whether this look shows that, after those before it."""
        switches = _voluntary_switches(look.startup_pid)
        if not look.waits or look.lsn != self._lsn:
            self._lsn, self._switches, self._looks = look.lsn, switches, 0
            return False
        if switches < 0:
            self._looks += 1
            return self._looks >= _BLIND_END_LOOKS
        if switches > self._switches + 1:
            self._switches = switches
            self._looks += 1
        return self._looks >= _END_LOOKS


def replaying(server_pid: int) -> str:
    """The segment that a server's startup process says it replays or waits for; empty where nothing tells it.

    It says so from its first record on, and lets sessions in only once its files are consistent.
    """
    for pid in children_of(server_pid):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if found := _TITLE.search(title):
            return found[1].decode("ascii")
    return ""


def _voluntary_switches(pid: int | None) -> int:
    """How often a process has waited for something so far; -1 where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return -1
    found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.MULTILINE)
    return int(found[1]) if found else -1
