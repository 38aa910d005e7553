"""Restore a backup: into a database beside, compared with the fingerprint, and only then under its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from recyclic_backups.audit.log import audited
from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.catalog.record import record_check
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.dump.verify import record_damage
from recyclic_backups.errors import DamagedData, StorageError
from recyclic_backups.fingerprint.compare import Comparison
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.postgres.server import Server
from recyclic_backups.postgres.tls import choose_for
from recyclic_backups.progress import SILENT, Progress
from recyclic_backups.restore import database as databases
from recyclic_backups.restore.attempt import Attempt, RestoreOptions
from recyclic_backups.restore.entry_attempts import Missing
from recyclic_backups.restore.left_behind import drop_left_behind, mark, under_way
from recyclic_backups.restore.selection import Request, Selection, select
from recyclic_backups.restore.subscriptions import detach


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was restored where, how long each phase took and how it compares. Seconds throughout."""

    backup_id: str
    as_of: datetime
    database: str
    server: str
    comparison: Comparison
    phases: dict[str, float]
    created_roles: list[str]
    selection: Selection | None = None
    kept_as: str | None = None
    notes: list[str] = field(default_factory=list)
    loaded_by: dict[str, int] = field(default_factory=dict)
    """With whose rights rows were loaded, and of how many tables."""
    missing: Sequence[Missing] = ()
    """What could not be made."""

    @property
    def restore_seconds(self) -> float:
        """From the first byte to the database being usable under its name; comparing is part of it."""
        return round(sum(self.phases.values()), 3)

    def to_json(self) -> dict[str, Any]:
        """The report as the command line prints it."""
        comparison = self.comparison.to_json()
        return {
            "backup_id": self.backup_id,
            "as_of": to_text(self.as_of),
            "database": self.database,
            "server": self.server,
            "kept_as": self.kept_as,
            "created_roles": self.created_roles,
            "loaded_by": self.loaded_by,
            "missing": [each.to_json() for each in self.missing],
            "selected_tables": None if self.selection is None else list(self.selection.tables),
            "restore_seconds": self.restore_seconds,
            "phases": {name: round(seconds, 3) for name, seconds in self.phases.items()},
            "comparison": comparison,
            "equal": self.comparison.equal,
            "tables": comparison["tables"],
            "differences": comparison["differences"],
            "notes": [*comparison["notes"], *self.notes],
        }


