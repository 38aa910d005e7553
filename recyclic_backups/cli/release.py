"""``release``: let a held backup expire when its time comes."""

from __future__ import annotations

import argparse

from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_backup
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.cli.stored_bases import base_meant
from recyclic_backups.retention.holds import release, release_base


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    add_backup(command)


def run(call: Invocation) -> int:
    """Run the command."""
    if (meant := base_meant(call)) is not None:
        archive, base = meant
        held_id, was_held = base.base_id, release_base(archive, base, render.now())
    else:
        held_id, was_held = _released(call)
    if was_held:
        render.line(f"{held_id} is not held any more; see what becomes of it: recyclic-backups expire")
    else:
        render.line(f"{held_id} was not held")
    return 0


def _released(call: Invocation) -> tuple[str, bool]:
    # Also one that nobody vouches for: its hold keeps it from `expire --unsigned`.
    backup = call.find(unvouched=True)
    return backup.backup_id, release(call.repository, backup, render.now())
