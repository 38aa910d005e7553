"""Whoever receives messages in the tests: a web server that remembers, and a mail server as mail servers are."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from recyclic_backups.notify import heartbeat, send

USER, MAIL_PASSWORD = "backups@example.org", "a-mail-password-that-must-never-show"


@dataclass
class Web:
    """A running web server: what it was asked, and what it answers.

    With ``status`` 200 it is a fake of Telegram's Bot API; ``texts`` are the messages that it took. ``location`` is
    where it sends whoever asks.
    """

    url: str = ""
    status: int = 200
    location: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [path for _, path in self.asked]


@contextmanager
def web_server(tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    """A running one, gone with the block; with ``tls`` its URL is https."""
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            web.asked.append(("POST", self.path))
            web.bodies.append(body)
            if self.path.endswith("/sendMessage") and web.status == 200:
                web.texts.append(json.loads(body)["text"])
            answer = json.dumps({"ok": web.status == 200, "description": "not today"}).encode()
            self.send_response(web.status)
            if web.location:
                self.send_header("Location", web.location)
            self.end_headers()
            self.wfile.write(answer)

        def do_GET(self) -> None:
            web.asked.append(("GET", self.path))
            self.send_response(web.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    web.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}"
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody who answers at once be cut off because this machine is busy."""
    for module in (send, heartbeat):
        monkeypatch.setattr(module, "TIMEOUT_SECONDS", 60)
        monkeypatch.setattr(module, "DEADLINE_SECONDS", 60)


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server."""
    with web_server() as found:
        yield found


@pytest.fixture
def bot(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A web server in the place of Telegram's."""
    patient(monkeypatch)
    with web_server() as found:
        monkeypatch.setattr(send, "TELEGRAM_API", found.url)
        yield found


@dataclass
class Mailbox:
    """A running mail server that wants STARTTLS and a login, and the mail that it took."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    async def handle_RCPT(  # noqa: N802 - as the library names it
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take a recipient, or not."""
        if address in self.refused:
            return "550 5.1.1 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - as the library names it
        self, _server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Take a mail."""
        assert session.ssl is not None, "a mail came unencrypted"
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        mail = message_from_bytes(content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients += envelope.rcpt_tos
        return "250 OK"

    def log_in(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _way: str, data: Any
    ) -> AuthResult:
        """Whether a login is right."""
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        # Not handled: the server is to answer 535 itself.
        return AuthResult(success=self.logins[-1] == (USER, MAIL_PASSWORD), handled=False)


class Listening(Controller):
    """A mail server on a port that it has already: the system chose it when the ``listener`` was made."""

    def __init__(self, handler: object, listener: socket.socket, **given: Any) -> None:
        host, port = listener.getsockname()
        super().__init__(handler, hostname=host, port=port, ready_timeout=60, **given)
        self._listener = listener

    def _create_server(self) -> Any:
        return self.loop.create_server(self._factory_invoker, sock=self._listener)


@contextmanager
def mail_server(folder: Path, certificate_of: str = "127.0.0.1") -> Iterator[Mailbox]:
    """A running one; its certificate authority lies in ``folder / "ca.pem"``."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(certificate_of).configure_cert(tls)
    mailbox = Mailbox()
    controller = Listening(
        mailbox,
        socket.create_server(("127.0.0.1", 0)),
        tls_context=tls,
        require_starttls=True,
        authenticator=mailbox.log_in,
        auth_required=True,
    )
    controller.start()
    mailbox.port = controller.port
    try:
        yield mailbox
    finally:
        controller.stop()


@pytest.fixture
def mailbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """A mail server whose certificate this process trusts."""
    with mail_server(tmp_path) as found:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        yield found


@dataclass
class Script:
    """A mail server in plain text that says what it is told to, and how fast; ``mails`` counts what it took.

    ``answers`` are by verb, ``""`` is the greeting and ``.`` the answer to the data; an empty answer ends the
    conversation. Between two bytes it waits for ``pause_seconds``; with ``slow`` only in answers to that verb, and
    ``began`` is set when it comes to that.
    """

    answers: Mapping[str, str]
    pause_seconds: float = 0.0
    slow: str = ""
    tls: ssl.SSLContext | None = None
    port: int = 0
    mails: int = 0
    began: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def serve(self, listener: socket.socket) -> None:
        """One conversation after the other, until nobody listens."""
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with self._private(connection) as line, line.makefile("rb") as lines:
                    self._talk(line, lines)
            except OSError:
                continue

    def _private(self, connection: socket.socket) -> socket.socket:
        return connection if self.tls is None else self.tls.wrap_socket(connection, server_side=True)

    def _talk(self, connection: socket.socket, lines: Any) -> None:
        usual = {
            "": "220 here",
            "EHLO": "250 here",
            "HELO": "250 here",
            "DATA": "354 go on",
            "QUIT": "221 bye",
        }
        verb = ""
        while not self.over.is_set():
            answer = self.answers.get(verb, usual.get(verb, "250 OK"))
            if verb == "." and answer.startswith("250"):
                self.mails += 1
            if verb == self.slow:
                self.began.set()
            for byte in f"{answer}\r\n".encode() if answer else b"":
                connection.sendall(bytes([byte]))
                if self.pause_seconds and self.slow in ("", verb) and self.over.wait(self.pause_seconds):
                    return
            if not answer or verb == "QUIT":
                return
            line = lines.readline()
            if not line:
                return
            if verb == "DATA" and answer.startswith("354"):
                while line not in (b".\r\n", b""):
                    line = lines.readline()
                verb = "."
            else:
                verb = line.split(maxsplit=1)[0].decode().upper()


@contextmanager
def scripted_mail_server(
    answers: Mapping[str, str],
    *,
    pause_seconds: float = 0.0,
    slow: str = "",
    tls: ssl.SSLContext | None = None,
    began: threading.Event | None = None,
) -> Iterator[Script]:
    """A running one, gone with the block. With ``tls`` it speaks that from the first byte on."""
    script = Script(answers, pause_seconds, slow, tls, began=began or threading.Event())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        script.port = listener.getsockname()[1]
        thread = threading.Thread(target=script.serve, args=(listener,))
        thread.start()
        try:
            yield script
        finally:
            script.over.set()
            # Wakes whoever waits in accept(2), which closing does not.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def trickling_server(began: threading.Event | None = None) -> Iterator[str]:
    """The URL of a web server whose answers never end: one byte now and then. ``began`` is set with each answer."""
    over = threading.Event()

    def trickle(connection: socket.socket) -> None:
        with connection:
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                if began is not None:
                    began.set()
                while not over.wait(0.02):
                    connection.sendall(b"x")
            except OSError:
                return

    def serve(listener: socket.socket) -> None:
        threads = []
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                break
            threads.append(threading.Thread(target=trickle, args=(connection,)))
            threads[-1].start()
        for each in threads:
            each.join()

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
