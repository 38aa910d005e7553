"""Findings: what is wrong with the backups or worth to know, how bad it is, and what that makes of health. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from recyclic_backups.texts.findings import ANOMALIES
from recyclic_backups.texts.language import Bytes, Locale, Seconds, Share, listed
from recyclic_backups.texts.text import Text


class Level(StrEnum):
    """How bad a finding is."""

    FINE = "fine"
    """Nothing is wrong: the answer of a check that passed. Health never lists it."""
    NOTE = "note"
    """Nobody can act on it tonight; it counts nowhere."""
    WARNING = "warning"
    CRITICAL = "critical"


class Status(StrEnum):
    """Health as a whole: the worst of its findings."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is so.

    ``code`` names its sentence (:mod:`recyclic_backups.texts.findings`); programs know the finding by it.

    ``subject`` tells findings of one code apart: a table, a scenario, a partition, a backup. ``values`` are what the
    sentence is made of. ``since`` is the moment since when it is so, None where nobody knows it.
    """

    code: str
    subject: str
    level: Level
    values: Mapping[str, object] = field(default_factory=dict)
    since: datetime | None = None

    @property
    def sentence(self) -> Text:
        """Its one sentence, in every language."""
        home, _, name = self.code.partition("_")
        return Text(f"retention.{name}" if home == "retention" else f"finding.{self.code}", self.values)

    @property
    def is_anomaly(self) -> bool:
        """Whether it says that the newest backup is unlike those before."""
        return self.code in ANOMALIES

    def to_json(self, locale: Locale = "en") -> dict[str, Any]:
        """For reports."""
        return {
            "name": self.code,
            "severity": self.level.value,
            "subject": self.subject,
            "message": self.sentence.text(locale),
            "anomaly": self.is_anomaly,
        }


def fine(code: str, subject: str = "", /, **values: object) -> Finding:
    """Nothing is wrong."""
    return Finding(code, subject, Level.FINE, values)


def note(code: str, subject: str = "", since: datetime | None = None, /, **values: object) -> Finding:
    """Something to know."""
    return Finding(code, subject, Level.NOTE, values, since)


def warning(code: str, subject: str = "", since: datetime | None = None, /, **values: object) -> Finding:
    """Something to see to."""
    return Finding(code, subject, Level.WARNING, values, since)


def critical(code: str, subject: str = "", since: datetime | None = None, /, **values: object) -> Finding:
    """Something to see to at once."""
    return Finding(code, subject, Level.CRITICAL, values, since)


def alarm(
    is_critical: bool,
    code: str,
    subject: str = "",
    since: datetime | None = None,
    /,
    **values: object,
) -> Finding:
    """Critical, or a warning."""
    return Finding(code, subject, Level.CRITICAL if is_critical else Level.WARNING, values, since)


def status_of(findings: Iterable[Finding]) -> Status:
    """What the findings make of health."""
    levels = {finding.level for finding in findings}
    if Level.CRITICAL in levels:
        return Status.UNHEALTHY
    return Status.DEGRADED if Level.WARNING in levels else Status.HEALTHY


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Critical ones, warnings, notes; else as they came."""
    order = [Level.CRITICAL, Level.WARNING, Level.NOTE, Level.FINE]
    return tuple(sorted(findings, key=lambda finding: order.index(finding.level)))


@dataclass(frozen=True, slots=True)
class CheckAnswer:
    """Findings as the answer of one check, the worst first; none, or fine ones, if it passed."""

    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return self.level is Level.FINE

    @property
    def level(self) -> Level:
        """The worst."""
        return self.findings[0].level if self.findings else Level.FINE

    @property
    def figures(self) -> dict[str, float]:
        """The numbers behind it, with their unit in the name, so that Dagster's plots read well."""
        found: dict[str, float] = {}
        for each in self.findings:
            for name, value in each.values.items():
                match value:
                    case Seconds():
                        found[f"{name}_s"] = round(value.seconds, 2)
                    case Bytes():
                        found[f"{name}_mb"] = round(value.size_bytes / 1e6, 3)
                    case Share():
                        found[f"{name}_pct"] = round(100 * value.of_one, 2)
                    case int():
                        found[name] = value
        return found

    def text(self, locale: Locale = "en") -> str:
        """Why, in a language."""
        return listed((each.sentence.text(locale) for each in self.findings), locale)


def answer_of(findings: Collection[Finding]) -> CheckAnswer:
    """What a check says that shows these findings."""
    return CheckAnswer(worst_first(findings))
