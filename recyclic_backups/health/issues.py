"""Issues: what is wrong with the backups now, how bad it is, and what that makes of health as a whole. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from recyclic_backups.health.wording import Code, Statement
from recyclic_backups.languages import Locale, Sayable


class Level(StrEnum):
    """How bad an issue is."""

    NOTE = "note"
    """Nothing that anybody can act on tonight; it counts nowhere."""
    WARNING = "warning"
    CRITICAL = "critical"


class Status(StrEnum):
    """Health as a whole: the worst of its issues."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong. ``name`` is stable for programs and does not change with the figures in the sentence.

    ``subject`` tells issues of one name apart (a table, a scenario, a tier).
    """

    name: str
    level: Level
    sentence: Sayable
    subject: str = ""
    anomaly: bool = False

    def to_json(self, locale: Locale = "en") -> dict[str, Any]:
        """For reports."""
        return {
            "name": self.name,
            "severity": self.level.value,
            "subject": self.subject,
            "message": self.sentence.text(locale),
            "anomaly": self.anomaly,
        }


def note(code: Code, subject: str = "", **values: object) -> Issue:
    """Something to know."""
    return Issue(name_of(code), Level.NOTE, Statement(code, values), subject)


def warning(code: Code, subject: str = "", **values: object) -> Issue:
    """Something to see to."""
    return Issue(name_of(code), Level.WARNING, Statement(code, values), subject)


def critical(code: Code, subject: str = "", **values: object) -> Issue:
    """Something to see to at once."""
    return Issue(name_of(code), Level.CRITICAL, Statement(code, values), subject)


def name_of(code: Code) -> str:
    """``table_emptied`` of *table emptied*."""
    return code.value.replace(" ", "_")


def status_of(issues: Iterable[Issue]) -> Status:
    """What the issues make of health."""
    levels = {issue.level for issue in issues}
    if Level.CRITICAL in levels:
        return Status.UNHEALTHY
    return Status.DEGRADED if Level.WARNING in levels else Status.HEALTHY


def worst_first(issues: Iterable[Issue]) -> tuple[Issue, ...]:
    """Critical ones, warnings, notes; else as they came."""
    order = [Level.CRITICAL, Level.WARNING, Level.NOTE]
    return tuple(sorted(issues, key=lambda issue: order.index(issue.level)))
