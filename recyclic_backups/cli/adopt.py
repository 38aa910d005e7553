"""``adopt``: take over backups that the script before this software made."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from recyclic_backups import wiring
from recyclic_backups.adopt.file import Adoption, AdoptOptions, Outcome, readable
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_json
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.errors import StorageMissing, most_serious
from recyclic_backups.storage.local import LocalStore


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    command.description = (
        "Stores archives of pg_dump's custom format, plain or inside gzip and openssl enc, as backups of "
        "the tier and date in their name (postgres_backup_20250127_020000.dump, postgres_weekly_20250126.dump, "
        "postgres_monthly_202501.dump), else of the date inside. Files are read to their end and never changed."
    )
    command.add_argument("files", metavar="FILE", nargs="+", type=Path)
    command.add_argument("--dry-run", action="store_true", help="read everything, write nothing")
    add_json(command)


def run(call: Invocation) -> int:
    """Run the command; its exit code is that of the most serious problem among the files."""
    settings, dry_run = call.settings, call.options.dry_run
    if not dry_run:
        call.warn_of_plaintext()
    adopt_options = AdoptOptions(
        installations=wiring.installations(settings),
        calendar=settings.calendar,
        compression=settings.compression,
        timeout_seconds=settings.timeout_seconds,
        passphrases=tuple(key for key in (settings.encryption_key, *settings.encryption_old_keys) if key),
    )
    outcomes = []
    reading = _repository_to_read(call) if dry_run else nullcontext(call.new_repository)
    with reading as repository, render.progress() as progress:
        found = call.load_catalog(repository)
        adoption = Adoption(repository, found, adopt_options, render.now, dry_run, progress)
        for file in call.options.files:
            outcomes.append(adoption.adopt(file))
            _say(outcomes[-1])
    call.report({"files": [outcome.to_json() for outcome in outcomes]}, lambda: _print(call, outcomes))
    return most_serious(outcome.error for outcome in outcomes if outcome.error is not None)


@contextmanager
def _repository_to_read(call: Invocation) -> Iterator[Repository]:
    """For a dry run, which does not even make the storage's directory, where it could be made."""
    try:
        there = call.repository
    except StorageMissing:
        with TemporaryDirectory() as empty:  # stands for the storage that is not there yet
            store = LocalStore.open(Path(empty), create=False)
            yield Repository(store, call.settings.database, Keyring(store, ""), encrypt=False)
    else:
        yield there


def _say(outcome: Outcome) -> None:
    """Remarks and problems, on standard error, as they come."""
    for reason in outcome.reasons:
        render.warn(f"{readable(str(outcome.file))}: {reason}")
    if outcome.error is not None:
        if outcome.error.hint:
            render.warn(f"hint: {outcome.error.hint}")
        for note in getattr(outcome.error, "__notes__", []):
            render.warn(f"note: {note}")


def _print(call: Invocation, outcomes: Sequence[Outcome]) -> None:
    render.print_table(
        ("FILE", "", "TIER", "PARTITION", "CONTENT OF", "BACKUP"),
        [
            (
                readable(outcome.file.name),
                outcome.action,
                outcome.place.tier.value if outcome.place else "-",
                outcome.place.partition if outcome.place else "-",
                call.local_time(outcome.place.as_of if outcome.place else None),
                outcome.backup_id or "-",
            )
            for outcome in outcomes
        ],
    )
