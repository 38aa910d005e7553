"""Metrics: the figures of docs/design.md, section 9, from a catalog, thresholds, the free space and the time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.health.anomalies import anomalies
from recyclic_backups.health.availability import OBJECTIVE as AVAILABILITY_OBJECTIVE
from recyclic_backups.health.availability import Availability, availability
from recyclic_backups.health.concerns import concerns
from recyclic_backups.health.gaps import Gap, before_the_first, missing_partitions
from recyclic_backups.health.issues import Issue, Level, Status, status_of, worst_first
from recyclic_backups.health.objectives import COMPRESSION_PERCENT, DURATION_SECONDS, compression_objective
from recyclic_backups.health.rehearsals import Rehearsed, last_of_each, rehearsed
from recyclic_backups.health.thresholds import Thresholds
from recyclic_backups.languages import Locale

_GAPS_MATTER = timedelta(days=7)
"""A partition that ended earlier without a backup is history: its cell in the report stays empty."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """All figures of one moment. ``newest`` is the newest *verified* backup: of another nobody knows what it holds.
    Nor is it one of the future (:meth:`~recyclic_backups.catalog.catalog.Catalog.until`).

    ``free_bytes`` is None where the storage does not tell, ``expiring`` is how many backups the expiry plan lets go.
    """

    database: str
    measured_at: datetime
    catalog: Catalog
    free_bytes: int | None
    expiring: int
    thresholds: Thresholds
    issues: tuple[Issue, ...]
    availability: Availability | None
    drills: Mapping[str, Rehearsed]
    gaps: tuple[Gap, ...]

    @property
    def present(self) -> Catalog:
        """The catalog without what a wrong clock dated in the future."""
        return self.catalog.until(self.measured_at)

    @property
    def newest(self) -> Backup | None:
        """The newest recovery point that verified."""
        return self.present.newest_good()

    @property
    def compression_objective_percent(self) -> float:
        """How much smaller than what was dumped the newest has to be, by this database's own history."""
        newest = self.newest
        return COMPRESSION_PERCENT if newest is None else compression_objective(self.present, newest)

    @property
    def newest_proven(self) -> Backup | None:
        """The newest backup that was restored and found equal."""
        return next((each for each in self.present if each.proven_at is not None), None)

    @property
    def status(self) -> Status:
        """Health as a whole."""
        return status_of(self.issues)

    @property
    def age_seconds(self) -> float | None:
        """How old the newest recovery point is."""
        if self.newest is None:
            return None
        return max((self.measured_at - self.newest.as_of).total_seconds(), 0.0)

    @property
    def counted_issues(self) -> tuple[Issue, ...]:
        """Warnings and worse."""
        return tuple(issue for issue in self.issues if issue.level is not Level.NOTE)

    @property
    def anomalies(self) -> tuple[Issue, ...]:
        """Those issues that are unlike the recent history."""
        return tuple(issue for issue in self.issues if issue.anomaly)

    def good_within(self, tier: Tier, hours: int) -> int:
        """How many verified backups of the tier hold what the database was within so many hours before."""
        since = self.measured_at - timedelta(hours=hours)
        return sum(tier in each.tiers and each.good and each.as_of >= since for each in self.present)

    @property
    def total_size_bytes(self) -> int:
        """What all backups take in the storage."""
        return sum(each.manifest.stored_bytes for each in self.catalog)

    def to_json(self, locale: Locale = "en") -> dict[str, Any]:
        """``metrics --format json``. The four groups of section 9 have exactly its keys; more groups lie beside."""
        newest, age = self.newest, self.age_seconds
        proven = self.newest_proven
        return {
            "database": self.database,
            "measured_at": to_text(self.measured_at),
            "basic": {
                "total_backups": len(self.catalog),
                "total_size_bytes": self.total_size_bytes,
                "available_space_bytes": self.free_bytes,
            },
            "backup": {
                "latest_backup": None if newest is None else newest.backup_id,
                "backup_age_hours": None if age is None else round(age / 3600, 2),
                "backup_size_bytes": None if newest is None else newest.manifest.stored_bytes,
            },
            "retention": {
                "daily_backups_last_24h": self.good_within(Tier.DAILY, 24),
                "weekly_backups_last_7d": self.good_within(Tier.WEEKLY, 7 * 24),
                "monthly_backups_last_30d": self.good_within(Tier.MONTHLY, 30 * 24),
                "old_backups_to_clean": self.expiring,
            },
            "health": {
                "health_status": self.status.value,
                "health_issues_count": len(self.counted_issues),
            },
            "objectives": {
                "backup_duration_seconds": None if newest is None else newest.manifest.duration_seconds,
                "backup_duration_objective_seconds": DURATION_SECONDS,
                "compression_percent": None if newest is None else newest.manifest.compression_percent,
                "compression_objective_percent": round(self.compression_objective_percent, 2),
                "availability_percent": None
                if self.availability is None
                else round(100 * self.availability.share, 4),
                "availability_objective_percent": 100 * AVAILABILITY_OBJECTIVE,
                "age_warning_seconds": self.thresholds.age_warning_seconds,
                "age_critical_seconds": self.thresholds.age_critical_seconds,
                "newest_proven": None if proven is None else proven.backup_id,
                "newest_proven_as_of": None if proven is None else to_text(proven.as_of),
                "drills": {name: each.to_json() for name, each in sorted(self.drills.items())},
            },
            "authenticity": {
                "checked": self.catalog.is_checked,
                "unvouched_backups": len(self.catalog.unvouched),
            },
            "missing_partitions": [f"{gap.tier.value}/{gap.partition}" for gap in self.gaps],
            "issues": [issue.to_json(locale) for issue in self.issues],
        }


def measure(
    catalog: Catalog,
    calendar: Calendar,
    thresholds: Thresholds,
    now: datetime,
    *,
    database: str,
    free_bytes: int | None,
    expiring: int = 0,
    more_issues: Iterable[Issue] = (),
) -> Metrics:
    """Every figure at ``now`` (aware). ``more_issues`` are what others know, as retention of its promises."""
    now = now.astimezone(UTC)
    missing = missing_partitions(catalog, calendar, now)
    _, since_the_first = before_the_first(missing, catalog, calendar)
    recent = tuple(
        gap
        for gap in since_the_first
        if calendar.window(gap.tier, gap.partition).end_at >= now - _GAPS_MATTER
    )
    drills = last_of_each(rehearsed(catalog), now)
    available = availability(catalog, now, critical_seconds=thresholds.age_critical_seconds)
    issues = [
        *concerns(
            catalog,
            thresholds,
            now,
            free_bytes=free_bytes,
            available=available,
            drills=drills,
            gaps=recent,
        ),
        *more_issues,
        *anomalies(catalog.until(now), now),
    ]
    return Metrics(
        database=database,
        measured_at=now,
        catalog=catalog,
        free_bytes=free_bytes,
        expiring=expiring,
        thresholds=thresholds,
        issues=worst_first(issues),
        availability=available,
        drills=drills,
        gaps=recent,
    )
