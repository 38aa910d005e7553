"""How a setting is parsed: one function for each kind of value, from its text to what it means. Pure
but for asking whether a file is there.

Each raises ValueError with the end of a sentence that begins with the setting's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from recyclic_backups.envelope.passphrase import MINIMUM_PASSPHRASE_LENGTH
from recyclic_backups.notify.severity import Severity
from recyclic_backups.postgres.server import Server
from recyclic_backups.quantities import parse_bytes, parse_seconds
from recyclic_backups.storage.location import parse_storage_url


def boolean(text: str) -> bool:
    """true, false and their synonyms."""
    if text.strip().lower() in ("true", "1", "yes", "on"):
        return True
    if text.strip().lower() in ("false", "0", "no", "off"):
        return False
    raise ValueError(f"must be true or false, not {text!r}")


def integer(lowest: int, highest: int) -> Callable[[str], int]:
    """Whole numbers between two bounds, both included."""

    def parse(text: str) -> int:
        if not text.strip().isascii() or not text.strip().isdigit() or not lowest <= int(text) <= highest:
            raise ValueError(f"must be a whole number from {lowest} to {highest}, not {text!r}")
        return int(text)

    return parse


def time_of_day(text: str) -> tuple[int, int | None]:
    """An hour, or an hour and a minute as in ``02:30``; the minute is None where none is given."""
    found = re.fullmatch(r"(\d{1,2})(?::([0-5]\d))?", text.strip(), re.ASCII)
    if found is None or int(found[1]) > 23:
        raise ValueError(f"must be an hour from 0 to 23, or a time such as 02:30, not {text!r}")
    return int(found[1]), None if found[2] is None else int(found[2])


def seconds(unit: Literal["s", "h"], at_least: int) -> Callable[[str], int]:
    """Durations in seconds; a bare number is in ``unit``."""

    def parse(text: str) -> int:
        seconds = int(parse_seconds(text, unit=unit))
        if not at_least <= seconds <= 100 * 365 * 86400:
            raise ValueError(
                f"must be from {at_least} second{'s' if at_least != 1 else ''} to 100 years, not {text!r}"
            )
        return seconds

    return parse


def rate(text: str) -> int | None:
    """Bytes a second, from ``20MB/s``; or nothing."""
    if not text:
        return None
    rate = parse_bytes(text.strip().removesuffix("/s"))
    if rate < 64 * 1024:
        raise ValueError(f"must be 64KiB/s or more, or a backup would never finish, not {text!r}")
    return rate


def one_of(*allowed: str) -> Callable[[str], str]:
    """One of the words, in lower case."""

    def parse(text: str) -> str:
        if text.strip().lower() not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}, not {text!r}")
        return text.strip().lower()

    return parse


def severity(text: str) -> Severity:
    """How bad a problem has to be for somebody to be told."""
    return Severity(one_of(*Severity)(text))


Cron = str
"""Five fields as cron(8) reads them."""

_CRON_FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("weekday", 0, 7),
)
_CRON_PART = re.compile(r"(?:\*|(\d{1,2})(?:-(\d{1,2}))?)(?:/(\d{1,2}))?", re.ASCII)


def cron(text: str) -> Cron | None:
    """Minute, hour, day of the month, month and weekday in numbers, as cron has them (crontab(5)); or nothing."""
    fields = text.split()
    if not fields:
        return None
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError(
            f"must have five fields as cron has them (minute hour day month weekday), not {text!r}"
        )
    for field, (name, lowest, highest) in zip(fields, _CRON_FIELDS, strict=True):
        for part in field.split(","):
            found = _CRON_PART.fullmatch(part)
            first, last = (
                (int(each) if each else None for each in found.groups()[:2]) if found else (None, None)
            )
            given = [each for each in (first, last) if each is not None]
            if (
                found is None
                or not all(lowest <= each <= highest for each in given)
                or given != sorted(given)
                or (found[3] is not None and int(found[3]) == 0)
            ):
                raise ValueError(
                    f"has the {name} {field!r}: write numbers from {lowest} to {highest}, 1-5, 1,3, */2 or *"
                )
    return " ".join(fields)


sslmode = one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""How libpq uses TLS."""


