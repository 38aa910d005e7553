"""The scenarios a drill rehearses, and the objectives each is held against. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Scenario(StrEnum):
    """What has been lost."""

    SIMPLE = "simple"
    """The database: the newest backup of each tier goes into a new one."""
    PARTIAL = "partial"
    """Some rows of some tables: they are found and put back, the rest stays."""
    FULL = "full"
    """Everything but the storage and the key."""
    PITR = "pitr"
    """The server: it comes back as it was at a moment, from a base backup and WAL."""


@dataclass(frozen=True, slots=True)
class Objective:
    """How fast a database has to be back, and how much of its latest work may be missing. Seconds."""

    restore_seconds: float
    data_loss_seconds: float

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {"restore_seconds": self.restore_seconds, "data_loss_seconds": self.data_loss_seconds}


_HOUR = 3600.0

OBJECTIVES = {
    Scenario.SIMPLE: Objective(0.5 * _HOUR, _HOUR),
    Scenario.PARTIAL: Objective(2 * _HOUR, _HOUR),
    Scenario.FULL: Objective(4 * _HOUR, _HOUR),
    Scenario.PITR: Objective(4 * _HOUR, _HOUR),
}
"""docs/design.md, section 10."""
