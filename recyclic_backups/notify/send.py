"""Send one message by one channel, within a bounded time, and say why if it did not arrive.

What the other side answered is told as far as it is known to hold no secret: libraries put tokens into the text of
their exceptions and into their logs, so neither is ever passed on.
"""

from __future__ import annotations

import json
import logging
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import format_datetime
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from recyclic_backups.notify.channels import IMPLICIT_TLS_PORT, Channel, Email, Service, Telegram
from recyclic_backups.notify.message import Message, redact
from recyclic_backups.notify.severity import Severity

if TYPE_CHECKING:
    from apprise import Apprise

TIMEOUT_SECONDS = 8
"""For each answer of the other side: a sensor of Dagster has a minute for everything."""

PARTING_SECONDS = 2
"""For the answer to a good-bye, on which nothing depends."""

TELEGRAM_API = "https://api.telegram.org"

_TELEGRAM_LONGEST = 4000  # the Bot API takes 4096 characters
_LOUD_LOGGERS = ("apprise", "urllib3", "requests")


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
        tls = ssl.create_default_context()
        name = socket.gethostname()
        if server.port == IMPLICIT_TLS_PORT:
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, name, timeout=TIMEOUT_SECONDS, context=tls
            )
        else:
            connection = smtplib.SMTP(server.host, server.port, name, timeout=TIMEOUT_SECONDS)
        try:
            if server.starttls and server.port != IMPLICIT_TLS_PORT:
                connection.starttls(context=tls)
            if server.user:
                connection.login(server.user, server.password)
            connection.send_message(mail, channel.sender, [channel.recipient])
        finally:
            _part_from(connection)
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
        with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above
            document = json.loads(answer.read(100_000))
        if document.get("ok") is not True:
            return "Telegram did not take the message"
    except HTTPError as error:
        with error:
            return f"Telegram answered {error.code}: {_telegram_description(error)}"
    except URLError as error:
        reason = error.reason
        return f"Telegram cannot be reached: {_os_reason(reason) if isinstance(reason, OSError) else 'no answer'}"
    except (OSError, HTTPException, ValueError, AttributeError) as error:
        return (
            f"Telegram cannot be reached: {_os_reason(error) if isinstance(error, OSError) else 'no answer'}"
        )
    return None


def _telegram_description(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read(10_000))["description"])[:200]
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return "no reason given"


def why_unusable(channel: Channel) -> str | None:
    """Why this channel can take no message, as far as that shows without sending one: a sentence without a secret.

    None where nothing speaks against it. Nothing is sent and nobody is asked.
    """
    if not isinstance(channel, Service):
        return None
    with _overheard():
        try:
            return None if _understood(channel) else _not_understood(channel)
        except Exception as error:  # noqa: BLE001 - a hundred plugins, each with exceptions of its own
            return _failed(channel, error)


def _send_by_service(channel: Service, message: Message) -> str | None:
    with _overheard() as said:
        try:
            service = _understood(channel)
            if service is None:
                return _not_understood(channel)
            from apprise import NotifyFormat, NotifyType  # noqa: PLC0415 - as in _understood

            taken = service.notify(
                title=message.subject,
                body=message.body,
                body_format=NotifyFormat.TEXT,
                notify_type=NotifyType.FAILURE
                if message.severity is Severity.CRITICAL
                else NotifyType.WARNING,
            )
        except Exception as error:  # noqa: BLE001 - a hundred plugins, each with exceptions of its own
            return _failed(channel, error)
    if not taken:
        codes = re.findall(r"error=(\d{3})\b", "\n".join(said))
        return f"{channel.name} did not take the message" + (f" ({codes[-1]})" if codes else "")
    return None


def _understood(channel: Service) -> Apprise | None:
    """What sends to that URL, or None if apprise does not understand it. Raises what its plugins raise."""
    # Half a second, and only where such a channel is configured.
    from apprise import Apprise, AppriseAsset  # noqa: PLC0415

    service = Apprise(asset=AppriseAsset(async_mode=False, secure_logging=True))
    separator = "&" if "?" in channel.url else "?"
    known = service.add(f"{channel.url}{separator}rto={TIMEOUT_SECONDS}&cto={TIMEOUT_SECONDS}")
    return service if known else None


def _not_understood(channel: Service) -> str:
    return f"apprise does not understand the URL number {channel.number} of NOTIFICATION_URLS"


def _failed(channel: Service, error: Exception) -> str:
    return f"{channel.name} failed ({type(error).__name__})"


@contextmanager
def _overheard() -> Iterator[list[str]]:
    """What apprise and the libraries below it log goes nowhere: it holds URLs with their secrets."""
    said: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    kept = []
    for name in _LOUD_LOGGERS:
        logger = logging.getLogger(name)
        kept.append((logger, logger.handlers[:], logger.propagate))
        logger.handlers, logger.propagate = [Ear(logging.WARNING)], False
    try:
        yield said
    finally:
        for logger, handlers, propagate in kept:
            logger.handlers, logger.propagate = handlers, propagate


def _os_reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "no TLS connection could be made"
    return error.strerror or type(error).__name__
