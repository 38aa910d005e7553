"""Send one message by one channel, within a bounded time, and say why if it did not arrive.

What the other side answered is told as far as it is known to hold no secret: libraries put tokens into the text of
their exceptions and into their logs, so neither is ever passed on.
"""

from __future__ import annotations

import json
import smtplib
import socket
import ssl
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import format_datetime
from http.client import HTTPException
from urllib.error import URLError
from urllib.request import Request

from recyclic_backups.notify.channels import IMPLICIT_TLS_PORT, Channel, Email, Service, Telegram
from recyclic_backups.notify.harmless import unmarked
from recyclic_backups.notify.line import (
    CutOff,
    Line,
    MailConnection,
    TlsMailConnection,
    post,
    talk_for,
)
from recyclic_backups.notify.message import Message, redact
from recyclic_backups.notify.service import Patience, Unanswered, Verdict, hand_over, understands
from recyclic_backups.notify.severity import Severity

TIMEOUT_SECONDS = 8
"""For each piece of what the other side says."""

DEADLINE_SECONDS = 15
"""For all of a delivery: a sensor of Dagster has a minute for everything, and other channels wait."""

PARTING_SECONDS = 2
"""For the answer to a good-bye, on which nothing depends."""

TELEGRAM_API = "https://api.telegram.org"

_TELEGRAM_LONGEST = 4000  # the Bot API takes 4096 characters


def send(channel: Channel, message: Message) -> str | None:
    """Deliver the message. None once the channel took it, otherwise why it did not: a sentence without a secret."""
    match channel:
        case Email():
            reason = _send_mail(channel, message)
        case Telegram():
            reason = _send_telegram(channel, message)
        case Service():
            reason = _send_by_service(channel, message)
    return None if reason is None else redact(reason, channel.secrets)


def _send_mail(channel: Email, message: Message) -> str | None:
    server = channel.server
    where = f"{server.host}:{server.port}"
    try:
        mail = _mail(channel, message)
        talk_for(DEADLINE_SECONDS, lambda line: _hand_in(line, channel, mail))
    except CutOff:
        return f"{where} was not done within {DEADLINE_SECONDS} s"
    except smtplib.SMTPRecipientsRefused as error:
        codes = ", ".join(str(code) for code, _ in error.recipients.values())
        return f"{where} does not take mail for {channel.recipient} ({codes})"
    except smtplib.SMTPAuthenticationError as error:
        return f"{where} refused the login of {server.user} ({error.smtp_code})"
    except smtplib.SMTPNotSupportedError:
        return f"{where} does not offer STARTTLS, or not the login that is configured"
    except smtplib.SMTPResponseException as error:
        return f"{where} answered {error.smtp_code}"
    except smtplib.SMTPServerDisconnected as error:
        # smtplib wraps what the system said while it waited for an answer.
        cause = error.__context__
        return f"{where} ended the conversation" + (
            f": {_os_reason(cause)}" if isinstance(cause, OSError) else ""
        )
    except smtplib.SMTPException as error:
        return f"{where} ended the conversation ({type(error).__name__})"
    except ssl.SSLCertVerificationError as error:
        return f"the certificate of {where} is not valid: {error.verify_message}"
    except OSError as error:
        return f"{where} cannot be reached: {_os_reason(error)}"
    except (
        ValueError
    ) as error:  # an address or a password that is not ASCII, for a server that takes no other
        return f"{where} cannot be given this mail ({type(error).__name__})"
    return None


def _hand_in(line: Line, channel: Email, mail: EmailMessage) -> None:
    """One conversation with the mail server. Raises SMTPException, OSError, ValueError."""
    server, own_name = channel.server, socket.gethostname()
    tls = ssl.create_default_context()
    if server.port == IMPLICIT_TLS_PORT:
        connection: smtplib.SMTP = TlsMailConnection(
            line, server.host, server.port, own_name=own_name, timeout_seconds=TIMEOUT_SECONDS, tls=tls
        )
    else:
        connection = MailConnection(
            line, server.host, server.port, own_name=own_name, timeout_seconds=TIMEOUT_SECONDS
        )
    try:
        if server.starttls and server.port != IMPLICIT_TLS_PORT:
            connection.starttls(context=tls)
        if server.user:
            connection.login(server.user, server.password)
        connection.send_message(mail, channel.sender, [channel.recipient])
    finally:
        _part_from(connection)