def restore(
    repository: Repository,
    backup: Backup,
    server: Server,
    into: str,
    options: RestoreOptions,
    *,
    clock: Callable[[], datetime],
    request: Request | None = None,
    replace: bool = False,
    stays_marked: bool = False,
    recorded: bool = True,
    unsigned: bool = False,
    progress: Progress = SILENT,
) -> RestoreReport:
    """Restore ``backup`` as the database ``into``: all of it, or the tables of ``request``.

    With ``replace`` an existing database of that name is kept under another one, and its sessions are ended at
    the swap; without it an existing one is Refused. When the comparison finds a difference the restored
    database stays beside under its temporary name and ``into`` is as it was: look at ``comparison.equal``.

    First it drops the databases that killed restores left (:mod:`recyclic_backups.restore.left_behind`). With
    ``stays_marked`` the database keeps the mark of one under way, for a caller that goes on with it under its lock.
    Without ``recorded`` the outcome is not written beside the backup: a drill judges more, and writes its own. With
    ``unsigned`` a backup that nobody vouches for is restored all the same, and nothing is written beside it.

    Raises DamagedData, NoUsableKey and Refused before anything is made, DatabaseError; then nothing of the attempt
    is left on the server but roles that were missing.
    """
    details = {"into": into, "server": server.label, "tables": list(request.tables) if request else []}
    if unsigned:
        details["standing"] = backup.standing.value
    with (
        _damage_remembered(repository, backup, clock, recorded=recorded),
        audited(
            repository, "restore", clock, backup_id=backup.backup_id, details=details, required=False
        ) as entry,
    ):
        server = server.answering_within(options.timeout_seconds)
        databases.require_name(into)
        backup.require_vouched(unsigned=unsigned)
        manifest = backup.manifest
        expected = None if manifest.fingerprint is None else Fingerprint.from_json(manifest.fingerprint)
        selection = select(request, expected) if request else None
        mark_of = partial(mark, manifest.backup_id, now=clock())
        attempt = Attempt(repository, manifest, server, into, options, selection, expected, progress, mark_of)
        attempt.require_possible(replace=replace)
        installation = choose_for(
            server, options.installations, manifest.archive_major, {"pg_restore", "pg_dump"}
        )

        with attempt.phase("fetch"):
            attempt.require_whole()
        attempt.notes.extend(drop_left_behind(server))
        beside = databases.name_beside(into, "restoring")
        with under_way(server, beside):
            with attempt.phase("roles"):
                created_roles = attempt.create_roles()
            with attempt.database_beside(beside, attempt.mark_of(beside)):
                rebuild = attempt.fill(beside, installation)
                # Side by side: both only read, and neither keeps a second core of the server busy by itself.
                with attempt.analyzing(beside), attempt.phase("compare"):
                    comparison = attempt.compare_with(beside, installation, rebuild)
                with databases.maintenance(server) as connection:
                    attempt.notes.extend(
                        detach(server, connection, beside, replaced=into if replace else None)
                    )
                if recorded and backup.standing.is_believed:
                    attempt.notes.extend(_record(repository, manifest, attempt, comparison, clock()))
                kept_as, name = None, beside
                if comparison.equal is not False:
                    comment = attempt.mark_of(into) if stays_marked else manifest.server.comment
                    with attempt.phase("swap"):
                        kept_as = attempt.put_in_place(
                            beside, comment, replace=replace, limits=not stays_marked, now=clock()
                        )
                    name = into
                    attempt.notes.extend(
                        f"the extension {extension} was made when the database had its name: it is not compared"
                        for extension in rebuild.finish_as(into)
                    )
                else:
                    attempt.keep_beside(beside)
                attempt.notes.extend(
                    f"the extension {extension} cannot be in this database and is left out, its tables too: {reason}"
                    for extension, reason in rebuild.extensions_elsewhere.items()
                )
        report = RestoreReport(
            backup_id=manifest.backup_id,
            as_of=manifest.as_of,
            database=name,
            server=server.label,
            comparison=comparison,
            phases=attempt.phases,
            created_roles=created_roles,
            selection=selection,
            kept_as=kept_as,
            notes=[*_nobody_vouches(backup), *attempt.notes, *(manifest.notes if created_roles else ())],
            loaded_by=attempt.loaded_by,
            missing=attempt.missing,
        )
        entry.outcome = {True: "equal", False: "differs", None: "not comparable"}[report.comparison.equal]
    return (
        dataclasses.replace(report, notes=[*report.notes, entry.unrecorded]) if entry.unrecorded else report
    )


@contextmanager
def _damage_remembered(
    repository: Repository, backup: Backup, clock: Callable[[], datetime], *, recorded: bool
) -> Iterator[None]:
    """Note beside the backup that its bytes are damaged, so that ``latest`` is another one from then on."""
    try:
        yield
    except DamagedData as damage:
        if recorded and backup.standing is not Standing.NOT_CHECKED:  # then a key's file is what is damaged
            record_damage(repository, backup, damage, "restore", clock())
        raise


def _nobody_vouches(backup: Backup) -> Iterator[str]:
    """What is said of a backup that was restored although it is not believed."""
    if not backup.standing.is_believed:
        yield (
            f"nobody vouches for this backup: {backup.standing.problem}. Its roles, functions and rows are whatever "
            "somebody wrote, and that it is equal to its own fingerprint proves nothing"
        )


def _record(
    repository: Repository, manifest: Manifest, attempt: Attempt, comparison: Comparison, now: datetime
) -> list[str]:
    """A whole restore that was compared is a proof, or the failure of one. Returns notes for the report."""
    if (
        attempt.options.accept_missing
        or attempt.selection is not None
        or attempt.options.no_owner
        or comparison.equal is None
    ):
        return []
    check = Check(
        kind="restore",
        backup_id=manifest.backup_id,
        checked_at=now,
        passed=comparison.equal,
        proves=comparison.equal,
        reasons=comparison.differences[:20],
        duration_seconds=sum(attempt.phases.values()),
        details={"phases": {name: round(seconds, 3) for name, seconds in attempt.phases.items()}},
    )
    try:
        record_check(repository, check, manifest)
    except StorageError as error:
        # At 3 a.m. from a read-only disk the restore itself is what matters.
        return [f"the outcome could not be recorded beside the backup: {error.message}"]
    return []
