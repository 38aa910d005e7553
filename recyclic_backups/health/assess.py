"""Ask the questions of one tier's partition: read what there is, let the objectives judge it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Label
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.dump.verify import recent_verification, verify
from recyclic_backups.health import objectives
from recyclic_backups.health.objectives import Verdict
from recyclic_backups.health.thresholds import Thresholds
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.progress import SILENT, Progress

QUESTIONS = {
    "integrity": "Can every stored byte be read again, opened with the key and parsed by pg_restore?",
    "age": "How old is the newest verified backup of the database, whichever partition it is in?",
    "encrypted": "Is the backup unreadable to whoever finds it?",
    "size": "Is the dump about as large as the ones before it?",
    "compression": "Is what is stored more than 70 % smaller than what was dumped, or as this database usually is?",
    "duration": "Did the dump take less than 30 minutes?",
    "timeliness": "Is what the backup holds of the partition's own time, or was it taken late?",
    "proven": "Has a restore been proven within seven days, and did the last one succeed?",
}
"""Name of each check, and the question it answers."""


@dataclass(frozen=True, slots=True)
class Demands:
    """What the settings ask of backups, and what reads one again within ``timeout_seconds``.

    A verification younger than ``verify_interval_seconds`` answers ``integrity``.
    """

    thresholds: Thresholds
    installations: Sequence[Installation]
    timeout_seconds: float
    verify_interval_seconds: float = 0


def assess(
    repository: Repository,
    tier: Tier,
    partition: str,
    wanted: Collection[str],
    demands: Demands,
    *,
    clock: Callable[[], datetime],
    progress: Progress = SILENT,
) -> dict[str, Verdict]:
    """The verdict on each wanted question (names of :data:`QUESTIONS`), in their order.
    ``integrity`` reads the whole backup again and records what it found beside it, unless a recent verification answers
    it; the others read the catalog.
    Raises StorageError when the catalog cannot be read.
    """
    catalog = load_catalog(repository)
    verdicts: dict[str, Verdict] = {}
    backup = catalog.labelled(tier, partition)
    if "integrity" in wanted and backup is not None:
        verdicts["integrity"] = _integrity(repository, backup, demands, clock, progress)
        catalog = load_catalog(repository)  # which knows that verdict now
        backup = catalog.labelled(tier, partition)
    label = catalog.labels.get((tier, partition))
    for name in QUESTIONS:
        if name not in wanted or name in verdicts:
            continue
        if name == "age":
            verdicts[name] = objectives.age(
                catalog,
                clock(),
                warning_seconds=demands.thresholds.age_warning_seconds,
                critical_seconds=demands.thresholds.age_critical_seconds,
            )
        elif backup is None or label is None:
            verdicts[name] = objectives.absent(tier, partition)
        else:
            verdicts[name] = _judge(name, backup, label, catalog, demands, clock())
    return {name: verdicts[name] for name in QUESTIONS if name in verdicts}


def _judge(
    name: str, backup: Backup, label: Label, catalog: Catalog, demands: Demands, now: datetime
) -> Verdict:
    """The questions about one backup that the catalog alone answers."""
    manifest = backup.manifest
    match name:
        case "encrypted":
            return objectives.encrypted(manifest, required=demands.thresholds.encryption)
        case "size":
            return objectives.size(manifest, objectives.sizes_before(catalog, label.tier, backup))
        case "compression":
            return objectives.compression(manifest, objectives.compression_objective(catalog, backup))
        case "duration":
            return objectives.duration(manifest)
        case "timeliness":
            return objectives.timeliness(label, backup)
        case "proven":
            return objectives.proven(backup, catalog, now)
    raise ValueError(f"there is no question {name!r}")


def _integrity(
    repository: Repository,
    backup: Backup,
    demands: Demands,
    clock: Callable[[], datetime],
    progress: Progress,
) -> Verdict:
    within = demands.verify_interval_seconds
    recent = recent_verification(repository, backup, "parsed", clock(), within_seconds=within)
    if recent is not None:
        age_seconds = (clock() - recent.checked_at).total_seconds()
        return objectives.integrity(backup, None, recent.duration_seconds, verified_seconds_ago=age_seconds)
    verification = verify(
        repository,
        backup,
        "parsed",
        demands.installations,
        clock=clock,
        timeout_seconds=demands.timeout_seconds,
        progress=progress,
    )
    return objectives.integrity(backup, verification.error, verification.duration_seconds)
