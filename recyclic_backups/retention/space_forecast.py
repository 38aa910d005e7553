"""How much the storage will hold: backups and WAL to come, at the pace of those before, less what leaves. Pure.

The days to come are those of :mod:`recyclic_backups.retention.forecast`. Base backups come as often as they came, each
as large as the newest one, and each is good. What leaves is what the policies say, asked again after each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from recyclic_backups.archive.listing import Listing
from recyclic_backups.archive.wal import segment_name, segment_start, start_of
from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Catalog, is_of_the_future
from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.layout import new_backup_id
from recyclic_backups.retention.forecast import coming_nights
from recyclic_backups.retention.policy import Retention
from recyclic_backups.retention.wal_policy import Histories, plan_wal
from recyclic_backups.texts.language import Bytes
from recyclic_backups.texts.text import Text, say

if TYPE_CHECKING:
    from recyclic_backups.archive.documents import Position
    from recyclic_backups.base_backup.catalog import BaseBackup

USUAL_INTERVAL = timedelta(days=7)
"""How often a full base backup is taken where there is only one."""
_LEAST = timedelta(hours=1)
"""Of less than this nobody can tell the pace."""
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class StoredWal:
    """What lies there of a server's WAL and base backups (the newest first), and how far it reaches."""

    bases: tuple[BaseBackup, ...]
    listing: Listing
    position: Position
    histories: Histories

    def leaving_bytes(self, keep: int, now: datetime) -> int:
        """What retention lets go at ``now`` (aware), if it keeps so many chains of base backups."""
        decided = plan_wal(self.bases, self.listing, self.histories, (), keep, now)
        of_bases = sum(each.manifest.stored_bytes for each in decided.leaving)
        return of_bases + sum(self.listing.sizes.get(name, 0) for name in decided.wal)

    @property
    def pace(self) -> tuple[float, float] | None:
        """How many bytes of WAL are stored each day, and by how much its position moves; None where nobody can tell."""
        first = min(self.bases, key=lambda each: each.as_of, default=None)
        if first is None:
            return None
        elapsed = self.position.server_time - first.as_of
        moved = self.position.lsn - first.manifest.start_lsn
        if elapsed < _LEAST or moved < 0:
            return None
        begin = segment_start(first.manifest.start_lsn, self.position.segment_bytes)
        stored = sum(
            self.listing.sizes.get(name, 0)
            for segment in {*self.listing.segments, *self.listing.tails}
            if start_of(segment, self.position.segment_bytes) >= begin
            for name in self.listing.names_of(segment)
        )
        days = elapsed / _DAY
        return stored / days, moved / days


@dataclass(frozen=True, slots=True)
class SpaceForecast:
    """What the storage will hold at the end of each day to come, after retention: ``days`` has the first day first.

    ``wal_bytes_a_day`` is None where no WAL comes, or its pace is not known yet. ``full_on`` is the first day on which
    more would be there than there is room; None if that is none of these days, or nobody knows the room.
    """

    days: tuple[tuple[date, int], ...]
    wal_bytes_a_day: float | None = None
    full_on: date | None = None

    def sentences(self, spelled: Callable[[date], str] = date.isoformat) -> list[Text]:
        """How fast WAL comes, what the storage will hold on the last day, when it is full; days as ``spelled``."""
        day, size_bytes = self.days[-1]
        said = [say("retention.will_hold", size=Bytes(size_bytes), day=spelled(day))]
        if self.wal_bytes_a_day is not None:
            said.insert(0, say("retention.wal_pace", size=Bytes(self.wal_bytes_a_day)))
        if self.full_on is not None:
            said.append(say("retention.storage_full", day=spelled(self.full_on)))
        return said


def forecast_space(
    catalog: Catalog,
    wal: StoredWal | None,
    retention: Retention,
    calendar: Calendar,
    now: datetime,
    *,
    free_bytes: int | None,
    days: int = 31,
) -> SpaceForecast:
    """The forecast of so many days. ``now`` is aware; days are those of the calendar's zone."""
    coming = None if wal is None else _Coming(wal, retention.base, now)
    found: dict[date, int] = {}
    highest: dict[date, int] = {}
    for night in coming_nights(catalog, retention, calendar, now, days):
        day = date.fromisoformat(calendar.partition_of(Tier.DAILY, night.moment))
        backups = sum(each.manifest.stored_bytes for each in night.catalog)
        leaving = sum(each.backup.manifest.stored_bytes for each in night.leaving if each.backup is not None)
        before, after = (0, 0) if coming is None else coming.until(night.moment)
        found[day] = backups + after
        # Retention comes after the backup: both are there for a while.
        highest[day] = max(highest.get(day, 0), backups + leaving + before)
    present = sum(each.manifest.stored_bytes for each in catalog)
    present += (
        0 if wal is None else wal.listing.stored_bytes + sum(each.manifest.stored_bytes for each in wal.bases)
    )
    room = None if free_bytes is None else present + free_bytes
    pace = None if wal is None else wal.pace
    return SpaceForecast(
        tuple(found.items()),
        None if pace is None else pace[0],
        next((day for day, held in highest.items() if room is not None and held > room), None),
    )


