"""What a look at one thing found: that it is fine, that somebody should know, or that no backup would work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recyclic_backups.errors import BackupError


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence on one check, a hint, and the exit code that an error has."""

    check: str
    status: Literal["ok", "warning", "error"]
    message: str
    hint: str = ""
    exit_code: int = 0

    @staticmethod
    def of_error(check: str, error: BackupError) -> Finding:
        """The finding of a check that could not be done."""
        return Finding(check, "error", error.message, error.hint, error.exit_code)

    def to_json(self) -> dict[str, str]:
        """For reports."""
        return {"check": self.check, "status": self.status, "message": self.message, "hint": self.hint}
