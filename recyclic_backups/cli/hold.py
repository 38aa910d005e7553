"""``hold``: keep a backup from expiring."""

from __future__ import annotations

import argparse
from datetime import date, datetime

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_backup
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.cli.stored_bases import base_meant
from recyclic_backups.errors import UsageError
from recyclic_backups.retention.holds import hold, hold_base


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    add_backup(command)
    command.add_argument(
        "--reason", metavar="TEXT", required=True, help="why; show and expire tell, list says held"
    )
    command.add_argument(
        "--until", metavar="DATE", required=True, help="the last day of the hold, YYYY-MM-DD"
    )


def run(call: Invocation) -> int:
    """Run the command."""
    until = _end_of(call.options.until, call.settings.calendar)
    if (meant := base_meant(call)) is not None:
        archive, base = meant
        hold_base(archive, base, call.options.reason, until, render.now())
        render.line(
            f"base backup {base.base_id} is held until {call.options.until} inclusive, with the WAL that it needs"
        )
        return 0
    backup = call.find()
    hold(call.repository, backup, call.options.reason, until, render.now())
    render.line(f"{backup.backup_id} is held until {call.options.until} inclusive")
    return 0


def _end_of(text: str, calendar: Calendar) -> datetime:
    """When that day ends where the backups are taken. Raises UsageError for what is no day of a hold."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:  # fromisoformat also reads 20261231 and 2026-W53-4
        raise UsageError(
            f"--until {text!r} is not a date", "it is the last day of the hold, YYYY-MM-DD: 2026-12-31"
        )
    if day.year == date.min.year:
        raise UsageError("the end of the hold is over already", "--until is the last day of the hold")
    if day.year == date.max.year:
        raise UsageError(
            f"a hold cannot last until {text}",
            "9998-12-31 is the last day there is; holding again extends it",
        )
    return calendar.window(Tier.DAILY, text).end_at
