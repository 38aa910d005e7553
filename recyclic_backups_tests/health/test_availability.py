"""Availability: the share of time in which something young enough could have been restored."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.documents import Label, Tombstone
from recyclic_backups.health.availability import availability
from recyclic_backups_tests.health.catalogs import backup, catalog, check, days, nights, paris

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CRITICAL = 25 * 3600.0
HOUR = timedelta(hours=1)


def share(found: Catalog, now: datetime = NOW) -> float:
    """Of one."""
    result = availability(found, now, critical_seconds=CRITICAL)
    assert result is not None
    return result.share


def test_a_backup_every_night_is_always_there() -> None:
    """Loss prevented: an objective that a perfect month misses is one that nobody believes."""
    assert share(nights(*days("2026-10-15", "2026-11-22"))) == 1.0


def test_the_night_of_twenty_five_hours_costs_nothing() -> None:
    """Loss prevented: an alarm every October."""
    assert share(nights(*days("2026-10-15", "2026-10-30")), paris("2026-10-30T12:00")) == 1.0


def test_a_missed_night_costs_the_hours_until_the_next() -> None:
    """Loss prevented: an outage that the figure hides."""
    there = [day for day in days("2026-10-15", "2026-11-22") if day != "2026-11-10"]
    result = availability(nights(*there), NOW, critical_seconds=CRITICAL)
    assert result is not None
    (gap,) = result.gaps
    assert gap.end_at - gap.start_at == 23 * HOUR
    assert result.share == pytest.approx(1 - 23 / (30 * 24))
    assert not result.met


def test_what_is_not_verified_or_found_damaged_does_not_count() -> None:
    """Loss prevented: availability of files."""
    sound = backup(NOW - 10 * HOUR, check("verify", NOW - 9 * HOUR))
    never = backup(NOW - 60 * HOUR, plain=1001)
    damaged = backup(NOW - 40 * HOUR, check("verify", NOW, passed=False), plain=1002)
    assert availability(catalog(never, damaged), NOW, critical_seconds=CRITICAL) is None
    result = availability(catalog(sound, never, damaged), NOW, critical_seconds=CRITICAL)
    assert result is not None
    assert result.since == NOW - 10 * HOUR


def test_expired_backups_counted_while_they_were_there() -> None:
    """Loss prevented: a perfect month that retention makes look like a bad one."""
    all_nights = nights(*days("2026-10-15", "2026-11-22"))
    gone = all_nights.backups[7:]
    tombstones = tuple(Tombstone(each.backup_id, NOW, each.as_of, labels=each.labels) for each in gone)
    left = replace(all_nights, backups=all_nights.backups[:7], expired=tombstones)
    assert share(left) == 1.0
    unlabelled = replace(left, expired=tuple(replace(each, labels=()) for each in tombstones))
    result = availability(unlabelled, NOW, critical_seconds=CRITICAL)
    assert result is not None
    assert result.since > NOW - timedelta(days=8)


moments = st.lists(st.integers(0, 40 * 24), min_size=1, max_size=40, unique=True)


@given(ages=moments)
def test_the_share_is_what_counting_the_hours_gives(ages: list[int]) -> None:
    """Loss prevented: overlapping or nested stretches counted twice."""
    there = [backup(NOW - age * HOUR, check("verify", NOW - age * HOUR)) for age in ages]
    result = availability(catalog(*there), NOW, critical_seconds=CRITICAL)
    assert result is not None
    hours = round(result.total_seconds / 3600)
    covered = sum(any(age - 25 <= hour < age for age in ages) for hour in range(hours))
    assert result.share == pytest.approx(covered / hours if hours else 1.0)


@given(ages=moments, more=st.integers(0, 40 * 24))
def test_one_more_backup_never_adds_a_gap(ages: list[int], more: int) -> None:
    """Loss prevented: a figure that falls because somebody took a backup."""
    oldest = max(ages)
    there = [backup(NOW - age * HOUR, check("verify", NOW)) for age in ages]
    extra = backup(NOW - min(more, oldest) * HOUR, check("verify", NOW), plain=2000)
    assert share(catalog(*there, extra)) >= share(catalog(*there)) - 1e-9


def test_labels_of_any_tier_make_an_expired_backup_count() -> None:
    """Loss prevented: a monthly backup that counted for nothing."""
    label = Label(Tier.MONTHLY, "2026-11-01", "X", NOW, late=False)
    tombstone = Tombstone("X", NOW, NOW - 10 * HOUR, labels=(label,))
    assert share(Catalog((), {}, (), frozenset({"X"}), (tombstone,))) == 1.0
