"""All backups of one database, and the questions one asks of them. Pure: what was loaded, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from recyclic_backups.catalog.documents import Check, Hold, Label, Tombstone
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.errors import DamagedData, RecoveryError, spelled
from recyclic_backups.tiers import Calendar, Tier

LATEST = "latest"

CLOCK_SKEW = timedelta(minutes=5)
"""Clocks of machines differ a little: only what is further ahead than this is of the future."""


def is_of_the_future(moment: datetime, now: datetime) -> bool:
    """Whether a wrong clock dated that: as if it were the newest, it would hide what comes until then."""
    return moment > now + CLOCK_SKEW


@dataclass(frozen=True, slots=True)
class Damage:
    """A stored document that is not what was written: where it lies and what is wrong with it.

    ``name`` is for people: bytes of it that are no UTF-8 are spelled out (:func:`spelled`), so it may open no file.
    """

    name: str
    problem: str

    def __post_init__(self) -> None:
        # Once, where damage is noted: pages, mails, JSON and Dagster's metadata take no such name.
        object.__setattr__(self, "name", spelled(self.name))
        object.__setattr__(self, "problem", spelled(self.problem))


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup with what was said of it since: labels, checks, hold."""

    manifest: Manifest
    labels: tuple[Label, ...] = ()
    checks: tuple[Check, ...] = ()
    hold: Hold | None = None

    @property
    def backup_id(self) -> str:
        """Its id."""
        return self.manifest.backup_id

    @property
    def as_of(self) -> datetime:
        """The moment its content is of."""
        return self.manifest.as_of

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers it is labelled with, daily first."""
        return tuple(tier for tier in Tier if any(label.tier is tier for label in self.labels))

    @property
    def verified_at(self) -> datetime | None:
        """When its bytes were last found whole; None when never, or when a later verification found damage.

        A restore that compared equal has read every byte too; one that did not says nothing about them.
        """
        return _standing([check for check in self.checks if check.kind == "verify" or check.passed])

    @property
    def proven_at(self) -> datetime | None:
        """When it was last restored and found equal; None when never, or when a later restore or drill was not.

        One that passed without comparing, since the backup has no fingerprint, proves nothing and takes nothing away.
        """
        attempts = [check for check in self.checks if check.kind != "verify"]
        return _standing([check for check in attempts if check.proves or not check.passed])

    @property
    def good(self) -> bool:
        """Whether the last check of its bytes passed: what labels, promotion and retention may build on."""
        return self.verified_at is not None

    def is_held(self, now: datetime) -> bool:
        """Whether somebody's hold keeps it from expiring at that moment."""
        return self.hold is not None and self.hold.holds(now)

    @property
    def known_damaged(self) -> bool:
        """Whether the last check of its bytes failed. A backup never checked is unknown, not damaged."""
        return not self.good and any(check.kind == "verify" for check in self.checks)


def _standing(checks: Sequence[Check]) -> datetime | None:
    newest = max(checks, key=lambda check: check.checked_at, default=None)
    return newest.checked_at if newest is not None and newest.passed else None


@dataclass(frozen=True)
class Catalog:
    """What the storage holds of one database: usable backups newest first, and the damage found while loading.

    ``labels`` has those of expired backups too: their partitions had a backup. ``tombstones`` are the ids of all
    expired backups, ``expired`` what could be read of their tombstones.
    """

    backups: tuple[Backup, ...]
    labels: Mapping[tuple[Tier, str], Label]
    damage: tuple[Damage, ...] = ()
    tombstones: frozenset[str] = frozenset()
    expired: tuple[Tombstone, ...] = ()

    def __iter__(self) -> Iterator[Backup]:
        return iter(self.backups)

    def __len__(self) -> int:
        return len(self.backups)

    def find(self, reference: str) -> Backup:
        """A backup by id, by a beginning of it that only one has, or ``latest``: the newest not known to be damaged.

        Raises RecoveryError (60) when there is none, DamagedData (40) when its manifest is there but broken.
        """
        if not reference:
            raise RecoveryError("the id of the backup is empty", "name one, or latest: recyclic-backups list")
        wanted = reference.upper()
        spoilt = [damage for damage in self.damage if reference != LATEST and f"/{wanted}" in damage.name]
        if spoilt and not any(backup.backup_id.startswith(wanted) for backup in self.backups):
            raise DamagedData(f"{spoilt[0].name}: {spoilt[0].problem}", "see: recyclic-backups verify --all")
        if wanted in self.tombstones:
            raise RecoveryError(f"backup {reference} has expired", "see: recyclic-backups list")
        if not self.backups and self.damage:
            raise DamagedData(
                f"no backup is whole; {self.damage[0].name}: {self.damage[0].problem}",
                "see: recyclic-backups verify --all",
            )
        if not self.backups:
            raise RecoveryError("there is no backup yet", "take one with: recyclic-backups backup")
        if reference == LATEST:
            sound = [backup for backup in self.backups if not backup.known_damaged]
            if not sound:
                raise RecoveryError("every backup failed its last check", "see: recyclic-backups list")
            return sound[0]
        found = [backup for backup in self.backups if backup.backup_id.startswith(wanted)]
        if len(found) == 1:
            return found[0]
        if len(found) > 1:
            raise RecoveryError(f"{len(found)} backups begin with {reference}", "write more of the id")
        raise RecoveryError(f"there is no backup {reference}", "see: recyclic-backups list")

    def labelled(self, tier: Tier, partition: str) -> Backup | None:
        """The backup that a tier's partition points at, if it is there."""
        label = self.labels.get((tier, partition))
        if label is None:
            return None
        return next((backup for backup in self.backups if backup.backup_id == label.backup_id), None)

    def newest_good(self) -> Backup | None:
        """The newest backup whose last check passed."""
        return next((backup for backup in self.backups if backup.good), None)

    def until(self, now: datetime) -> Catalog:
        """Without backups of the future: what is asked when the newest one is to stand for how things are at ``now``.

        A wrong clock dated them. They can be restored, but say nothing about how old the newest recovery point is.
        """
        present = tuple(backup for backup in self.backups if not is_of_the_future(backup.as_of, now))
        return self if len(present) == len(self.backups) else replace(self, backups=present)

    def newest_of_the_future(self, now: datetime) -> Backup | None:
        """The newest backup if :meth:`until` leaves it out: some clock is, or was, wrong."""
        return next((backup for backup in self.backups if is_of_the_future(backup.as_of, now)), None)

    def newest_partition(self, tier: Tier, calendar: Calendar, now: datetime) -> str | None:
        """The newest partition of the tier with a label, of those that have begun. None while there is none."""
        begun = calendar.partition_of(tier, now + CLOCK_SKEW)
        return max((key for each, key in self.labels if each is tier and key <= begun), default=None)

    def in_tier(self, tier: Tier) -> Catalog:
        """Only the backups labelled with one tier."""
        kept = tuple(backup for backup in self.backups if tier in backup.tiers)
        return replace(self, backups=kept)
