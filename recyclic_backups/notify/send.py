"""Send one message by one channel, within a bounded time, and say why if it did not arrive."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import format_datetime
from typing import Any

from recyclic_backups.notify.channels import IMPLICIT_TLS_PORT, Channel, Email, Service, Telegram
from recyclic_backups.notify.delivery_process import DeadlineExceeded, run_with_deadline
from recyclic_backups.notify.harmless import unmarked
from recyclic_backups.notify.message import Message, redact
from recyclic_backups.notify.severity import Severity

TIMEOUT_SECONDS = 8
"""For each piece of what the other side says."""

DEADLINE_SECONDS = 15
"""For all of a delivery: a sensor of Dagster has a minute for everything, and other channels wait."""

TELEGRAM_API = "https://api.telegram.org"

_TELEGRAM_LONGEST = 4000  # the Bot API takes 4096 characters


def send(channel: Channel, message: Message) -> str | None:
    """Deliver the message. None once the channel took it, otherwise why it did not: a sentence without a secret.

    What the other side answered is told as far as it is known to hold no secret.
    """
    match channel:
        case Email():
            return _delivered(
                channel, f"{channel.server.host}:{channel.server.port}", _mail(channel, message)
            )
        case Telegram():
            return _delivered(channel, "Telegram", _chat(channel, message))
        case Service():
            letter = {
                "title": unmarked(message.subject),
                "body": unmarked(message.body),
                "critical": message.severity is Severity.CRITICAL,
            }
            return _delivered(channel, channel.name, {**_service(channel), **letter})


def why_unusable(channel: Channel) -> str | None:
    """Why this channel can take no message, as far as that shows without sending one: a sentence without a secret.

    None where nothing speaks against it. Nothing is sent and nobody is asked.
    """
    return _delivered(channel, channel.name, _service(channel)) if isinstance(channel, Service) else None


def _delivered(channel: Channel, where: str, request: Mapping[str, Any]) -> str | None:
    try:
        reason = run_with_deadline(
            {"name": channel.name, "timeout_seconds": TIMEOUT_SECONDS, **request}, DEADLINE_SECONDS
        )
    except DeadlineExceeded:
        reason = f"{where} was not done within {DEADLINE_SECONDS} s"
    except OSError as error:
        reason = f"{where} cannot be tried: no process can be started ({error.strerror})"
    return redact(reason, channel.secrets) or None


def _mail(channel: Email, message: Message) -> Mapping[str, Any]:
    server = channel.server
    headers = {
        "From": channel.sender,
        "To": channel.recipient,
        "Subject": message.subject,
        "Date": format_datetime(message.written_at),
        "Message-ID": f"<{message.message_id}@{channel.sender.rpartition('@')[2]}>",
        "Auto-Submitted": "auto-generated",  # RFC 3834: nobody's absence note answers it
    }
    if message.severity is Severity.CRITICAL:
        headers["Importance"] = "high"
    return {
        "way": "mail",
        "host": server.host,
        "port": server.port,
        "tls": server.port == IMPLICIT_TLS_PORT,
        "starttls": server.starttls and server.port != IMPLICIT_TLS_PORT,
        "user": server.user,
        "password": server.password,
        "sender": channel.sender,
        "recipient": channel.recipient,
        "headers": headers,
        "body": message.body,
    }


def _chat(channel: Telegram, message: Message) -> Mapping[str, Any]:
    text = f"{message.subject}\n\n{message.body}"
    if len(text) > _TELEGRAM_LONGEST:
        # What can be recovered is the last paragraph, and is what a long list must not push out.
        last = message.body.rstrip().rpartition("\n\n")[2]
        end = f"\n…\n\n{last}"[:_TELEGRAM_LONGEST]
        text = text[: _TELEGRAM_LONGEST - len(end)] + end
    url = f"{TELEGRAM_API}/bot{channel.token}/sendMessage"
    return {"way": "telegram", "url": url, "chat_id": channel.chat_id, "text": text}


def _service(channel: Service) -> Mapping[str, Any]:
    return {"way": "service", "url": channel.url, "number": channel.number}
