"""``keys``: the keys that open the backups."""

from __future__ import annotations

import argparse
from typing import Any


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    command = commands.add_parser("keys", help="encryption keys")
    verbs = command.add_subparsers(dest="verb", metavar="VERB", required=True)
    generate = verbs.add_parser("generate", help="print a new value for BACKUP_ENCRYPTION_KEY")
    generate.set_defaults(run=run_generate)


def run_generate(_options: argparse.Namespace) -> int:
    """Run ``keys generate``."""
    from recyclic_backups.envelope.keyring import generate_passphrase

    print(generate_passphrase())
    return 0
