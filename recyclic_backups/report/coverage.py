"""Coverage: what each day, week and month has. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.proof import proven_at
from recyclic_backups.health.gaps import starts_of_tiers
from recyclic_backups.health.thresholds import OVERDUE_AFTER

TIERS = (Tier.DAILY, Tier.WEEKLY, Tier.MONTHLY)


class State(StrEnum):
    """What became of a partition, the best last."""

    BEFORE = "before"
    """It ended before its tier began, or is not one that counts."""
    COMING = "coming"
    """Its backup is not due yet, or only just."""
    MISSED = "missed"
    """It ended without a backup, longer ago than its backup would be kept: history, which nothing brings back."""
    OVERDUE = "overdue"
    """It still runs and its backup was due: one can still be made."""
    MISSING = "missing"
    """It ended without a backup, and a finding names it."""
    DAMAGED = "damaged"
    EXPIRED = "expired"
    """It had one, which retention let go."""
    PRESENT = "present"
    """There, and never verified."""
    VERIFIED = "verified"
    PROVEN = "proven"


SIGNS: Mapping[State, str] = {
    State.BEFORE: "",
    State.COMING: "·",
    State.MISSED: "○",
    State.OVERDUE: "…",
    State.MISSING: "✕",
    State.DAMAGED: "!",
    State.EXPIRED: "–",
    State.PRESENT: "?",
    State.VERIFIED: "✓",
    State.PROVEN: "★",
}
"""How each is drawn: no state is told by colour alone."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A partition: over so many of the shown days, and what it has."""

    tier: Tier
    partition: str
    days: int
    state: State
    late: bool = False
    held: bool = False
    backup_id: str = ""

    @property
    def flags(self) -> tuple[str, ...]:
        """What else is to be known: ``late``, ``held``."""
        return tuple(name for name, there in (("late", self.late), ("held", self.held)) if there)


@dataclass(frozen=True, slots=True)
class Coverage:
    """The shown days, oldest first, and a row of cells for each tier that together span them."""

    days: tuple[date, ...]
    rows: tuple[tuple[Tier, tuple[Cell, ...]], ...]


def coverage(
    catalog: Catalog, calendar: Calendar, now: datetime, *, gaps: Collection[str], days: int = 42
) -> Coverage:
    """The last ``days`` days, today's included. Missing are ``gaps`` (``tier/partition``), which findings name."""
    today = date.fromisoformat(calendar.partition_of(Tier.DAILY, now))
    shown = tuple(today - timedelta(days=number) for number in reversed(range(days)))
    starts = starts_of_tiers(catalog, calendar)
    rows = []
    for tier in TIERS:
        cells: list[Cell] = []
        for day in shown:
            key = _key(tier, day)
            if cells and cells[-1].partition == key:
                cells[-1] = _wider(cells[-1])
            else:
                cell = _cell(catalog, calendar, now, starts[tier], tier, key)
                if cell.state is State.MISSED and f"{tier.value}/{key}" in gaps:
                    cell = replace(cell, state=State.MISSING)
                cells.append(cell)
        rows.append((tier, tuple(cells)))
    return Coverage(shown, tuple(rows))


def _cell(
    catalog: Catalog, calendar: Calendar, now: datetime, began: datetime | None, tier: Tier, key: str
) -> Cell:
    label = catalog.labels.get((tier, key))
    backup = catalog.labelled(tier, key)
    if label is not None and backup is not None:
        state = State.PRESENT
        if backup.known_damaged:
            state = State.DAMAGED
        elif proven_at(backup, now) is not None:
            state = State.PROVEN
        elif backup.good:
            state = State.VERIFIED
        return Cell(tier, key, 1, state, label.late, backup.is_held(now), backup.backup_id)
    if label is not None and label.backup_id in catalog.tombstones:
        return Cell(tier, key, 1, State.EXPIRED, label.late, backup_id=label.backup_id)
    if not calendar.is_valid_key(tier, key):
        return Cell(tier, key, 1, State.BEFORE)
    window = calendar.window(tier, key)
    if began is None or window.end_at <= began:
        return Cell(tier, key, 1, State.BEFORE)
    due_at = calendar.scheduled_for(tier, key)
    runs = now < window.end_at
    # A week that still runs and was due before anybody took a backup was never anybody's failure.
    if now < due_at + OVERDUE_AFTER or (runs and due_at < _first_taken_at(catalog, now)):
        return Cell(tier, key, 1, State.COMING)
    return Cell(tier, key, 1, State.OVERDUE if runs else State.MISSED)


def _first_taken_at(catalog: Catalog, now: datetime) -> datetime:
    """When the first backup was taken, as far as anybody still knows."""
    taken = [backup.manifest.taken_at for backup in catalog if backup.manifest.source != "adopted"]
    gone = [tombstone.as_of for tombstone in catalog.expired if tombstone.as_of is not None]
    return min([*taken, *gone], default=now)


def _wider(cell: Cell) -> Cell:
    return replace(cell, days=cell.days + 1)


def _key(tier: Tier, day: date) -> str:
    """The partition that a day is in, by the calendar on the wall."""
    if tier is Tier.WEEKLY:
        day -= timedelta(days=day.weekday())
    elif tier is Tier.MONTHLY:
        day = day.replace(day=1)
    return day.isoformat()
