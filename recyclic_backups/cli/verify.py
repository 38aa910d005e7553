"""``verify``: re-read backups from the storage."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from recyclic_backups import wiring
from recyclic_backups.cli import catalog, render

if TYPE_CHECKING:
    from recyclic_backups.catalog.catalog import Backup


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    command = commands.add_parser("verify", help="check that stored backups are whole and can be read")
    command.add_argument(
        "backup", metavar="ID", nargs="?", help="a backup id, its beginning, or latest (default)"
    )
    command.add_argument("--all", action="store_true", help="every backup, and every document beside them")
    command.add_argument(
        "--level",
        choices=("stored", "readable", "parsed"),
        default="parsed",
        help="stored: sizes and hashes, without any key; readable: decrypted and decompressed; "
        "parsed: read by pg_restore to the end (default)",
    )
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from recyclic_backups.catalog.catalog import Damage
    from recyclic_backups.catalog.strangers import tell_strangers
    from recyclic_backups.config.load import load_settings
    from recyclic_backups.dump.rescue_files import inspect_rescue
    from recyclic_backups.dump.verify import verify
    from recyclic_backups.errors import BackupError, DamagedData, UsageError
    from recyclic_backups.quantities import human_seconds

    if options.all and options.backup is not None:
        raise UsageError("give a backup or --all, not both")
    settings = load_settings()
    found = catalog.load(settings)
    # Not `or`: an empty variable of a shell names no backup, and must not pass for one that was verified.
    wanted = "latest" if options.backup is None else options.backup
    backups = list(found) if options.all else [catalog.pick(found, wanted)]
    if not backups and not found.damage:
        found.find("latest")  # says that there is none
    repository = wiring.open_repository(settings, create=False)
    installations = wiring.installations(settings)
    verdicts: list[dict[str, Any]] = []
    errors: list[BackupError] = []
    if options.all:
        tell_strangers(repository.store, render.say)
    # Said on standard error already, when they were loaded.
    damages = list(found.damage if options.all else found.damage_of(backups[0].backup_id))
    for finding in inspect_rescue(repository, lambda: found) if options.all else ():
        if finding.damage:
            render.say(f"damaged: {finding.name}: {finding.problem}")
            damages.append(Damage(finding.name, finding.problem))
        else:
            render.say(f"note: {finding.name}: {finding.problem}")
    for damage in damages:
        errors.append(damage.error)
        verdicts.append(
            {"backup_id": None, "document": damage.name, "passed": False, "reasons": [damage.problem]}
        )
    for backup in backups:
        with render.progress() as progress:
            verdict = verify(
                repository,
                backup,
                options.level,
                installations,
                clock=render.now,
                timeout_seconds=settings.timeout_seconds,
                progress=progress,
            )
        verdicts.append({**verdict.to_json(), "notes": _notes_on(backup)})
        if verdict.error is not None:
            errors.append(verdict.error)
            render.say(f"{backup.backup_id}: {verdict.error.message}")
            if verdict.error.hint:
                render.say(f"hint: {verdict.error.hint}")
        elif not options.json:
            render.line(
                f"{backup.backup_id}  {options.level}, passed in {human_seconds(verdict.duration_seconds)}"
            )
    if options.json:
        render.print_json(verdicts)
    # Damage first: it is the one that cannot be put right by asking again.
    damaged = [error for error in errors if isinstance(error, DamagedData)]
    return next((error.exit_code for error in (*damaged, *errors)), 0)


def _notes_on(backup: Backup) -> list[str]:
    """What is not wrong with a backup and has to be known; said as well."""
    from recyclic_backups.catalog.sealing import READABLE_HINT, is_readable_by_all

    if not is_readable_by_all(backup.manifest):
        return []
    note = "its manifest says in clear what is encrypted beside it"
    render.say(f"{backup.backup_id}: {note}; seal it with: {READABLE_HINT}")
    return [note]
