"""What a drill found: per restored backup, and together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.drill.scenarios import OBJECTIVES, Objective, Scenario
from recyclic_backups.errors import DamagedData, VerdictNegative
from recyclic_backups.fingerprint.compare import Comparison

_REASONS_KEPT = 20


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """One backup that was brought back: how long each phase took, and everything that was wrong.

    ``damaged`` tells that its stored bytes are what was wrong. ``details`` are for people and differ by scenario.
    """

    backup_id: str
    as_of: datetime
    phases: Mapping[str, float]
    reasons: tuple[str, ...] = ()
    comparison: Comparison | None = None
    damaged: bool = False
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def restore_seconds(self) -> float:
        """From the first byte fetched to the database compared and in use."""
        return round(sum(self.phases.values()), 3)

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not self.reasons

    @property
    def compared(self) -> bool:
        """Whether it was held against a fingerprint; a backup without one proves nothing by coming back."""
        return self.comparison is not None and self.comparison.comparable

    @property
    def verdict(self) -> str:
        """In a word or three, beside other backups of the same drill."""
        if not self.passed:
            return "FAILED"
        return "equal" if self.compared else "restored, nothing to compare"


@dataclass(frozen=True, slots=True)
class DrillReport:
    """A whole drill: the newest backup first. Times in seconds."""

    scenario: Scenario
    started_at: datetime
    ground: str
    results: tuple[ScenarioResult, ...]
    wal_as_of: datetime | None = None
    """Up to when WAL would have brought everything back when it began; None where it is not archived."""

    @property
    def newest(self) -> ScenarioResult:
        """The result of the newest backup: what one would restore tonight."""
        return self.results[0]

    @property
    def objective(self) -> Objective:
        """What it is held against."""
        return OBJECTIVES[self.scenario]

    @property
    def restore_seconds(self) -> float:
        """How long bringing the newest backup back took."""
        return self.newest.restore_seconds

    @property
    def data_loss_seconds(self) -> float:
        """How much of the latest work would be missing had everything been lost when the drill began."""
        newest = max(self.newest.as_of, self.wal_as_of or self.newest.as_of)
        return max(0.0, round((self.started_at - newest).total_seconds(), 3))

    @property
    def in_time(self) -> bool:
        """Whether the restore met its objective."""
        return self.restore_seconds <= self.objective.restore_seconds

    @property
    def loss_in_bounds(self) -> bool:
        """Whether the loss would have met its objective. Beside the verdict: a nightly dump cannot meet one hour."""
        return self.data_loss_seconds <= self.objective.data_loss_seconds

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the drill failed; empty when it passed."""
        several = len(self.results) > 1
        found = [
            f"{each.backup_id}: {reason}" if several else reason
            for each in self.results
            for reason in each.reasons
        ]
        if not self.in_time:
            allowed = self.objective.restore_seconds
            found.append(f"the restore took {self.restore_seconds:.0f} s; the objective is {allowed:.0f} s")
        return tuple(found)

    @property
    def passed(self) -> bool:
        """Whether content, probes and restore time are as they have to be."""
        return not self.reasons

    @property
    def exit_code(self) -> int:
        """How a command that ran this drill ends."""
        if any(each.damaged for each in self.results):
            return DamagedData.exit_code
        return 0 if self.passed else VerdictNegative.exit_code

    def check_of(self, result: ScenarioResult, checked_at: datetime) -> Check:
        """What is recorded beside a backup. Only a result that compared its content proves."""
        late = () if result is not self.newest or self.in_time else (self.reasons[-1],)
        passed = result.passed and not late
        return Check(
            kind="drill",
            backup_id=result.backup_id,
            checked_at=checked_at,
            passed=passed,
            proves=passed and result.compared,
            reasons=(*result.reasons[:_REASONS_KEPT], *late),
            duration_seconds=result.restore_seconds,
            details={
                "scenario": str(self.scenario),
                "started_at": to_text(self.started_at),
                # The same drill may write beside several backups; its own numbers are of the newest.
                "leading": result is self.newest,
                "ground": self.ground,
                "compared": result.compared,
                "restore_seconds": result.restore_seconds,
                "data_loss_seconds": self.data_loss_seconds,
                "objective": self.objective.to_json(),
                "phases": {name: round(seconds, 3) for name, seconds in result.phases.items()},
                "tables": [] if result.comparison is None else result.comparison.to_json()["tables"],
                **result.details,
            },
        )

    def to_json(self) -> dict[str, Any]:
        """The report as the command line prints it and Dagster shows it."""
        newest = self.newest
        comparison = None if newest.comparison is None else newest.comparison.to_json()
        return {
            "scenario": str(self.scenario),
            "backup_id": newest.backup_id,
            "passed": self.passed,
            "reasons": list(self.reasons),
            "started_at": to_text(self.started_at),
            "ground": self.ground,
            "compared": newest.compared,
            "restore_seconds": self.restore_seconds,
            "data_loss_seconds": self.data_loss_seconds,
            "wal_as_of": None if self.wal_as_of is None else to_text(self.wal_as_of),
            "objectives": self.objective.to_json(),
            "objectives_met": self.in_time and self.loss_in_bounds,
            "phases": {name: round(seconds, 3) for name, seconds in newest.phases.items()},
            "tables": [] if comparison is None else comparison["tables"],
            "notes": list(newest.notes),
            **newest.details,
            "backups": [
                {
                    "backup_id": each.backup_id,
                    "as_of": to_text(each.as_of),
                    "passed": each.passed,
                    "compared": each.compared,
                    "reasons": list(each.reasons),
                    "restore_seconds": each.restore_seconds,
                }
                for each in self.results
            ],
        }
