"""Whoever has taken the server's place: speaks as much of the replication protocol as a receiver asks for."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from recyclic_backups.postgres.lsn import lsn_of, lsn_text
from recyclic_backups.postgres.server import Server


class Impostor:
    """Lets everybody in, and says of itself what it is told to. ``asked`` are the commands that it got.

    ``answered`` counts what it said as a ``silent`` server to words on what we have.

    ``content`` is sent as WAL from wherever the stream is asked for. ``removed`` streams are refused first, as of WAL
    that is gone. ``silent``: no WAL comes, and the server says that it ends where we say that ours does. ``ends``: each
    timeline is over at once, and that one follows there. ``greeting`` is the first message of a stream.
    """

    def __init__(
        self,
        system_identifier: str,
        timeline: int,
        flushed_lsn: int,
        histories: Mapping[int, str],
        content: bytes = b"",
        *,
        restart_lsn: int | None = None,
        removed: int = 0,
        silent: bool = False,
        ends: tuple[int, int] | None = None,
        port: int = 0,
        segment_size: str = "1MB",
        greeting: bytes = b"",
        instead: Mapping[str, bytes] | None = None,
    ) -> None:
        self.asked: list[str] = []
        self.answered = 0
        self._identity = (system_identifier, str(timeline), lsn_text(flushed_lsn), None)
        self._histories, self._content, self._segment_size = histories, content, segment_size
        self._timeline, self._greeting, self._instead = timeline, greeting, instead or {}
        self._restart_lsn = flushed_lsn if restart_lsn is None else restart_lsn
        self._removed, self._silent, self._ends = removed, silent, ends
        self._listener = socket.create_server(("127.0.0.1", port))
        self.server = Server(
            host="127.0.0.1", port=self._listener.getsockname()[1], user="postgres", password="secret"
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._listener.shutdown(socket.SHUT_RDWR)  # else the thread that waits keeps the port
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, EOFError), connection, connection.makefile("rb") as source:
            while True:
                (size,) = struct.unpack(">I", _exactly(source, 4))
                body = _exactly(source, size - 4)
                if struct.unpack_from(">I", body)[0] != 80877103:  # not a wish for TLS
                    break
                connection.sendall(b"N")
            connection.sendall(
                _message(b"R", struct.pack(">I", 0))
                + _message(b"S", b"server_version\x0015.9\x00")
                + _message(b"K", struct.pack(">II", 1, 1))
                + _READY
            )
            while True:
                kind = _exactly(source, 1)
                (size,) = struct.unpack(">I", _exactly(source, 4))
                body = _exactly(source, size - 4)
                if kind == b"Q":
                    command = body.rstrip(b"\0").decode()
                    self.asked.append(command)
                    self._answer(connection, command)
                elif kind == b"d" and self._silent:  # our word on what we have: written, flushed
                    _, _, stored = struct.unpack_from(">cQQ", body)
                    connection.sendall(_message(b"d", struct.pack(">cQqB", b"k", stored, _FAR_AHEAD, 0)))
                    self.answered += 1
                elif kind == b"X":
                    return

    def _answer(self, connection: socket.socket, command: str) -> None:
        words = command.split()
        if words[0] in self._instead:
            connection.sendall(self._instead[words[0]])
        elif words[0] == "IDENTIFY_SYSTEM":
            connection.sendall(answer(self._identity))
        elif words[0] == "SHOW":
            connection.sendall(answer((self._segment_size,)))
        elif words[0] == "READ_REPLICATION_SLOT":
            connection.sendall(answer(("physical", lsn_text(self._restart_lsn), str(self._timeline))))
        elif words[0] == "TIMELINE_HISTORY" and int(words[1]) in self._histories:
            connection.sendall(answer((f"{int(words[1]):08X}.history", self._histories[int(words[1])])))
        elif words[0] == "START_REPLICATION" and self._removed:
            self._removed -= 1
            connection.sendall(_GONE)
        elif words[0] == "START_REPLICATION" and self._ends is not None:
            (timeline, at), self._ends = self._ends, None
            connection.sendall(answer((str(timeline), lsn_text(at))))
        elif words[0] == "START_REPLICATION" and (self._content or self._silent):
            lsn = lsn_of(words[4])
            connection.sendall(_message(b"W", struct.pack(">bH", 0, 0)))
            if self._greeting:
                connection.sendall(_message(b"d", self._greeting))
            end = lsn + len(self._content)
            for at in range(0, len(self._content), 8192):
                piece = self._content[at : at + 8192]
                connection.sendall(_message(b"d", struct.pack(">cQQq", b"w", lsn + at, end, 0) + piece))
            if self._content:
                connection.sendall(_message(b"d", struct.pack(">cQqB", b"k", end, 0, 0)))
        else:
            connection.sendall(_GONE)


@contextmanager
def impostor(*args: object, **named: object) -> Iterator[Impostor]:
    """One for the block."""
    found = Impostor(*args, **named)  # type: ignore[arg-type]
    try:
        yield found
    finally:
        found.close()


def _exactly(source: object, count: int) -> bytes:
    content: bytes = source.read(count)  # type: ignore[attr-defined]
    if len(content) < count:
        raise EOFError
    return content


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">I", len(body) + 4) + body


_READY = _message(b"Z", b"I")
_GONE = _message(b"E", b"SERROR\0C58P01\0Mno such file\0\0") + _READY
_FAR_AHEAD = 50 * 365 * 86400 * 1_000_000  # 2049, in the protocol's microseconds since 2000


def answer(*rows: tuple[str | bytes | None, ...]) -> bytes:
    """The answer to a command, in the protocol."""
    columns = len(rows[0])
    described = struct.pack(">H", columns) + b"".join(
        b"c%d\0" % n + struct.pack(">IhIhih", 0, 0, 25, -1, -1, 0) for n in range(columns)
    )
    data = b""
    for row in rows:
        cells = b"".join(
            struct.pack(">i", -1) if each is None else struct.pack(">i", len(each)) + each
            for each in (each.encode() if isinstance(each, str) else each for each in row)
        )
        data += _message(b"D", struct.pack(">H", columns) + cells)
    return _message(b"T", described) + data + _message(b"C", b"SELECT 1\0") + _READY
