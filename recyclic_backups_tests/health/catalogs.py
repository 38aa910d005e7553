"""Catalogs made up for decisions: which day has what, without a server or a storage."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Check, Label
from recyclic_backups.catalog.manifest import BackupObject, Encryption, Manifest, ServerFacts

PARIS = ZoneInfo("Europe/Paris")
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


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


def manifest(
    as_of: datetime = NOON, *, plain: int = 1000, stored: int = 100, seconds: float = 60
) -> Manifest:
    """A manifest whose numbers matter and whose rest does not."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    token = "".join(letters[(as_of.microsecond + plain) >> shift & 31] for shift in range(0, 30, 5))
    return Manifest(
        backup_id=f"{as_of.astimezone(UTC):%Y%m%dT%H%M%SZ}-{token}",
        database="recyclic",
        tier=Tier.DAILY,
        partition=f"{as_of:%Y-%m-%d}",
        source="scheduled",
        scheduled_for=as_of,
        as_of=as_of,
        taken_at=as_of,
        duration_seconds=seconds,
        late=False,
        server=ServerFacts("1", "15.18", "0/1", "UTF8", {}, "postgres"),
        programs={},
        objects=(BackupObject("main.dump", "main", plain, stored, "0" * 64),),
        compression="zstd:2",
        encryption=Encryption(1, "0123456789abcdef"),
        fingerprint=None,
    )


def backup(as_of: datetime = NOON, *checks: Check, **numbers: int) -> Backup:
    """A daily backup of that moment with those checks."""
    content = manifest(as_of, **numbers)
    label = Label(Tier.DAILY, content.partition, content.backup_id, as_of, late=False)
    return Backup(content, (label,), checks)


def check(kind: str, at: datetime, *, passed: bool = True, of: str = "X") -> Check:
    """A check with a reason if it failed."""
    reasons = () if passed else ("members: 3 rows missing",)
    proves = passed and kind != "verify"
    return Check(kind, of, at, passed, reasons, proves)  # type: ignore[arg-type]


def catalog(*backups: Backup) -> Catalog:
    """A catalog of those, newest first."""
    newest_first = sorted(backups, key=lambda each: each.as_of, reverse=True)
    labels = {(label.tier, label.partition): label for each in backups for label in each.labels}
    return Catalog(tuple(newest_first), labels)


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
