"""Sending: to a real mail server, over HTTP to a fake Bot API, through apprise; and what is said when it fails."""

from __future__ import annotations

import base64
import json
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from recyclic_backups.notify import send as sending
from recyclic_backups.notify.channels import Channel, Email, MailServer, Service, Telegram
from recyclic_backups.notify.message import Message
from recyclic_backups.notify.send import send
from recyclic_backups.notify.severity import Severity
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.notify.problems import NOW
from recyclic_backups_tests.notify.receivers import (
    MAIL_PASSWORD,
    USER,
    Listening,
    Mailbox,
    Web,
    mail_server,
    scripted_mail_server,
    trickling_server,
)

TOKEN = "424242:a-token-that-must-never-show"
SERVICE_PASSWORD = "a-service-password-that-must-never-show"

MESSAGE = Message(
    "[recyclic] CRITICAL: Größe und Čas",
    "Ein Satz.\n\nNoch einer: ✓\n",
    Severity.CRITICAL,
    "20261122-opened",
    NOW,
)


def email(mailbox: Mailbox, password: str = MAIL_PASSWORD, recipient: str = "ops@example.org") -> Email:
    """A channel to the mailbox."""
    return Email(recipient, USER, MailServer("127.0.0.1", mailbox.port, USER, password))


def test_a_mail_arrives_encrypted_and_logged_in(mailbox: Mailbox) -> None:
    """Loss prevented: a configuration that looks right and sends nothing."""
    assert send(email(mailbox), MESSAGE) is None
    (mail,) = mailbox.mails
    assert mail["Subject"] == MESSAGE.subject
    assert mail.get_content().replace("\r\n", "\n") == MESSAGE.body
    assert (mail["To"], mail["From"]) == ("ops@example.org", USER)
    assert mail["Message-ID"] == "<20261122-opened@example.org>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mailbox.logins == [(USER, MAIL_PASSWORD)]


def test_a_login_that_is_refused_says_so_without_the_password(mailbox: Mailbox) -> None:
    """Loss prevented: the password that was tried, in a log."""
    said = send(email(mailbox, "a-wrong-password"), MESSAGE)
    assert said == f"127.0.0.1:{mailbox.port} refused the login of {USER} (535)"
    assert mailbox.mails == []


def test_one_recipient_that_is_refused_is_named(mailbox: Mailbox) -> None:
    """Loss prevented: a colleague who left, and nobody who is told."""
    mailbox.refused.add("gone@example.org")
    said = send(email(mailbox, recipient="gone@example.org"), MESSAGE)
    assert said == f"127.0.0.1:{mailbox.port} does not take mail for gone@example.org (550)"


def test_a_server_with_a_wrong_certificate_gets_neither_mail_nor_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a password given to whoever stands in between."""
    with mail_server(tmp_path, certificate_of="mail.example.org") as other:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        said = send(email(other), MESSAGE)
    assert said is not None
    assert "certificate" in said
    assert (other.mails, other.logins) == ([], [])


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: a traceback instead of a reason, and a look that ends before the other channels."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        said = send(Email("ops@example.org", USER, MailServer("127.0.0.1", port)), MESSAGE)
        assert said == f"127.0.0.1:{port} cannot be reached: Connection refused"
        # One that takes the connection and says nothing.
        closed.listen()
        monkeypatch.setattr(sending, "TIMEOUT_SECONDS", 0.1)
        said = send(Email("ops@example.org", USER, MailServer("127.0.0.1", port)), MESSAGE)
        assert said is not None
        assert "no answer within" in said


def test_no_starttls_no_mail() -> None:
    """Loss prevented: messages that cross the network for everybody to read because a server was set up anew."""
    plain = Mailbox()
    controller = Listening(plain, socket.create_server(("127.0.0.1", 0)))
    controller.start()
    try:
        said = send(Email("ops@example.org", USER, MailServer("127.0.0.1", controller.port)), MESSAGE)
    finally:
        controller.stop()
    assert said is not None
    assert "does not offer STARTTLS" in said
    assert plain.mails == []


def plain(port: int, *, starttls: bool = False) -> Email:
    """A channel to a server that is asked for no login."""
    return Email("ops@example.org", USER, MailServer("127.0.0.1", port, starttls=starttls))


@pytest.mark.parametrize("good_bye", ["221 bye", "250 OK", "421 too busy", "500 what", ""])
def test_a_mail_that_was_taken_is_delivered_whatever_the_good_bye(good_bye: str) -> None:
    """Loss prevented: one mail sent for a week, and a channel called broken, because QUIT was answered oddly."""
    with scripted_mail_server({"QUIT": good_bye}) as server:
        assert send(plain(server.port), MESSAGE) is None
    assert server.mails == 1


@pytest.mark.parametrize(
    ("answers", "starttls", "reason"),
    [
        ({}, True, "does not offer STARTTLS"),
        ({"EHLO": "250-here\r\n250 STARTTLS", "STARTTLS": "454 not now"}, True, "answered 454"),
        ({"EHLO": "550 go away", "HELO": "551 go away"}, True, "answered 551"),
        ({"MAIL": "452 full"}, False, "answered 452"),
        ({".": "554 spam"}, False, "answered 554"),
        ({"": "421 too busy"}, False, "answered 421"),
        ({".": ""}, False, "ended the conversation"),
    ],
)
@pytest.mark.parametrize("good_bye", some(["221 bye", "250 OK", ""], {"250 OK"}))
def test_the_reason_of_a_refusal_is_not_replaced_by_the_good_bye(
    answers: dict[str, str], starttls: bool, reason: str, good_bye: str
) -> None:
    """Loss prevented: 'answered 250', and an operator who looks everywhere but at STARTTLS."""
    with scripted_mail_server({**answers, "QUIT": good_bye}) as server:
        said = send(plain(server.port, starttls=starttls), MESSAGE)
    assert said is not None
    assert reason in said
    assert server.mails == 0


def test_mail_by_tls_from_the_first_byte_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: port 465, which is what half of the providers tell people to use."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with scripted_mail_server({}, tls=tls) as server:
        monkeypatch.setattr(sending, "IMPLICIT_TLS_PORT", server.port)
        said = send(plain(server.port), MESSAGE)
        assert "certificate" in (said or "")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert send(plain(server.port), MESSAGE) is None
    assert server.mails == 1


def test_a_mail_server_that_speaks_a_byte_now_and_then_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: a tick that Dagster ends, so that other channels wait and the mail is sent at each tick."""
    monkeypatch.setattr(sending, "DEADLINE_SECONDS", 0.5)
    with scripted_mail_server({}, pause_seconds=0.2) as server:
        said = send(plain(server.port), MESSAGE)
        assert said == f"127.0.0.1:{server.port} was not done within 0.5 s"
    assert server.mails == 0


