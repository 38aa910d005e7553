"""``base-backup``: take a base backup of the whole server; list them, verify one."""

from __future__ import annotations

import argparse
from typing import Any

from recyclic_backups import wiring
from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.base_backup.back_up import BasedUp, Wish, back_up_server
from recyclic_backups.base_backup.catalog import LATEST, BaseBackup
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_json, given
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.cli.stored_bases import stored_bases, verify_and_say
from recyclic_backups.errors import RecoveryError, UsageError, most_serious
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.postgres.process import lower_priority
from recyclic_backups.quantities import human_bytes, human_seconds


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    command.description = (
        "Takes the files of the whole server, all its databases, over the replication protocol, and verifies them. "
        "The receiver of WAL has to be at work: without WAL a base backup is of no use. Full once a week, and "
        "incremental in between where the server can (PostgreSQL 17 with summarize_wal)."
    )
    kind = command.add_mutually_exclusive_group()
    kind.add_argument("--full", action="store_true", help="all files, whatever there is already")
    kind.add_argument(
        "--incremental", action="store_true", help="what changed since the newest one, or nothing (70)"
    )
    kind.add_argument(
        "--list", action="store_true", help="take none: list those that there are, newest first"
    )
    kind.add_argument(
        "--verify",
        metavar="ID",
        nargs="?",
        const=LATEST,
        type=given,
        help="take none: read one again and compare every file with the server's manifest (default: latest)",
    )
    add_json(command)


def run(call: Invocation) -> int:
    """Run the command."""
    if call.options.list:
        return _list(call)
    if call.options.verify is not None:
        return _verify(call)
    call.warn_of_plaintext()
    lower_priority()
    wish: Wish | None = "full" if call.options.full else "incremental" if call.options.incremental else None
    with render.progress() as progress:
        done = back_up_server(
            call.settings.server,
            call.new_repository,
            wish,
            wiring.base_backup_terms(call.settings),
            clock=render.now,
            progress=progress,
        )
    call.report({"base_backup": summary(done.base) | {"notes": list(done.notes)}}, lambda: _print(call, done))
    return 0


def summary(base: BaseBackup) -> dict[str, Any]:
    """What a report says of one: its manifest, with the sums over its objects in their place."""
    document = {
        name: value for name, value in base.manifest.to_json().items() if name not in ("format", "objects")
    }
    return document | {
        "kind": _kind(base),
        "plain_bytes": base.manifest.plain_bytes,
        "stored_bytes": base.manifest.stored_bytes,
        "tablespaces": sum(each.role == "tablespace" for each in base.manifest.objects),
        "encrypted": base.manifest.key_id is not None,
        "verified_at": None if base.verified_at is None else to_text(base.verified_at),
        "held": base.is_held(render.now()),
        "authenticity": base.standing.value,
    }


def _kind(base: BaseBackup) -> str:
    return "incremental" if base.manifest.is_incremental else "full"


def _list(call: Invocation) -> int:
    bases = [base for _, found in stored_bases(call) for base in found.bases]
    bases.sort(key=lambda base: base.as_of, reverse=True)
    call.report({"base_backups": [summary(base) for base in bases]}, lambda: _print_list(call, bases))
    return 0


def _verify(call: Invocation) -> int:
    verdict = verify_and_say(call, *_chosen(call, call.options.verify))
    call.report({"verifications": [verdict.to_json()]}, lambda: None)
    return most_serious([] if verdict.error is None else [verdict.error])


def _chosen(call: Invocation, reference: str) -> tuple[WalArchive, BaseBackup]:
    """The base backup that is meant. Raises RecoveryError (60), DamagedData, UsageError."""
    found = stored_bases(call)
    if reference == LATEST and len(found) > 1:
        raise UsageError(
            "the storage has base backups of several servers",
            "give an ID: recyclic-backups base-backup --list",
        )
    missing: RecoveryError | None = None
    for archive, bases in found:
        try:
            return archive, bases.find(reference, render.now())
        except RecoveryError as error:
            missing = error
    raise missing or RecoveryError(
        "there is no base backup in the storage", "take one: recyclic-backups base-backup"
    )


def _print_list(call: Invocation, bases: list[BaseBackup]) -> None:
    if not bases:
        render.line("there is no base backup; take one: recyclic-backups base-backup")
        return
    render.print_table(
        ("BASE BACKUP", "BEGUN", "KIND", "STORED", "TOOK", "VERIFIED", "HELD"),
        [
            (
                base.base_id,
                call.local_time(base.as_of),
                "full" if not base.manifest.is_incremental else f"on {base.manifest.parent}",
                human_bytes(base.manifest.stored_bytes),
                human_seconds(base.manifest.duration_seconds),
                call.local_time(base.verified_at),
                "held" if base.is_held(render.now()) else "",
            )
            for base in bases
        ],
        right=(3, 4),
    )


def _print(call: Invocation, done: BasedUp) -> None:
    manifest = done.base.manifest
    render.entry("base backup", manifest.base_id)
    render.entry("kind", "full" if manifest.parent is None else f"incremental, on {manifest.parent}")
    render.entry("begun", call.local_time(manifest.as_of))
    render.entry("took", human_seconds(manifest.duration_seconds))
    render.entry(
        "size", f"{human_bytes(manifest.stored_bytes)} stored, {human_bytes(manifest.plain_bytes)} read"
    )
    render.entry(
        "needs WAL",
        f"from {lsn_text(manifest.start_lsn)} to {lsn_text(manifest.stop_lsn)} of timeline {manifest.timeline}: "
        "it is in the archive",
    )
    render.entry("verified", "every file, by its SHA-256")
    for note in done.notes:
        render.entry("note", note)
