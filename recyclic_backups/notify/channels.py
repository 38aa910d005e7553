"""Channels: the ways by which people are told, as the settings name them. Pure.

A channel's ``name`` is shown and remembered and holds no secret; its secrets never show in ``repr``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from recyclic_backups.notify.severity import Severity

IMPLICIT_TLS_PORT = 465
"""Where a mail server speaks TLS from the first byte on (RFC 8314, section 3.3)."""

_BETWEEN_URLS = re.compile(r"[\s,]+(?=(?:(?:warning|critical)=)?[A-Za-z][A-Za-z0-9+.-]*://)")
_URL = re.compile(r"(?:(?P<minimum>warning|critical)=)?(?P<url>(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://\S+)")
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in. Without ``user`` nobody logs in."""

    host: str
    port: int = 587
    user: str = ""
    password: str = field(default="", repr=False)
    starttls: bool = True

    @property
    def private(self) -> bool:
        """Whether nobody between here and there can read a password."""
        return self.starttls or self.port == IMPLICIT_TLS_PORT or self.host in _THIS_MACHINE


@dataclass(frozen=True, slots=True)
class Email:
    """One recipient; several are several channels, so that one that is refused does not repeat the others."""

    recipient: str
    sender: str
    server: MailServer
    minimum: Severity = Severity.WARNING

    @property
    def name(self) -> str:
        """``email ops@example.org``."""
        return f"email {self.recipient}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return (self.server.password,)


@dataclass(frozen=True, slots=True)
class Telegram:
    """One chat, by the Bot API (https://core.telegram.org/bots/api). ``token`` is the bot's, a secret."""

    token: str = field(repr=False)
    chat_id: str
    minimum: Severity = Severity.WARNING

    @property
    def name(self) -> str:
        """``telegram``."""
        return "telegram"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return (self.token,)


@dataclass(frozen=True, slots=True)
class Service:
    """Anything that apprise knows, by its URL, which is a secret. ``number`` counts from 1 in NOTIFICATION_URLS."""

    url: str = field(repr=False)
    number: int
    minimum: Severity = Severity.WARNING

    @property
    def name(self) -> str:
        """``slack 1``: the scheme, and which of the URLs it is."""
        return f"{self.url.partition('://')[0].lower()} {self.number}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        # Where the tokens are in it only its plugin knows: long parts, but for the names of hosts.
        parts = re.split(r"[/:@?&=,]+", self.url)[1:]
        return (self.url, *(part for part in parts if len(part) >= 12 and "." not in part))


Channel = Email | Telegram | Service


def parse_recipients(text: str) -> tuple[str, ...]:
    """Mail addresses, separated by commas or spaces. Raises ValueError with a sentence's end."""
    found = tuple(dict.fromkeys(each for each in re.split(r"[\s,;]+", text) if each))
    for each in found:
        if not re.fullmatch(r"[^@\s<>\"]+@[^@\s<>\"]+", each):
            raise ValueError(f"is not a list of mail addresses: {each!r}")
    return found


def parse_services(text: str) -> tuple[tuple[str, Severity | None], ...]:
    """The URLs, one a line or separated by commas or spaces, each with the minimum severity that precedes it.

    ``critical=slack://…`` tells that channel of critical problems only. Raises ValueError without any of the text.
    """
    found = []
    for number, entry in enumerate((each for each in _BETWEEN_URLS.split(text.strip()) if each), start=1):
        match = _URL.fullmatch(entry)
        if not match:
            raise ValueError(f"number {number} is not a URL such as slack://…, or critical=slack://…")
        found.append((match["url"], Severity(match["minimum"]) if match["minimum"] else None))
    return tuple(found)


def problems_between(
    recipients: Sequence[str], senders: Sequence[str], server: MailServer, token: str, chat_id: str
) -> list[str]:
    """What is missing or dangerous among settings that are right by themselves, as sentences."""
    problems = []
    if recipients and not server.host:
        problems.append(
            "NOTIFICATION_EMAIL is set but SMTP_HOST is not; write for example SMTP_HOST=mail.example.org"
        )
    if len(senders) > 1:
        problems.append(
            "SMTP_FROM is more than one mail address; write for example SMTP_FROM=backups@example.org"
        )
    if server.password and not server.user:
        problems.append(
            "SMTP_PASSWORD is set but SMTP_USER is not; write for example SMTP_USER=backups@example.org"
        )
    if server.host and server.password and not server.private:
        problems.append(
            "SMTP_STARTTLS is false: SMTP_PASSWORD would cross the network for everybody to read; write "
            "SMTP_STARTTLS=true"
        )
    if token and not chat_id:
        problems.append(
            "NOTIFICATION_TELEGRAM_TOKEN is set but NOTIFICATION_TELEGRAM_CHAT_ID is not; write for example "
            "NOTIFICATION_TELEGRAM_CHAT_ID=-1001234567890"
        )
    if chat_id and not token:
        problems.append(
            "NOTIFICATION_TELEGRAM_CHAT_ID is set but NOTIFICATION_TELEGRAM_TOKEN is not: write the token "
            "that BotFather gave"
        )
    return problems
