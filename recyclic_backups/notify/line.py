"""Lines to others: a conversation over the network that is over after so many seconds, whoever speaks how slowly.

The timeout of a socket begins anew with every byte: a server that sends one in every two seconds keeps a caller for
ever. Here the talking is done in a thread, and at the end of its time its connections are shut down below it. So
nothing is said after the end that nobody hears of any more, and whoever waits has an answer in time even while the
thread is held where no connection exists yet, in the resolver of names.
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from http.client import HTTPConnection, HTTPMessage, HTTPResponse, HTTPSConnection
from smtplib import SMTP, SMTP_SSL
from ssl import SSLContext
from typing import IO, Any, Generic, TypeVar, cast
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

T = TypeVar("T")

GRACE_SECONDS = 2.0
"""How long the end of a conversation whose connections were shut down may take: it only has to notice."""

_LONGEST_ANSWER_BYTES = 100_000
"""Of one answer over HTTP, and of all that a mail server says: a greeting may have lines without end."""


class CutOff(TimeoutError):
    """The conversation was over its time. What the other side made of it is not known."""


class Line:
    """Connections of one conversation, which :meth:`cut` ends all at once, from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._is_cut = False

    @property
    def is_cut(self) -> bool:
        """Whether the time was over."""
        return self._is_cut

    def connect(
        self,
        address: tuple[str, int],
        timeout: float | None = None,
        source_address: tuple[str, int] | None = None,
    ) -> socket.socket:
        """As :func:`socket.create_connection`. Raises CutOff once the time is over, OSError."""
        if self._is_cut:
            raise CutOff
        found = socket.create_connection(address, timeout, source_address)
        with self._lock:
            if self._is_cut:
                found.close()
                raise CutOff
            # A second descriptor: TLS takes the first one over, and shutdown(2) acts on what both stand for.
            self._ends.append(found.dup())
        return found

    def cut(self) -> None:
        """End every conversation, and begin no other."""
        with self._lock:
            self._is_cut = True
            for each in self._ends:
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it was over already

    def close(self) -> None:
        """Give up what is needed for cutting."""
        with self._lock:
            while self._ends:
                self._ends.pop().close()


class _Talk(Generic[T]):
    """What is said on a line, in a thread of its own, and what came of it."""

    def __init__(self, talk: Callable[[Line], T]) -> None:
        self.line = Line()
        self._talk = talk
        self._outcome: list[T] = []
        self._error: BaseException | None = None
        # A daemon: a resolver of names that answers nothing must not keep a process from ending.
        self.thread = threading.Thread(target=self._run, name="line", daemon=True)

    def _run(self) -> None:
        try:
            self._outcome.append(self._talk(self.line))
        except BaseException as error:  # noqa: BLE001 - raised again for whoever waits
            self._error = error
        finally:
            self.line.close()

    def result(self) -> T:
        """What the talk returned, or raised; CutOff if it was cut before it came to anything."""
        if self._outcome:
            return self._outcome[0]
        if self._error is None or self.line.is_cut:
            raise CutOff from None
        raise self._error


def talk_for(seconds: float, talk: Callable[[Line], T]) -> T:
    """What ``talk`` returns or raises, after at most ``seconds`` and :data:`GRACE_SECONDS`.

    Every connection of it has to be made by the line's :meth:`Line.connect`. A talk that came to its end although it
    was cut (its last word had been heard) counts as what it says. Raises CutOff for one that did not.
    """
    given = _Talk(talk)
    try:
        given.thread.start()
        given.thread.join(seconds)
        if given.thread.is_alive():
            given.line.cut()
    except BaseException:
        # Whoever waits is interrupted, and nobody would hear the rest. Not asked whether the thread is alive: it does
        # not count as such at once, and start() can be interrupted after the talk has begun.
        given.line.cut()
        raise
    given.thread.join(GRACE_SECONDS)
    return given.result()


