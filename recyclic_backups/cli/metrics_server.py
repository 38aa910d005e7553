"""What answers Prometheus: one small HTTP server that no client can keep from answering the others.

It knows two addresses and two methods. One thread serves all connections, another one measures; requests that wait at
the same time share a measurement. Every connection has one deadline for asking and one for taking the answer, however
slowly bytes come or go. There are at most so many connections: where one more comes, the oldest of the client that has
most of them makes room, one that has not asked yet before one that has (RFC 9112 is spoken as far as that needs).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from recyclic_backups.cli import render

MAXIMUM_CONNECTIONS = 64
REQUEST_SECONDS = 10.0
"""Within which a request has to be there, whole."""

ANSWER_SECONDS = 10.0
"""Within which an answer has to be taken."""

MEASUREMENT_SECONDS = 120.0
"""How long a request waits for figures. A storage that hangs holds up one measurement, never a second one."""

LONGEST_REQUEST_BYTES = 8192
_SHORTEST_PAUSE_SECONDS = 0.05

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_ADDRESSES = frozenset({"/", "/metrics"})
_METHODS = frozenset({"GET", "HEAD"})
_CLOSED = (
    "Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
    "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
)

T = TypeVar("T")


def serve(measure: Callable[[], bytes], host: str, port: int, *, ready: Callable[[int], None]) -> None:
    """Answer with what ``measure`` returns until the process is ended; ``ready`` is told the port.

    Raises OSError when nothing can listen there.
    """
    asyncio.run(_serve(measure, host, port, ready))


async def _serve(measure: Callable[[], bytes], host: str, port: int, ready: Callable[[int], None]) -> None:
    door = _Door(_Measurements(measure), closed=_is_loopback(host))
    server = await asyncio.start_server(
        door.answer, host, port, limit=LONGEST_REQUEST_BYTES, family=socket.AF_UNSPEC
    )
    ready(server.sockets[0].getsockname()[1])
    async with server:
        await server.serve_forever()


@dataclass(frozen=True)
class _Request:
    """A method, an address without its query, and the names of the host that it was sent to."""

    method: str
    address: str
    hosts: tuple[str, ...]


@dataclass
class _Connection:
    """One that is open, and whether its request is still awaited."""

    client: str
    writer: asyncio.StreamWriter
    task: asyncio.Task[object] | None
    silent: bool = True
    leaves: bool = False


class _Door:
    """Every connection that is open, and what it gets. ``closed``: it listens on this machine's own addresses alone."""

    def __init__(self, measurements: _Measurements, *, closed: bool) -> None:
        self._measurements, self._closed = measurements, closed
        self._connections: list[_Connection] = []  # in the order in which they came

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request, one answer."""
        connection = _Connection(
            str((writer.get_extra_info("peername") or ("",))[0]), writer, asyncio.current_task()
        )
        self._make_room()
        self._connections.append(connection)
        # Then `drain` waits until everything has been taken.
        writer.transport.set_write_buffer_limits(0)
        try:
            status, body, head_only = await self._result(reader, connection)
            async with asyncio.timeout(ANSWER_SECONDS):
                writer.write(_head(status, body) + (b"" if head_only else body))
                await writer.drain()
            writer.close()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            writer.transport.abort()
        except asyncio.CancelledError:
            if not connection.leaves:
                raise
        finally:
            if connection in self._connections:
                self._connections.remove(connection)

    def _make_room(self) -> None:
        """For one more. A client with few connections never loses one to a client with many."""
        if len(self._connections) < MAXIMUM_CONNECTIONS:
            return
        ((greedy, _),) = Counter(each.client for each in self._connections).most_common(1)
        theirs = [each for each in self._connections if each.client == greedy]
        leaving = next((each for each in theirs if each.silent), theirs[0])
        self._connections.remove(leaving)
        leaving.leaves = True
        leaving.writer.transport.abort()
        if leaving.task is not None:
            leaving.task.cancel()

    async def _result(
        self, reader: asyncio.StreamReader, connection: _Connection
    ) -> tuple[HTTPStatus, bytes, bool]:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                received = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, b"", False
        connection.silent = False
        request = _parsed(received)
        if request is None:
            return HTTPStatus.BAD_REQUEST, b"", False
        head_only = request.method == "HEAD"
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal, b"", head_only
        try:
            async with asyncio.timeout(MEASUREMENT_SECONDS):
                return HTTPStatus.OK, await self._measurements.next(), head_only
        except TimeoutError:
            return HTTPStatus.SERVICE_UNAVAILABLE, b"", head_only
        except Exception as error:  # noqa: BLE001 - a bug answers one client, and goes on with the next
            render.say(f"unexpected error, this is a bug: {type(error).__name__}: {error}")
            return HTTPStatus.INTERNAL_SERVER_ERROR, b"", head_only

    def _refusal(self, request: _Request) -> HTTPStatus | None:
        # A page of another site, whose name suddenly leads to 127.0.0.1, reads what its visitor's machine answers.
        if self._closed and not all(_is_loopback(each) for each in request.hosts):
            return HTTPStatus.MISDIRECTED_REQUEST
        if request.method not in _METHODS:
            return HTTPStatus.METHOD_NOT_ALLOWED
        return None if request.address in _ADDRESSES else HTTPStatus.NOT_FOUND


class _Measurements:
    """One at a time, in a thread of its own; between two there is a pause as long as the first of them took."""

    def __init__(self, measure: Callable[[], bytes]) -> None:
        self._measure = measure
        self._running: asyncio.Future[bytes] | None = None
        self._next: asyncio.Future[bytes] | None = None
        self._not_before = 0.0

    async def next(self) -> bytes:
        """What is measured from now on: the one that runs may have looked before the caller asked."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._after(self._running))
        return await asyncio.shield(self._next)

    async def _after(self, running: asyncio.Future[bytes] | None) -> bytes:
        if running is not None:
            await asyncio.wait([running])
        await asyncio.sleep(max(self._not_before - time.monotonic(), 0.0))
        self._running, self._next = self._next, None
        began = time.monotonic()
        try:
            return await _in_a_thread(self._measure)
        finally:
            ended = time.monotonic()
            self._not_before = ended + max(ended - began, _SHORTEST_PAUSE_SECONDS)


