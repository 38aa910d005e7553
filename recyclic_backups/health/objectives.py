"""The objectives: what is asked of backups, and the verdict on what there is. Pure.

Every function answers a :class:`Verdict` with a sentence for people, whether it passed or not.
Thresholds are stretches of time, not times of day, and are compared strictly: in the night of 25 hours a
backup that is exactly 25 hours old raises no alarm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from statistics import median

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Backup, Catalog, is_of_the_future
from recyclic_backups.catalog.documents import Check, Label
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.catalog.why import why
from recyclic_backups.errors import BackupError
from recyclic_backups.health.answers import ATTEMPTS, NO_REASON, Answer, Lasting, Percent, said
from recyclic_backups.health.outliers import ALARMING_SHARE, HISTORY_MINIMUM, Usual
from recyclic_backups.languages import Bytes, Locale, Phrase, Untranslated

COMPRESSION_PERCENT = 70.0
"""A backup is at least so much smaller than what pg_dump wrote: until its own history says that its data do not."""

_MORE_THAN_USUAL = 1.05
"""What is stored may be so much more of what was dumped than usual."""

DURATION_SECONDS = 30 * 60
"""A backup takes no longer."""

PROOF_SECONDS = 7 * 86400
"""A restore has to be proven at least so often."""

HISTORY_COUNT = 30
"""How many earlier backups of a tier a size is compared with at most."""


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


def integrity(
    backup: Backup, error: BackupError | None, duration_seconds: float, *, verified_seconds_ago: float = 0
) -> Verdict:
    """Whether the stored bytes were read again to the last one; ``error`` is what was found instead."""
    if error is not None:
        problem = said(Answer.UNREADABLE, backup_id=backup.backup_id, problem=Untranslated(error.message))
        return _error(problem, verify_s=round(duration_seconds, 2))
    return _passed(
        said(Answer.READABLE, backup_id=backup.backup_id),
        verify_s=round(duration_seconds, 2),
        verified_s_ago=round(verified_seconds_ago),
        objects=len(backup.manifest.objects),
    )


def age(catalog: Catalog, now: datetime, *, warning_seconds: float, critical_seconds: float) -> Verdict:
    """How old the newest verified backup is: what would be lost if the server were gone now.

    One of the future is said, a warning at least, and counts for nothing: it must not hide that no other comes.
    """
    verdict = age_of(
        catalog.until(now).newest_good(),
        now,
        warning_seconds=warning_seconds,
        critical_seconds=critical_seconds,
    )
    ahead = catalog.newest_of_the_future(now)
    if ahead is None:
        return verdict
    clock = said(Answer.FUTURE, backup_id=ahead.backup_id)
    return replace(verdict, passed=False, sentence=said(Answer.BOTH, fact=verdict.sentence, more=clock))


def age_of(
    newest: Backup | None, now: datetime, *, warning_seconds: float, critical_seconds: float
) -> Verdict:
    """The same of one backup, which is not of the future."""
    if newest is None:
        return _error(said(Answer.NO_VERIFIED))
    # In UTC: the difference of two aware datetimes of one zone is one of wall clocks.
    old = now.astimezone(UTC) - newest.as_of.astimezone(UTC)
    seconds = max(old.total_seconds(), 0.0)
    hours = round(seconds / 3600, 2)
    fact = said(Answer.AGE, backup_id=newest.backup_id, age=Lasting(seconds))
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
    return max(0.0, min(COMPRESSION_PERCENT, 100 - 100 * _MORE_THAN_USUAL * median(shares)))


def compression(manifest: Manifest, objective: float = COMPRESSION_PERCENT) -> Verdict:
    """Whether the backup is small enough, by :func:`compression_objective`."""
    percent = manifest.compression_percent
    if manifest.compression == "none":
        return _warning(said(Answer.NOT_COMPRESSED), compression_pct=percent)
    if percent > objective:
        return _passed(said(Answer.SMALLER, percent=Percent(percent)), compression_pct=percent)
    return _warning(
        said(
            Answer.NOT_SMALL_ENOUGH,
            percent=Percent(percent),
            objective=Percent(objective, digits=0),
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
    for failed in (last_attempt(backup.checks, now), last_attempt_of_all(catalog, now)):
        if failed is not None and not failed.passed:
            told = why(failed) or Phrase(NO_REASON, {})
            reason = Untranslated(told) if isinstance(told, str) else told
            kind = Phrase((failed.kind, ATTEMPTS[failed.kind][1]), {})
            return _error(said(Answer.ATTEMPT_FAILED, kind=kind, backup_id=failed.backup_id, why=reason))
    proof = last_proof(catalog, now)
    waited = unproven_seconds(catalog, now)
    figures = {"unproven_d": round(max(waited, 0.0) / 86400, 2)}
    if waited > PROOF_SECONDS:
        since_when = Answer.NEVER_PROVEN if proof is None else Answer.PROOF_OLD
        return _warning(said(since_when, waited=Lasting(waited)), **figures)
    if backup.proven_at is not None:
        return _passed(said(Answer.PROVEN, at=f"{backup.proven_at:%Y-%m-%d %H:%M}"))
    if proof is not None:
        return _passed(said(Answer.ANOTHER_PROVEN, waited=Lasting(max(waited, 0.0))), **figures)
    return _passed(said(Answer.PROOF_NOT_DUE), **figures)


def last_proof(catalog: Catalog, now: datetime) -> datetime | None:
    """When a restore was last proven; one that a wrong clock dated ahead would end the asking until its date."""
    proofs = (each.proven_at for each in catalog if each.proven_at is not None)
    return max((each for each in proofs if not is_of_the_future(each, now)), default=None)


def unproven_seconds(catalog: Catalog, now: datetime) -> float:
    """How long nothing was proven. Before the first proof the clock runs from the first backup."""
    since = last_proof(catalog, now) or min((each.as_of for each in catalog), default=now)
    return (now.astimezone(UTC) - since.astimezone(UTC)).total_seconds()


def last_attempt_of_all(catalog: Catalog, now: datetime) -> Check | None:
    """The newest restore or drill of any backup."""
    return last_attempt([check for each in catalog for check in each.checks], now)


def last_attempt(checks: Iterable[Check], now: datetime) -> Check | None:
    """The newest restore or drill; one of the future only if it failed, as it must hide no failure of today."""
    attempts = (
        each
        for each in checks
        if each.kind != "verify" and (not each.passed or not is_of_the_future(each.checked_at, now))
    )
    return max(attempts, key=lambda check: check.checked_at, default=None)
