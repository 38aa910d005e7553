"""Concerns: where a threshold is passed, an objective missed or something is not as it was written. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby

from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.why import why
from recyclic_backups.health import objectives
from recyclic_backups.health.availability import OBJECTIVE, Availability
from recyclic_backups.health.gaps import Gap
from recyclic_backups.health.issues import Issue, critical, note, warning
from recyclic_backups.health.objectives import Severity, Verdict
from recyclic_backups.health.rehearsals import Rehearsed
from recyclic_backups.health.thresholds import Thresholds
from recyclic_backups.health.wording import Code, ScenarioName
from recyclic_backups.languages import Bytes, Phrase, Seconds, Share

# From one nightly dump to the next: what a disaster just before it would lose.
_NIGHT_SECONDS = 24 * 3600.0


def concerns(
    catalog: Catalog,
    thresholds: Thresholds,
    now: datetime,
    *,
    free_bytes: int | None,
    available: Availability | None,
    drills: Mapping[str, Rehearsed],
    gaps: Sequence[Gap],
) -> Iterator[Issue]:
    """Everything that is wrong at ``now``; anomalies are asked for elsewhere."""
    newest = catalog.until(now).newest_good()
    ahead = catalog.newest_of_the_future(now)
    if ahead is not None:
        yield warning(Code.FUTURE, backup_id=ahead.backup_id)
    yield from _age(newest, thresholds, now)
    yield from _space(free_bytes, thresholds)
    yield from _damage(catalog, newest)
    if newest is not None:
        yield from _objectives(catalog, newest, thresholds)
        yield from _proof(catalog, now)
    yield from _drills(drills)
    for tier, group in groupby(gaps, key=lambda gap: gap.tier):
        missing = list(group)
        partitions = ", ".join(gap.partition for gap in missing)
        code = Code.MISSING_ONE if len(missing) == 1 else Code.MISSING
        yield warning(code, tier.value, tier=tier, partitions=partitions)
    if available is not None and not available.met:
        yield warning(
            Code.AVAILABILITY,
            limit=Seconds(thresholds.age_critical_seconds),
            percent=Share(available.share),
            window=Seconds(available.total_seconds),
            objective=Share(OBJECTIVE),
        )
    yield note(Code.DATA_LOSS, interval=Seconds(_NIGHT_SECONDS))


def _age(newest: Backup | None, thresholds: Thresholds, now: datetime) -> Iterator[Issue]:
    limits = {
        Severity.WARNING: thresholds.age_warning_seconds,
        Severity.ERROR: thresholds.age_critical_seconds,
    }
    verdict = objectives.age_of(
        newest, now, warning_seconds=limits[Severity.WARNING], critical_seconds=limits[Severity.ERROR]
    )
    if newest is None:
        yield from _missed(verdict, Code.NO_VERIFIED)
        return
    yield from _missed(
        verdict,
        Code.OLD,
        backup_id=newest.backup_id,
        age=Seconds((now - newest.as_of).total_seconds()),
        limit=Seconds(limits[verdict.severity]),
    )


def _space(free_bytes: int | None, thresholds: Thresholds) -> Iterator[Issue]:
    if free_bytes is None or free_bytes >= max(thresholds.disk_warning_bytes, thresholds.disk_critical_bytes):
        return
    is_critical = free_bytes < thresholds.disk_critical_bytes
    limit = thresholds.disk_critical_bytes if is_critical else thresholds.disk_warning_bytes
    yield (critical if is_critical else warning)(Code.SPACE, free=Bytes(free_bytes), limit=Bytes(limit))


def _damage(catalog: Catalog, newest: Backup | None) -> Iterator[Issue]:
    """Documents that are not what was written, and backups whose last verification failed."""
    if not catalog.is_checked:
        yield warning(Code.NOT_CHECKED)
    for damage in catalog.damage:
        code = Code.UNKNOWN_DOCUMENT if damage.lacks_key else Code.DAMAGED_DOCUMENT
        yield critical(code, damage.name, name=damage.name, problem=damage.problem)
    for backup in catalog:
        if not backup.known_damaged:
            continue
        verified = (check for check in backup.checks if check.kind == "verify")
        last = max(verified, key=lambda check: check.checked_at, default=None)
        # Where a newer one is whole, what it held before is what is lost, not what is there.
        replaced = newest is not None and newest.as_of > backup.as_of
        yield (warning if replaced else critical)(
            Code.DAMAGED_BACKUP,
            backup.backup_id,
            backup_id=backup.backup_id,
            date="-" if last is None else last.checked_at.date().isoformat(),
            why=_why(last),
        )


def _objectives(catalog: Catalog, newest: Backup, thresholds: Thresholds) -> Iterator[Issue]:
    manifest, backup_id = newest.manifest, newest.backup_id
    encrypted = objectives.encrypted(manifest, required=thresholds.encryption)
    yield from _missed(encrypted, Code.NOT_ENCRYPTED, backup_id=backup_id)
    compressed = manifest.compression != "none"
    objective = objectives.compression_objective(catalog, newest)
    yield from _missed(
        objectives.compression(manifest, objective),
        Code.COMPRESSION if compressed else Code.NOT_COMPRESSED,
        backup_id=backup_id,
        percent=Share(manifest.compression_percent / 100),
        objective=Share(objective / 100),
    )
    yield from _missed(
        objectives.duration(manifest),
        Code.DURATION,
        backup_id=backup_id,
        took=Seconds(manifest.duration_seconds),
        limit=Seconds(objectives.DURATION_SECONDS),
    )


def _proof(catalog: Catalog, now: datetime) -> Iterator[Issue]:
    """Whether restoring works: the last attempt of whatever kind failed, or none was made for too long."""
    last = objectives.last_attempt_of_all(catalog, now)
    if last is not None and not last.passed:
        yield critical(
            Code.RESTORE_FAILED, last.backup_id, kind=last.kind, backup_id=last.backup_id, why=_why(last)
        )
        return
    waited = objectives.unproven_seconds(catalog, now)
    if waited > objectives.PROOF_SECONDS:
        code = Code.NEVER_PROVEN if objectives.last_proof(catalog, now) is None else Code.UNPROVEN
        yield warning(code, waited=Seconds(waited))


def _missed(verdict: Verdict, code: Code, **values: object) -> Iterator[Issue]:
    """The issue that a verdict is, if it is one: checks and health judge alike, health names the backup."""
    if not verdict.passed:
        yield (critical if verdict.severity is Severity.ERROR else warning)(code, "", **values)


def _drills(drills: Mapping[str, Rehearsed]) -> Iterator[Issue]:
    for scenario, drill in sorted(drills.items()):
        if not drill.in_time and drill.restore_objective_seconds is not None:
            yield warning(
                Code.RESTORE_SLOW,
                scenario,
                scenario=ScenarioName(scenario),
                took=Seconds(drill.restore_seconds),
                limit=Seconds(drill.restore_objective_seconds),
            )


def _why(check: Check | None) -> str | Phrase:
    return "-" if check is None else why(check) or "-"
