"""``list`` and ``show``: what there is."""

from __future__ import annotations

import argparse
import gc
from typing import TYPE_CHECKING, Any

from recyclic_backups import wiring
from recyclic_backups.cli import render

if TYPE_CHECKING:
    from datetime import datetime

    from recyclic_backups.backup_calendar import Calendar
    from recyclic_backups.catalog.catalog import Backup, Catalog
    from recyclic_backups.catalog.documents import Check
    from recyclic_backups.catalog.manifest import Manifest
    from recyclic_backups.catalog.repository import Repository
    from recyclic_backups.config.settings import Settings

_SEALED = "sealed: no key at hand opens what the backup contains (BACKUP_ENCRYPTION_KEY)"
_SEALED_CHECK = "sealed: no key at hand opens its reasons and what it found (BACKUP_ENCRYPTION_KEY)"


def add_to(commands: Any) -> None:
    """Add the commands to the command line."""
    command = commands.add_parser("list", help="every backup, newest first")
    command.add_argument("--tier", choices=("daily", "weekly", "monthly", "checkpoint"))
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=run_list)

    command = commands.add_parser("show", help="one backup: its manifest, checks and tiers")
    command.add_argument("backup", metavar="ID", help="a backup id, its beginning, or latest")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=run_show)


def load(settings: Settings, repository: Repository | None = None) -> Catalog:
    """The catalog. Says on standard error what is damaged. Raises StorageError where there is no storage."""
    from recyclic_backups.catalog.load import load_catalog

    # Thousands of documents make a million objects, none of them garbage: looking for some takes a third of the time.
    gc.disable()
    try:
        catalog = load_catalog(repository or wiring.open_repository(settings, create=False))
    finally:
        gc.enable()
    for damage in catalog.damage:
        word = "not known" if damage.lacks_key else "damaged"
        render.say(f"{word}: {damage.name}: {damage.problem}")
    if not catalog.is_checked:
        render.say(
            "not checked: whether any of this was edited. No key is at hand (BACKUP_ENCRYPTION_KEY): that something is "
            "verified, proven or all there is, is the word of whoever can write to the storage"
        )
    return catalog


def pick(found: Catalog, reference: str, *, unvouched: bool = False) -> Backup:
    """The backup that is meant, as :meth:`Catalog.find`; with ``unvouched`` as :meth:`Catalog.find_any`.

    Where ``latest`` passes over newer ones that are known to be damaged, that is said: nobody may hide a night.
    """
    from recyclic_backups.catalog.catalog import LATEST

    backup = found.find_any(reference) if unvouched else found.find(reference)
    if reference == LATEST and found.passed_over:
        over = ", ".join(each.backup_id for each in found.passed_over)
        render.say(f"latest is {backup.backup_id}: newer, and found damaged by their last check: {over}")
    return backup


def run_list(options: argparse.Namespace) -> int:
    """Run ``list``."""
    from recyclic_backups.backup_calendar import Tier
    from recyclic_backups.config.load import load_settings
    from recyclic_backups.quantities import human_bytes

    settings = load_settings()
    catalog = load(settings)
    full = len(catalog.with_unvouched()) > 0
    if options.tier:
        catalog = catalog.in_tier(Tier(options.tier))
    if options.json:
        render.print_json([_entry(backup) for backup in catalog.with_unvouched()])
        return 0
    if not catalog.with_unvouched():
        if options.tier and full:
            render.say(f"no backup is labelled {options.tier}; without --tier all are listed")
        else:
            render.say(f"there is no backup yet in {catalog.place}; take one with: recyclic-backups backup")
        return 0
    timezone, now = settings.calendar.timezone, render.now()
    render.print_table(
        ("BACKUP", "CONTENT OF", "TIERS", "STORED", "VERIFIED", "PROVEN", ""),
        [
            (
                backup.backup_id,
                render.local_time(backup.as_of, timezone),
                " ".join(tier.value for tier in backup.tiers) or "-",
                human_bytes(backup.manifest.stored_bytes),
                "-"
                if not backup.standing.is_believed
                else "DAMAGED"
                if backup.known_damaged
                else render.local_time(backup.verified_at, timezone),
                render.local_time(backup.proven_at, timezone),
                ", ".join(_marks(backup, now)),
            )
            for backup in catalog.with_unvouched()
        ],
        right=(3,),
    )
    return 0


def run_show(options: argparse.Namespace) -> int:
    """Run ``show``."""
    from recyclic_backups.config.load import load_settings

    settings = load_settings()
    backup = pick(load(settings), options.backup, unvouched=True)
    document = _opened(backup.manifest)
    document["checks"] = [_opened_check(check) for check in backup.checks]
    document["tiers"] = [label.to_json() for label in backup.labels]
    document["authenticity"] = backup.standing.value
    document["held"] = backup.is_held(render.now())
    document["hold"] = None if backup.hold is None else backup.hold.to_json()
    if options.json:
        render.print_json(document)
    else:
        _print(backup, settings.calendar)
    return 0


def _opened(manifest: Manifest) -> dict[str, Any]:
    """The manifest's document for people: what is sealed in its place, or ``sealed`` saying why it is not."""
    document = dict(manifest.document)
    if "sealed" in document:
        document["sealed"] = _SEALED
        if not manifest.is_closed:
            del document["sealed"]
            whole = manifest.to_json()
            document |= {name: value for name, value in whole.items() if name != "format"}
    return document


