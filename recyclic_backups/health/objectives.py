"""The objectives: what is asked of backups, and the verdict on what there is. Pure.

Every function answers a :class:`Verdict` with a sentence for people, whether it passed or not.
Thresholds are stretches of time, not times of day, and are compared strictly: in the night of 25 hours a
backup that is exactly 25 hours old raises no alarm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Check, Label
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.errors import BackupError
from recyclic_backups.health.answers import ATTEMPTS, NO_REASON, Answer, Lasting, Percent, said
from recyclic_backups.health.outliers import ALARMING_SHARE, HISTORY_MINIMUM, Usual
from recyclic_backups.languages import Bytes, Locale, Phrase, Untranslated
from recyclic_backups.tiers import Tier

COMPRESSION_PERCENT = 70.0
"""A backup is at least so much smaller than what pg_dump wrote."""

DURATION_SECONDS = 30 * 60
"""A backup takes no longer."""

PROOF_SECONDS = 7 * 86400
"""A restore has to be proven at least so often."""

HISTORY_COUNT = 30
"""How many earlier backups of a tier a size is compared with at most."""

# Clocks of servers differ a little: only more than this counts as a time in the future.
_CLOCK_SKEW = timedelta(minutes=5)


class Severity(StrEnum):
    """How bad a negative verdict is."""

    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer. ``severity`` says how bad it is if not ``passed``.

    ``figures`` are the numbers behind it, with their unit in the name.
    """

    passed: bool
    severity: Severity
    sentence: Phrase
    figures: Mapping[str, float] = field(default_factory=dict)

    def text(self, locale: Locale = "en") -> str:
        """Why, in a language; never empty."""
        return self.sentence.text(locale)


def _passed(sentence: Phrase, **figures: float) -> Verdict:
    return Verdict(True, Severity.WARNING, sentence, figures)


def _warning(sentence: Phrase, **figures: float) -> Verdict:
    return Verdict(False, Severity.WARNING, sentence, figures)


def _error(sentence: Phrase, **figures: float) -> Verdict:
    return Verdict(False, Severity.ERROR, sentence, figures)


def absent(tier: Tier, partition: str) -> Verdict:
    """What every question about the backup of a partition is answered with when there is none."""
    return _error(said(Answer.ABSENT, tier=tier, partition=partition))


def integrity(backup: Backup, error: BackupError | None, duration_seconds: float) -> Verdict:
    """Whether the stored bytes were read again to the last one; ``error`` is what was found instead."""
    if error is not None:
        problem = said(Answer.UNREADABLE, backup_id=backup.backup_id, problem=Untranslated(error.message))
        return _error(problem, verify_s=round(duration_seconds, 2))
    return _passed(
        said(Answer.READABLE, backup_id=backup.backup_id),
        verify_s=round(duration_seconds, 2),
        objects=len(backup.manifest.objects),
    )


def age(
    newest_good: Backup | None, now: datetime, *, warning_seconds: float, critical_seconds: float
) -> Verdict:
    """How old the newest verified backup is: what would be lost if the server were gone now."""
    if newest_good is None:
        return _error(said(Answer.NO_VERIFIED))
    # In UTC: the difference of two aware datetimes of one zone is one of wall clocks.
    old = now.astimezone(UTC) - newest_good.as_of.astimezone(UTC)
    seconds = max(old.total_seconds(), 0.0)
    hours = round(seconds / 3600, 2)
    fact = said(Answer.AGE, backup_id=newest_good.backup_id, age=Lasting(seconds))
    if old < -_CLOCK_SKEW:
        return _warning(said(Answer.FUTURE, backup_id=newest_good.backup_id), age_h=hours)
    if seconds > critical_seconds:
        return _error(said(Answer.TOO_OLD, fact=fact, limit=Lasting(critical_seconds)), age_h=hours)
    if seconds > warning_seconds:
        return _warning(said(Answer.TOO_OLD, fact=fact, limit=Lasting(warning_seconds)), age_h=hours)
    return _passed(fact, age_h=hours)


def encrypted(manifest: Manifest, *, required: bool) -> Verdict:
    """Whether the backup can be read by whoever finds it; ``required`` is what the settings say today."""
    if manifest.encryption is not None:
        return _passed(said(Answer.SEALED, key_id=manifest.encryption.key_id))
    if required:
        return _error(said(Answer.NOT_YET_ENCRYPTED))
    return _warning(said(Answer.NOT_ENCRYPTED))


