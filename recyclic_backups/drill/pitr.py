"""Point in time: the server recovered from a base backup and WAL, and compared with a dump that was taken another way.

A dump carries the place of its snapshot in the WAL. A recovery that stops there has to hold what the dump holds: so the
physical line of backups is proven by the logical one. A second recovery goes to a moment drawn by lot.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.drill.report import ScenarioResult
from recyclic_backups.dump.definitions import read_definitions
from recyclic_backups.errors import ArchiveError, DamagedData, ProgramFailed, RecoveryError
from recyclic_backups.fingerprint.compare import Comparison, compare
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.fingerprint.read import read_fingerprint
from recyclic_backups.fingerprint.replayed import as_replayed, without
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.postgres.programs import choose
from recyclic_backups.progress import Progress, timed
from recyclic_backups.recovery.as_backup import unlogged_tables
from recyclic_backups.recovery.ask_wal import plan_from
from recyclic_backups.recovery.cluster import RecoveredCluster
from recyclic_backups.recovery.into_scratch import recovered
from recyclic_backups.recovery.plan import Plan
from recyclic_backups.recovery.survey import Survey, survey
from recyclic_backups.recovery.target import Target, at_lsn, at_time
from recyclic_backups.recovery.windows import Window
from recyclic_backups.restore.attempt import RestoreOptions

_UTC = ZoneInfo("UTC")  # of the plan's messages
_SEEK_BACKUP_HINT = (
    "with WAL_ARCHIVE=true take a base backup (base-backup), then a backup (backup) while few work"
)


@dataclass(frozen=True, slots=True)
class PointInTime:
    """What the scenario works with; ``draw`` gives a number from 0 up to 1."""

    repository: Repository
    options: RestoreOptions
    scratch: Path
    clock: Callable[[], datetime]
    progress: Progress
    draw: Callable[[], float] = random.SystemRandom().random


def choose_backup(
    context: PointInTime, catalog: Catalog, backup_id: str | None
) -> tuple[Backup, Survey, list[Window]]:
    """The newest backup whose place in the WAL the archive should reach, or the one that is named; and what there is.

    Raises RecoveryError where there is none, StorageError.
    """
    named = None if backup_id is None else catalog.find(backup_id)
    candidates = [
        each for each in ([named] if named else catalog.sound) if each.manifest.replay_point is not None
    ]
    candidates.sort(key=lambda each: each.as_of, reverse=True)
    if not candidates:
        which = "no backup here carries" if named is None else f"{named.backup_id} does not carry"
        raise RecoveryError(f"{which} the place of its snapshot in the WAL", _SEEK_BACKUP_HINT)
    found = survey(context.repository, candidates[0].manifest.server.system_identifier, now=context.clock())
    windows = found.windows()
    begins = min((window.start_lsn for window in windows), default=None)
    for each in candidates:
        if begins is not None and _place(each)[1] >= begins:
            return each, found, windows
    raise RecoveryError(
        "no backup was taken since the oldest base backup that WAL follows", _SEEK_BACKUP_HINT
    )


def run_pitr(
    context: PointInTime, backup: Backup, found: Survey, windows: Sequence[Window]
) -> ScenarioResult:
    """Recover to the backup's place and compare; then to a moment drawn by lot.

    That WAL or a base backup is damaged or missing is a finding. Raises what says nothing about them.
    """
    phases: dict[str, float] = {}
    timeline, lsn = _place(backup)
    # The verdict stands beside a base backup, which is of all databases of the server.
    about = {"database": backup.manifest.database, "compared_with": backup.backup_id}
    details: dict[str, object] = {**about, "target_lsn": lsn_text(lsn), "target_timeline": timeline}
    comparison: Comparison | None = None
    reasons: list[str] = []
    try:
        with timed(phases, "plan"):
            plan = _plan(context, found, windows, at_lsn(lsn))
        if all(part.timeline != timeline for part in plan.window.line.parts):
            raise ArchiveError(
                f"{backup.backup_id} was taken on timeline {timeline}, which the server's line does not have any more"
            )
        details["base_id"] = plan.base.base_id
        details["segments"] = plan.segments
        with recovered(
            found.source, plan, context.options.installations, context.scratch, progress=context.progress
        ) as cluster:
            phases.update(cluster.phases)
            with timed(phases, "compare"):
                comparison = _compare(context, cluster, backup)
        reasons += comparison.differences
        context.progress.stage("recovering to a moment drawn by lot")
        with timed(phases, "a moment by lot"):
            drawn = _drawn(context, found, windows, details)
        reasons += drawn
    except (DamagedData, ArchiveError, RecoveryError) as problem:
        reasons.append(problem.message)
    except ProgramFailed as failed:
        if failed.retryable:
            raise
        reasons.append(failed.message)
    return ScenarioResult(
        backup_id=backup.backup_id,
        as_of=backup.as_of,
        phases=phases,
        reasons=tuple(reasons),
        comparison=comparison,
        notes=() if comparison is None else comparison.notes,
        details=details,
    )


def _place(backup: Backup) -> tuple[int, int]:
    point = backup.manifest.replay_point
    assert point is not None, "only those are chosen"
    return point.timeline, point.lsn


def _plan(context: PointInTime, found: Survey, windows: Sequence[Window], target: Target) -> Plan:
    programs = context.options.installations
    return plan_from(found, windows, target, programs, context.scratch, now=context.clock(), timezone=_UTC)


def _compare(context: PointInTime, cluster: RecoveredCluster, backup: Backup) -> Comparison:
    fingerprint = backup.manifest.fingerprint
    if fingerprint is None:
        return compare(None, None, same_major=True)
    manifest, expected = backup.manifest, Fingerprint.from_json(fingerprint)
    programs = choose(context.options.installations, manifest.archive_major, {"pg_dump", "pg_restore"})
    same_major = programs.major == manifest.archive_major
    context.progress.stage("comparing")
    schema_text = None
    if same_major:
        schema_text = read_definitions(
            cluster.server,
            manifest.database,
            programs,
            encoding=manifest.server.encoding,
            snapshot="",
            lock_wait_seconds=60,
            timeout_seconds=context.options.timeout_seconds,
        )
    unlogged = unlogged_tables(cluster, manifest.database)
    actual = read_fingerprint(
        cluster.server, manifest.database, level=expected.level, schema_text=schema_text
    )
    return compare(as_replayed(expected, unlogged), without(actual, unlogged), same_major=same_major)


def _drawn(
    context: PointInTime, found: Survey, windows: Sequence[Window], details: dict[str, object]
) -> list[str]:
    """Recover to a moment of the newest window; what is wrong with where that stops."""
    window = windows[-1]
    if window.ends_at is None or window.ends_at <= window.starts_at:
        return []
    moment = window.starts_at + context.draw() * (window.ends_at - window.starts_at)
    began = time.monotonic()
    plan = _plan(context, found, windows, at_time(moment))
    with recovered(
        found.source, plan, context.options.installations, context.scratch, progress=context.progress
    ) as cluster:
        reached = cluster.reached
    details["random_time"] = to_text(moment)
    details["random_seconds"] = round(time.monotonic() - began, 3)
    if reached is None:
        return ["the recovery to a moment by lot stopped nowhere"]
    details["random_reached"] = None if reached.last_commit_at is None else to_text(reached.last_commit_at)
    if reached.last_commit_at is not None and reached.last_commit_at > moment:
        return [f"a recovery to {to_text(moment)} went on to {to_text(reached.last_commit_at)}"]
    return []
