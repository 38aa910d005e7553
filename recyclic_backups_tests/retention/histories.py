"""Histories of backups made up for retention: what was taken when, what failed, and the catalog that came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Check, Hold, Label, Tombstone
from recyclic_backups.catalog.layout import new_backup_id
from recyclic_backups.catalog.manifest import BackupObject, Manifest, ServerFacts, Source
from recyclic_backups.retention.policy import Decision, ExpiryPlan, Retention

PARIS = ZoneInfo("Europe/Paris")
CALENDAR = Calendar(PARIS, date(2025, 1, 1), hour=2, minute=0)
DEFAULTS = Retention()
DAY = timedelta(days=1)


def paris(text: str) -> datetime:
    """An aware moment from its local time in Paris."""
    return datetime.fromisoformat(text).replace(tzinfo=PARIS)


def manifest(
    as_of: datetime, number: int = 0, *, tier: Tier = Tier.DAILY, source: Source = "scheduled"
) -> Manifest:
    """A manifest without encryption; ``number`` makes ids of the same second differ."""
    as_of = as_of.astimezone(UTC)
    return Manifest(
        backup_id=new_backup_id(as_of, number.to_bytes(4, "big")),
        database="recyclic",
        tier=tier,
        partition="" if tier is Tier.CHECKPOINT else CALENDAR.partition_of(tier, as_of),
        source=source,
        scheduled_for=as_of,
        as_of=as_of,
        taken_at=as_of,
        duration_seconds=60,
        late=False,
        server=ServerFacts("1", "15.18", "0/1", "UTF8", {}, "postgres"),
        programs={},
        objects=(BackupObject("main.dump.zst", "main", 1000, 100, "0" * 64),),
        compression="zstd:2",
        encryption=None,
        fingerprint=None,
    )


@dataclass
class History:
    """Backups as they are taken and labelled, one after the other, the newest of a partition taking its label over."""

    calendar: Calendar = CALENDAR
    backups: list[Backup] = field(default_factory=list)
    labels: dict[tuple[Tier, str], Label] = field(default_factory=dict)
    expired: list[Tombstone] = field(default_factory=list)

    def take(
        self,
        as_of: datetime,
        *,
        state: str = "good",
        tier: Tier = Tier.DAILY,
        partitions: Iterable[tuple[Tier, str]] | None = None,
        source: Source = "scheduled",
        taken_at: datetime | None = None,
    ) -> Backup:
        """A backup of that moment: ``good``, ``damaged``, ``unverified`` or ``proven``.

        Labelled with ``partitions``, by default the day's own and the week's or month's that prefer that day; one
        that is damaged or was not verified gets no label, as nothing labels it.
        """
        made = manifest(as_of, len(self.backups), tier=tier, source=source)
        made = replace(made, taken_at=(taken_at or as_of).astimezone(UTC))
        if partitions is None:
            partitions = self.own_partitions(as_of) if state in ("good", "proven") else []
        backup = Backup(made, (), checks(made, state))
        self.backups.append(backup)
        for slot_tier, partition in partitions:
            known = self.calendar.is_valid_key(slot_tier, partition)
            late = known and self.calendar.is_late(slot_tier, partition, as_of)
            self.labels[slot_tier, partition] = Label(
                slot_tier, partition, made.backup_id, made.taken_at, late
            )
        return self.now_is(made.backup_id)

    def own_partitions(self, as_of: datetime) -> list[tuple[Tier, str]]:
        """The day, and the week and month that promote that day's backup."""
        day = self.calendar.partition_of(Tier.DAILY, as_of)
        own = [(Tier.DAILY, day)]
        for tier in (Tier.WEEKLY, Tier.MONTHLY):
            key = self.calendar.partition_of(tier, as_of)
            if self.calendar.preferred_day(tier, key).isoformat() == day:
                own.append((tier, key))
        return own

    def nights(self, first: str, last: str, *, state: str = "good") -> None:
        """A backup at 02:00 of each day from one to the other, both included."""
        day = date.fromisoformat(first)
        while day <= date.fromisoformat(last):
            self.take(self.calendar.scheduled_for(Tier.DAILY, day.isoformat()), state=state)
            day += DAY

    def change(self, backup: Backup) -> None:
        """Put a backup in the place of what it was."""
        self.backups = [backup if each.backup_id == backup.backup_id else each for each in self.backups]

    def hold(self, backup: Backup, until: datetime | None, reason: str = "court order") -> None:
        """Hold a backup."""
        self.change(replace(backup, hold=Hold(backup.backup_id, reason, None, until)))

    def now_is(self, backup_id: str) -> Backup:
        """A backup with the labels it has now."""
        return next(backup for backup in self.catalog() if backup.backup_id == backup_id)

    def catalog(self) -> Catalog:
        """What loading the storage would give."""
        of: dict[str, list[Label]] = {}
        for label in self.labels.values():
            of.setdefault(label.backup_id, []).append(label)
        found = [replace(each, labels=tuple(of.get(each.backup_id, ()))) for each in self.backups]
        found.sort(key=lambda backup: (backup.as_of, backup.backup_id), reverse=True)
        dead = frozenset(tombstone.backup_id for tombstone in self.expired)
        return Catalog(tuple(found), dict(self.labels), (), dead, tuple(self.expired))

    def without(self, gone: Iterable[str]) -> History:
        """The history after those were deleted, as a run of `expire` leaves it."""
        dead = set(gone)
        catalog = self.catalog()
        tombstones = [
            Tombstone(each.backup_id, each.as_of, each.as_of, labels=each.labels)
            for each in catalog
            if each.backup_id in dead
        ]
        left = [backup for backup in self.backups if backup.backup_id not in dead]
        return History(self.calendar, left, dict(self.labels), [*self.expired, *tombstones])


def checks(of: Manifest, state: str) -> tuple[Check, ...]:
    """The checks that make a backup what it is."""
    at = of.taken_at
    if state == "unverified":
        return ()
    if state == "damaged":
        return (Check("verify", of.backup_id, at, False, ("main.dump.zst is not what was stored",)),)
    found = [Check("verify", of.backup_id, at, True)]
    if state == "proven":
        found.append(Check("drill", of.backup_id, at + timedelta(hours=1), True, proves=True))
    return tuple(found)


def ids(decisions: Iterable[Decision]) -> set[str]:
    """The ids of decisions."""
    return {decision.backup_id for decision in decisions}


def days(decisions: Iterable[Decision]) -> list[str]:
    """The local days of the backups decided on, oldest first."""
    moments = [each.backup.as_of for each in decisions if each.backup is not None]
    return sorted(moment.astimezone(PARIS).date().isoformat() for moment in moments)


def reasons(found: ExpiryPlan, backup: Backup) -> tuple[str, ...]:
    """Why a plan decides as it does about a backup."""
    (decision,) = [each for each in found.decisions if each.backup_id == backup.backup_id]
    return decision.texts()
