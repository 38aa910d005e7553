"""``verify``: re-read backups from the storage."""

from __future__ import annotations

import argparse
from typing import Any

from recyclic_backups import wiring
from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.base_backup.verify import BaseVerifyLevel
from recyclic_backups.catalog.catalog import LATEST, Backup, Damage
from recyclic_backups.catalog.sealing import READABLE_HINT, is_readable_by_all
from recyclic_backups.catalog.strangers import tell_strangers
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_backup, add_json
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.cli.stored_bases import base_backups_of, verify_and_say
from recyclic_backups.dump.rescue_files import inspect_rescue
from recyclic_backups.dump.verify import verify
from recyclic_backups.errors import BackupError, UsageError, most_serious
from recyclic_backups.quantities import human_seconds
from recyclic_backups.retention.wal_expire import servers_of


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    add_backup(command, default=LATEST)
    command.add_argument("--all", action="store_true", help="every backup, and every document beside them")
    command.add_argument(
        "--level",
        choices=("stored", "readable", "parsed"),
        default="parsed",
        help="stored: sizes and hashes, without any key; readable: decrypted and decompressed; "
        "parsed: read by pg_restore to the end (default)",
    )
    add_json(command)


def run(call: Invocation) -> int:
    """Run the command."""
    options = call.options
    if options.all and (options.backup is not None or options.at is not None):
        raise UsageError("give a backup or --all, not both")
    found = call.catalog
    backups = list(found) if options.all else [call.find(default=LATEST)]
    if not backups and not found.damage:
        found.find(LATEST)  # says that there is none
    errors: list[BackupError] = []
    verdicts: list[dict[str, Any]] = []
    for damage in _damage_of_all(call) if options.all else found.damage_of(backups[0].backup_id):
        _note(damage, errors, verdicts)
    installations = wiring.installations(call.settings)
    for backup in backups:
        with render.progress() as progress:
            verdict = verify(
                call.repository,
                backup,
                options.level,
                installations,
                clock=render.now,
                timeout_seconds=call.settings.timeout_seconds,
                progress=progress,
            )
        verdicts.append({**verdict.to_json(), "notes": _notes_on(backup)})
        if verdict.error is not None:
            errors.append(verdict.error)
            render.warn_of(backup.backup_id, verdict.error)
        elif not call.json:
            took = human_seconds(verdict.duration_seconds)
            render.line(f"{backup.backup_id}  {options.level}, passed in {took}")
    if options.all:
        _verify_base_backups(call, errors, verdicts)
    call.report({"verifications": verdicts}, lambda: None)
    return most_serious(errors)


def _verify_base_backups(call: Invocation, errors: list[BackupError], verdicts: list[dict[str, Any]]) -> None:
    """Those of the database's servers, with the damage among their documents, each said when it is known."""
    level: BaseVerifyLevel = "stored" if call.options.level == "stored" else "files"
    for server in servers_of(call.repository, call.catalog, None):
        archive = WalArchive(call.repository, server)
        bases = base_backups_of(archive)
        for damage in bases.damage:
            _note(damage, errors, verdicts)
        for base in bases.bases:
            verdict = verify_and_say(call, archive, base, level)
            verdicts.append(verdict.to_json())
            errors += [] if verdict.error is None else [verdict.error]


def _note(damage: Damage, errors: list[BackupError], verdicts: list[dict[str, Any]]) -> None:
    errors.append(damage.error)
    verdicts.append(
        {"backup_id": None, "document": damage.name, "passed": False, "reasons": [damage.problem]}
    )


def _damage_of_all(call: Invocation) -> list[Damage]:
    """What is wrong beside the backups: documents (said when they were loaded), and the files of the rescue."""
    tell_strangers(call.repository.store, render.warn)
    damages = list(call.catalog.damage)
    for finding in inspect_rescue(call.repository, lambda: call.catalog):
        render.warn(f"{'damaged' if finding.damage else 'note'}: {finding.name}: {finding.problem}")
        if finding.damage:
            damages.append(Damage(finding.name, finding.problem))
    return damages


def _notes_on(backup: Backup) -> list[str]:
    """What is not wrong with a backup and has to be known; said as well."""
    if not is_readable_by_all(backup.manifest):
        return []
    note = "its manifest says in clear what is encrypted beside it"
    render.warn(f"{backup.backup_id}: {note}; seal it with: {READABLE_HINT}")
    return [note]
