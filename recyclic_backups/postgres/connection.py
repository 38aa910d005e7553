"""A connection that gives up on a server which takes a question and never answers.

``connect_timeout`` ends with the connection's start, TCP keepalives are answered by the kernel of a server whose
processes hang, and a proxy may swallow everything: only we can say that an answer is overdue. Then the line is
closed from our side, and whoever waits for it gets an ordinary error.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen

_LONGEST_NAP_SECONDS = 1.0


class PatientConnection(psycopg.Connection[tuple[Any, ...]]):
    """As psycopg's own, but no single answer is waited for longer than ``patience_seconds`` (once that is set)."""

    patience_seconds: float | None = None
    gave_up = False
    """Whether an answer was overdue and the line was closed for it."""

    _asked_at: float | None = None

    def wait(self, gen: PQGen[RV], *arguments: Any, **options: Any) -> RV:
        """Every wait for the server passes through here."""
        self._asked_at = time.monotonic()
        try:
            return super().wait(gen, *arguments, **options)
        finally:
            self._asked_at = None

    @contextlib.contextmanager
    def watched(self, patience_seconds: float | None) -> Iterator[None]:
        """Bound every answer within the block; None bounds nothing."""
        if patience_seconds is None:
            yield
            return
        self.patience_seconds = patience_seconds
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(over,), name="patience", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def _watch(self, over: threading.Event) -> None:
        assert self.patience_seconds is not None
        while not over.wait(min(_LONGEST_NAP_SECONDS, self.patience_seconds / 4)):
            asked_at = self._asked_at
            if asked_at is not None and time.monotonic() - asked_at > self.patience_seconds:
                self.gave_up = True
                shut(self)
                return


def shut(connection: psycopg.Connection[Any]) -> None:
    """End the line below a connection, from any thread: what waits for it ends with an error. Never raises."""
    with (
        contextlib.suppress(psycopg.Error, OSError),
        socket.socket(fileno=os.dup(connection.fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)
