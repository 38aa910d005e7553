"""The metrics as Prometheus reads them: ``recyclic_backups_*``, in base units, with HELP and TYPE.

The names follow https://prometheus.io/docs/practices/naming/: seconds, bytes and ratios from 0 to 1. An age is also
given as the moment it counts from, so that it goes on growing when nobody measures any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.proof import last_proof, unproven_since
from recyclic_backups.errors import BackupError, StorageError
from recyclic_backups.foreign_text import visible
from recyclic_backups.health.drill_records import DrillRecord
from recyclic_backups.health.finding import Level, Status
from recyclic_backups.health.survey import Survey
from recyclic_backups.health.thresholds import DURATION_SECONDS, PROOF_SECONDS
from recyclic_backups.texts.metrics import HELP

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

PREFIX = "recyclic_backups_"


def to_prometheus(found: Survey) -> str:
    """The text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/)."""
    return _text_of(lambda: found)


def unanswered() -> str:
    """The same text of a storage that is not there or does not answer: ``recyclic_backups_up 0`` and nothing else."""

    def measure() -> Survey:
        raise StorageError("the storage does not answer")

    return _text_of(measure)


def _text_of(measure: Callable[[], Survey]) -> str:
    from prometheus_client import generate_latest  # noqa: PLC0415 - only where it is asked for

    return generate_latest(registry_of(measure)).decode()


def registry_of(
    measure: Callable[[], Survey], *, complain: Callable[[BackupError], None] = lambda _error: None
) -> CollectorRegistry:
    """A registry that measures anew whenever it is read.

    A storage that does not answer is ``recyclic_backups_up 0`` and told to ``complain``: whoever reads must be able to
    tell it from a machine that is off.
    """
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - only where it is asked for
    from prometheus_client.registry import Collector  # noqa: PLC0415

    class Measuring(Collector):
        def collect(self) -> Iterable[Metric]:
            try:
                found = measure()
            except BackupError as error:
                complain(error)
                return _families({"up": [({}, 0.0)]})
            return _families(_samples(found))

        def describe(self) -> Iterable[Metric]:
            return ()

    registry = CollectorRegistry()
    registry.register(Measuring())
    return registry


Samples = list[tuple[dict[str, str], float]]


def _families(samples: Mapping[str, Samples]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 - only where it is asked for

    for name, found in samples.items():
        if not found:
            continue
        labels = list(found[0][0])
        family = GaugeMetricFamily(f"{PREFIX}{name}", HELP[name], labels=labels)
        for values, value in found:
            # Grafana and alerts show them: a name must not turn the direction of what stands beside it.
            family.add_metric([visible(values[label]) for label in labels], value)
        yield family


def _samples(found: Survey) -> dict[str, Samples]:
    of = {"database": found.terms.database}
    newest, point, thresholds = found.newest, found.recovery_point, found.terms.thresholds
    plain: dict[str, float | None] = {
        "measured_timestamp_seconds": found.measured_at.timestamp(),
        "total_backups": len(found.catalog),
        "total_size_bytes": found.total_size_bytes,
        "available_space_bytes": found.free_bytes,
        "space_warning_bytes": thresholds.disk_warning_bytes,
        "space_critical_bytes": thresholds.disk_critical_bytes,
        "backup_age_seconds": found.age_seconds,
        "age_warning_seconds": thresholds.age_warning_seconds,
        "age_critical_seconds": thresholds.age_critical_seconds,
        "backup_duration_objective_seconds": DURATION_SECONDS,
        "proven_backup_timestamp_seconds": _timestamp(point.proven_as_of),
        "proven_timestamp_seconds": _timestamp(last_proof(found.catalog, found.measured_at)),
        "proof_warning_seconds": PROOF_SECONDS,
        "daily_backups_last_24h": found.good_within(Tier.DAILY, 24),
        "weekly_backups_last_7d": found.good_within(Tier.WEEKLY, 7 * 24),
        "monthly_backups_last_30d": found.good_within(Tier.MONTHLY, 30 * 24),
        "old_backups_to_clean": len(found.plan.expiring),
        "held_backups": sum(each.is_held(found.measured_at) for each in found.catalog),
        "availability_ratio": None if found.availability is None else found.availability.share,
        "health_issues_count": len(found.counted_findings),
    }
    if (wal := found.facts.wal) is not None:
        of_wal, base = wal.to_json(found.measured_at), wal.newest_base_by(found.measured_at)
        plain |= {
            "wal_age_seconds": of_wal["age_seconds"],
            "wal_gaps": of_wal["gaps"],
            "wal_window_seconds": of_wal["window_seconds"],
            "wal_held_bytes": of_wal["held_bytes"],
            "base_backup_timestamp_seconds": _timestamp(None if base is None else base.as_of),
        }
    samples: dict[str, Samples] = {"up": [({}, 1.0)]}
    if newest is not None:
        manifest = newest.manifest
        plain |= {
            "latest_backup_timestamp_seconds": newest.as_of.timestamp(),
            # Also before the first proof: a rule that has nothing to count from never fires.
            "unproven_since_timestamp_seconds": unproven_since(found.catalog, found.measured_at).timestamp(),
            "backup_size_bytes": manifest.stored_bytes,
            "backup_dumped_bytes": manifest.plain_bytes,
            "backup_compression_ratio": manifest.compression_percent / 100,
            "backup_duration_seconds": manifest.duration_seconds,
        }
        samples["latest_backup_info"] = [({**of, "backup_id": newest.backup_id}, 1.0)]
    samples |= {name: [(of, float(value))] for name, value in plain.items() if value is not None}
    samples["missing_partitions"] = [
        (
            {**of, "tier": tier.value},
            float(sum(each.startswith(f"{tier.value}/") for each in found.missing_partitions)),
        )
        for tier in Tier
        if tier.has_calendar
    ]
    samples["health_status"] = [
        ({**of, "status": status.value}, float(found.status is status)) for status in Status
    ]
    for name, findings in (("health_issues", found.findings), ("anomalies", found.anomalies)):
        samples[name] = [
            ({**of, "severity": level.value}, float(sum(each.level is level for each in findings)))
            for level in Level
            if level is not Level.FINE
        ]
    figures: dict[str, Callable[[DrillRecord], float | None]] = {
        "drill_passed": lambda drill: drill.passed,
        "drill_compared": lambda drill: drill.compared,
        "drill_timestamp_seconds": lambda drill: drill.checked_at.timestamp(),
        "drill_restore_seconds": lambda drill: drill.restore_seconds,
        "drill_restore_objective_seconds": lambda drill: drill.restore_objective_seconds,
        "drill_data_loss_seconds": lambda drill: drill.data_loss_seconds,
    }
    for name, figure in figures.items():
        samples[name] = [
            ({**of, "scenario": scenario}, float(value))
            for scenario, drill in sorted(found.drills.items())
            if (value := figure(drill)) is not None
        ]
    return samples


def _timestamp(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