def server(text: str) -> Server | None:
    """A server by its URL, or nothing. Raises ConfigurationError."""
    return Server.from_url(text)[0] if text else None


def program_directory(text: str) -> str | None:
    """A directory of programs, or nothing; whether it holds any is asked when one is needed."""
    return text.strip() or None


def name(text: str) -> str:
    """Any text that PostgreSQL takes for a name."""
    if "\0" in text:
        raise ValueError("contains a NUL character")
    return text


def slot(text: str) -> str:
    """The name of a replication slot (ReplicationSlotValidateName in the server's source)."""
    if not re.fullmatch(r"[a-z0-9_]{1,63}", text):
        raise ValueError(f"must be at most 63 of the characters a to z, 0 to 9 and _, not {text!r}")
    return text


def host(text: str) -> str:
    """A host name, an address or the directory of a socket."""
    if any(character.isspace() for character in text) or "://" in text or "@" in text:
        raise ValueError("must be a host name, an address or a socket directory, not a URL")
    return text


def existing_file(text: str) -> str:
    """The path of a file that is there, or ``system``."""
    # libpq knows "system" as the operating system's own roots (libpq-connect, sslrootcert).
    if text and text != "system" and not Path(text).is_file():
        raise ValueError(f"names no file: {text!r}")
    return text


def directory(text: str) -> Path | None:
    """The path of a directory, which may be made later, or nothing."""
    if text.startswith("~"):
        raise ValueError(f"must be a whole path, since ~ is not replaced by a home directory: {text!r}")
    if text and Path(text).exists() and not Path(text).is_dir():
        raise ValueError(f"names no directory: {text!r}")
    return Path(text) if text else None


def storage_url(text: str) -> str:
    """A URL that a storage can be opened with."""
    parse_storage_url(text)
    return text


def web_url(text: str) -> str:
    """An http or https URL that can be asked as it stands, or nothing. The sentences hold nothing of the value."""
    text = text.strip()  # the end of a line comes with a secret that was made by echo
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("is not a URL: it contains spaces or control characters")
    try:
        parts = urlsplit(text)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # whose text quotes the value
        is_one = False
    if text and not is_one:
        raise ValueError("must be a URL that begins with https:// or http://")
    # RFC 9110, section 4.2.4: user information in a URL is deprecated, and shows wherever the URL does.
    if "@" in parts.netloc:
        raise ValueError("holds a user name or password, which is not supported: give a URL without them")
    if not f"{parts.path}{parts.query}".isascii():
        raise ValueError("is not a URL: characters beyond ASCII have to be percent-encoded")
    return text


def telegram_token(text: str) -> str:
    """A bot's token as BotFather gives it, or nothing."""
    if text and not re.fullmatch(r"\d+:[A-Za-z0-9_-]+", text):
        raise ValueError("is not a bot's token, which is a number, a colon and letters")
    return text


def telegram_chat(text: str) -> str:
    """Whom a bot writes to: the number of a chat, or the @name of a channel; or nothing."""
    text = text.strip()
    if text and not re.fullmatch(r"-?\d+|@\w+", text, re.ASCII):
        raise ValueError("is no chat, which is a number or the @name of a channel")
    return text


def time_zone(text: str) -> ZoneInfo:
    """A time zone of the IANA database."""
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"must be a time zone such as Europe/Paris, not {text!r}") from None


def day(text: str) -> date | None:
    """A date, or nothing."""
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise ValueError(f"must be a date such as 2026-01-01, not {text!r}") from None


def passphrase(text: str) -> str:
    """A text long enough to be a key, or nothing."""
    if text and len(text) < MINIMUM_PASSPHRASE_LENGTH:
        raise ValueError(
            f"must be {MINIMUM_PASSPHRASE_LENGTH} characters or more: `recyclic-backups keys generate` prints one"
        )
    return text


def passphrases(text: str) -> tuple[str, ...]:
    """One key a line, or separated by commas where there are no lines.

    Of any length: nothing new is protected by them, and files that `adopt` reads were made before there was a rule.
    """
    separated: Sequence[str] = text.splitlines() if "\n" in text else text.split(",")
    return tuple(key.strip() for key in separated if key.strip())