@dataclass
class _Coming:
    """A server's WAL and base backups in the days to come."""

    wal: StoredWal
    keep: int
    now: datetime
    bases: list[BaseBackup] = field(init=False)

    def __post_init__(self) -> None:
        listing = self.wal.listing
        self.bases = list(self.wal.bases)
        self.listing = replace(
            listing, segments=dict(listing.segments), tails=dict(listing.tails), sizes=dict(listing.sizes)
        )
        self._pace, self._lsn = self.wal.pace, float(self.wal.position.lsn)
        self._other_bytes = listing.stored_bytes - sum(listing.sizes.values())
        full = [each for each in self.bases if not each.manifest.is_incremental]
        self._template = next((each for each in full if each.good), None)
        self._interval = _interval_of(full)
        newest = next((each.as_of for each in full if not is_of_the_future(each.as_of, self.now)), self.now)
        self._next_at = max(self.now, newest + self._interval)
        self._next_bytes = _bytes_of_a_chain(self.bases, self._template)
        self._expire(self.now)

    def until(self, moment: datetime) -> tuple[int, int]:
        """What lies there at a moment, before and after retention."""
        elapsed, self.now = moment - self.now, moment
        if self._pace is not None and elapsed > timedelta():
            self._write(*(each * (elapsed / _DAY) for each in self._pace))
        while self._template is not None and self._next_at <= moment:
            self._take(self._template, self._next_at)
            self._next_at += self._interval
        before = self._stored_bytes
        self._expire(moment)
        return before, self._stored_bytes

    @property
    def _stored_bytes(self) -> int:
        bases = sum(each.manifest.stored_bytes for each in self.bases)
        return self._other_bytes + sum(self.listing.sizes.values()) + bases

    def _write(self, stored_bytes: float, moved: float) -> None:
        """WAL of so many bytes, as one object that stands for all of them."""
        position = self.wal.position
        name = segment_name(position.timeline, int(self._lsn), position.segment_bytes)
        self.listing.segments.setdefault(name, f"to come/{name}")
        stored = self.listing.segments[name]
        self.listing.sizes[stored] = self.listing.sizes.get(stored, 0) + round(stored_bytes)
        self._lsn += moved

    def _take(self, like: BaseBackup, as_of: datetime) -> None:
        base_id, lsn = new_backup_id(as_of, b"next"), int(self._lsn)
        sized = replace(like.manifest.objects[0], stored_bytes=self._next_bytes)
        manifest = replace(
            like.manifest,
            base_id=base_id,
            timeline=self.wal.position.timeline,
            start_lsn=lsn,
            stop_lsn=lsn + 1,
            as_of=as_of,
            taken_at=as_of,
            objects=(sized,),
        )
        check = Check("verify", base_id, as_of, passed=True)
        self.bases.insert(0, replace(like, manifest=manifest, checks=(check,), hold=None))

    def _expire(self, moment: datetime) -> None:
        decided = plan_wal(self.bases, self.listing, self.wal.histories, (), self.keep, moment)
        gone = {each.base_id for each in decided.leaving}
        self.bases = [each for each in self.bases if each.base_id not in gone]
        leaving = frozenset(decided.wal)
        for segment, name in list(self.listing.segments.items()):
            if name in leaving:
                del self.listing.segments[segment]
        for name in leaving:
            self.listing.sizes.pop(name, None)


def _interval_of(full: Sequence[BaseBackup]) -> timedelta:
    """How often a full base backup was taken: newest first."""
    gaps = [(newer.as_of - older.as_of).total_seconds() for newer, older in pairwise(full)]
    return max(_DAY, timedelta(seconds=median(gaps))) if gaps else USUAL_INTERVAL


def _bytes_of_a_chain(bases: Sequence[BaseBackup], full: BaseBackup | None) -> int:
    """What a full base backup and the incremental ones until the next one take, by the largest chain there is."""
    return max(_chain_sizes(bases), default=0) if full is not None else 0


def _chain_sizes(bases: Sequence[BaseBackup]) -> Iterator[int]:
    """The sizes of the chains: what came from one full base backup to the next one."""
    size = 0
    for each in bases:
        size += each.manifest.stored_bytes
        if not each.manifest.is_incremental:
            yield size
            size = 0