def post(line: Line, request: Request, *, timeout_seconds: float) -> tuple[int, bytes]:
    """The status and the beginning of the answer to an http(s) request; a proxy in the environment is used.

    ``timeout_seconds`` is for each piece of the answer. Raises URLError, OSError, HTTPException, ValueError; CutOff; an
    answer that is an error is an answer, and so is one that sends us to anybody else.
    """
    opener = build_opener(_Http(line), _Https(line), _ToTheSameHost)
    try:
        with opener.open(request, timeout=timeout_seconds) as answer:
            heard = int(answer.status), cast(bytes, answer.read(_LONGEST_ANSWER_BYTES))
    except HTTPError as error:
        with error:
            heard = error.code, error.read(_LONGEST_ANSWER_BYTES)
    if line.is_cut:
        raise CutOff  # half an answer looks like a whole one: the end of a connection ends it
    return heard


class _Http(HTTPHandler):
    """Opens http URLs by connections of a line."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def http_open(self, req: Request) -> HTTPResponse:
        """Called by the opener."""
        return self.do_open(lambda host, **given: _HttpConnection(self._line, host, **given), req)


class _Https(HTTPSHandler):
    """Opens https URLs by connections of a line; certificates are verified."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def https_open(self, req: Request) -> HTTPResponse:
        """Called by the opener."""
        return self.do_open(lambda host, **given: _HttpsConnection(self._line, host, **given), req)


class _ToTheSameHost(HTTPRedirectHandler):
    """Follows a server to another of its own addresses, or from http to https there.

    Elsewhere, and to http, it would have us ask what it cannot reach itself: what listens on this machine alone.
    """

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """Called by the opener."""
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        is_upgrade = (before.scheme, after.scheme, after.port or 443) == ("http", "https", 443)
        is_same = (before.scheme, before.port) == (after.scheme, after.port)
        if before.hostname != after.hostname or not (is_same or is_upgrade):
            raise HTTPError(req.full_url, code, msg, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _HttpConnection(HTTPConnection):
    def __init__(self, line: Line, host: str, **given: Any) -> None:
        super().__init__(host, **given)
        # As the class itself sets it, so that a proxy's answer and the making of TLS are on the line too.
        self._create_connection = line.connect


class _HttpsConnection(HTTPSConnection):
    def __init__(self, line: Line, host: str, **given: Any) -> None:
        super().__init__(host, **given)
        self._create_connection = line.connect


class _Bounded:
    """Lines of somebody who may never end."""

    def __init__(self, opened: IO[bytes]) -> None:
        self._opened = opened
        self._left_bytes = _LONGEST_ANSWER_BYTES

    def readline(self, size: int) -> bytes:
        """As of a file. Raises OSError once all lines together are too long."""
        heard = self._opened.readline(size)
        self._left_bytes -= len(heard)
        if self._left_bytes < 0:
            raise OSError(errno.EMSGSIZE, "it says more than any mail server has to")
        return heard

    def close(self) -> None:
        """As of a file."""
        self._opened.close()


class MailConnection(SMTP):
    """A mail server, on a line."""

    def __init__(self, line: Line, host: str, port: int, *, own_name: str, timeout_seconds: float) -> None:
        self._line = line
        super().__init__(host, port, own_name, timeout=timeout_seconds)

    @property
    def file(self) -> _Bounded | None:
        """What smtplib reads answers from; it makes one itself, and a new one once TLS has begun."""
        return self._file

    @file.setter
    def file(self, opened: IO[bytes] | None) -> None:
        self._file = None if opened is None else _Bounded(opened)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._line.connect((host, port), timeout)


class TlsMailConnection(SMTP_SSL, MailConnection):
    """One that speaks TLS from the first byte on."""

    def __init__(
        self, line: Line, host: str, port: int, *, own_name: str, timeout_seconds: float, tls: SSLContext
    ) -> None:
        self._line = line
        # Its own socket is made by the class behind it in the order of resolution, which is the one above.
        SMTP_SSL.__init__(self, host, port, own_name, timeout=timeout_seconds, context=tls)