def size(manifest: Manifest, earlier_bytes: Sequence[int]) -> Verdict:
    """Whether the dump, before compression, is about as large as the ones before it, in both directions."""
    dumped = manifest.plain_bytes
    figures = {"dumped_mb": round(dumped / 1e6, 3), "compared_with": float(len(earlier_bytes))}
    usual = Usual.of(earlier_bytes)
    if usual is None:
        count, minimum = len(earlier_bytes), HISTORY_MINIMUM
        return _passed(said(Answer.NO_HISTORY, dumped=Bytes(dumped), count=count, minimum=minimum), **figures)
    middle = usual.median
    figures |= {
        "median_mb": round(middle / 1e6, 3),
        "lowest_mb": round(max(middle - usual.allowed, 0) / 1e6, 3),
        "highest_mb": round((middle + usual.allowed) / 1e6, 3),
    }
    fact = said(Answer.SIZE, dumped=Bytes(dumped), count=len(earlier_bytes), median=Bytes(middle))
    if not usual.is_far(dumped):
        return _passed(fact, **figures)
    direction = Answer.SHRANK if dumped < middle else Answer.GREW
    changed = said(direction, fact=fact, change=Bytes(abs(dumped - middle)))
    if dumped < ALARMING_SHARE * middle:
        return _error(said(Answer.MORE_THAN_HALF, fact=changed), **figures)
    return _warning(said(Answer.UNUSUAL, fact=changed, usual=Bytes(usual.allowed)), **figures)


def sizes_before(catalog: Catalog, tier: Tier, backup: Backup) -> list[int]:
    """What earlier backups of the tier dumped, in bytes, newest first: the history for :func:`size`."""
    earlier = [each for each in catalog.in_tier(tier) if each.as_of < backup.as_of]
    return [each.manifest.plain_bytes for each in earlier[:HISTORY_COUNT]]


def compression(manifest: Manifest) -> Verdict:
    """Whether the backup is small enough."""
    percent = manifest.compression_percent
    if percent > COMPRESSION_PERCENT:
        return _passed(said(Answer.SMALLER, percent=Percent(percent)), compression_pct=percent)
    if manifest.compression == "none":
        return _warning(said(Answer.NOT_COMPRESSED), compression_pct=percent)
    return _warning(
        said(
            Answer.NOT_SMALL_ENOUGH,
            percent=Percent(percent),
            objective=Percent(COMPRESSION_PERCENT, digits=0),
        ),
        compression_pct=percent,
    )


def duration(manifest: Manifest) -> Verdict:
    """Whether the dump was quick enough."""
    seconds = manifest.duration_seconds
    if seconds < DURATION_SECONDS:
        return _passed(said(Answer.TOOK, took=Lasting(seconds)), duration_s=seconds)
    return _warning(
        said(Answer.TOOK_TOO_LONG, took=Lasting(seconds), limit=Lasting(DURATION_SECONDS)),
        duration_s=seconds,
    )


def timeliness(label: Label, backup: Backup) -> Verdict:
    """Whether what the partition points at is of the partition's own time."""
    as_of = f"{backup.as_of:%Y-%m-%d %H:%M}"
    if label.late:
        return _warning(said(Answer.LATE, as_of=as_of, partition=label.partition))
    return _passed(said(Answer.IN_TIME, as_of=as_of))


def proven(backup: Backup, catalog: Catalog, now: datetime) -> Verdict:
    """Whether restoring works: ERROR once the last attempt failed, WARNING after seven days without one.

    An attempt is a restore or a drill with its comparison. A failed one of ``backup`` itself counts even if
    another backup was proven since; that it was proven itself does not, once nothing was proven for so long.
    """
    attempts = [check for each in catalog for check in each.checks if check.kind != "verify"]
    own = [check for check in backup.checks if check.kind != "verify"]
    for failed in (_newest(own), _newest(attempts)):
        if failed is not None and not failed.passed:
            why = Untranslated("; ".join(failed.reasons)) if failed.reasons else Phrase(NO_REASON, {})
            kind = Phrase((failed.kind, ATTEMPTS[failed.kind][1]), {})
            return _error(said(Answer.ATTEMPT_FAILED, kind=kind, backup_id=failed.backup_id, why=why))
    proofs = [each.proven_at for each in catalog if each.proven_at is not None]
    # Before the first proof the clock runs from the first backup.
    since = max(proofs) if proofs else min((each.as_of for each in catalog), default=backup.as_of)
    waited = (now.astimezone(UTC) - since.astimezone(UTC)).total_seconds()
    figures = {"unproven_d": round(max(waited, 0.0) / 86400, 2)}
    if waited > PROOF_SECONDS:
        since_when = Answer.PROOF_OLD if proofs else Answer.NEVER_PROVEN
        return _warning(said(since_when, waited=Lasting(waited)), **figures)
    if backup.proven_at is not None:
        return _passed(said(Answer.PROVEN, at=f"{backup.proven_at:%Y-%m-%d %H:%M}"))
    if proofs:
        return _passed(said(Answer.ANOTHER_PROVEN, waited=Lasting(max(waited, 0.0))), **figures)
    return _passed(said(Answer.PROOF_NOT_DUE), **figures)


def _newest(checks: Sequence[Check]) -> Check | None:
    return max(checks, key=lambda check: check.checked_at, default=None)
