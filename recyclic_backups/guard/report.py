"""What became of a command under guard."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from recyclic_backups.catalog.manifest import Checkpoint
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.guard.live import Findings
from recyclic_backups.own_command import own_command
from recyclic_backups.restore.restore import RestoreReport

Failed = Literal["command", "probes"]

HEALS_NOTHING = "every probe that failed had failed before the command: going back would not heal it"


@dataclass(frozen=True, slots=True)
class Return:
    """What came of going back by itself: done, or why not. ``objections`` are reasons not even to begin."""

    objections: tuple[str, ...] = ()
    restored: RestoreReport | None = None
    error: str = ""

    @property
    def done(self) -> bool:
        """Whether the database is as it was before the command."""
        return self.restored is not None and self.restored.comparison.equal is not False

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "done": self.done,
            "objections": list(self.objections),
            "error": self.error or None,
            "restore": None if self.restored is None else self.restored.to_json(),
        }


@dataclass(frozen=True, slots=True)
class GuardReport:
    """All of it. ``program`` is the command's first word: the others may hold a password.

    ``exit_code`` is how the guard ends: the command's own if that failed. Without ``backup_id`` nothing was run.
    """

    program: str
    application_name: str
    checkpoint: Checkpoint
    exit_code: int
    failed: Failed | None
    reasons: tuple[str, ...] = ()
    backup_id: str | None = None
    as_of: datetime | None = None
    command_seconds: float = 0.0
    before: Findings | None = None
    after: Findings | None = None
    returned: Return | None = None

    @property
    def failed_before(self) -> bool:
        """Whether probes failed, and each of them had failed before the command: going back would heal nothing."""
        if self.failed != "probes" or self.before is None or self.after is None:
            return False
        already = {answer.probe for answer in self.before.failed}
        return all(answer.probe in already for answer in self.after.failed)

    @property
    def go_back(self) -> str | None:
        """The one command that goes back; None while there is nothing to go back to, or nothing to be healed by it."""
        return None if self.backup_id is None or self.failed_before else go_back(self.backup_id)

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "program": self.program,
            "application_name": self.application_name,
            "version": self.checkpoint.version,
            "revision": self.checkpoint.revision,
            "backup_id": self.backup_id,
            "as_of": None if self.as_of is None else to_text(self.as_of),
            "exit_code": self.exit_code,
            "failed": self.failed,
            "reasons": list(self.reasons),
            "command_seconds": round(self.command_seconds, 3),
            "probes_before": _answers(self.before),
            "probes": _answers(self.after),
            "probed_as": "" if self.before is None else self.before.role,
            "go_back": self.go_back,
            "auto_restore": None if self.returned is None else self.returned.to_json(),
        }


def go_back(backup_id: str) -> str:
    """The command that goes back to a checkpoint."""
    return own_command("restore", backup_id, "--replace", "--yes")


def _answers(findings: Findings | None) -> list[dict[str, Any]]:
    return [] if findings is None else [answer.to_json() for answer in findings.answers]
