"""``list``: every backup there is."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import Any

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.proof import proven_at
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_json
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.quantities import human_bytes


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    command.add_argument("--tier", choices=("daily", "weekly", "monthly", "checkpoint"))
    add_json(command)


def run(call: Invocation) -> int:
    """Run the command."""
    catalog, tier, now = call.catalog, call.options.tier, render.now()
    backups = (catalog.in_tier(Tier(tier)) if tier else catalog).with_unvouched()

    def prose() -> None:
        if backups:
            render.print_table(
                ("BACKUP", "CONTENT OF", "TIERS", "STORED", "VERIFIED", "PROVEN", ""),
                [_row(call, backup, now) for backup in backups],
                right=(3,),
            )
        elif catalog.with_unvouched():
            render.say(f"no backup is labelled {tier}; without --tier all are listed")
        else:
            render.say(f"there is no backup yet in {catalog.place}; take one with: recyclic-backups backup")

    call.report({"backups": [_entry(backup, now) for backup in backups]} if call.json else {}, prose)
    return 0


def _entry(backup: Backup, now: datetime) -> dict[str, Any]:
    def text(moment: datetime | None) -> str | None:
        return None if moment is None else to_text(moment)

    manifest = backup.manifest
    return {
        "backup_id": backup.backup_id,
        "database": manifest.database,
        "as_of": to_text(backup.as_of),
        "tiers": [tier.value for tier in backup.tiers],
        "late": backup.is_late,
        "kind": manifest.kind,
        "encrypted": manifest.encryption is not None,
        "plain_bytes": manifest.plain_bytes,
        "stored_bytes": manifest.stored_bytes,
        "duration_seconds": manifest.duration_seconds,
        "verified_at": text(backup.verified_at),
        "proven_at": text(proven_at(backup, now)),
        "held": backup.is_held(now),
        "authenticity": backup.standing.value,
    }


def _row(call: Invocation, backup: Backup, now: datetime) -> tuple[str, ...]:
    if not backup.standing.is_believed:
        verified = "-"
    elif backup.known_damaged:
        verified = "DAMAGED"
    else:
        verified = call.local_time(backup.verified_at)
    said = {Standing.SIGNED: "", Standing.CHECKSUM: ""}.get(backup.standing, backup.standing.value)
    marks = (said, "late" if backup.is_late else "", "held" if backup.is_held(now) else "")
    return (
        backup.backup_id,
        call.local_time(backup.as_of),
        " ".join(tier.value for tier in backup.tiers) or "-",
        human_bytes(backup.manifest.stored_bytes),
        verified,
        call.local_time(proven_at(backup, now)),
        ", ".join(mark for mark in marks if mark),
    )
