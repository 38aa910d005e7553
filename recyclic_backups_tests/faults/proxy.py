"""A line to a server that can be cut, or go silent, at a moment of the test's choosing."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """Passes TCP connections on to ``target_port`` of this machine until told otherwise."""

    target_port: int
    cut_after_bytes: int | None = None
    """When so much has passed to the server, by all connections, all of them are reset."""
    hold_after_bytes: int | None = None
    """When so much has passed in one direction by one connection, this one is held until :meth:`let_go`.

    A dump of more than that is in the middle for as long as a test needs, however busy the machine is.
    """
    holding: threading.Event = field(default_factory=threading.Event)
    """Set as soon as a connection is held."""
    _let_go: threading.Event = field(default_factory=threading.Event)
    _silent: threading.Event = field(default_factory=threading.Event)
    _closed: threading.Event = field(default_factory=threading.Event)
    _lines: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @classmethod
    @contextmanager
    def to(
        cls, port: int, *, cut_after_bytes: int | None = None, hold_after_bytes: int | None = None
    ) -> Iterator[Proxy]:
        """A proxy for as long as the block lasts."""
        proxy = cls(port, cut_after_bytes, hold_after_bytes)
        try:
            yield proxy
        finally:
            proxy._close()

    def cut(self) -> None:
        """Reset every connection, as a firewall does that has forgotten them; new ones pass."""
        lines, self._lines = self._lines, []
        for line in lines:
            with line, suppress(OSError):
                # A reset instead of an orderly end: SO_LINGER with no time to linger (socket(7)).
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                line.shutdown(socket.SHUT_RD)

    def go_silent(self) -> None:
        """Pass nothing on any more, and close nothing: the other side is just not there."""
        self._silent.set()

    def speak_again(self) -> None:
        """Pass new connections on again; those of the silence stay as they are."""
        self._silent.clear()

    def let_go(self) -> None:
        """Hold no connection any more."""
        self._let_go.set()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            self._lines.append(line)
            try:
                onward = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                line.close()
                continue
            self._lines.append(onward)
            for source, sink in ((line, onward), (onward, line)):
                thread = threading.Thread(target=self._pass, args=(source, sink, source is line))
                thread.start()
                self._threads.append(thread)

    def _pass(self, source: socket.socket, sink: socket.socket, to_server: bool) -> None:
        passed_bytes = 0
        try:
            while data := source.recv(1 << 16):
                passed_bytes += len(data)
                if self.hold_after_bytes is not None and passed_bytes > self.hold_after_bytes:
                    self.holding.set()
                    self._let_go.wait()
                if self._silent.is_set():
                    self._closed.wait()
                    return
                sink.sendall(data)
                if to_server and self.cut_after_bytes is not None:
                    self.cut_after_bytes -= len(data)
                    if self.cut_after_bytes < 0:
                        self.cut_after_bytes = None
                        self.cut()
        except OSError:
            # One side is gone: what it has not taken yet must not keep the other one waiting.
            with suppress(OSError):
                source.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _close(self) -> None:
        self._closed.set()
        self._let_go.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)