def test_a_mail_taken_before_the_time_was_over_is_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: a mail sent again because the server took its time over the good-bye."""
    # So long that a new process comes to the good-bye at all, which on a busy machine takes its time.
    for seconds in (2, 4, 8, 16, 32):
        monkeypatch.setattr(sending, "DEADLINE_SECONDS", seconds)
        with scripted_mail_server({"QUIT": "221 " + "x" * 99}, pause_seconds=0.5, slow="QUIT") as server:
            said = send(plain(server.port), MESSAGE)
            if server.began.is_set():
                break
    assert said is None
    assert server.mails == 1


def test_telegram_is_hung_up_on_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: as above."""
    with trickling_server() as url:
        monkeypatch.setattr(sending, "TELEGRAM_API", url)
        monkeypatch.setattr(sending, "DEADLINE_SECONDS", 0.5)
        assert send(Telegram(TOKEN, "99"), MESSAGE) == "Telegram was not done within 0.5 s"


def test_services_are_hung_up_on_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: as above; a plugin of apprise has no time of its own for all of an answer."""
    asked = threading.Event()
    with trickling_server(asked) as url:
        service = Service(f"json://user:{SERVICE_PASSWORD}@{url.removeprefix('http://')}/", 1)
        # So long that a new process comes to asking at all, which on a busy machine takes its time.
        for seconds in (2, 4, 8, 16, 32):
            monkeypatch.setattr(sending, "DEADLINE_SECONDS", seconds)
            assert send(service, MESSAGE) == f"json 1 was not done within {seconds} s"
            if asked.is_set():
                break
        assert asked.is_set()


def test_telegram_gets_subject_and_body(bot: Web) -> None:
    """Loss prevented: a bot that says 'CRITICAL' and not what."""
    assert send(Telegram(TOKEN, "99"), MESSAGE) is None
    assert bot.asked == [("POST", f"/bot{TOKEN}/sendMessage")]
    document = json.loads(bot.bodies[0])
    assert document["chat_id"] == "99"
    assert document["text"] == f"{MESSAGE.subject}\n\n{MESSAGE.body}"


def test_a_message_too_long_for_telegram_keeps_its_end(bot: Web) -> None:
    """Loss prevented: a storm that Telegram refuses; a long list without the recovery point."""
    long = Message(
        "s", "line\n" * 3000 + "\nNewest proven recovery point: none\n", Severity.CRITICAL, "x", NOW
    )
    assert send(Telegram(TOKEN, "99"), long) is None
    (text,) = bot.texts
    assert len(text) <= 4096
    assert text.endswith("…\n\nNewest proven recovery point: none")


def test_telegram_says_why_not(bot: Web) -> None:
    """Loss prevented: 'it failed', and the token in the text of the exception."""
    bot.status = 403
    assert send(Telegram(TOKEN, "99"), MESSAGE) == "Telegram answered 403: not today"


def test_anything_else_goes_through_apprise(web: Web) -> None:
    """Loss prevented: a service that the documentation promises."""
    address = web.url.removeprefix("http://")
    assert send(Service(f"json://user:{SERVICE_PASSWORD}@{address}/path", 1), MESSAGE) is None
    document = json.loads(web.bodies[0])
    assert document["title"] == MESSAGE.subject
    assert document["message"].strip() == MESSAGE.body.strip()
    web.status = 403
    said = send(Service(f"json://user:{SERVICE_PASSWORD}@{address}/path", 3), MESSAGE)
    assert said == "json 3 did not take the message (403)"


def test_apprise_is_the_one_that_is_installed_wherever_one_stands(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: code of a directory that anybody may write to, run by whoever tries a channel there."""
    (tmp_path / "apprise.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert send(Service(f"json://{web.url.removeprefix('http://')}/", 1), MESSAGE) is None


def test_the_process_that_delivers_is_given_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: another process of our user reads the key in its environment, for as long as a receiver makes it wait."""
    given: list[dict[str, str]] = []

    def run(_: object, *, env: dict[str, str], **__: object) -> None:
        given.append(env)
        raise OSError

    monkeypatch.setattr("recyclic_backups.notify.delivery_process.subprocess.Popen", run)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    for name in ("BACKUP_ENCRYPTION_KEY", "POSTGRES_PASSWORD", "DAGSTER_POSTGRES_PASSWORD"):
        monkeypatch.setenv(name, "correct horse battery staple")
    assert send(Service("json://localhost", 1, Severity.WARNING), MESSAGE)
    assert given[0]["HTTPS_PROXY"] == "http://proxy"
    assert "correct horse battery staple" not in given[0].values()


def test_a_url_that_apprise_does_not_know_is_named_by_its_number() -> None:
    """Loss prevented: a token in the message about a typing error in front of it."""
    said = send(Service(f"slak://{SERVICE_PASSWORD}", 2), MESSAGE)
    assert said == "apprise does not understand the URL number 2 of NOTIFICATION_URLS"


@pytest.fixture
def every_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """All that any library logs, at its most talkative."""
    caplog.set_level(logging.NOTSET)
    for name in ("apprise", "urllib3", "requests", "smtplib", "asyncio"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    yield caplog
    for name in ("apprise", "urllib3", "requests", "smtplib", "asyncio"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.parametrize("status", some([200, 401, 500], {401}))
def test_no_secret_in_any_log_or_reason(
    status: int,
    bot: Web,
    mailbox: Mailbox,
    every_log: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Loss prevented: a token in the event log of Dagster, which everybody with the page can read."""
    bot.status = status
    address = bot.url.removeprefix("http://")
    channels: list[Channel] = [
        email(mailbox, MAIL_PASSWORD if status == 200 else "another-mail-password-that-must-never-show"),
        Telegram(TOKEN, "99"),
        Service(f"json://user:{SERVICE_PASSWORD}@{address}/", 1),
        Service(f"tgram://{TOKEN}/99/%%", 2),
        Service(f"nobody://{SERVICE_PASSWORD}:x@", 3),
        Service(f"mailto://user:{SERVICE_PASSWORD}@[broken", 4),
    ]
    said = [send(channel, MESSAGE) or "" for channel in channels[:3]]
    said += [send(channel, MESSAGE) or "" for channel in channels[4:]]
    logs = "\n".join(record.getMessage() for record in every_log.records) + every_log.text
    out, err = capfd.readouterr()
    everything = "\n".join([*said, logs, out, err, repr(channels)])
    for secret in (TOKEN, TOKEN.split(":")[1], SERVICE_PASSWORD, MAIL_PASSWORD, "another-mail-password"):
        assert secret not in everything
        assert base64.b64encode(secret.encode()).decode().rstrip("=") not in everything


@pytest.mark.parametrize("channel", ["mail", "service"])
def test_an_answer_that_has_no_end_fills_no_memory(channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: a hostile receiver's answer, which libraries read to its end: gigabytes, beside the database."""
    monkeypatch.setattr(sending, "DEADLINE_SECONDS", 60)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        greeting = b"220-" if channel == "mail" else b"HTTP/1.1 200 OK\r\n\r\n"
        more = (b"x" * 1000 + b"\r\n220-") * 1000 if channel == "mail" else bytes(1 << 20)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.sendall(greeting)
                while True:
                    connection.sendall(more)

        thread = threading.Thread(target=answer)
        thread.start()
        port = listener.getsockname()[1]
        said = send(plain(port) if channel == "mail" else Service(f"json://127.0.0.1:{port}/", 1), MESSAGE)
        thread.join()
    assert said is not None
    assert "not done within" not in said  # its process ran into its own bound
