"""The one judge: everything that is wrong with the backups, or worth to know, at one moment. Pure.

Metrics, page, checks, ``status``, Prometheus and alerts show what it finds; none of them judges anything itself. The
questions about one backup are in :mod:`recyclic_backups.health.questions`, every limit is in
:mod:`recyclic_backups.health.thresholds`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.recovery_point import RecoveryPoint, newest_verified, recovery_point
from recyclic_backups.health import questions
from recyclic_backups.health.anomalies import anomalies
from recyclic_backups.health.availability import availability
from recyclic_backups.health.drill_records import HasChecks, last_drills, scenario_name
from recyclic_backups.health.finding import Finding, Level, alarm, critical, note, warning, worst_first
from recyclic_backups.health.gaps import Gap, Remedy, gaps_that_matter
from recyclic_backups.health.thresholds import AVAILABILITY_OBJECTIVE, NIGHT_SECONDS, Thresholds
from recyclic_backups.health.wal import WalFacts, wal_findings
from recyclic_backups.retention.authenticity import set_aside
from recyclic_backups.retention.policy import ExpiryPlan, Retention, plan
from recyclic_backups.texts.language import Bytes, Locale, Seconds, Share, Untranslated
from recyclic_backups.texts.text import Text

if TYPE_CHECKING:
    from recyclic_backups.postgres.server import Server


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found in the storage. ``free_bytes`` is None where it does not tell.

    ``changed_rescue_files`` are names of files that help without this software, and that somebody changed.
    """

    catalog: Catalog
    free_bytes: int | None = None
    changed_rescue_files: tuple[str, ...] = ()
    wal: WalFacts | None = None
    """What is known of the server's WAL; None where it is not archived."""

    @property
    def is_checked(self) -> bool:
        """Whether a key was at hand to check documents with."""
        return self.catalog.is_checked and (self.wal is None or self.wal.is_checked)

    @property
    def drilled(self) -> tuple[HasChecks, ...]:
        """Everything that drills write their verdicts beside."""
        return (*self.catalog, *(() if self.wal is None else self.wal.bases))

    def recovery_point(self, now: datetime) -> RecoveryPoint:
        """The recovery point at ``now`` (aware), by backups and by WAL."""
        return recovery_point(self.catalog, now, None if self.wal is None else self.wal.reaches_until)


@dataclass(frozen=True, slots=True)
class WalSource:
    """Whose WAL is archived, and the slot that it is received by."""

    server: Server
    slot: str


@dataclass(frozen=True, slots=True)
class HealthTerms:
    """What the settings say about one database: what is looked at, and how it is judged."""

    database: str
    calendar: Calendar
    retention: Retention
    thresholds: Thresholds
    locale: Locale = "en"
    environment: Literal["production", "staging", "development"] = "production"
    wal: WalSource | None = None

    def since(self, catalog: Catalog) -> HealthTerms:
        """The same; where the settings do not say the first day that counts, the first backup does."""
        return replace(self, calendar=self.calendar.since(catalog.began_at))


def findings(facts: Facts, terms: HealthTerms, now: datetime) -> tuple[Finding, ...]:
    """Everything that is wrong or worth to know at ``now`` (aware), the worst first."""
    now = now.astimezone(UTC)
    found = _everything(facts, terms, now)
    return worst_first(each for each in found if each.level is not Level.FINE)


def expiry_plan(catalog: Catalog, terms: HealthTerms, now: datetime) -> ExpiryPlan:
    """What retention would do now, by what can be believed."""
    return plan(set_aside(catalog)[0], terms.retention, terms.calendar, now)


