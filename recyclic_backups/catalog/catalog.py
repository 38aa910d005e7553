"""All backups of one database, and the questions one asks of them. Pure: what was loaded, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Protocol, TypeVar

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.documents import Check, Checked, Hold, Label, Tombstone
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.catalog.timestamps import from_compact, to_text
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey, RecoveryError, Refused, printable

LATEST = "latest"

CLOCK_SKEW = timedelta(minutes=5)
"""Clocks of machines differ a little: only what is further ahead than this is of the future."""


def is_of_the_future(moment: datetime, now: datetime) -> bool:
    """Whether a wrong clock dated that: as if it were the newest, it would hide what comes until then."""
    return moment > now + CLOCK_SKEW


class Judged(Protocol):
    """A dump or a base backup: when it is of, and whether its last check passed."""

    @property
    def as_of(self) -> datetime:
        """The moment of its content."""

    @property
    def good(self) -> bool:
        """Whether the last check of its bytes passed."""


J = TypeVar("J", bound=Judged)


def newest_good(backups: Iterable[J], now: datetime) -> J | None:
    """The newest whose last check passed; ``backups`` are newest first.

    One of the future is not it: a clock that was wrong for an hour would keep the next ones from being taken for years.
    """
    return next((each for each in backups if each.good and not is_of_the_future(each.as_of, now)), None)


@dataclass(frozen=True, slots=True)
class Damage:
    """A stored document that is not what was written: where it lies and what is wrong with it.

    ``name`` is for people: bytes of it that are no UTF-8 are spelled out (:func:`printable`), so it may open no file.
    ``lacks_key`` is set where the document may be whole, and the key that would tell is not at hand.
    """

    name: str
    problem: str
    lacks_key: bool = False

    def __post_init__(self) -> None:
        # Once, where damage is noted: pages, mails, JSON and Dagster's metadata take no such name.
        object.__setattr__(self, "name", printable(self.name))
        object.__setattr__(self, "problem", printable(self.problem))

    @property
    def error(self) -> BackupError:
        """As what it ends a command that needs the document."""
        kind = NoUsableKey if self.lacks_key else DamagedData
        return kind(f"{self.name}: {self.problem}", "see: recyclic-backups verify --all")


@dataclass(frozen=True, slots=True)
class Backup(Checked):
    """One backup with what was said of it since: labels, checks, hold; and what vouches for it."""

    manifest: Manifest
    labels: tuple[Label, ...] = ()
    checks: tuple[Check, ...] = ()
    hold: Hold | None = None
    standing: Standing = Standing.SIGNED
    closed: BackupError | None = field(default=None, repr=False, compare=False)
    """Why the key of its documents is not open, where it could not be checked."""

    def require_vouched(self, *, unsigned: bool = False) -> None:
        """Return if its content may be worked with; with ``unsigned`` also if nobody vouches for it.

        Raises NoUsableKey where no key is at hand to tell, DamagedData where its key file is damaged, Refused where it
        is not believed.
        """
        if self.standing is Standing.NOT_CHECKED:
            raise self.closed or NoUsableKey(
                f"whether backup {self.backup_id} was edited cannot be told: no key of the storage is at hand",
                "set BACKUP_ENCRYPTION_KEY to the passphrase the backups were made with",
            )
        if not (self.standing.is_believed or unsigned):
            raise Refused(
                f"nobody vouches for backup {self.backup_id}: {self.standing.problem}",
                "if you know where it comes from: --unsigned; its roles and functions are whatever somebody wrote",
            )

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
    def is_late(self) -> bool:
        """Late for every label it has, or for the slot it was taken for when it has none."""
        return all(label.late for label in self.labels) if self.labels else self.manifest.late


@dataclass(frozen=True)
class Catalog:
    """What the storage holds of one database: usable backups newest first, and the damage found while loading.

    ``labels`` has those of expired backups too: their partitions had a backup. ``tombstones`` are the ids of all
    expired backups, ``expired`` what their tombstones say. What is not believed is in none of these: ``unvouched`` are
    the backups that nobody signed, or that are of another storage, newest first. ``named`` are the ids that labels
    name, believed or not. ``is_checked`` is false where no key was at hand to check anything with. ``place`` is the
    storage's URL.
    """

    backups: tuple[Backup, ...]
    labels: Mapping[tuple[Tier, str], Label]
    damage: tuple[Damage, ...] = ()
    tombstones: frozenset[str] = frozenset()
    expired: tuple[Tombstone, ...] = ()
    unvouched: tuple[Backup, ...] = ()
    named: frozenset[str] = frozenset()
    is_checked: bool = True
    place: str = "the storage"

    @property
    def began_at(self) -> datetime | None:
        """When the first backup was taken, be it expired or not, to the second; None where there was none yet."""
        first = min((*(backup.backup_id for backup in self.backups), *self.tombstones), default=None)
        return None if first is None else from_compact(first.partition("-")[0])

    def __iter__(self) -> Iterator[Backup]:
        return iter(self.backups)

    def __len__(self) -> int:
        return len(self.backups)

    def find(self, reference: str) -> Backup:
        """A backup by id, by a beginning of it that only one has, by a label (``daily/2026-11-20``), or ``latest``.

        ``latest`` is the newest that is not known to be damaged. Raises RecoveryError (60) when there is none,
        DamagedData (40) when its manifest is there and is broken or not believed, NoUsableKey (41) when it is not known
        to be for want of its key.
        """
        if not reference:
            raise RecoveryError("the id of the backup is empty", "name one, or latest: recyclic-backups list")
        wanted = reference.upper()
        spoilt = [damage for damage in self.damage if reference != LATEST and f"/{wanted}" in damage.name]
        if spoilt and not any(backup.backup_id.startswith(wanted) for backup in self.backups):
            raise spoilt[0].error
        if wanted in self.tombstones:
            raise RecoveryError(f"backup {reference} has expired", "see: recyclic-backups list")
        if not self.backups and self.unvouched:
            raise DamagedData(
                f"nobody vouches for any backup; {self.unvouched[0].backup_id}: {self.unvouched[0].standing.problem}",
                "take one with: recyclic-backups backup; to restore one of those: its id, and --unsigned",
            )
        if not self.backups and self.damage:
            raise DamagedData(
                f"no backup is whole; {self.damage[0].name}: {self.damage[0].problem}",
                "see: recyclic-backups verify --all",
            )
        if not self.backups:
            raise RecoveryError(
                f"there is no backup yet in {self.place}", "take one with: recyclic-backups backup"
            )
        if reference == LATEST:
            if not self.sound:
                raise RecoveryError("every backup failed its last check", "see: recyclic-backups list")
            return self.sound[0]
        if "/" in reference:
            return self._of_label(reference)
        found = [backup for backup in self.backups if backup.backup_id.startswith(wanted)]
        if len(found) == 1:
            return found[0]
        if len(found) > 1:
            raise RecoveryError(f"{len(found)} backups begin with {reference}", "write more of the id")
        raise RecoveryError(f"there is no backup {reference}", "see: recyclic-backups list")

    def _of_label(self, reference: str) -> Backup:
        """The backup of ``tier/partition``. Raises as :meth:`find`."""
        for damage in self.damage:
            if f"/tiers/{reference}." in damage.name:
                raise damage.error
        tier, _, partition = reference.partition("/")
        backup = self.labelled(Tier(tier), partition) if tier in set(Tier) else None
        if backup is None:
            raise RecoveryError(f"no backup has the label {reference}", "see: recyclic-backups list")
        return backup

    def not_after(self, moment: datetime) -> Catalog:
        """Without backups of later than that moment: its ``latest`` is what ``--at`` means.

        Raises RecoveryError (60) where there are backups, and none is left.
        """
        left = tuple(backup for backup in self.backups if backup.as_of <= moment)
        if self.backups and not left:
            oldest = self.backups[-1]
            raise RecoveryError(
                f"every backup is of later than {to_text(moment)}",
                f"the oldest is {oldest.backup_id}, of {to_text(oldest.as_of)}",
            )
        return replace(self, backups=left)

    def find_any(self, reference: str) -> Backup:
        """As :meth:`find`, and where no believed backup is meant, one that nobody vouches for: see its ``standing``.

        ``latest`` never means one of those.
        """
        wanted = reference.upper()
        if reference and reference != LATEST and not any(each.backup_id.startswith(wanted) for each in self):
            found = [each for each in self.unvouched if each.backup_id.startswith(wanted)]
            if len(found) > 1:
                raise RecoveryError(f"{len(found)} backups begin with {reference}", "write more of the id")
            if found:
                return found[0]
        return self.find(reference)

    @property
    def sound(self) -> tuple[Backup, ...]:
        """Those not known to be damaged, newest first: ``latest`` is the first of them, here and everywhere."""
        return tuple(backup for backup in self.backups if not backup.known_damaged)

    @property
    def passed_over(self) -> tuple[Backup, ...]:
        """The damaged ones that are newer than ``latest``, newest first; all of them where none is whole."""
        return tuple(takewhile(lambda backup: backup.known_damaged, self.backups))

    def instead_of(self, backup_id: str) -> tuple[Backup, ...]:
        """What may be restored in the place of a damaged one: the next older ones first, then the next newer ones."""
        ids = [each.backup_id for each in self.backups]
        # One whose manifest is damaged is in no list: what is known of it is its id, which sorts by time.
        at = ids.index(backup_id) if backup_id in ids else sum(each > backup_id for each in ids)
        newer, older = self.backups[:at], self.backups[at:]
        candidates = (*older, *reversed(newer))
        return tuple(each for each in candidates if each.backup_id != backup_id and not each.known_damaged)

    def damage_of(self, backup_id: str) -> tuple[Damage, ...]:
        """What is wrong with the documents in one backup's folder, with its hold and with its tombstone."""
        places = (f"/backups/{backup_id}/", f"/holds/{backup_id}.json", f"/tombstones/{backup_id}.json")
        return tuple(each for each in self.damage if any(place in each.name for place in places))

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

    def for_latest(self, now: datetime) -> Catalog:
        """Where ``latest`` is looked for: :meth:`until`, or everything where a clock that is behind leaves none.

        Else one backup that was taken while a clock was ahead would be restored instead of all that come until then.
        """
        past = self.until(now)
        return past if past.sound else self

    def newest_of_the_future(self, now: datetime) -> Backup | None:
        """The newest backup if :meth:`until` leaves it out: some clock is, or was, wrong."""
        return next((backup for backup in self.backups if is_of_the_future(backup.as_of, now)), None)

    def newest_partition(self, tier: Tier, calendar: Calendar, now: datetime) -> str | None:
        """The newest partition of the tier with a label, of those that have begun. None while there is none."""
        begun = calendar.partition_of(tier, now + CLOCK_SKEW)
        return max((key for each, key in self.labels if each is tier and key <= begun), default=None)

    def with_unvouched(self) -> tuple[Backup, ...]:
        """All that lies there, also what nobody vouches for, newest first: for lists that say which is which."""
        return tuple(
            sorted(
                (*self.backups, *self.unvouched),
                key=lambda backup: (backup.as_of, backup.backup_id),
                reverse=True,
            )
        )

    def in_tier(self, tier: Tier) -> Catalog:
        """Only the backups labelled with one tier."""
        kept = tuple(backup for backup in self.backups if tier in backup.tiers)
        # Labels of the others are not believed, so they are of no tier.
        return replace(self, backups=kept, unvouched=())
