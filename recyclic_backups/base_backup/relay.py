"""Bytes that are received in one thread, and compressed, sealed and stored in another: each has a processor's time.

The server sends no faster than it is read from, so receiving must not wait for every piece to be compressed.
"""

from __future__ import annotations

import queue
import threading
from types import TracebackType
from typing import Protocol

_PIECE_BYTES = 1 << 20
_MOST_WAITING = 8
"""So many pieces of a megabyte wait at most."""


class Sink(Protocol):
    """Where the bytes go."""

    def write(self, data: bytes, /) -> object:
        """Append bytes."""


class Relay:
    """Hands bytes on to a sink, in order, in a thread of its own; only within its ``with`` block."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._waiting: queue.Queue[bytes | None] = queue.Queue(_MOST_WAITING)
        self._parts: list[memoryview] = []
        self._part_bytes = 0
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="relay", daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._thread.is_alive():
            self._failure = self._failure or error  # what waits is passed over
            self._waiting.put(None)
            self._thread.join()

    def write(self, data: memoryview) -> None:
        """Take bytes; waits while too much is under way. Raises what the sink raised."""
        self._parts.append(data)
        self._part_bytes += len(data)
        if self._part_bytes >= _PIECE_BYTES:
            self._hand_over()

    def finish(self) -> None:
        """Wait until the sink has had everything. Raises what it raised."""
        self._hand_over()
        self._waiting.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _hand_over(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._parts:
            self._waiting.put(b"".join(self._parts))
            self._parts, self._part_bytes = [], 0

    def _work(self) -> None:
        while (piece := self._waiting.get()) is not None:
            if self._failure is None:
                try:
                    self._sink.write(piece)
                except BaseException as failure:  # noqa: BLE001 - raised in the thread that hands over
                    self._failure = failure
