"""``report``: everything about the backups on one page, in one file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recyclic_backups import wiring
from recyclic_backups.cli import render
from recyclic_backups.cli.metrics import look, output_file

if TYPE_CHECKING:
    from recyclic_backups.health.finding import Status
    from recyclic_backups.languages import Locale


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    command = commands.add_parser(
        "report",
        help="everything on one page: coverage, trends, objectives, what is wrong",
        description="Writes one HTML file that loads nothing: for a second screen, a phone, paper, a mail. "
        "No key and no database is needed. Its language is BACKUP_LOCALE.",
    )
    command.add_argument(
        "--output",
        metavar="FILE",
        type=output_file,
        required=True,
        help="replace this file whole; a device or a pipe is written into",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command. What is wrong is on the page: the command itself did what it was asked for."""
    from recyclic_backups.config.load import load_settings
    from recyclic_backups.notify.stored_state import open_incidents
    from recyclic_backups.report.headline import overall
    from recyclic_backups.report.page import page
    from recyclic_backups.report.publish import publish

    settings = load_settings()
    found = look(settings)
    incidents = open_incidents(wiring.open_repository(settings, create=False))
    publish(options.output, page([found], incidents=incidents))
    render.say(_last_line(overall([found], incidents), options.output, settings.locale))
    return 0


def _last_line(status: Status, output: Path, locale: Locale) -> str:
    from recyclic_backups.report.words import say

    if locale == "fr":
        return f"{say(status.value, locale)} ; la page est {output}"
    return f"{status.value}; the page is {output}"
