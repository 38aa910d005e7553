"""The questions about one backup, as the checks of every tier ask them, and their answers. Pure.

Each answer is findings: those that are :attr:`~recyclic_backups.health.finding.Level.FINE` if nothing is wrong. Health
as a whole (:mod:`recyclic_backups.health.judge`) asks the same about the newest verified backup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from statistics import median

from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Check, Label
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.catalog.proof import last_attempt, last_proof, proven_at, unproven_since
from recyclic_backups.catalog.recovery_point import RecoveryPoint, newest_verified, seconds_between
from recyclic_backups.catalog.why import why
from recyclic_backups.health.finding import Finding, alarm, critical, fine, note, warning
from recyclic_backups.health.outliers import Usual
from recyclic_backups.health.thresholds import (
    ALARMING_SHARE,
    COMPRESSION_PERCENT,
    DURATION_SECONDS,
    HISTORY_COUNT,
    HISTORY_MINIMUM,
    PROOF_SECONDS,
    STORED_WARNING,
    Thresholds,
)
from recyclic_backups.texts.language import Bytes, Moment, Seconds, Share, Untranslated
from recyclic_backups.texts.text import Text, say

QUESTIONS: Mapping[str, str] = {
    "integrity": "Can every stored byte be read again, opened with the key and parsed by pg_restore?",
    "age": "How old is the newest verified backup of the database, whichever partition it is in?",
    "encrypted": "Is the backup unreadable to whoever finds it?",
    "size": "Is the dump about as large as the ones before it?",
    "compression": "Is what is stored more than 70 % smaller than what was dumped, or as this database usually is?",
    "duration": "Did the dump take less than 30 minutes?",
    "timeliness": "Is what the backup holds of the partition's own time, or was it taken late?",
    "proven": "Has a restore been proven within eight days, and did the last one succeed?",
}
"""Name of each check, and the question it answers."""


def answer(
    question: str, label: Label, backup: Backup, catalog: Catalog, thresholds: Thresholds, now: datetime
) -> Finding:
    """The answer to one of :data:`QUESTIONS`, but ``age``, about the backup that a label names. ``now`` is aware."""
    match question:
        case "integrity":
            return integrity(backup, newest_verified(catalog, now))
        case "encrypted":
            return encrypted(backup.manifest, required=thresholds.encryption)
        case "size":
            return size(backup, catalog)
        case "compression":
            return compression(backup.manifest, compression_objective(catalog, backup))
        case "duration":
            return duration(backup.manifest)
        case "timeliness":
            return timeliness(label, backup)
        case "proven":
            return proven(backup, catalog, now)
    raise ValueError(f"there is no question {question!r}")


def integrity(backup: Backup, newest: Backup | None) -> Finding:
    """Whether the last check of its bytes passed. Where a newer one (``newest``) is whole, damage is a warning.

    What the damaged one held before is lost then, not what is there.
    """
    verified = (check for check in backup.checks if check.kind == "verify")
    last = max(verified, key=lambda check: check.checked_at, default=None)
    if last is None:
        return fine("not_read", backup.backup_id, backup_id=backup.backup_id)
    took = Seconds(last.duration_seconds)
    if not backup.known_damaged:
        return fine("readable", backup.backup_id, backup_id=backup.backup_id, verify=took)
    return alarm(
        newest is None or newest.as_of <= backup.as_of,
        "damaged_backup",
        backup.backup_id,
        last.checked_at,
        backup_id=backup.backup_id,
        date=last.checked_at.date().isoformat(),
        why=_why(last),
        verify=took,
    )


def age(point: RecoveryPoint, catalog: Catalog, thresholds: Thresholds, now: datetime) -> Iterator[Finding]:
    """How old the recovery point is; and that a backup is of the future, which must not hide that no other comes."""
    seconds = point.age_seconds(now)
    if seconds is None or point.verified_as_of is None:
        yield critical("no_verified_backup")
    else:
        values = {
            "backup_id": point.verified_id,
            "as_of": Moment(point.verified_as_of),
            "age": Seconds(seconds),
        }
        for is_critical, limit in (
            (True, thresholds.age_critical_seconds),
            (False, thresholds.age_warning_seconds),
        ):
            if seconds > limit:
                since = point.verified_as_of + timedelta(seconds=limit)
                yield alarm(is_critical, "old", "", since, limit=Seconds(limit), **values)
                break
        else:
            yield fine("age", **values)
    if ahead := catalog.newest_of_the_future(now):
        yield warning("future", backup_id=ahead.backup_id, as_of=Moment(ahead.as_of))


def encrypted(manifest: Manifest, *, required: bool) -> Finding:
    """Whether a stranger who finds it can read it; ``required`` is what the settings say today."""
    if manifest.encryption is not None:
        return fine("encrypted", backup_id=manifest.backup_id, key_id=manifest.encryption.key_id)
    return alarm(required, "not_encrypted", backup_id=manifest.backup_id)


def size(backup: Backup, catalog: Catalog) -> Finding:
    """Whether the dump, before compression, is about as large as the good ones before it, in both directions."""
    dumped = backup.manifest.plain_bytes
    earlier = [
        each.manifest.plain_bytes
        for each in catalog
        if each.good and each.as_of < backup.as_of and each.manifest.is_our_dump
    ][:HISTORY_COUNT]
    usual = Usual.of(earlier) if backup.manifest.is_our_dump else None
    if usual is None:
        return fine("no_history", dumped=Bytes(dumped), count=len(earlier), minimum=HISTORY_MINIMUM)
    values = {"dumped": Bytes(dumped), "count": len(earlier), "usual": Bytes(usual.median)}
    if not usual.is_far(dumped):
        return fine("size", **values)
    code = "dump_shrank" if dumped < usual.median else "dump_grew"
    return alarm(dumped < ALARMING_SHARE * usual.median, code, "", backup.as_of, **values)


def compression_objective(catalog: Catalog, backup: Backup) -> float:
    """How much smaller than what was dumped a backup has to be, in percent.

    :data:`COMPRESSION_PERCENT`, or less where photographs and the like do not let the database reach that: from
    :data:`HISTORY_MINIMUM` earlier good backups on (of the same compression, the newest :data:`HISTORY_COUNT`), a
    twentieth more stored than their median. That it is worse than usual, though above that, anomalies say.
    """
    wanted = backup.manifest.compression
    shares = [
        each.manifest.stored_bytes / each.manifest.plain_bytes
        for each in catalog
        if each.good and each.as_of < backup.as_of and each.manifest.compression == wanted
        if each.manifest.plain_bytes
    ][:HISTORY_COUNT]
    if len(shares) < HISTORY_MINIMUM:
        return COMPRESSION_PERCENT
    return max(0.0, min(COMPRESSION_PERCENT, 100 - 100 * STORED_WARNING * median(shares)))


def compression(manifest: Manifest, objective: float = COMPRESSION_PERCENT) -> Finding:
    """Whether the backup is small enough, by :func:`compression_objective`."""
    if manifest.compression == "none":
        return warning("not_compressed", backup_id=manifest.backup_id)
    values = {"backup_id": manifest.backup_id, "compression": Share(manifest.compression_percent / 100)}
    if manifest.compression_percent > objective:
        return fine("compressed", **values)
    return warning("compression", **values, objective=Share(objective / 100))


def duration(manifest: Manifest) -> Finding:
    """Whether the dump was quick enough."""
    values = {"backup_id": manifest.backup_id, "duration": Seconds(manifest.duration_seconds)}
    if manifest.duration_seconds < DURATION_SECONDS:
        return fine("took", **values)
    return warning("duration", **values, limit=Seconds(DURATION_SECONDS))


def timeliness(label: Label, backup: Backup) -> Finding:
    """Whether the partition's backup is of the partition's own time. Nobody can change that: a note."""
    values = {"backup_id": backup.backup_id, "as_of": Moment(backup.as_of)}
    if not label.late:
        return fine("in_time", **values)
    subject = f"{label.tier.value}/{label.partition}"
    return note("late", subject, label.labelled_at, tier=label.tier, partition=label.partition, **values)


def proven(backup: Backup, catalog: Catalog, now: datetime) -> Finding:
    """Whether restoring works: critical once the last attempt failed, a warning when none was proven for too long.

    An attempt is a restore or a drill with its comparison. A failed one of ``backup`` itself counts even if another
    backup was proven since; that it was proven itself does not, once nothing was proven for so long.
    """
    of_all = [check for each in catalog for check in each.checks]
    for failed in (last_attempt(backup.checks, now), last_attempt(of_all, now)):
        if failed is not None and not failed.passed:
            kind = say(f"check.{failed.kind}")
            values = {"kind": kind, "backup_id": failed.backup_id, "why": _why(failed)}
            return critical("restore_failed", failed.backup_id, failed.checked_at, **values)
    since = unproven_since(catalog, now)
    waited = max(seconds_between(since, now), 0.0)
    is_any_proven = last_proof(catalog, now) is not None
    if waited > PROOF_SECONDS:
        code = "unproven" if is_any_proven else "never_proven"
        due = since + timedelta(seconds=PROOF_SECONDS)
        return warning(code, "", due, last=Moment(since), unproven=Seconds(waited))
    if (at := proven_at(backup, now)) is not None:
        return fine("proven", backup_id=backup.backup_id, at=Moment(at))
    if is_any_proven:
        return fine("another_proven", backup_id=backup.backup_id, unproven=Seconds(waited))
    return fine("proof_not_due", limit=Seconds(PROOF_SECONDS))


def _why(check: Check) -> Text | Untranslated:
    """What a check wrote down, as the quotation that it is."""
    return why(check) or say("check.no_reason")
