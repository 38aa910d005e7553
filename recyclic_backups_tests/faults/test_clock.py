"""The machine's clock is set while a backup runs, or between two of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.dump.back_up import back_up
from recyclic_backups.dump.take import BackupRequest
from recyclic_backups.errors import DamagedData
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore

READINGS = 14
"""More often than this no backup looks at the clock. By its first look it judges whether the day asked for exists."""


def _set_at(house: House, reading: int, by: timedelta) -> Callable[[], datetime]:
    """A clock that is set when it is looked at for that time."""
    count = 0

    def clock() -> datetime:
        nonlocal count
        count += 1
        if count == reading:
            house.now += by
        return house.now

    return clock


@pytest.mark.parametrize("days", some([-3, 3, -250], {-3}))
@pytest.mark.parametrize("reading", some(range(2, READINGS), {2, 7}))
def test_a_clock_that_is_set_in_the_middle_of_a_backup(house: House, reading: int, days: int) -> None:
    """Loss prevented: a backup refused, swept or called negative because a time server corrected the clock."""
    first = house.back_up().backup.backup_id
    house.now += timedelta(minutes=10)
    before = house.now
    partition = house.plan.calendar.partition_of(Tier.DAILY, before)
    back_up(
        house.server,
        house.repository,
        BackupRequest(Tier.DAILY, partition, "manual"),
        house.plan,
        clock=_set_at(house, reading, timedelta(days=days)),
    )
    assert house.now != before, "no backup looks at the clock so often"
    assert not house.catalog.damage
    # A clock set forward may make it a day that is over, and has its backup.
    assert {backup.backup_id for backup in house.catalog} >= {first}
    assert all(backup.good and backup.manifest.duration_seconds >= 0 for backup in house.catalog)
    assert all(verdict.passed for verdict in house.verify())
    house.now += timedelta(minutes=10)
    assert house.back_up().backup.good


def test_the_newest_verdict_counts_though_the_clock_says_otherwise(house: House, memory: MemoryStore) -> None:
    """Loss prevented: a backup found damaged today, good for a year because of a check made with a wrong clock."""
    backup_id = house.back_up().backup.backup_id
    house.now += timedelta(days=365)
    assert house.verify()[0].passed
    house.now -= timedelta(days=365)
    name = f"{house.repository.layout.backup(backup_id)}/main.dump.zst.sealed"
    data = memory.get(name)
    memory.replace(name, data[:-1])
    assert isinstance(house.verify()[0].error, DamagedData)
    (backup,) = house.catalog
    assert backup.known_damaged
    memory.replace(name, data)
    assert house.verify()[0].passed
    (backup,) = house.catalog
    assert backup.good
