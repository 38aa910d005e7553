"""Sessions of the restoring role in one database that are kept for the next question: a restore asks hundreds.

To begin a session takes as long as to ask dozens of questions. One that nobody has used for so long
(:data:`LONGEST_IDLE_SECONDS`) is not gone on with: a network between here and there may have forgotten it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.server import Server, translated

LONGEST_IDLE_SECONDS = 20.0


class KeptSessions:
    """Those in one database, until they are closed. Safe for several threads: each has a session of its own."""

    def __init__(self, server: Server, database: str) -> None:
        self._server, self._database = server, database
        self._lock = threading.Lock()
        self._free: list[tuple[float, Connection, ExitStack]] = []
        self._is_over = False

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """One of them, each statement a transaction of its own. Raises as :meth:`Server.connect` does."""
        connection, closing = self._taken()
        try:
            with translated(f"database {self._database!r} on {self._server.label}"):
                yield connection
        except BaseException:
            closing.close()
            raise
        with self._lock:
            if not self._is_over:
                self._free.append((time.monotonic(), connection, closing))
                return
        closing.close()

    def _taken(self) -> tuple[Connection, ExitStack]:
        while True:
            with self._lock:
                if not self._free:
                    break
                since, connection, closing = self._free.pop()
            if time.monotonic() - since <= LONGEST_IDLE_SECONDS:
                return connection, closing
            closing.close()
        closing = ExitStack()
        return closing.enter_context(self._server.connect(self._database)), closing

    def close(self) -> None:
        """End those that are kept; whoever asks from now on gets one that ends at once."""
        with self._lock:
            self._is_over, free = True, self._free
            self._free = []
        for _, _, closing in free:
            closing.close()
