"""News: what a view of the storage does not know is told once, what is gone is said to be gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Catalog, Damage
from recyclic_backups.catalog.changes import SETTLED, gone, last_verdict, new_labels
from recyclic_backups.catalog.documents import Check
from recyclic_backups_tests.health.catalogs import nights, paris

NOW = paris("2026-11-20T12:00")
FULL = nights("2026-11-15", "2026-11-16", "2026-11-17", weeks=["2026-11-09=2026-11-15"])


def remembered(catalog: Catalog) -> dict[tuple[Tier, str], str]:
    """A view that knows everything."""
    return {slot: label.backup_id for slot, label in catalog.labels.items()}


def test_everything_is_news_to_a_view_that_lost_its_memory() -> None:
    """Loss prevented: an empty page of backups that are all there."""
    found = [(label.tier.value, label.partition) for label, _ in new_labels(FULL, {}, NOW)]
    assert found == [
        ("daily", "2026-11-15"),
        ("weekly", "2026-11-09"),
        ("daily", "2026-11-16"),
        ("daily", "2026-11-17"),
    ]
    assert new_labels(FULL, remembered(FULL), NOW) == []
    assert gone(FULL, remembered(FULL)) == []
    assert gone(FULL, {}) == []


def test_another_backup_in_a_partition_is_news() -> None:
    """Loss prevented: a page that says how to restore the backup before the last."""
    known = remembered(FULL) | {(Tier.DAILY, "2026-11-16"): "20261116T000000Z-AAAAAA"}
    ((label, backup),) = new_labels(FULL, known, NOW)
    assert (label.partition, backup.backup_id) == ("2026-11-16", label.backup_id)


def test_a_label_made_just_now_is_left_to_whoever_made_it() -> None:
    """Loss prevented: every backup of every night told twice."""
    made_at = FULL.labels[Tier.DAILY, "2026-11-17"].labelled_at
    known = remembered(FULL)
    del known[Tier.DAILY, "2026-11-17"]
    assert new_labels(FULL, known, made_at + timedelta(seconds=5)) == []
    assert new_labels(FULL, known, made_at - timedelta(seconds=5)) == []
    assert len(new_labels(FULL, known, made_at + SETTLED)) == 1
    # A clock that is an hour ahead must not hide it for an hour.
    assert len(new_labels(FULL, known, made_at - timedelta(hours=1))) == 1


def test_what_is_gone_is_told_with_what_became_of_it() -> None:
    """Loss prevented: a green day with the command to restore what nobody has any more."""
    known = remembered(FULL)
    ids = {partition: backup_id for (tier, partition), backup_id in known.items() if tier is Tier.DAILY}
    lost = ids["2026-11-17"]

    def said(catalog: Catalog) -> list[tuple[str, bool, str]]:
        return [(each.partition, each.expired, each.reason) for each in gone(catalog, known)]

    expired = nights(
        "2026-11-15", "2026-11-16", "2026-11-17", weeks=["2026-11-09=2026-11-15"], expired=["2026-11-17"]
    )
    assert said(expired) == [("2026-11-17", True, f"the backup {lost} has expired")]
    without = replace(FULL, backups=FULL.backups[1:])
    assert said(without) == [("2026-11-17", False, f"the backup {lost} is not in the storage any more")]
    name = f"recyclic/backups/{lost}/manifest.json"
    damaged = replace(without, damage=(Damage(name, "it is not JSON"),))
    assert said(damaged) == [
        ("2026-11-17", False, f"the manifest of the backup {lost} is not usable: it is not JSON")
    ]
    labels = {slot: label for slot, label in FULL.labels.items() if slot != (Tier.DAILY, "2026-11-17")}
    assert said(replace(without, labels=labels)) == [
        ("2026-11-17", False, "the storage has no label daily/2026-11-17")
    ]


def test_verdicts_are_told_apart() -> None:
    """Loss prevented: a failed restore shown as damage, or an old verdict over a newer one."""
    (backup, *_) = FULL
    at = backup.as_of
    kinds = ("verify", "restore", "drill", "verify")
    checks = tuple(
        Check(kind, backup.backup_id, at + timedelta(hours=hour), True)  # type: ignore[arg-type]
        for hour, kind in enumerate(kinds)
    )
    backup = replace(backup, checks=checks)
    assert last_verdict(backup, verifications=True) == checks[3].checked_at
    assert last_verdict(backup, verifications=False) == checks[2].checked_at
    assert last_verdict(replace(backup, checks=()), verifications=True) is None