async def _in_a_thread(work: Callable[[], T]) -> T:
    """Like ``asyncio.to_thread``, but work that hangs does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            _tell(loop, tell, None, error)
        else:
            _tell(loop, tell, result, None)

    threading.Thread(target=run, name="measurement", daemon=True).start()
    return await done


def _tell(loop: asyncio.AbstractEventLoop, tell: Callable[..., None], *what: object) -> None:
    try:
        loop.call_soon_threadsafe(tell, *what)
    except RuntimeError:
        return  # the loop has ended meanwhile, and nobody waits


def _parsed(received: bytes) -> _Request | None:
    """What was asked; None for what is no HTTP/1 (RFC 9112, sections 3 and 5)."""
    lines = received.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1"):
        return None
    hosts: list[str] = []
    for line in lines[1:-2]:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip() or not name:
            return None
        if name.lower() == "host":
            hosts.append(_name_of(value.strip()))
    return None if len(hosts) > 1 else _Request(words[0], words[1].partition("?")[0], tuple(hosts))


def _name_of(host: str) -> str:
    """Without its port: ``[::1]:9187``, ``localhost:9187``."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_loopback(host: str) -> bool:
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _head(status: HTTPStatus, body: bytes) -> bytes:
    allowed = "Allow: GET, HEAD\r\n" if status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {_TEXT}\r\nContent-Length: {len(body)}\r\n"
        f"{allowed}{_CLOSED}\r\n"
    ).encode()
