"""A survey: what the storage holds, every figure of docs/design.md, section 9, and every finding, at one moment.

The command line, Dagster, Prometheus and the page all show one of these: they never say different things.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from recyclic_backups.audit.event import Head
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.recovery_point import RecoveryPoint, newest_verified
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.health.availability import Availability, availability
from recyclic_backups.health.drill_records import DrillRecord, last_drills
from recyclic_backups.health.finding import Finding, Level, Status, status_of
from recyclic_backups.health.judge import Facts, HealthTerms, expiry_plan, findings
from recyclic_backups.health.questions import compression_objective
from recyclic_backups.health.thresholds import (
    AVAILABILITY_OBJECTIVE,
    COMPRESSION_PERCENT,
    DURATION_SECONDS,
)
from recyclic_backups.retention.policy import ExpiryPlan
from recyclic_backups.retention.space_forecast import SpaceForecast, forecast_space


@dataclass(frozen=True)
class Survey:
    """What was found at one moment (aware UTC), and what that means.

    ``audit_head`` is the newest event of the audit log: a copy of it kept elsewhere tells that the log was cut off.
    """

    facts: Facts
    terms: HealthTerms
    measured_at: datetime
    audit_head: Head | None = None

    @property
    def catalog(self) -> Catalog:
        """What the storage holds."""
        return self.facts.catalog

    @property
    def free_bytes(self) -> int | None:
        """Free space; None where the storage does not tell."""
        return self.facts.free_bytes

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that is wrong or worth to know, the worst first."""
        return findings(self.facts, self.terms, self.measured_at)

    @cached_property
    def plan(self) -> ExpiryPlan:
        """What retention would do now."""
        return expiry_plan(self.catalog, self.terms, self.measured_at)

    @cached_property
    def recovery_point(self) -> RecoveryPoint:
        """The newest moment from which the database can come back."""
        return self.facts.recovery_point(self.measured_at)

    @property
    def newest(self) -> Backup | None:
        """The newest verified backup, which is the recovery point: of another nobody knows what it holds."""
        return newest_verified(self.catalog, self.measured_at)

    @cached_property
    def availability(self) -> Availability | None:
        """How much of the time a young enough recovery point was there."""
        critical_seconds = self.terms.thresholds.age_critical_seconds
        return availability(self.catalog, self.measured_at, critical_seconds=critical_seconds)

    @cached_property
    def drills(self) -> dict[str, DrillRecord]:
        """The newest drill of each scenario."""
        return last_drills(self.facts.drilled, self.measured_at)

    @property
    def status(self) -> Status:
        """Health as a whole."""
        return status_of(self.findings)

    @property
    def age_seconds(self) -> float | None:
        """How old the recovery point is."""
        return self.recovery_point.age_seconds(self.measured_at)

    @property
    def counted_findings(self) -> tuple[Finding, ...]:
        """Warnings and worse."""
        return tuple(each for each in self.findings if each.level is not Level.NOTE)

    @property
    def anomalies(self) -> tuple[Finding, ...]:
        """Those findings that are unlike the recent history."""
        return tuple(each for each in self.findings if each.is_anomaly)

    def find(self, *codes: str) -> Finding | None:
        """The worst finding of one of these codes, if there is one."""
        return next((each for each in self.findings if each.code in codes), None)

    @property
    def gaps(self) -> tuple[Finding, ...]:
        """Partitions without a good backup, those included that nothing fills any more."""
        codes = ("missing", "missing_in_wal", "missing_label", "lost_partition")
        return tuple(each for each in self.findings if each.code in codes)

    @property
    def missing_partitions(self) -> tuple[str, ...]:
        """``tier/partition`` of what has no good backup and can still be filled."""
        return tuple(each.subject for each in self.gaps if each.level is not Level.NOTE)

    @property
    def compression_objective_percent(self) -> float:
        """How much smaller than what was dumped the newest has to be, by this database's own history."""
        newest = self.newest
        return COMPRESSION_PERCENT if newest is None else compression_objective(self.catalog, newest)

    @property
    def total_size_bytes(self) -> int:
        """What all backups take in the storage."""
        return sum(each.manifest.stored_bytes for each in self.catalog)

    @cached_property
    def space_forecast(self) -> SpaceForecast:
        """What the storage will hold in the days to come."""
        terms, wal = self.terms, self.facts.wal
        return forecast_space(
            self.catalog,
            None if wal is None else wal.stored,
            terms.retention,
            terms.calendar,
            self.measured_at,
            free_bytes=self.free_bytes,
        )

    @property
    def space_is_low(self) -> bool:
        """Whether so little space is left that what could be freed is of interest."""
        return self.find("space") is not None

    @property
    def space_is_critical(self) -> bool:
        """Whether so little space is left that retention is started before its time."""
        found = self.find("space")
        return found is not None and found.level is Level.CRITICAL

    def good_within(self, tier: Tier, hours: int) -> int:
        """How many verified backups of the tier hold what the database was within so many hours before."""
        since = self.measured_at - timedelta(hours=hours)
        present = self.catalog.until(self.measured_at)
        return sum(tier in each.tiers and each.good and each.as_of >= since for each in present)

    def to_json(self) -> dict[str, Any]:
        """``metrics --format json``. The four groups of section 9 have exactly its keys; more groups lie beside."""
        newest, age, point = self.newest, self.age_seconds, self.recovery_point
        available, thresholds = self.availability, self.terms.thresholds
        return {
            "database": self.terms.database,
            "measured_at": to_text(self.measured_at),
            "basic": {
                "total_backups": len(self.catalog),
                "total_size_bytes": self.total_size_bytes,
                "available_space_bytes": self.free_bytes,
            },
            "backup": {
                "latest_backup": point.verified_id or None,
                "backup_age_hours": None if age is None else round(age / 3600, 2),
                "backup_size_bytes": None if newest is None else newest.manifest.stored_bytes,
            },
            "retention": {
                "daily_backups_last_24h": self.good_within(Tier.DAILY, 24),
                "weekly_backups_last_7d": self.good_within(Tier.WEEKLY, 7 * 24),
                "monthly_backups_last_30d": self.good_within(Tier.MONTHLY, 30 * 24),
                "old_backups_to_clean": len(self.plan.expiring),
            },
            "health": {
                "health_status": self.status.value,
                "health_issues_count": len(self.counted_findings),
            },
            "objectives": {
                "backup_duration_seconds": None if newest is None else newest.manifest.duration_seconds,
                "backup_duration_objective_seconds": DURATION_SECONDS,
                "compression_percent": None if newest is None else newest.manifest.compression_percent,
                "compression_objective_percent": round(self.compression_objective_percent, 2),
                "availability_percent": None if available is None else round(100 * available.share, 4),
                "availability_objective_percent": 100 * AVAILABILITY_OBJECTIVE,
                "age_warning_seconds": thresholds.age_warning_seconds,
                "age_critical_seconds": thresholds.age_critical_seconds,
                "newest_proven": point.proven_id or None,
                "newest_proven_as_of": None if point.proven_as_of is None else to_text(point.proven_as_of),
                "drills": {name: each.to_json() for name, each in sorted(self.drills.items())},
            },
            "authenticity": {
                "checked": self.facts.is_checked,
                "unvouched_backups": len(self.catalog.unvouched),
            },
            "wal": None if self.facts.wal is None else self.facts.wal.to_json(self.measured_at),
            "missing_partitions": list(self.missing_partitions),
            "issues": [each.to_json(self.terms.locale) for each in self.findings],
            "audit_head": None if self.audit_head is None else self.audit_head.to_json(),
        }


def survey_of(facts: Facts, terms: HealthTerms, now: datetime) -> Survey:
    """The survey of what was found. Pure; ``now`` is aware."""
    return Survey(facts, terms.since(facts.catalog), now.astimezone(UTC))
