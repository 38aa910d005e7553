"""What leaves next, and when: the policy asked again for each day to come. Pure.

The days to come are those of a calendar on which nothing fails: each night a good backup, promoted to its week and
month as :mod:`recyclic_backups.catalog.promotion` would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Check, Label
from recyclic_backups.catalog.layout import new_backup_id
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.retention.policy import Decision, Retention, plan
from recyclic_backups.texts.text import Text

# Long enough for the dump and its verification: the plan of a night is made after its backup.
_AFTER_THE_BACKUP = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Departure:
    """A backup that is there today and leaves on a day to come (of the calendar's time zone), with the reasons."""

    backup_id: str
    day: date
    reasons: tuple[Text, ...]


def departures(
    catalog: Catalog, retention: Retention, calendar: Calendar, now: datetime, *, days: int = 31
) -> list[Departure]:
    """Which of today's backups leave within so many days, the next first, if every backup to come is good.

    What the plan of ``now`` already lets go leaves today. Empty where there is no backup to go on from.
    """
    ours = {backup.backup_id for backup in catalog}
    found: list[Departure] = []
    for night in coming_nights(catalog, retention, calendar, now, days):
        day = date.fromisoformat(calendar.partition_of(Tier.DAILY, night.moment))
        found += [
            Departure(decision.backup_id, day, decision.reasons)
            for decision in night.leaving
            if decision.backup_id in ours
        ]
    return found


@dataclass(frozen=True, slots=True)
class Night:
    """A moment after a night's backup: what leaves then, and the catalog after that."""

    moment: datetime
    leaving: Sequence[Decision]
    catalog: Catalog


def coming_nights(
    catalog: Catalog, retention: Retention, calendar: Calendar, now: datetime, days: int
) -> Iterator[Night]:
    """``now``, and each night within so many days, as if every backup to come were good, and as large as the newest.

    Where there is no backup to go on from, none comes.
    """
    for moment, day in _nights(catalog, calendar, now, days):
        if day is not None and catalog.backups:
            catalog = _with_backup_of(catalog, calendar, day)
        leaving = plan(catalog, retention, calendar, moment).expiring
        gone = {decision.backup_id for decision in leaving}
        catalog = replace(
            catalog,
            backups=tuple(backup for backup in catalog if backup.backup_id not in gone),
            tombstones=catalog.tombstones | gone,
        )
        yield Night(moment, leaving, catalog)


def _nights(
    catalog: Catalog, calendar: Calendar, now: datetime, days: int
) -> Iterator[tuple[datetime, str | None]]:
    """When the policy is asked: now, then after each night's backup, with its day."""
    yield now, None
    today = date.fromisoformat(calendar.partition_of(Tier.DAILY, now))
    for number in range(days + 1):
        day = (today + timedelta(days=number)).isoformat()
        # Tonight's too while it has none: it may be under way.
        if number or (Tier.DAILY, day) not in catalog.labels:
            yield max(now, calendar.scheduled_for(Tier.DAILY, day) + _AFTER_THE_BACKUP), day


def _with_backup_of(catalog: Catalog, calendar: Calendar, day: str) -> Catalog:
    """The catalog after a good night: the day's backup, and the labels of a week or month that prefer that day."""
    as_of = calendar.scheduled_for(Tier.DAILY, day)
    manifest = _manifest(catalog.backups[0].manifest, as_of, day)
    labels = [Label(Tier.DAILY, day, manifest.backup_id, as_of, late=False)]
    for tier in (Tier.WEEKLY, Tier.MONTHLY):
        key = calendar.partition_of(tier, as_of)
        if calendar.preferred_day(tier, key).isoformat() == day:
            labels.append(
                Label(
                    tier,
                    key,
                    manifest.backup_id,
                    as_of,
                    late=False,
                    promoted_from=f"{Tier.DAILY.value}/{day}",
                )
            )
    check = Check("verify", manifest.backup_id, as_of, passed=True)
    backups = sorted(
        (Backup(manifest, tuple(labels), (check,)), *catalog.backups),
        key=lambda backup: (backup.as_of, backup.backup_id),
        reverse=True,
    )
    slots = {(label.tier, label.partition): label for label in labels}
    # A label belongs to one backup: one of the future that is there already gives the day's up.
    others = [
        replace(
            backup,
            labels=tuple(
                label
                for label in backup.labels
                if (label.tier, label.partition) not in slots or label.backup_id == manifest.backup_id
            ),
        )
        for backup in backups
    ]
    return replace(catalog, backups=tuple(others), labels={**catalog.labels, **slots})


def _manifest(like: Manifest, as_of: datetime, day: str) -> Manifest:
    return replace(
        like,
        backup_id=new_backup_id(as_of, b"next"),
        tier=Tier.DAILY,
        partition=day,
        source="scheduled",
        scheduled_for=as_of,
        as_of=as_of,
        taken_at=as_of,
        late=False,
        # What may be sealed in the other one: a forecast needs none of it, and no key.
        fingerprint=None,
        notes=(),
        adopted=None,
        checkpoint=None,
        document={},
        twin=None,
    )
