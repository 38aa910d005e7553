"""Bring tables of a backup back into the live database: restored beside, compared, then merged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from recyclic_backups.audit.log import audited
from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.errors import BackupError, Refused
from recyclic_backups.merge.sessions import Trust
from recyclic_backups.merge.transaction import MergedTables, TableMerge, merge_tables
from recyclic_backups.postgres.server import Server
from recyclic_backups.progress import SILENT, Progress
from recyclic_backups.restore import database as databases
from recyclic_backups.restore import subscriptions
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups.restore.left_behind import under_way
from recyclic_backups.restore.restore import RestoreReport, restore
from recyclic_backups.restore.selection import Request


@dataclass(frozen=True, slots=True)
class MergeReport:
    """The restore beside and, if it compared equal, the merge into the live database."""

    restored: RestoreReport
    merged: MergedTables | None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as the command line prints it."""
        document = self.restored.to_json()
        document["notes"] = [*document["notes"], *self.notes]
        if self.merged is not None:
            document["merge"] = {
                "database": self.merged.database,
                "tables": [table.to_json() for table in self.merged.tables],
                "broken": list(self.merged.broken),
                "committed": self.merged.clean,
                "kept_in": self.merged.kept_in,
                "written_by": self.merged.written_by,
            }
        return document


def merge_backup(
    repository: Repository,
    backup: Backup,
    server: Server,
    live: str,
    request: Request,
    options: RestoreOptions,
    *,
    clock: Callable[[], datetime],
    unsigned: bool = False,
    throwaway: bool = False,
    progress: Progress = SILENT,
) -> MergeReport:
    """Restore ``request``'s tables beside and make those of ``live`` equal to them, all in one transaction.

    Only the tables asked for are put back; those they refer to are restored beside so that keys hold there, and
    stay as they are in ``live``. On a ``throwaway`` server of ours no code of anybody's is a reason to refuse. The
    database beside stays while it keeps rows that went, and is dropped otherwise.
    Raises what :func:`restore` and :func:`merge` raise; then ``live`` is as it was.
    """
    with databases.maintenance(server) as connection:
        if not databases.exists(connection, live):
            raise Refused(
                f"there is no database {live!r} to merge into", "restore the whole backup with --into"
            )
    beside = databases.name_beside(live, "merged")
    with under_way(server, beside):
        restored = restore(
            repository,
            backup,
            server,
            beside,
            options,
            clock=clock,
            request=request,
            stays_marked=True,
            unsigned=unsigned,
            progress=progress,
        )
        if restored.comparison.equal is False or restored.selection is None:
            return MergeReport(restored, None)
        progress.stage("merging")
        server = server.answering_within(options.timeout_seconds)
        keep = False

        def before_commit(tables: Sequence[TableMerge]) -> None:
            """From the commit on, the rows that went are in the database beside and nowhere else."""
            nonlocal keep
            keep = any(table.keeps_rows for table in tables)
            if keep:
                with databases.maintenance(server) as connection:
                    databases.comment_on(
                        connection, beside, f"rows of {live} as they were on {to_text(clock())}"
                    )

        details = {"into": live, "server": server.label, "tables": list(restored.selection.wanted)}
        try:
            subscriptions.remove(server, beside)  # it is for looking at rows, and for being dropped
            with audited(
                repository, "merge", clock, backup_id=backup.backup_id, details=details, required=False
            ) as entry:
                merged = merge_tables(
                    server,
                    beside,
                    live,
                    restored.selection.wanted,
                    before_commit,
                    seconds=options.timeout_seconds + 3600,
                    lock_seconds=options.lock_timeout_seconds,
                    trust=Trust(always=options.trust_owners, where_needed=throwaway),
                )
                entry.outcome = "done" if merged.clean else "refused"
        except BaseException as error:
            if keep:  # a line that breaks at the commit does not tell whether it happened
                error.add_note(f"the rows that were to be replaced are kept in the database {beside!r}")
            else:
                for note in _dropped(server, beside):
                    error.add_note(note)
            raise
        notes = [] if keep else _dropped(server, beside)
    return MergeReport(restored, merged, tuple(notes))


def _dropped(server: Server, beside: str) -> list[str]:
    """Drop the copy. What was put back stays put back if that fails: then a note says so."""
    try:
        databases.drop_database(server, beside)
    except BackupError as error:
        return [f"the next restore drops the database {beside!r}, which remains: {error.message}"]
    return []
