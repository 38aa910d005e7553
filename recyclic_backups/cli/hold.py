"""``hold`` and ``release``: keep a backup from expiring, and let go of it."""

from __future__ import annotations

import argparse
from typing import Any

from recyclic_backups.cli import catalog, render


def add_to(commands: Any) -> None:
    """Add the commands to the command line."""
    command = commands.add_parser("hold", help="keep a backup from expiring until a day")
    command.add_argument("backup", metavar="ID", help="a backup id, its beginning, or latest")
    command.add_argument(
        "--reason", metavar="TEXT", required=True, help="why; shown by list, show and expire"
    )
    command.add_argument(
        "--until", metavar="DATE", required=True, help="the last day of the hold, YYYY-MM-DD"
    )
    command.set_defaults(run=run_hold)

    command = commands.add_parser("release", help="let a held backup expire again when its time comes")
    command.add_argument("backup", metavar="ID", help="a backup id or its beginning")
    command.set_defaults(run=run_release)


def run_hold(options: argparse.Namespace) -> int:
    """Run ``hold``."""
    from recyclic_backups.configuration import load_settings
    from recyclic_backups.retention.holds import hold
    from recyclic_backups.tiers import Tier

    settings = load_settings()
    # The end of that day where the backups are taken; UsageError for what is no date.
    until = settings.calendar.window(Tier.DAILY, options.until).end_at
    backup = catalog.load(settings).find(options.backup)
    hold(settings.open_repository(create=False), backup, options.reason, until, render.now())
    print(f"{backup.backup_id} is held until {options.until} inclusive")
    return 0


def run_release(options: argparse.Namespace) -> int:
    """Run ``release``."""
    from recyclic_backups.configuration import load_settings
    from recyclic_backups.retention.holds import release

    settings = load_settings()
    backup = catalog.load(settings).find(options.backup)
    if release(settings.open_repository(create=False), backup, render.now()):
        print(f"{backup.backup_id} is not held any more; see what becomes of it: recyclic-backups expire")
    else:
        print(f"{backup.backup_id} was not held")
    return 0
