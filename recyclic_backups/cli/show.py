"""``show``: one backup, all that is known of it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import datetime
from typing import Any

from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.catalog.why import why_text
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_backup, add_json
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.quantities import human_bytes, human_seconds

_SEALED = "sealed: no key at hand opens what the backup contains (BACKUP_ENCRYPTION_KEY)"
_SEALED_CHECK = "sealed: no key at hand opens its reasons and what it found (BACKUP_ENCRYPTION_KEY)"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    add_backup(command)
    add_json(command)


def run(call: Invocation) -> int:
    """Run the command."""
    backup = call.find(unvouched=True)
    document = _opened(backup.manifest) | {
        "checks": [_opened_check(check) for check in backup.checks],
        "tiers": [label.to_json() for label in backup.labels],
        "authenticity": backup.standing.value,
        "held": backup.is_held(render.now()),
        "hold": None if backup.hold is None else backup.hold.to_json(),
    }
    call.report(document, lambda: _print(call, backup))
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
    if not check.is_closed:
        return check.to_json()
    # An empty list of reasons would read as none.
    document = replace(check, reasons=(), details=check.figures, clear_details=None, twin=None).to_json()
    return {name: value for name, value in document.items() if name != "reasons"} | {"sealed": _SEALED_CHECK}


def _until(call: Invocation, moment: datetime | None) -> str:
    """The end of a hold as ``hold`` says it: by its last day, if it ends with one."""
    if moment is None:
        return "for ever"
    day = call.settings.calendar.day_that_ends(moment)
    return f"until {call.local_time(moment)}" if day is None else f"until {day} inclusive"


def _print(call: Invocation, backup: Backup) -> None:
    manifest, line = backup.manifest, render.entry
    line("backup", f"{manifest.backup_id} of {manifest.database!r}, {manifest.source}")
    if not backup.standing.is_believed:
        line("NOBODY", f"vouches for it: {backup.standing.problem}")
    elif backup.standing is Standing.NOT_CHECKED:
        render.line("not checked whether it was edited, nor what is said of it below: no key is at hand")
    position = f" ({manifest.server.lsn})" if manifest.server.lsn else ""
    line("content of", f"{call.local_time(manifest.as_of)}{position}")
    if not manifest.is_closed and manifest.adopted is not None:
        line("adopted", f"{manifest.adopted.file_name}, sha256 of the archive {manifest.adopted.sha256}")
    if not manifest.is_closed and manifest.checkpoint is not None:
        said = (("version", manifest.checkpoint.version), ("revision", manifest.checkpoint.revision))
        before = ", ".join(f"{name} {text}" for name, text in said if text)
        line("checkpoint", f"before {before or 'a change'}")
    took = human_seconds(manifest.duration_seconds)
    line("taken in", f"{took} with pg_dump {manifest.programs.get('pg_dump')}")
    line("server", f"PostgreSQL {manifest.server.version}, {manifest.server.encoding}")
    line("encrypted", f"yes, key {manifest.encryption.key_id}" if manifest.encryption else "no")
    for label in backup.labels:
        late = " (late)" if label.late else ""
        line("label", f"{label.tier.value} {label.partition}{late} {label.reason}".rstrip())
    if backup.hold is not None:
        state = "held" if backup.is_held(render.now()) else "was held"
        line(state, f"{_until(call, backup.hold.until)}: {backup.hold.reason}")
    for item in manifest.objects:
        line("object", f"{item.name}, {human_bytes(item.stored_bytes)}, sha256 {item.stored_sha256}")
    for check in backup.checks:
        compared = check.proves or check.kind == "verify"
        passed = "passed" if compared else "passed, nothing to compare"
        verdict = passed if check.passed else f"FAILED: {why_text(check)}"
        line(check.kind, f"{call.local_time(check.checked_at)} {verdict}")
    if manifest.is_closed:
        line("contents", _SEALED)
        return
    for note in manifest.notes:
        line("note", note)
    if manifest.fingerprint is not None:
        fingerprint = Fingerprint.from_json(manifest.fingerprint)
        render.line()
        rows = [(name, f"{table.rows}") for name, table in sorted(fingerprint.tables.items())]
        render.print_table(("TABLE", "ROWS"), rows, right=(1,))
