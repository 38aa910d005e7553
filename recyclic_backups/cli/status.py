"""``status``: what can come back, from when, whether that was tried, and what needs somebody."""

from __future__ import annotations

import argparse

from recyclic_backups import wiring
from recyclic_backups.cli import render
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.errors import VerdictNegative
from recyclic_backups.health.assess import survey
from recyclic_backups.health.finding import Status
from recyclic_backups.report.status import status_document, status_lines


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    command.description = (
        "Ten lines about the backups, in the language of BACKUP_LOCALE. Reads the storage; no database and no Dagster "
        "is needed. Ends with 80 when anything is critical."
    )
    command.add_argument("--json", action="store_true")


def run(call: Invocation) -> int:
    """Run the command."""
    found = survey(call.repository, wiring.health_terms(call.settings), clock=render.now)

    def prose() -> None:
        for line in status_lines(found):
            render.line(line)

    call.report(status_document(found), prose)
    return VerdictNegative.exit_code if found.status is Status.UNHEALTHY else 0
