"""Catalogs made up for decisions: which day has what, without a server or a storage."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Check, Label
from recyclic_backups_tests.health.test_objectives import manifest

PARIS = ZoneInfo("Europe/Paris")


def paris(text: str) -> datetime:
    """An aware moment from its local time in Paris."""
    return datetime.fromisoformat(text).replace(tzinfo=PARIS)


def calendar(start: str = "2026-10-01", hour: int = 2, minute: int = 0) -> Calendar:
    """A calendar in Paris."""
    return Calendar(PARIS, date.fromisoformat(start), hour, minute)


def days(first: str, last: str) -> list[str]:
    """Every day from one to the other, both included."""
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    return [(begin + timedelta(days=number)).isoformat() for number in range((end - begin).days + 1)]


def nights(
    *dates: str,
    weeks: Collection[str] = (),
    months: Collection[str] = (),
    damaged: Collection[str] = (),
    expired: Collection[str] = (),
) -> Catalog:
    """A verified backup at 02:00 of each date; weeks and months are given as ``<key>=<date it takes>``."""
    promoted = [(Tier.WEEKLY, each) for each in weeks] + [(Tier.MONTHLY, each) for each in months]
    backups: list[Backup] = []
    labels: dict[tuple[Tier, str], Label] = {}
    tombstones: set[str] = set()
    for day in sorted(dates, reverse=True):
        content = manifest(paris(f"{day}T02:00"))
        own = [Label(Tier.DAILY, day, content.backup_id, content.as_of, late=False)]
        for tier, each in promoted:
            key, _, taken = each.partition("=")
            if taken == day:
                own.append(
                    Label(
                        tier, key, content.backup_id, content.as_of, late=False, promoted_from=f"daily/{day}"
                    )
                )
        labels |= {(label.tier, label.partition): label for label in own}
        if day in expired:
            tombstones.add(content.backup_id)
            continue
        check = Check("verify", content.backup_id, content.as_of, passed=day not in damaged)
        backups.append(Backup(content, tuple(own), (check,)))
    return Catalog(tuple(backups), labels, (), frozenset(tombstones))
