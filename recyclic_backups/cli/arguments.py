"""Arguments that several commands take, and how their values are read."""

from __future__ import annotations

import argparse
from datetime import date, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

from recyclic_backups.errors import UsageError


def add_json(command: argparse.ArgumentParser) -> None:
    """``--json``."""
    command.add_argument("--json", action="store_true", help="the report as one JSON object (docs/json.md)")


def add_backup(command: argparse.ArgumentParser, *, option: bool = False, default: str = "") -> None:
    """``ID`` and ``--at``; with ``option`` it is ``--backup ID``. ``default`` says which one is meant without any."""
    words = "a backup id, its beginning, latest, or a label as daily/2026-11-20"
    described = f"{words} (default: {default})" if default else words
    if option:
        command.add_argument("--backup", metavar="ID", help=described)
    else:
        command.add_argument("backup", metavar="ID", nargs="?", help=described)
    command.add_argument(
        "--at",
        metavar="TIME",
        help="instead of an ID: the newest backup not after 2026-11-20 (the whole day) or '2026-11-20 14:30'",
    )


def moment_of(text: str, timezone: ZoneInfo) -> datetime:
    """The moment of ``--at``: a day means its end; what names no time zone is of ``timezone``. Raises UsageError."""
    try:
        moment = datetime.fromisoformat(text)
        if len(text) == len("2026-11-20"):
            moment = datetime.combine(date.fromisoformat(text), time.max)
    except ValueError:
        raise UsageError(
            f"--at {text!r} is no time", "write it as 2026-11-20, '2026-11-20 14:30' or 2026-11-20T13:30:00Z"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone)


def day(text: str) -> date:
    """A day. Raises ArgumentTypeError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a day; write it as YYYY-MM-DD: 2026-11-22"
        ) from None


def given(text: str) -> str:
    """Any text but none. Raises ArgumentTypeError: an empty variable of a shell must not choose everything."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    return text


def positive(text: str) -> int:
    """A number of things. Raises ValueError."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def output_file(text: str) -> Path:
    """The file that an option names. Raises ArgumentTypeError for an empty name: Path takes it for this folder."""
    if not text:
        raise argparse.ArgumentTypeError("the name of the file is empty")
    return Path(text)
