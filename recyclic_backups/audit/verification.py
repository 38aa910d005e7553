"""A verification: a backup is read again, the audit log says so, and the verdict is recorded beside the backup.

What is read and compared differs between a dump and a base backup; what counts as a verdict does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from recyclic_backups.audit.log import audited
from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.errors import BackupError, DamagedData, StorageError

Verified = Literal["backup", "base backup"]


@dataclass(frozen=True, slots=True)
class Verification:
    """One backup's verdict; ``error`` is what was found, with its exit code (40 damaged, 41 no key, …)."""

    what: Verified
    backup_id: str
    level: str
    checked_at: datetime
    duration_seconds: float
    error: BackupError | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return self.error is None

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "backup_id" if self.what == "backup" else "base_id": self.backup_id,
            "level": self.level,
            "passed": self.passed,
            "reasons": [] if self.error is None else [self.error.message],
            "duration_seconds": round(self.duration_seconds, 3),
        }


def verified(
    repository: Repository,
    what: Verified,
    backup_id: str,
    level: str,
    *,
    examine: Callable[[], BackupError | None],
    record: Callable[[Check], None],
    clock: Callable[[], datetime],
) -> Verification:
    """Let ``examine`` read it, and ``record`` the verdict.

    Only verdicts on the bytes themselves are recorded: a missing key (41), storage that does not answer (30) or a
    pg_restore that was killed (20) say nothing about them and are returned without being written. Where a verdict
    cannot be written (30), that is what is returned, unless the backup is damaged. Raises no BackupError.
    """
    started_at = clock()
    with audited(
        repository, "verify", clock, backup_id=backup_id, details={"level": level}, required=False
    ) as entry:
        error = examine()
        entry.outcome = "whole" if error is None else "failed"
        if error is not None:
            entry.details["error"] = error.message
    finished_at = clock()
    duration_seconds = max(0.0, (finished_at - started_at).total_seconds())
    # "stored" alone does not show that the bytes can be read again: it can damn a backup, not clear it.
    if isinstance(error, DamagedData) or (error is None and level != "stored"):
        check = Check(
            kind="verify",
            backup_id=backup_id,
            checked_at=finished_at,
            passed=error is None,
            reasons=() if error is None else (error.message,),
            duration_seconds=duration_seconds,
            details={"level": level},
        )
        try:
            record(check)
        except StorageError as unrecorded:
            said = f"the {what} is whole, but the storage does not keep the verdict: {unrecorded.message}"
            error = error or StorageError(said, unrecorded.hint, retryable=unrecorded.retryable)
        except BackupError as unsigned:
            error = error or unsigned  # what is wrong with the key is what was found wrong above
    return Verification(what, backup_id, level, finished_at, duration_seconds, error)