def _part_from(connection: smtplib.SMTP) -> None:
    """Say good-bye, whatever is answered. Not by ``with``, which raises for any answer but 221.

    A mail is the server's from its 250 after the data on (RFC 5321, section 6.1), and a refusal before that is the
    reason to tell: what becomes of QUIT changes neither.
    """
    try:
        if connection.sock is not None:
            connection.sock.settimeout(PARTING_SECONDS)
            connection.quit()
    except (smtplib.SMTPException, OSError, ValueError):
        pass
    finally:
        connection.close()


def _mail(channel: Email, message: Message) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = channel.sender
    mail["To"] = channel.recipient
    mail["Subject"] = message.subject
    mail["Date"] = format_datetime(message.written_at)
    mail["Message-ID"] = f"<{message.message_id}@{channel.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence note answers it
    if message.severity is Severity.CRITICAL:
        mail["Importance"] = "high"
    mail.set_content(message.body)
    return mail


def _send_telegram(channel: Telegram, message: Message) -> str | None:
    text = f"{message.subject}\n\n{message.body}"
    if len(text) > _TELEGRAM_LONGEST:
        # What can be recovered is the last paragraph, and is what a long list must not push out.
        last = message.body.rstrip().rpartition("\n\n")[2]
        end = f"\n…\n\n{last}"[:_TELEGRAM_LONGEST]
        text = text[: _TELEGRAM_LONGEST - len(end)] + end
    body = json.dumps(
        {"chat_id": channel.chat_id, "text": text, "link_preview_options": {"is_disabled": True}}
    )
    try:
        request = Request(  # noqa: S310 - the scheme is that of our own constant
            f"{TELEGRAM_API}/bot{channel.token}/sendMessage",
            data=body.encode(),
            headers={"Content-Type": "application/json"},
        )
        status, answer = talk_for(
            DEADLINE_SECONDS, lambda line: post(line, request, timeout_seconds=TIMEOUT_SECONDS)
        )
        if status >= 300:
            return f"Telegram answered {status}: {_telegram_description(answer)}"
        if json.loads(answer).get("ok") is not True:
            return "Telegram did not take the message"
    except CutOff:
        return f"Telegram was not done within {DEADLINE_SECONDS} s"
    except URLError as error:
        reason = error.reason
        return f"Telegram cannot be reached: {_os_reason(reason) if isinstance(reason, OSError) else 'no answer'}"
    except (OSError, HTTPException, ValueError, AttributeError) as error:
        return (
            f"Telegram cannot be reached: {_os_reason(error) if isinstance(error, OSError) else 'no answer'}"
        )
    return None


def _telegram_description(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["description"])[:200]
    except (ValueError, KeyError, TypeError):
        return "no reason given"


def why_unusable(channel: Channel) -> str | None:
    """Why this channel can take no message, as far as that shows without sending one: a sentence without a secret.

    None where nothing speaks against it. Nothing is sent and nobody is asked.
    """
    if not isinstance(channel, Service):
        return None
    verdict = _verdict(channel, lambda given: understands(channel.url, given))
    return verdict if isinstance(verdict, str) else None


def _send_by_service(channel: Service, message: Message) -> str | None:
    critical = message.severity is Severity.CRITICAL
    verdict = _verdict(
        channel,
        lambda given: hand_over(
            channel.url, unmarked(message.subject), unmarked(message.body), given, critical=critical
        ),
    )
    if isinstance(verdict, str) or verdict.taken:
        return verdict if isinstance(verdict, str) else None
    return f"{channel.name} did not take the message" + (f" ({verdict.code})" if verdict.code else "")


def _verdict(channel: Service, ask: Callable[[Patience], Verdict]) -> Verdict | str:
    """What apprise says of a URL that it understands, or why it says nothing."""
    try:
        verdict = ask(Patience(TIMEOUT_SECONDS, DEADLINE_SECONDS))
    except Unanswered as error:
        return f"{channel.name} {error}"
    except OSError as error:
        return f"{channel.name} cannot be tried: no process can be started ({_os_reason(error)})"
    if verdict.error:
        return f"{channel.name} failed ({verdict.error})"
    if not verdict.known:
        return f"apprise does not understand the URL number {channel.number} of NOTIFICATION_URLS"
    return verdict


def _os_reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "no TLS connection could be made"
    return error.strerror or type(error).__name__
