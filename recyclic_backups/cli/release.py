"""``release``: let a held backup expire when its time comes."""

from __future__ import annotations

import argparse

from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_backup
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.retention.holds import release


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    add_backup(command)


def run(call: Invocation) -> int:
    """Run the command."""
    # Also one that nobody vouches for: its hold keeps it from `expire --unsigned`.
    backup = call.find(unvouched=True)
    if release(call.repository, backup, render.now()):
        render.line(
            f"{backup.backup_id} is not held any more; see what becomes of it: recyclic-backups expire"
        )
    else:
        render.line(f"{backup.backup_id} was not held")
    return 0
