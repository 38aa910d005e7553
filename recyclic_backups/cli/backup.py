"""``backup``: back up one partition of one tier now."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from recyclic_backups import wiring
from recyclic_backups.cli import render

if TYPE_CHECKING:
    from recyclic_backups.dump.back_up import BackedUp


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    command = commands.add_parser("backup", help="take a backup, verify it and label it")
    command.add_argument("--tier", choices=("daily", "weekly", "monthly"), default="daily")
    command.add_argument("--partition", metavar="KEY", help="YYYY-MM-DD (default: the current one)")
    command.add_argument("--json", action="store_true", help="the manifest's summary as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from recyclic_backups.backup_calendar import Tier
    from recyclic_backups.catalog.manifest import Source
    from recyclic_backups.catalog.strangers import tell_strangers
    from recyclic_backups.config.load import load_settings
    from recyclic_backups.dump.back_up import back_up
    from recyclic_backups.dump.take import BackupRequest
    from recyclic_backups.notify.heartbeat import heartbeat
    from recyclic_backups.postgres.process import lower_priority

    settings = load_settings()
    plan = wiring.backup_plan(settings)
    tier = Tier(options.tier)
    first = plan.calendar.first_to_come(tier, render.now())
    if options.partition is None and first is not None:
        # A line of cron that came too early: the first week or month of all is no failure.
        render.say(f"nothing to do: the first {tier} partition since BACKUP_START_DATE is {first}")
        if options.json:
            render.print_json(None)
        return 0
    partition = options.partition or plan.calendar.partition_of(tier, render.now())
    plan.calendar.check_key(tier, partition, render.now())
    source: Source = "manual" if tier is Tier.DAILY or options.partition is None else "backfill"
    if not settings.encryption:
        render.say("warning: BACKUP_ENCRYPTION is off: members' data are stored readable (GDPR, article 32)")
    lower_priority()
    url = wiring.heartbeat_for(settings, tier, partition, render.now())
    with heartbeat(url, render.say):
        repository = wiring.open_repository(settings)
        tell_strangers(repository.store, render.say)
        with render.progress() as progress:
            done = back_up(
                settings.server,
                repository,
                BackupRequest(tier, partition, source),
                plan,
                clock=render.now,
                progress=progress,
            )
    if options.json:
        render.print_json(summary(done))
    else:
        _print(done, settings.calendar.timezone)
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


def _print(done: BackedUp, timezone: Any) -> None:
    from recyclic_backups.quantities import human_bytes, human_seconds

    manifest, label = done.backup.manifest, done.label
    render.line(f"backup      {manifest.backup_id}")
    render.line(f"label       {label.tier.value} {label.partition}{' (late)' if label.late else ''}")
    if label.reason:
        render.line(f"because     {label.reason}")
    render.line(f"content of  {render.local_time(manifest.as_of, timezone)}")
    if done.fresh:
        render.line(f"took        {human_seconds(manifest.duration_seconds)}")
    render.line(
        f"size        {human_bytes(manifest.stored_bytes)} stored, {human_bytes(manifest.plain_bytes)} dumped "
        f"({manifest.compression_percent:.0f} % smaller)"
    )
    render.line(f"encrypted   {'yes' if manifest.encryption else 'no'}")
    for note in manifest.notes:
        render.line(f"note        {note}")
    render.line(f"restore it  recyclic-backups restore {manifest.backup_id} --into {'NAME'}")
