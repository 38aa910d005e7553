"""Findings: what is wrong with the backups or worth to know, how bad it is, and what that makes of health. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from recyclic_backups.languages import Bytes, Locale, Pair, Phrase, Seconds, Share, listed
from recyclic_backups.retention import wording as retention
from recyclic_backups.texts import findings as texts


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


class Code(StrEnum):
    """What a finding says. Programs know it by this name; its sentence is in :mod:`recyclic_backups.texts.findings`."""

    NO_VERIFIED = "no_verified_backup"
    OLD = "old"
    AGE = "age"
    FUTURE = "future"
    SPACE = "space"
    NOT_CHECKED = "not_checked"
    DAMAGED_DOCUMENT = "damaged_document"
    UNKNOWN_DOCUMENT = "unknown_document"
    RESCUE_CHANGED = "rescue_changed"
    MISSING = "missing"
    MISSING_LABEL = "missing_label"
    LOST_PARTITION = "lost_partition"
    AVAILABILITY = "availability"
    RESTORE_SLOW = "restore_slow"
    DATA_LOSS = "data_loss"

    # About one backup: each question of a tier's checks, and its answers.
    ABSENT = "absent"
    READABLE = "readable"
    NOT_READ = "not_read"
    UNREADABLE = "unreadable"
    DAMAGED_BACKUP = "damaged_backup"
    ENCRYPTED = "encrypted"
    NOT_ENCRYPTED = "not_encrypted"
    NO_HISTORY = "no_history"
    SIZE = "size"
    COMPRESSED = "compressed"
    COMPRESSION = "compression"
    NOT_COMPRESSED = "not_compressed"
    TOOK = "took"
    DURATION = "duration"
    IN_TIME = "in_time"
    LATE = "late"
    RESTORE_FAILED = "restore_failed"
    PROVEN = "proven"
    ANOTHER_PROVEN = "another_proven"
    PROOF_NOT_DUE = "proof_not_due"
    UNPROVEN = "unproven"
    NEVER_PROVEN = "never_proven"

    # What alerts remember, on the page.
    INCIDENT = "incident"
    ALERT_MEMORY = "alert_memory"


class Anomaly(StrEnum):
    """The same where the newest backup is unlike the nights before it, or where that cannot be told."""

    DUMP_SHRANK = "dump_shrank"
    DUMP_GREW = "dump_grew"
    COMPRESSION_COLLAPSED = "compression_collapsed"
    TABLE_EMPTIED = "table_emptied"
    TABLE_GONE = "table_gone"
    TABLE_SHRANK = "table_shrank"
    TABLE_GREW = "table_grew"
    TABLE_REWRITTEN = "table_rewritten"
    TABLE_CONVERTED = "table_converted"
    TABLES_REWRITTEN = "tables_rewritten"
    VALUES_VANISHED = "values_vanished"
    VALUES_APPEARED = "values_appeared"
    SLOWER = "slower"
    DRILL_STOPPED = "drill_stopped"
    VERIFYING_STOPPED = "verifying_stopped"
    FINGERPRINT_STOPPED = "fingerprint_stopped"
    FINGERPRINT_UNREADABLE = "fingerprint_unreadable"
    CONTENT_SEALED = "content_sealed"


RETENTION = "retention_"
"""The beginning of the names of what retention warns of; its words are those of retention."""

WORDS: Mapping[str, Pair] = {
    **texts.WORDS,
    **{f"{RETENTION}{code.value.replace(' ', '_')}": words for code, words in retention.WORDS.items()},
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is so. ``code`` is stable for programs and does not change with the figures in the sentence.

    ``subject`` tells findings of one code apart: a table, a scenario, a partition, a backup. ``values`` are what the
    sentence is made of. ``since`` is the moment since when it is so, None where nobody knows it.
    """

    code: str
    subject: str
    level: Level
    values: Mapping[str, object] = field(default_factory=dict)
    since: datetime | None = None

    @property
    def sentence(self) -> Phrase:
        """Its one sentence, in every language."""
        return Phrase(WORDS[self.code], self.values)

    @property
    def is_anomaly(self) -> bool:
        """Whether it says that the newest backup is unlike those before."""
        return isinstance(self.code, Anomaly)

    def to_json(self, locale: Locale = "en") -> dict[str, Any]:
        """For reports."""
        return {
            "name": str(self.code),
            "severity": self.level.value,
            "subject": self.subject,
            "message": self.sentence.text(locale),
            "anomaly": self.is_anomaly,
        }


def fine(code: Code | Anomaly, subject: str = "", /, **values: object) -> Finding:
    """Nothing is wrong."""
    return Finding(code, subject, Level.FINE, values)


def note(
    code: Code | Anomaly, subject: str = "", since: datetime | None = None, /, **values: object
) -> Finding:
    """Something to know."""
    return Finding(code, subject, Level.NOTE, values, since)


def warning(
    code: Code | Anomaly, subject: str = "", since: datetime | None = None, /, **values: object
) -> Finding:
    """Something to see to."""
    return Finding(code, subject, Level.WARNING, values, since)


def critical(
    code: Code | Anomaly, subject: str = "", since: datetime | None = None, /, **values: object
) -> Finding:
    """Something to see to at once."""
    return Finding(code, subject, Level.CRITICAL, values, since)


def alarm(
    is_critical: bool,
    code: Code | Anomaly,
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
