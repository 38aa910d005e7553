"""Quarters made up for the report: nights, drills, and what went wrong in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Check, Hold, Label, Tombstone
from recyclic_backups.catalog.layout import new_backup_id
from recyclic_backups.catalog.manifest import BackupObject, Encryption
from recyclic_backups.fingerprint.model import Fingerprint, TableFingerprint
from recyclic_backups.health.judge import Facts, HealthTerms
from recyclic_backups.health.survey import Survey, survey_of
from recyclic_backups.health.thresholds import Thresholds
from recyclic_backups.retention.policy import Retention, plan
from recyclic_backups.texts.language import Locale
from recyclic_backups_tests.health.catalogs import PARIS, manifest

CALENDAR = Calendar(PARIS, date(2026, 9, 1), 2, 0)
TODAY = date(2026, 11, 22)
NOW = datetime(2026, 11, 22, 7, 10, tzinfo=UTC)
_RESTORE_LIMIT = {"simple": 1800.0, "partial": 7200.0, "full": 14400.0}


def tables(day: int, **changed: TableFingerprint) -> dict[str, TableFingerprint]:
    """Tables of a database that grows a little every day, with one that never changes."""
    found = {
        "public.sales": TableFingerprint(20_000 + 60 * day, {"id": 20_000 + 60 * day}, f"{1000 + day}"),
        "public.sale_items": TableFingerprint(
            19_000 + 58 * day, {"id": 19_000 + 58 * day, "note": 400 + day}, f"{2000 + day}"
        ),
        "public.categories": TableFingerprint(85, {"id": 85, "parent": 70}, "77"),
        "public.sites": TableFingerprint(12, {"id": 12}, "78"),
        "public.users": TableFingerprint(140 + day // 10, {"id": 140 + day // 10}, f"{3000 + day // 10}"),
        "public.weights": TableFingerprint(300, {"id": 300}, "79"),
        "public.rates": TableFingerprint(40, {"id": 40}, "80"),
    }
    return found | changed


def night(
    day: date,
    number: int,
    *,
    contents: Mapping[str, TableFingerprint] | None = None,
    plain: int | None = None,
    stored: int | None = None,
    seconds: float | None = None,
    calendar: Calendar = CALENDAR,
) -> Backup:
    """The verified backup of a night, with the labels that it gets."""
    key = day.isoformat()
    as_of = calendar.scheduled_for(Tier.DAILY, key) + timedelta(seconds=2)
    plain = 330_000_000 + 1_200_000 * number if plain is None else plain
    stored = round(plain * (0.232 + 0.001 * (number % 3))) if stored is None else stored
    content = replace(
        manifest(as_of),
        backup_id=new_backup_id(as_of, number.to_bytes(4, "big")),
        partition=key,
        as_of=as_of,
        scheduled_for=as_of,
        duration_seconds=seconds if seconds is not None else 74 + 0.4 * number + 6 * (number % 4),
        taken_at=as_of + timedelta(seconds=90),
        objects=(BackupObject("main.dump.zst.sealed", "main", plain, stored, "0" * 64),),
        encryption=Encryption(1, "4cb31c931198b923"),
        fingerprint=Fingerprint("content", contents if contents is not None else tables(number)).to_json(),
    )
    labels = [Label(Tier.DAILY, key, content.backup_id, as_of, late=False)]
    for tier in (Tier.WEEKLY, Tier.MONTHLY):
        partition = calendar.partition_of(tier, as_of)
        if calendar.preferred_day(tier, partition) == day:
            labels.append(Label(tier, partition, content.backup_id, as_of, late=False))
    verified = Check("verify", content.backup_id, as_of + timedelta(seconds=100), passed=True)
    return Backup(content, tuple(labels), (verified,))


def drilled(backup: Backup, at: datetime, scenario: str, seconds: float, *, passed: bool = True) -> Backup:
    """The backup with a drill of it recorded."""
    check = Check(
        "drill",
        backup.backup_id,
        at,
        passed,
        reasons=() if passed else ("public.sales: 12 rows missing",),
        proves=passed,
        duration_seconds=seconds,
        details={
            "scenario": scenario,
            "leading": True,
            "restore_seconds": seconds,
            "data_loss_seconds": (at - backup.as_of).total_seconds(),
            "objective": {"restore_seconds": _RESTORE_LIMIT[scenario], "data_loss_seconds": 3600.0},
        },
    )
    return replace(backup, checks=(*backup.checks, check))


def quarter(
    *,
    missing: Collection[str] = ("2026-11-06", "2026-11-07"),
    late: Collection[str] = ("2026-11-18",),
    damaged: Collection[str] = ("2026-11-20",),
    held: Collection[str] = ("2026-11-15",),
    newest: Mapping[str, Any] | None = None,
    days: int = 80,
    drills: bool = True,
) -> Catalog:
    """Nights up to :data:`TODAY`, expired by the policy as they would be; Sunday drills."""
    backups: dict[str, Backup] = {}
    for number in range(days):
        day = TODAY - timedelta(days=days - 1 - number)
        key = day.isoformat()
        if key in missing:
            continue
        own = newest if newest is not None and day == TODAY else {}
        made = night(day, number, **own)
        if key in late:
            made = replace(made, labels=tuple(replace(label, late=True) for label in made.labels))
        if key in damaged:
            found = Check(
                "verify", made.backup_id, NOW - timedelta(hours=3), False, ("main.dump: hash differs",)
            )
            made = replace(made, checks=(*made.checks, found))
        if key in held:
            hold = Hold(made.backup_id, "invoice dispute", NOW, NOW + timedelta(days=60))
            made = replace(made, hold=hold)
        if drills and day.weekday() == 6 and day < TODAY:
            at = made.as_of + timedelta(hours=3)
            made = drilled(made, at, "simple", 212 + number)
            made = drilled(made, at + timedelta(hours=1), "partial", 460 + 2 * number, passed=number != 58)
            if number < 45:
                made = drilled(made, at + timedelta(hours=2), "full", 1490)
        backups[key] = made
    return expired(backups.values())


def expired(backups: Collection[Backup], retention: Retention = Retention()) -> Catalog:  # noqa: B008 - frozen
    """The catalog after expiry has done its work: what it let go is a tombstone."""
    newest_first = tuple(sorted(backups, key=lambda each: each.as_of, reverse=True))
    labels = {(label.tier, label.partition): label for each in newest_first for label in each.labels}
    whole = Catalog(newest_first, labels)
    gone = {each.backup_id for each in plan(whole, retention, CALENDAR, NOW).expiring}
    tombstones = tuple(
        Tombstone(each.backup_id, NOW, each.as_of, each.manifest.stored_bytes, ("too old",), each.labels)
        for each in newest_first
        if each.backup_id in gone
    )
    return Catalog(
        tuple(each for each in newest_first if each.backup_id not in gone),
        labels,
        (),
        frozenset(gone),
        tombstones,
    )


def surveyed(
    catalog: Catalog,
    *,
    free_bytes: int | None = 212_000_000_000,
    now: datetime = NOW,
    locale: Locale = "en",
    database: str = "recyclic",
) -> Survey:
    """The survey of a catalog with default settings."""
    terms = HealthTerms(database, CALENDAR, Retention(), Thresholds(), locale)
    return survey_of(Facts(catalog, free_bytes), terms, now)
