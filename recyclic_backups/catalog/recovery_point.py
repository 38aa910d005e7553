"""The recovery point: the newest moment from which the database can come back, and whether that was tried. Pure.

Age, page, gauges and messages ask this module; nobody else computes an age. What a wrong clock dated in the future
(:func:`~recyclic_backups.catalog.catalog.is_of_the_future`) is no recovery point of today and proves nothing yet: as if
it were the newest, it would hide that nothing else comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from recyclic_backups.catalog.catalog import Backup, Catalog, is_of_the_future
from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.timestamps import to_text


@dataclass(frozen=True, slots=True)
class RecoveryPoint:
    """From when the database can come back: by the newest verified backup, and by the newest proven one.

    Moments are those of the content; ``proven_at`` is when the proven one was restored and found equal. None and an
    empty id: there is none. ``known`` is false when the storage could not be read.
    """

    verified_id: str = ""
    verified_as_of: datetime | None = None
    proven_id: str = ""
    proven_as_of: datetime | None = None
    proven_at: datetime | None = None
    known: bool = True

    def age_seconds(self, now: datetime) -> float | None:
        """How much work would be lost if the server were gone ``now``; None where nothing can come back."""
        return None if self.verified_as_of is None else max(seconds_between(self.verified_as_of, now), 0.0)

    def to_json(self, now: datetime) -> dict[str, Any]:
        """For reports."""
        return {
            "backup_id": self.verified_id or None,
            "as_of": None if self.verified_as_of is None else to_text(self.verified_as_of),
            "age_seconds": self.age_seconds(now),
            "proven_backup_id": self.proven_id or None,
            "proven_as_of": None if self.proven_as_of is None else to_text(self.proven_as_of),
            "proven_at": None if self.proven_at is None else to_text(self.proven_at),
        }


def recovery_point(catalog: Catalog, now: datetime) -> RecoveryPoint:
    """The recovery point at ``now`` (aware)."""
    verified, proven = newest_verified(catalog, now), newest_proven(catalog, now)
    return RecoveryPoint(
        verified_id="" if verified is None else verified.backup_id,
        verified_as_of=None if verified is None else verified.as_of,
        proven_id="" if proven is None else proven.backup_id,
        proven_as_of=None if proven is None else proven.as_of,
        proven_at=None if proven is None else proven_at(proven, now),
    )


def newest_verified(catalog: Catalog, now: datetime) -> Backup | None:
    """The newest backup whose last check of its bytes passed."""
    return catalog.until(now).newest_good()


def newest_proven(catalog: Catalog, now: datetime) -> Backup | None:
    """The newest backup that was restored and found equal, and did not fail since."""
    return next((each for each in catalog.until(now) if proven_at(each, now) is not None), None)


def proven_at(backup: Backup, now: datetime) -> datetime | None:
    """When a backup was last restored and found equal; None if never, or if a later restore or drill failed.

    An attempt that passed without a comparison proves nothing and takes nothing away.
    """
    last = last_attempt((check for check in backup.checks if check.proves or not check.passed), now)
    return last.checked_at if last is not None and last.passed else None


def last_proof(catalog: Catalog, now: datetime) -> datetime | None:
    """When a restore of any backup was last proven. A backup of the future counts, if it was restored by now."""
    proofs = (proven_at(each, now) for each in catalog)
    return max((each for each in proofs if each is not None), default=None)


def unproven_since(catalog: Catalog, now: datetime) -> datetime:
    """Since when nothing was proven: the last proof, or the moment when the first backup was taken or adopted."""
    taken = [each.manifest.taken_at for each in catalog]
    expired = [each.as_of for each in catalog.expired if each.as_of is not None]
    return last_proof(catalog, now) or min([*taken, *expired], default=now)


def last_attempt(checks: Iterable[Check], now: datetime) -> Check | None:
    """The newest restore or drill; one of the future only if it failed, as it must hide no failure of today."""
    attempts = (
        each
        for each in checks
        if each.kind != "verify" and (not each.passed or not is_of_the_future(each.checked_at, now))
    )
    return max(attempts, key=lambda check: check.checked_at, default=None)


def seconds_between(earlier: datetime, later: datetime) -> float:
    """The time that passed. In UTC: the difference of two moments of one time zone is one of its wall clocks."""
    return (later.astimezone(UTC) - earlier.astimezone(UTC)).total_seconds()
