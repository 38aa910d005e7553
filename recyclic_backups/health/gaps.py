"""Gaps: which partitions have no good backup, what may be started about it, and what a person can do. Pure.

The catalog is what is asked, never the history of whoever starts runs: a gap is a gap whoever was to fill it, and
stays one after every database of a scheduler is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.promotion import choose_promotion
from recyclic_backups.retention.policy import Retention

GRACE = timedelta(minutes=10)
"""How long after its time a backup is left to whoever starts it regularly."""

_TIERS = tuple(tier for tier in Tier if tier.has_calendar)


class Remedy(StrEnum):
    """What can still be done about a partition that is over."""

    LATE_DUMP = "late dump"
    """A day: a dump taken now, which says that it is late."""

    PROMOTE = "promote"
    """A week or a month that a good backup lies in: it only lacks the label."""

    NOTHING = "nothing"
    """A week or a month that no good backup lies in. Nobody can dump the past."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A partition that is over and has no good backup."""

    tier: Tier
    partition: str
    remedy: Remedy


@dataclass(frozen=True, slots=True)
class Stretch:
    """Gaps of one tier and remedy that follow each other without another partition between."""

    tier: Tier
    remedy: Remedy
    first: str
    last: str
    count: int


@dataclass(frozen=True, slots=True)
class Start:
    """A partition to back up now. ``attempt`` counts the hours since its backup was due, from 0."""

    tier: Tier
    partition: str
    attempt: int


def missing_partitions(catalog: Catalog, calendar: Calendar, now: datetime) -> list[Gap]:
    """Every partition that is over and has no good backup, tier by tier, oldest first.

    A partition whose backup has expired had one: it is none of them.
    """
    gaps = []
    for tier in _TIERS:
        for partition in calendar.partitions(tier, now):
            over = calendar.window(tier, partition).end_at <= now
            if over and not is_filled(catalog, tier, partition):
                gaps.append(Gap(tier, partition, _remedy(catalog, calendar, tier, partition)))
    return gaps


def gaps_that_matter(catalog: Catalog, calendar: Calendar, retention: Retention, now: datetime) -> list[Gap]:
    """The gaps since a tier began whose backup would still be kept: what is older is history."""
    _, since = before_the_first(missing_partitions(catalog, calendar, now), catalog, calendar)
    kept = {
        Tier.DAILY: retention.daily,
        Tier.WEEKLY: retention.weekly,
        Tier.MONTHLY: retention.monthly,
    }
    # One more than are kept: the running one has not ended.
    recent = {tier: calendar.partitions(tier, now)[-count - 1 :] for tier, count in kept.items()}
    return [gap for gap in since if gap.partition in recent[gap.tier]]


def before_the_first(
    gaps: Sequence[Gap], catalog: Catalog, calendar: Calendar
) -> tuple[list[Gap], list[Gap]]:
    """The gaps that ended before their tier began (:func:`starts_of_tiers`), and those since: both in their order."""
    earlier: list[Gap] = []
    since: list[Gap] = []
    starts = starts_of_tiers(catalog, calendar)
    for gap in gaps:
        start = starts[gap.tier]
        ended_before = start is None or calendar.window(gap.tier, gap.partition).end_at <= start
        (earlier if ended_before else since).append(gap)
    return earlier, since


def starts_of_tiers(catalog: Catalog, calendar: Calendar) -> dict[Tier, datetime | None]:
    """When each tier with a calendar begins: with its own first label, or with the first daily one if that is older.

    What ended before is missed by nobody. None where there is neither label.
    """
    return {
        tier: min(
            (
                calendar.window(each, partition).start_at
                for each, partition in catalog.labels
                if each in (tier, Tier.DAILY) and calendar.is_valid_key(each, partition)
            ),
            default=None,
        )
        for tier in _TIERS
    }


def stretches(gaps: Sequence[Gap], calendar: Calendar) -> list[Stretch]:
    """The gaps, those next to each other drawn together."""
    groups: list[list[Gap]] = []
    for before, gap in pairwise([None, *gaps]):
        if gap is None:
            continue
        joined = (
            before is not None
            and (before.tier, before.remedy) == (gap.tier, gap.remedy)
            and calendar.window(before.tier, before.partition).end_at
            == calendar.window(gap.tier, gap.partition).start_at
        )
        if joined:
            groups[-1].append(gap)
        else:
            groups.append([gap])
    return [
        Stretch(group[0].tier, group[0].remedy, group[0].partition, group[-1].partition, len(group))
        for group in groups
    ]


def due(catalog: Catalog, calendar: Calendar, now: datetime) -> list[Start]:
    """What is to be started now: per tier at most the partition whose backup was due last.

    Its time is over by :data:`GRACE` and it has no good backup; it still runs, or it is a week or a month to which
    a good backup of that time only has to be promoted. As long as today's daily backup is among them it is the
    only one: the others are made from it.
    """
    starts = []
    for tier in _TIERS:
        partition = _due_last(calendar, tier, now - GRACE)
        if not calendar.is_valid_key(tier, partition) or is_filled(catalog, tier, partition):
            continue
        running = calendar.contains(tier, partition, now)
        if running or _remedy(catalog, calendar, tier, partition) is Remedy.PROMOTE:
            waited = now - calendar.scheduled_for(tier, partition)
            starts.append(Start(tier, partition, int(waited / timedelta(hours=1))))
    return starts[:1] if starts and starts[0].tier is Tier.DAILY else starts


def _due_last(calendar: Calendar, tier: Tier, now: datetime) -> str:
    """Key of the partition whose backup was due last, be it before the first one."""
    partition = calendar.partition_of(tier, now)
    while calendar.scheduled_for(tier, partition) > now:
        # Noon of the day before: no change of the clocks reaches that far.
        eve = date.fromisoformat(partition) - timedelta(days=1)
        partition = calendar.partition_of(
            tier, datetime(eve.year, eve.month, eve.day, 12, tzinfo=calendar.timezone)
        )
    return partition


def is_filled(catalog: Catalog, tier: Tier, partition: str) -> bool:
    """Whether a partition has a good backup, or had one that has expired."""
    label = catalog.labels.get((tier, partition))
    if label is None:
        return False
    holder = catalog.labelled(tier, partition)
    return label.backup_id in catalog.tombstones or (holder is not None and holder.good)


def _remedy(catalog: Catalog, calendar: Calendar, tier: Tier, partition: str) -> Remedy:
    if tier is Tier.DAILY:
        return Remedy.LATE_DUMP
    promotion = choose_promotion(catalog, calendar, tier, partition)
    return Remedy.NOTHING if promotion is None else Remedy.PROMOTE
