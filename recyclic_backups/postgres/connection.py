"""A connection that gives up on a server which never answers, or answers without end.

``connect_timeout`` ends with the connection's start, TCP keepalives are answered by the kernel of a server whose
processes hang, and a proxy may swallow everything: only we can say that an answer is overdue. Then the line is
closed from our side, and whoever waits for it gets an ordinary error. So it is when an answer has no end: libpq keeps
all of it in memory, and who answers may be nobody's server (a value has 1 GiB at most, limits.html).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Literal

import psycopg
from psycopg.abc import RV, PQGen

Connection = psycopg.Connection[tuple[Any, ...]]
"""A session whose rows are tuples."""

_LONGEST_NAP_SECONDS = 0.25
MOST_ANSWER_BYTES = 5 << 28
# tcpi_bytes_received in Linux's struct tcp_info (tcp(7)), which only ever becomes longer at its end.
_RECEIVED = struct.Struct("@128xQ")


class PatientConnection(psycopg.Connection[tuple[Any, ...]]):
    """As psycopg's own, but no single answer is waited for longer than ``patience_seconds`` (once that is set)."""

    patience_seconds: float | None = None
    gave_up: Literal["", "overdue", "endless"] = ""
    """Why the line was closed from our side, if it was."""

    _asked_at: float | None = None
    _questions = 0

    def wait(self, gen: PQGen[RV], *arguments: Any, **options: Any) -> RV:
        """Every wait for the server passes through here."""
        self._questions += 1
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
        question, before_bytes = 0, 0
        with socket.socket(fileno=os.dup(self.fileno())) as line:
            while not over.wait(min(_LONGEST_NAP_SECONDS, self.patience_seconds / 4)):
                asked_at = self._asked_at
                if asked_at is None:
                    continue
                so_far_bytes = received_bytes(line)
                if question != self._questions:
                    question, before_bytes = self._questions, so_far_bytes
                is_endless = so_far_bytes - before_bytes > MOST_ANSWER_BYTES
                if is_endless or time.monotonic() - asked_at > self.patience_seconds:
                    self.gave_up = "endless" if is_endless else "overdue"
                    shut(self)
                    return


def received_bytes(line: socket.socket) -> int:
    """What has come over a line so far; 0 where that is not known: a socket of this machine, another system."""
    if line.family not in (socket.AF_INET, socket.AF_INET6) or not sys.platform.startswith("linux"):
        return 0
    told = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED.size)
    return int(_RECEIVED.unpack(told)[0]) if len(told) == _RECEIVED.size else 0


def shut(connection: psycopg.Connection[Any]) -> None:
    """End the line below a connection, from any thread: what waits for it ends with an error. Never raises."""
    with (
        contextlib.suppress(psycopg.Error, OSError),
        socket.socket(fileno=os.dup(connection.fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)
