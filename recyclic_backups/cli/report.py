"""``report``: everything about the backups on one page, in one file."""

from __future__ import annotations

import argparse

from recyclic_backups import wiring
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import output_file
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.health.assess import survey
from recyclic_backups.notify.stored_state import open_incidents
from recyclic_backups.report.headline import overall
from recyclic_backups.report.page import page
from recyclic_backups.report.publish import publish
from recyclic_backups.texts.report import report_text


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    command.description = (
        "Writes one HTML file that loads nothing: for a second screen, a phone, paper, a mail. "
        "No key and no database is needed. Its language is BACKUP_LOCALE."
    )
    command.add_argument(
        "--output",
        metavar="FILE",
        type=output_file,
        required=True,
        help="replace this file whole; a device or a pipe is written into",
    )


def run(call: Invocation) -> int:
    """Run the command. What is wrong is on the page: the command itself did what it was asked for."""
    locale, output = call.settings.locale, call.options.output
    found = survey(call.repository, wiring.health_terms(call.settings), clock=render.now)
    incidents = open_incidents(call.repository)
    publish(output, page([found], incidents=incidents))
    status = overall([found], incidents)
    render.say(report_text("written", locale, status=report_text(status.value, locale), file=output))
    return 0
