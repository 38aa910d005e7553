"""A survey: what the storage holds, what retention makes of it and how healthy that is, at one moment.

The command line, Dagster and the page all show one of these: they never say different things.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from recyclic_backups.audit.event import Head
from recyclic_backups.audit.log import read_head
from recyclic_backups.backup_calendar import Calendar
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.dump.rescue_files import changed_rescue_files
from recyclic_backups.health.issues import Issue, Level, critical
from recyclic_backups.health.metrics import Metrics, measure
from recyclic_backups.health.thresholds import Thresholds
from recyclic_backups.health.wording import Code
from recyclic_backups.languages import Locale
from recyclic_backups.report.space import Saving, savings
from recyclic_backups.retention.authenticity import set_aside
from recyclic_backups.retention.forecast import Departure, departures
from recyclic_backups.retention.policy import ExpiryPlan, Retention, plan
from recyclic_backups.retention.wording import Sentence


@dataclass(frozen=True, slots=True)
class SurveyTerms:
    """What the settings say about one database: what is looked at, and how it is judged."""

    database: str
    calendar: Calendar
    retention: Retention
    thresholds: Thresholds
    locale: Locale = "en"
    environment: Literal["production", "staging", "development"] = "production"


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found."""

    terms: SurveyTerms
    metrics: Metrics
    plan: ExpiryPlan
    audit_head: Head | None = None
    """The newest event of the audit log: whoever keeps these figures elsewhere can tell that it was cut off."""

    def to_json(self) -> dict[str, Any]:
        """All figures, as ``metrics --format json`` prints them."""
        head = None if self.audit_head is None else self.audit_head.to_json()
        return {**self.metrics.to_json(self.terms.locale), "audit_head": head}

    @property
    def catalog(self) -> Catalog:
        """What the storage holds."""
        return self.metrics.catalog

    @property
    def measured_at(self) -> datetime:
        """When, aware UTC."""
        return self.metrics.measured_at

    @property
    def space_is_critical(self) -> bool:
        """Whether so little space is left that retention is started before its time."""
        free_bytes = self.metrics.free_bytes
        return free_bytes is not None and free_bytes < self.terms.thresholds.disk_critical_bytes

    def departures(self, *, days: int = 31) -> list[Departure]:
        """What leaves next."""
        return departures(
            self.catalog, self.terms.retention, self.terms.calendar, self.measured_at, days=days
        )

    def savings(self) -> list[Saving]:
        """What could leave besides, if somebody decides so; the largest first."""
        return savings(self.catalog, self.terms.retention, self.terms.calendar, self.measured_at)


def survey(repository: Repository, terms: SurveyTerms, *, clock: Callable[[], datetime]) -> Survey:
    """Look at the storage. Nothing is changed. No key is needed; without one nothing is checked, and that is told.

    Raises StorageError.
    """
    catalog = load_catalog(repository)
    changed = changed_rescue_files(repository, lambda: catalog)
    found = judge(catalog, repository.store.free_bytes(), terms, clock(), changed_rescue_files=changed)
    return replace(found, audit_head=read_head(repository, clock()))


def judge(
    catalog: Catalog,
    free_bytes: int | None,
    terms: SurveyTerms,
    now: datetime,
    *,
    changed_rescue_files: Iterable[str] = (),
) -> Survey:
    """The survey of a catalog. Pure; ``now`` is aware. ``changed_rescue_files`` are names of files in the storage."""
    decided = plan(set_aside(catalog)[0], terms.retention, terms.calendar, now)
    issues = [
        *(_issue(sentence, Level.CRITICAL) for sentence in decided.incidents),
        *(_issue(sentence, Level.WARNING) for sentence in decided.warnings),
        *(critical(Code.RESCUE_CHANGED, name, name=name) for name in changed_rescue_files),
    ]
    metrics = measure(
        catalog,
        terms.calendar,
        terms.thresholds,
        now,
        database=terms.database,
        free_bytes=free_bytes,
        expiring=len(decided.expiring),
        more_issues=issues,
    )
    return Survey(terms, metrics, decided)


def _issue(sentence: Sentence, level: Level) -> Issue:
    name = f"retention_{sentence.code.value.replace(' ', '_')}"
    return Issue(name, level, sentence, str(sentence.values.get("backup_id", "")))