def _everything(facts: Facts, terms: HealthTerms, now: datetime) -> Iterator[Finding]:
    catalog, thresholds = facts.catalog, terms.thresholds
    newest = newest_verified(catalog, now)
    yield from questions.age(facts.recovery_point(now), catalog, thresholds, now)
    yield from space(facts.free_bytes, thresholds)
    if not facts.is_checked:
        yield warning("not_checked")
    yield from _damage(catalog, newest)
    if newest is not None:
        yield questions.encrypted(newest.manifest, required=thresholds.encryption)
        yield questions.compression(newest.manifest, questions.compression_objective(catalog, newest))
        yield questions.duration(newest.manifest)
        yield questions.size(newest, catalog)
        yield questions.proven(newest, catalog, now)
    yield from _timeliness(catalog, terms.calendar, now)
    for scenario, drill in sorted(last_drills(facts.drilled, now).items()):
        if not drill.in_time and drill.restore_objective_seconds is not None:
            took, limit = Seconds(drill.restore_seconds), Seconds(drill.restore_objective_seconds)
            named = scenario_name(scenario)
            yield warning("restore_slow", scenario, drill.checked_at, scenario=named, took=took, limit=limit)
    for gap in gaps_that_matter(catalog, terms.calendar, terms.retention, now):
        yield _gap(gap, terms.calendar, facts.wal)
    yield from _availability(catalog, thresholds, now)
    if facts.wal is None:
        yield note("data_loss", interval=Seconds(NIGHT_SECONDS))
    else:
        yield from wal_findings(facts.wal, now)
    decided = expiry_plan(catalog, terms, now)
    for sentence in decided.incidents:
        yield _retention(sentence, Level.CRITICAL)
    for sentence in decided.warnings:
        yield _retention(sentence, Level.WARNING)
    for name in facts.changed_rescue_files:
        yield critical("rescue_changed", name, name=name)
    yield from anomalies(catalog.until(now), now)


def space(free_bytes: int | None, thresholds: Thresholds) -> Iterator[Finding]:
    """Whether too little space is free; nothing where the storage does not tell."""
    for is_critical, limit in (
        (True, thresholds.disk_critical_bytes),
        (False, thresholds.disk_warning_bytes),
    ):
        if free_bytes is not None and free_bytes < limit:
            yield alarm(is_critical, "space", free=Bytes(free_bytes), limit=Bytes(limit))
            return


def _damage(catalog: Catalog, newest: Backup | None) -> Iterator[Finding]:
    """Documents that are not what was written, and every backup whose last verification failed."""
    for damage in catalog.damage:
        code = "unknown_document" if damage.lacks_key else "damaged_document"
        yield critical(code, damage.name, name=damage.name, problem=Untranslated(damage.problem))
    for backup in catalog:
        if backup.known_damaged:
            yield questions.integrity(backup, newest)


def _timeliness(catalog: Catalog, calendar: Calendar, now: datetime) -> Iterator[Finding]:
    """Of the newest partition of each tier."""
    for tier in Tier:
        partition = catalog.newest_partition(tier, calendar, now) if tier.has_calendar else None
        backup = None if partition is None else catalog.labelled(tier, partition)
        if partition is not None and backup is not None:
            yield questions.timeliness(catalog.labels[tier, partition], backup)


def _gap(gap: Gap, calendar: Calendar, wal: WalFacts | None) -> Finding:
    """A partition without a good backup; one that nothing fills any more is a note."""
    codes = {
        Remedy.LATE_DUMP: "missing",
        Remedy.PROMOTE: "missing_label",
        Remedy.NOTHING: "lost_partition",
    }
    level = Level.NOTE if gap.remedy is Remedy.NOTHING else Level.WARNING
    values = {"tier": gap.tier, "partition": gap.partition}
    since = calendar.window(gap.tier, gap.partition).end_at
    code = codes[gap.remedy]
    if code == "missing" and wal is not None and wal.reaches(calendar.scheduled_for(gap.tier, gap.partition)):
        code = "missing_in_wal"
    return Finding(code, f"{gap.tier.value}/{gap.partition}", level, values, since)


def _availability(catalog: Catalog, thresholds: Thresholds, now: datetime) -> Iterator[Finding]:
    found = availability(catalog, now, critical_seconds=thresholds.age_critical_seconds)
    if found is not None and not found.met:
        yield warning(
            "availability",
            limit=Seconds(thresholds.age_critical_seconds),
            percent=Share(found.share),
            window=Seconds(found.total_seconds),
            objective=Share(AVAILABILITY_OBJECTIVE),
        )


def _retention(sentence: Text, level: Level) -> Finding:
    code = sentence.code.replace(".", "_")
    return Finding(code, str(sentence.values.get("backup_id", "")), level, sentence.values)
