"""``backup``: back up one partition of one tier now."""

from __future__ import annotations

import argparse
from typing import Any

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.manifest import Source
from recyclic_backups.catalog.strangers import tell_strangers
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_json
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.dump.back_up import BackedUp, back_up
from recyclic_backups.dump.take import BackupRequest
from recyclic_backups.notify.heartbeat import heartbeat
from recyclic_backups.own_command import own_command
from recyclic_backups.postgres.process import lower_priority
from recyclic_backups.quantities import human_bytes, human_seconds


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    command.add_argument("--tier", choices=("daily", "weekly", "monthly"), default="daily")
    command.add_argument("--partition", metavar="KEY", help="YYYY-MM-DD (default: the current one)")
    add_json(command)


def run(call: Invocation) -> int:
    """Run the command."""
    settings = call.settings
    plan = wiring.backup_plan(settings)
    tier = Tier(call.options.tier)
    first = plan.calendar.first_to_come(tier, render.now())
    if call.options.partition is None and first is not None:
        # A line of cron that came too early: the first week or month of all is no failure.
        render.say(f"nothing to do: the first {tier} partition since BACKUP_START_DATE is {first}")
        call.report({"backup_id": None, "tier": tier.value, "partition": first}, lambda: None)
        return 0
    partition = call.options.partition or plan.calendar.partition_of(tier, render.now())
    plan.calendar.check_key(tier, partition, render.now())
    source: Source = "manual" if tier is Tier.DAILY or call.options.partition is None else "backfill"
    call.warn_of_plaintext()
    lower_priority()
    url = wiring.heartbeat_for(settings, tier, partition, render.now())
    with heartbeat(url, render.warn, doubt=wiring.heartbeat_doubt(settings, render.now)):
        repository = call.new_repository
        tell_strangers(repository.store, render.warn)
        with render.progress() as progress:
            done = back_up(
                settings.server,
                repository,
                BackupRequest(tier, partition, source),
                plan,
                clock=render.now,
                progress=progress,
            )
    call.report(summary(done), lambda: _print(call, done))
    return 0


def summary(done: BackedUp) -> dict[str, Any]:
    """The manifest without its long parts, and the label it serves now."""
    manifest = done.backup.manifest
    document = manifest.to_json()
    kept = {
        name: value for name, value in document.items() if name not in ("fingerprint", "objects", "server")
    }
    return kept | {
        "tier": done.label.tier.value,
        "partition": done.label.partition,
        "late": done.label.late,
        "promoted_from": done.label.promoted_from,
        "reason": done.label.reason,
        "fresh": done.fresh,
        "compression_percent": manifest.compression_percent,
        "encrypted": manifest.encryption is not None,
    }


def _print(call: Invocation, done: BackedUp) -> None:
    manifest, label, line = done.backup.manifest, done.label, render.entry
    line("backup", manifest.backup_id)
    line("label", f"{label.tier.value} {label.partition}{' (late)' if label.late else ''}")
    if label.reason:
        line("because", label.reason)
    line("content of", call.local_time(manifest.as_of))
    if done.fresh:
        line("took", human_seconds(manifest.duration_seconds))
    stored, dumped = human_bytes(manifest.stored_bytes), human_bytes(manifest.plain_bytes)
    line("size", f"{stored} stored, {dumped} dumped ({manifest.compression_percent:.0f} % smaller)")
    line("encrypted", "yes" if manifest.encryption else "no")
    for note in manifest.notes:
        line("note", note)
    line("restore it", own_command("restore", manifest.backup_id, "--into", "NAME"))
