"""``adopt``: take over backups that the script before this software made."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recyclic_backups import wiring
from recyclic_backups.cli import catalog, render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recyclic_backups.adopt.file import Outcome


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    command = commands.add_parser(
        "adopt",
        help="take over backups made by other software",
        description="Stores archives of pg_dump's custom format, plain or inside gzip and openssl enc, as backups of "
        "the tier and date in their name (postgres_backup_20250127_020000.dump, postgres_weekly_20250126.dump, "
        "postgres_monthly_202501.dump), else of the date inside. Files are read to their end and never changed.",
    )
    command.add_argument("files", metavar="FILE", nargs="+", type=Path)
    command.add_argument("--dry-run", action="store_true", help="read everything, write nothing")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; its exit code is that of the most serious problem among the files."""
    from recyclic_backups.adopt.file import Adoption, AdoptOptions
    from recyclic_backups.config.load import load_settings

    settings = load_settings()
    if not settings.encryption and not options.dry_run:
        render.say("warning: BACKUP_ENCRYPTION is off: members' data are stored readable (GDPR, article 32)")
    adopt_options = AdoptOptions(
        installations=wiring.installations(settings),
        calendar=settings.calendar,
        compression=settings.compression,
        timeout_seconds=settings.timeout_seconds,
        passphrases=tuple(key for key in (settings.encryption_key, *settings.encryption_old_keys) if key),
    )
    repository = _repository(settings, dry_run=options.dry_run)
    found = catalog.load(settings, repository)
    outcomes = []
    with render.progress() as progress:
        adoption = Adoption(repository, found, adopt_options, render.now, options.dry_run, progress)
        for file in options.files:
            outcomes.append(adoption.adopt(file))
            _say(outcomes[-1])
    if options.json:
        render.print_json([outcome.to_json() for outcome in outcomes])
    else:
        _print(outcomes, settings.calendar.timezone)
    return exit_code(outcomes)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """The most serious one: damage, then keys, storage, programs; a file that is no backup is the least."""
    codes = {outcome.error.exit_code for outcome in outcomes if outcome.error is not None}
    most_serious_first = (40, 41, 30, 20, 10, 70, 60, 2)
    return next((code for code in most_serious_first if code in codes), min(codes, default=0))


def _repository(settings: Any, *, dry_run: bool) -> Any:
    """The repository; a dry run does not even make the storage's directory, where it could be made."""
    from recyclic_backups.catalog.repository import Repository
    from recyclic_backups.envelope.keyring import Keyring
    from recyclic_backups.errors import StorageMissing
    from recyclic_backups.storage.memory import MemoryStore

    try:
        return wiring.open_repository(settings, create=not dry_run)
    except StorageMissing:
        store = MemoryStore()  # stands for the storage that is not there yet; nothing is written to it
        return Repository(store, settings.database, Keyring(store, ""), encrypt=False)


def _say(outcome: Outcome) -> None:
    """Remarks and problems, on standard error, as they come."""
    from recyclic_backups.adopt.file import readable

    for reason in outcome.reasons:
        render.say(f"{readable(str(outcome.file))}: {reason}")
    if outcome.error is not None:
        if outcome.error.hint:
            render.say(f"hint: {outcome.error.hint}")
        for note in getattr(outcome.error, "__notes__", []):
            render.say(f"note: {note}")


def _print(outcomes: Sequence[Outcome], timezone: Any) -> None:
    from recyclic_backups.adopt.file import readable

    render.print_table(
        ("FILE", "", "TIER", "PARTITION", "CONTENT OF", "BACKUP"),
        [
            (
                readable(outcome.file.name),
                outcome.action,
                outcome.place.tier.value if outcome.place else "-",
                outcome.place.partition if outcome.place else "-",
                render.local_time(outcome.place.as_of if outcome.place else None, timezone),
                outcome.backup_id or "-",
            )
            for outcome in outcomes
        ],
    )
