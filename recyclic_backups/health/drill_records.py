"""Drill records: what drills have measured, as it is written beside the backups. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol

from recyclic_backups.catalog.catalog import is_of_the_future
from recyclic_backups.catalog.documents import Check
from recyclic_backups.texts.findings import SCENARIOS
from recyclic_backups.texts.text import Text, say


@dataclass(frozen=True, slots=True)
class DrillRecord:
    """One drill. Times in seconds; an objective is None where the drill did not write down what it was held against."""

    scenario: str
    backup_id: str
    checked_at: datetime
    passed: bool
    compared: bool
    """Of one that passed: whether the backup said what the database contained, and it was equal."""
    restore_seconds: float
    data_loss_seconds: float
    restore_objective_seconds: float | None
    data_loss_objective_seconds: float | None

    @property
    def in_time(self) -> bool:
        """Whether the restore met its objective, if it had one."""
        return _met(self.restore_seconds, self.restore_objective_seconds)

    @property
    def lost_little(self) -> bool:
        """Whether the work that would have been missing met its objective, if it had one."""
        return _met(self.data_loss_seconds, self.data_loss_objective_seconds)

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        document = asdict(self) | {"checked_at": self.checked_at.isoformat()}
        del document["scenario"]  # it is the name under which this stands
        return document


class HasChecks(Protocol):
    """A backup, be it a dump or a base backup."""

    @property
    def checks(self) -> Sequence[Check]:
        """What was found of it."""


def drill_records(backups: Iterable[HasChecks]) -> list[DrillRecord]:
    """Every drill that is recorded, oldest first. One that restored several backups is one: that of the newest."""
    found = [_read(check) for backup in backups for check in backup.checks if tells_of_a_drill(check)]
    return sorted(found, key=lambda each: each.checked_at)


def tells_of_a_drill(check: Check) -> bool:
    """Whether a drill is known by this check: of those that one drill wrote beside several backups, the newest one's.

    The others say that they are not ``leading``. One that says nothing about it is the only one of its drill.
    """
    details = check.figures
    return (
        check.kind == "drill"
        and isinstance(details.get("scenario"), str)
        and details.get("leading") is not False
    )


def is_about(check: Check, database: str) -> bool:
    """Whether a drill was about that database, as far as anybody can tell: a base backup is of all of a server."""
    return check.is_closed or check.details.get("database", database) == database


def last_drills(backups: Iterable[HasChecks], now: datetime) -> dict[str, DrillRecord]:
    """The newest drill of each scenario; one of the future only if it failed, as it must hide no failure of today."""
    counted: Iterable[DrillRecord] = (
        each
        for each in drill_records(backups)
        if not each.passed or not is_of_the_future(each.checked_at, now)
    )
    return {each.scenario: each for each in counted}


def scenario_name(scenario: str) -> Text | str:
    """What a scenario is called; one that is not known keeps its own name."""
    return say(f"scenario.{scenario}") if scenario in SCENARIOS else scenario


def _read(check: Check) -> DrillRecord:
    details = check.figures
    objective = details.get("objective")
    allowed: Mapping[str, Any] = objective if isinstance(objective, Mapping) else {}
    return DrillRecord(
        scenario=str(details.get("scenario")),
        backup_id=check.backup_id,
        checked_at=check.checked_at,
        passed=check.passed,
        compared=check.proves,
        restore_seconds=_number(details.get("restore_seconds")) or check.duration_seconds,
        data_loss_seconds=_number(details.get("data_loss_seconds")) or 0.0,
        restore_objective_seconds=_number(allowed.get("restore_seconds")),
        data_loss_objective_seconds=_number(allowed.get("data_loss_seconds")),
    )


def _met(seconds: float, objective_seconds: float | None) -> bool:
    return objective_seconds is None or seconds <= objective_seconds


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**63:
        return None
    return float(value)
