"""Nights made up for anomalies: a database that lives, and what somebody does to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.layout import new_backup_id
from recyclic_backups.catalog.manifest import BackupObject
from recyclic_backups.fingerprint.model import Fingerprint, TableFingerprint
from recyclic_backups.health.anomalies import anomalies
from recyclic_backups.health.finding import Finding
from recyclic_backups_tests.health.catalogs import manifest

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
Tables = Mapping[str, TableFingerprint]


def ordinary(number: int) -> dict[str, TableFingerprint]:
    """The tables of night ``number`` (0 is the oldest): some grow, some live, five never change."""
    quiet = {
        f"public.{name}": TableFingerprint(rows, {"id": rows, "note": rows // 10}, f"{rows}")
        for name, rows in (("rates", 40), ("sites", 12), ("weights", 300), ("roles", 25), ("units", 9))
    }
    return quiet | {
        "public.sales": TableFingerprint(20_000 + 60 * number, {"id": 20_000 + 60 * number}, f"{7 + number}"),
        "public.users": TableFingerprint(
            150 + number % 3, {"id": 150 + number % 3, "phone": 75}, f"{9 + number}"
        ),
        "public.queue": TableFingerprint(5 * (number % 2), {"id": 5 * (number % 2)}, f"{number % 2}"),
    }


def night(
    number: int,
    *,
    of: int = 15,
    tables: Tables | None = None,
    plain: int | None = None,
    stored: int | None = None,
    seconds: float | None = None,
    **changed: Any,
) -> Backup:
    """The verified backup of night ``number`` of so many; the last is of :data:`NOW`."""
    as_of = NOW - timedelta(days=of - 1 - number, hours=5)
    plain = 300_000_000 + 900_000 * number if plain is None else plain
    stored = round(plain * (0.24 + 0.001 * (number % 3))) if stored is None else stored
    content = replace(
        manifest(as_of),
        backup_id=new_backup_id(as_of, number.to_bytes(4, "big")),
        objects=(BackupObject("main.dump", "main", plain, stored, "0" * 64),),
        duration_seconds=120 + number % 5 if seconds is None else seconds,
        fingerprint=Fingerprint("content", ordinary(number) if tables is None else tables).to_json(),
        **changed,
    )
    return Backup(content, (), (Check("verify", content.backup_id, as_of, passed=True),))


def catalog(nights: Sequence[Backup]) -> Catalog:
    """Newest first, as loaded."""
    return Catalog(tuple(sorted(nights, key=lambda each: each.as_of, reverse=True)), {})


def after(
    change: Callable[[dict[str, TableFingerprint]], Tables], *, since: int = 1, of: int = 15, **newest: Any
) -> Catalog:
    """Ordinary nights, of which the last ``since`` have tables changed by somebody, and the newest other figures."""
    found = []
    for number in range(of):
        is_changed = number >= of - since
        tables = change(ordinary(number)) if is_changed else None
        found.append(night(number, of=of, tables=tables, **(newest if is_changed else {})))
    return catalog(found)


def same(tables: dict[str, TableFingerprint]) -> Tables:
    """Nobody does anything."""
    return tables


def found_in(nights: Catalog, now: datetime = NOW) -> dict[str, Finding]:
    """Anomalies by name and subject."""
    return {f"{each.code} {each.subject}".strip(): each for each in anomalies(nights, now)}
