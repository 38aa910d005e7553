"""Whoever receives messages in the tests: a web server that remembers, and a mail server as mail servers are."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
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

from recyclic_backups.notify import send
from recyclic_backups_tests.ports import free_port

USER, MAIL_PASSWORD = "backups@example.org", "a-mail-password-that-must-never-show"


@dataclass
class Web:
    """A running web server: what it was asked, and what it answers.

    With ``status`` 200 it is a fake of Telegram's Bot API; ``texts`` are the messages that it took.
    """

    url: str = ""
    status: int = 200
    asked: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [path for _, path in self.asked]


@contextmanager
def web_server() -> Iterator[Web]:
    """A running one, gone with the block."""
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
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server."""
    with web_server() as found:
        yield found


@pytest.fixture
def bot(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A web server in the place of Telegram's."""
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


@contextmanager
def mail_server(folder: Path, certificate_of: str = "127.0.0.1") -> Iterator[Mailbox]:
    """A running one; its certificate authority lies in ``folder / "ca.pem"``."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(certificate_of).configure_cert(tls)
    mailbox = Mailbox()
    controller = Controller(
        mailbox,
        hostname="127.0.0.1",
        port=0,
        tls_context=tls,
        require_starttls=True,
        authenticator=mailbox.log_in,
        auth_required=True,
    )
    controller.port = free_port()
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
