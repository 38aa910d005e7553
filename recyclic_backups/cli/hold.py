"""``hold`` and ``release``: keep a backup from expiring, and let go of it."""

from __future__ import annotations

import argparse
from datetime import date
from typing import TYPE_CHECKING, Any

from recyclic_backups import wiring
from recyclic_backups.cli import catalog, render

if TYPE_CHECKING:
    from datetime import datetime

    from recyclic_backups.backup_calendar import Calendar


def add_to(commands: Any) -> None:
    """Add the commands to the command line."""
    command = commands.add_parser("hold", help="keep a backup from expiring until a day")
    command.add_argument("backup", metavar="ID", help="a backup id, its beginning, or latest")
    command.add_argument(
        "--reason", metavar="TEXT", required=True, help="why; show and expire tell, list says held"
    )
    command.add_argument(
        "--until", metavar="DATE", required=True, help="the last day of the hold, YYYY-MM-DD"
    )
    command.set_defaults(run=run_hold)

    command = commands.add_parser("release", help="let a held backup expire again when its time comes")
    command.add_argument("backup", metavar="ID", help="a backup id, its beginning, or latest")
    command.set_defaults(run=run_release)


def run_hold(options: argparse.Namespace) -> int:
    """Run ``hold``."""
    from recyclic_backups.config.load import load_settings
    from recyclic_backups.retention.holds import hold

    settings = load_settings()
    until = _end_of(options.until, settings.calendar)
    backup = catalog.pick(catalog.load(settings), options.backup)
    hold(wiring.open_repository(settings, create=False), backup, options.reason, until, render.now())
    render.line(f"{backup.backup_id} is held until {options.until} inclusive")
    return 0


def _end_of(text: str, calendar: Calendar) -> datetime:
    """When that day ends where the backups are taken. Raises UsageError for what is no day of a hold."""
    from recyclic_backups.backup_calendar import Tier
    from recyclic_backups.errors import UsageError

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


def run_release(options: argparse.Namespace) -> int:
    """Run ``release``."""
    from recyclic_backups.config.load import load_settings
    from recyclic_backups.retention.holds import release

    settings = load_settings()
    # Also one that nobody vouches for: its hold keeps it from `expire --unsigned`.
    backup = catalog.pick(catalog.load(settings), options.backup, unvouched=True)
    if release(wiring.open_repository(settings, create=False), backup, render.now()):
        render.line(
            f"{backup.backup_id} is not held any more; see what becomes of it: recyclic-backups expire"
        )
    else:
        render.line(f"{backup.backup_id} was not held")
    return 0
