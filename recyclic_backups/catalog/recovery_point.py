"""The recovery point: the newest moment from which the database can come back, and whether that was tried. Pure.

Age, page, gauges and messages ask this module; nobody else computes an age. What a wrong clock dated in the future
(:func:`~recyclic_backups.catalog.catalog.is_of_the_future`) is no recovery point of today and proves nothing yet: as if
it were the newest, it would hide that nothing else comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.proof import newest_proven, proven_at
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
    wal_as_of: datetime | None = None
    """Up to when WAL, replayed on a verified base backup, brings everything back; None where that is not so."""

    @property
    def as_of(self) -> datetime | None:
        """The newest moment of all, by whichever way."""
        return max((each for each in (self.verified_as_of, self.wal_as_of) if each is not None), default=None)

    def age_seconds(self, now: datetime) -> float | None:
        """How much work would be lost if the server were gone ``now``; None where nothing can come back."""
        return None if self.as_of is None else max(seconds_between(self.as_of, now), 0.0)

    def to_json(self, now: datetime) -> dict[str, Any]:
        """For reports."""
        return {
            "backup_id": self.verified_id or None,
            "as_of": None if self.verified_as_of is None else to_text(self.verified_as_of),
            "wal_as_of": None if self.wal_as_of is None else to_text(self.wal_as_of),
            "age_seconds": self.age_seconds(now),
            "proven_backup_id": self.proven_id or None,
            "proven_as_of": None if self.proven_as_of is None else to_text(self.proven_as_of),
            "proven_at": None if self.proven_at is None else to_text(self.proven_at),
        }


def recovery_point(catalog: Catalog, now: datetime, wal_as_of: datetime | None = None) -> RecoveryPoint:
    """The recovery point at ``now`` (aware); ``wal_as_of`` is how far WAL brings everything back."""
    verified, proven = newest_verified(catalog, now), newest_proven(catalog, now)
    return RecoveryPoint(
        verified_id="" if verified is None else verified.backup_id,
        verified_as_of=None if verified is None else verified.as_of,
        proven_id="" if proven is None else proven.backup_id,
        proven_as_of=None if proven is None else proven.as_of,
        proven_at=None if proven is None else proven_at(proven, now),
        wal_as_of=wal_as_of,
    )


def newest_verified(catalog: Catalog, now: datetime) -> Backup | None:
    """The newest backup whose last check of its bytes passed."""
    return catalog.until(now).newest_good()


def seconds_between(earlier: datetime, later: datetime) -> float:
    """The time that passed. In UTC: the difference of two moments of one time zone is one of its wall clocks."""
    return (later.astimezone(UTC) - earlier.astimezone(UTC)).total_seconds()