def _opened_check(check: Check) -> dict[str, Any]:
    """A check's document for people: what is sealed in its place, or ``sealed`` saying why it is not."""
    from dataclasses import replace

    if not check.is_closed:
        return check.to_json()
    # An empty list of reasons would read as none.
    document = replace(check, reasons=(), details=check.figures, clear_details=None, twin=None).to_json()
    return {name: value for name, value in document.items() if name != "reasons"} | {"sealed": _SEALED_CHECK}


def _entry(backup: Backup) -> dict[str, Any]:
    from recyclic_backups.catalog.timestamps import to_text

    def text(moment: Any) -> str | None:
        return None if moment is None else to_text(moment)

    return {
        "backup_id": backup.backup_id,
        "as_of": to_text(backup.as_of),
        "tiers": [tier.value for tier in backup.tiers],
        "late": _is_late(backup),
        "kind": backup.manifest.kind,
        "stored_bytes": backup.manifest.stored_bytes,
        "verified_at": text(backup.verified_at),
        "proven_at": text(backup.proven_at),
        "held": backup.is_held(render.now()),
        "authenticity": backup.standing.value,
    }


def _marks(backup: Backup, now: datetime) -> list[str]:
    """What the last column of the table says."""
    from recyclic_backups.catalog.standing import Standing

    said = {Standing.SIGNED: "", Standing.CHECKSUM: ""}.get(backup.standing, backup.standing.value)
    marks = (said, "late" if _is_late(backup) else "", "held" if backup.is_held(now) else "")
    return [mark for mark in marks if mark]


def _is_late(backup: Backup) -> bool:
    """Late for every label it has, or for the slot it was taken for when it has none."""
    return all(label.late for label in backup.labels) if backup.labels else backup.manifest.late


def _until(moment: datetime | None, calendar: Calendar) -> str:
    """The end of a hold as ``hold`` says it: by its last day, if it ends with one."""
    if moment is None:
        return "for ever"
    day = calendar.day_that_ends(moment)
    return (
        f"until {render.local_time(moment, calendar.timezone)}" if day is None else f"until {day} inclusive"
    )


def _print(backup: Backup, calendar: Calendar) -> None:
    from recyclic_backups.catalog.standing import Standing
    from recyclic_backups.catalog.why import why_text
    from recyclic_backups.fingerprint.model import Fingerprint
    from recyclic_backups.quantities import human_bytes, human_seconds

    manifest, timezone = backup.manifest, calendar.timezone
    render.line(f"backup      {manifest.backup_id} of {manifest.database!r}, {manifest.source}")
    if not backup.standing.is_believed:
        render.line(f"NOBODY      vouches for it: {backup.standing.problem}")
    elif backup.standing is Standing.NOT_CHECKED:
        render.line("not checked whether it was edited, nor what is said of it below: no key is at hand")
    position = f" ({manifest.server.lsn})" if manifest.server.lsn else ""
    render.line(f"content of  {render.local_time(manifest.as_of, timezone)}{position}")
    if not manifest.is_closed and manifest.adopted is not None:
        render.line(
            f"adopted     {manifest.adopted.file_name}, sha256 of the archive {manifest.adopted.sha256}"
        )
    if not manifest.is_closed and manifest.checkpoint is not None:
        said = (("version", manifest.checkpoint.version), ("revision", manifest.checkpoint.revision))
        before = ", ".join(f"{name} {text}" for name, text in said if text)
        render.line(f"checkpoint  before {before or 'a change'}")
    render.line(
        f"taken in    {human_seconds(manifest.duration_seconds)} with pg_dump {manifest.programs.get('pg_dump')}"
    )
    render.line(f"server      PostgreSQL {manifest.server.version}, {manifest.server.encoding}")
    render.line(f"encrypted   {f'yes, key {manifest.encryption.key_id}' if manifest.encryption else 'no'}")
    for label in backup.labels:
        render.line(
            f"label       {label.tier.value} {label.partition}{' (late)' if label.late else ''} {label.reason}".rstrip()
        )
    if backup.hold is not None:
        state = "held" if backup.is_held(render.now()) else "was held"
        render.line(f"{state:<11} {_until(backup.hold.until, calendar)}: {backup.hold.reason}")
    for item in manifest.objects:
        render.line(f"object      {item.name}, {human_bytes(item.stored_bytes)}, sha256 {item.stored_sha256}")
    for check in backup.checks:
        compared = check.proves or check.kind == "verify"
        passed = "passed" if compared else "passed, nothing to compare"
        verdict = passed if check.passed else f"FAILED: {why_text(check)}"
        render.line(f"{check.kind:<11} {render.local_time(check.checked_at, timezone)} {verdict}")
    if manifest.is_closed:
        render.line(f"contents    {_SEALED}")
        return
    for note in manifest.notes:
        render.line(f"note        {note}")
    if manifest.fingerprint is not None:
        fingerprint = Fingerprint.from_json(manifest.fingerprint)
        render.line()
        rows = [(name, f"{table.rows}") for name, table in sorted(fingerprint.tables.items())]
        render.print_table(("TABLE", "ROWS"), rows, right=(1,))
