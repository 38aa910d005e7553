"""What a storage is asked in a day, counted as a remote one would be billed; and how often a backup is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from recyclic_backups import wiring
from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.audit.log import append
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog import read_once
from recyclic_backups.catalog.documents import Check, Label, Tombstone
from recyclic_backups.catalog.manifest import Encryption
from recyclic_backups.catalog.record import record_check, record_label, record_manifest, record_tombstone
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.postgres.slots import look_at
from recyclic_backups.storage import shared
from recyclic_backups_tests.counting import CountingStore
from recyclic_backups_tests.defs.conftest import BEGINNING, PASSPHRASE, Clock, House
from recyclic_backups_tests.health.catalogs import manifest
from recyclic_backups_tests.health.wals import MadeUpWal

GOAL = 2000
SENSORS = ("alerts", "catalog_sync", "missed_backups", "disk_space")


class StandingClock(Clock):
    """A clock that stands where it was set, however often one looks at it."""

    def __call__(self) -> datetime:
        """Aware UTC."""
        return self.at.astimezone(UTC)


@pytest.fixture
def house(quick_house: House) -> House:
    """Encrypted, with a year behind it of which Dagster shows two months."""
    quick_house.variables |= {
        "BACKUP_ENCRYPTION": "true",
        "BACKUP_ENCRYPTION_KEY": PASSPHRASE,
        "BACKUP_START_DATE": "2026-09-01",
    }
    quick_house.clock = StandingClock(BEGINNING)
    return quick_house


@pytest.fixture
def store(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[CountingStore]:
    """The storage of the house: it counts. Everything of this process is forgotten before and afterwards."""
    counting = CountingStore(clock=lambda: house.clock.at.astimezone(UTC))
    monkeypatch.setattr("recyclic_backups.storage.opening.open_store", lambda *_, **__: counting)
    house.shared_seconds = shared.SECONDS
    another_process()
    yield counting
    another_process()


def another_process() -> None:
    """Forget what a process remembers: what comes next is as if another one did it."""
    read_once._memories.clear()
    shared._views.clear()
    shared._servers.clear()


def run(house: House, name: str, partition: str | None = None) -> None:
    """A run of a job, in a process of its own."""
    another_process()
    with dg.partition_loading_context(effective_dt=house.clock()):
        job = house.definitions.resolve_job_def(name)
        tags: dict[str, str] = {} if partition is None else {"dagster/schedule_name": f"{name}_schedule"}
        result = job.execute_in_process(
            partition_key=partition, instance=house.instance, tags={**job.tags, **tags}, raise_on_error=False
        )
    assert result.success, [event.message for event in result.all_events if event.is_failure]
    another_process()


def a_year_of(repository: Repository, last: date) -> None:
    """What a year of nights leaves with the defaults of retention: 23 backups, and the tombstones of the others."""
    for number in range(365, 0, -1):
        day = last - timedelta(days=number)
        taken = datetime(day.year, day.month, day.day, 1, tzinfo=UTC)
        key_id = repository.keyring.for_writing(taken).key_id
        made = replace(
            manifest(taken), database=repository.database, encryption=Encryption(1, key_id), fingerprint=None
        )
        labels = [Label(Tier.DAILY, day.isoformat(), made.backup_id, taken, late=False)]
        if day.isoweekday() == 7:
            monday = day - timedelta(days=6)
            labels.append(Label(Tier.WEEKLY, monday.isoformat(), made.backup_id, taken, late=False))
        if day.day == 1:
            labels.append(Label(Tier.MONTHLY, day.isoformat(), made.backup_id, taken, late=False))
        is_kept = number <= 6 or (len(labels) > 1 and number <= 28) or day.day == 1
        if is_kept:
            for item in made.objects:
                with repository.store.writer(repository.layout.object(made.backup_id, item.name)) as upload:
                    upload.write(b"x" * item.stored_bytes)
                    upload.commit()
            made = record_manifest(repository, made)
            for label in labels:
                record_label(repository, label, made)
            for hours in (0, 6):
                at = taken + timedelta(hours=hours)
                record_check(
                    repository, Check("verify", made.backup_id, at, True, details={"level": "parsed"}), made
                )
        else:
            gone = Tombstone(made.backup_id, taken + timedelta(days=7), taken, 5, (), tuple(labels))
            record_tombstone(repository, gone, made)
        for action in ("verify", "backup", "expire") if number < 30 else ():
            append(repository, action, "done", taken, backup_id=made.backup_id)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("with_wal", [False, True], ids=["dumps", "dumps and WAL"])
def test_an_idle_installation_with_a_year_of_backups_asks_its_storage_less_than_2000_times_a_day(
    house: House, store: CountingStore, tmp_path: Path, *, with_wal: bool
) -> None:
    """Loss prevented: a bill of millions of calls, for looking at what does not change.

    With WAL there are what retention leaves of a busy year: two base backups, and a segment for each five minutes. What
    the receiver does is not counted.
    """
    house.variables["BACKUP_SCRATCH"] = str(tmp_path)
    repository = wiring.open_repository(house.settings())
    a_year_of(repository, date(2026, 11, 1))
    house.run("daily", "2026-11-01")
    house.clock.at = BEGINNING + timedelta(minutes=30)
    for tier, partition in (("weekly", "2026-10-26"), ("monthly", "2026-11-01")):
        assert house.run(tier, partition).success
    house.clock.at = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
    received: MadeUpWal | None = None
    if with_wal:
        house.variables["WAL_ARCHIVE"] = "true"
        server = look_at(house.settings().server, "recyclic_backups")
        archive = WalArchive(repository, server.system_identifier)
        received = MadeUpWal.of_days(archive, house.clock.at, days=13, bases=(13, 6), segments_a_day=288)
    cursors: dict[str, str | None] = {}

    def look(name: str) -> Any:
        data = house.evaluate(name, cursors.get(name))
        cursors[name] = data.cursor
        return data

    while "more to come" in look("catalog_sync").skip_message:
        pass
    look("alerts")
    run(house, "health_job")
    calls: Counter[str] = Counter()
    minute = datetime(2026, 11, 1, 13, 0, tzinfo=UTC)

    def ten_minutes_of_sensors() -> None:
        nonlocal minute
        for number in range(10):
            house.clock.at = max(minute, house.clock.at)
            if received is not None:
                received.receive(house.clock.at)
            for name in SENSORS if number % 5 == 0 else SENSORS[:3]:
                look(name)
            minute += timedelta(minutes=1)

    ten_minutes_of_sensors()  # what there was to tell is told
    another_process()
    acts = (
        ("sensors, with what is looked at once an hour", ten_minutes_of_sensors, 24),
        ("sensors", ten_minutes_of_sensors, 5 * 24),
        ("health_job", lambda: run(house, "health_job"), 24),
        ("metric_verification_job", lambda: run(house, "metric_verification_job"), 1),
        ("retention_job", lambda: run(house, "retention_job"), 1),
        ("daily_backup_job", lambda: run(house, "daily_backup_job", "2026-11-01"), 1),
    )
    for name, act, times in acts:
        store.forget()
        act()
        calls[name] = times * sum(store.calls.values())
        print(f"{name}: {times} times {dict(store.calls)}")  # noqa: T201 - the figures of docs/design.md
    print(f"{sum(calls.values())} a day")  # noqa: T201
    assert sum(calls.values()) < GOAL, calls


@pytest.mark.slow
@pytest.mark.parametrize(
    ("day", "tiers"),
    [
        ("2026-11-03", ["daily"]),
        ("2026-11-08", ["daily", "weekly"]),
        ("2026-11-01", ["daily", "weekly", "monthly"]),
    ],
    ids=["an ordinary day", "a Sunday", "a Sunday the first"],
)
def test_a_backup_is_read_once_in_its_own_run_and_once_later_that_day(
    house: House, store: CountingStore, day: str, tiers: list[str]
) -> None:
    """Loss prevented: seven full reads of 50 GB on a Sunday that is the first of a month. Drills are not counted."""
    calendar = house.settings().calendar
    partitions = {"daily": day, "weekly": calendar.partition_of(Tier.WEEKLY, at(day, 2)), "monthly": day}
    house.clock.at = at(day, 2)
    run(house, "daily_backup_job", day)
    backup = house.catalog.find("latest")
    main = wiring.open_repository(house.settings()).layout.object(backup.backup_id, backup.manifest.main.name)
    assert store.read_bytes[main] == backup.manifest.main.stored_bytes
    for tier in tiers[1:]:
        house.clock.at += timedelta(minutes=30)
        run(house, f"{tier}_backup_job", partitions[tier])
    for hour in (3, 4, 5):
        house.clock.at = at(day, hour)
        run(house, "health_job")
    run(house, "retention_job")
    assert store.read_bytes[main] == backup.manifest.main.stored_bytes
    house.clock.at = at(day, 8)
    run(house, "metric_verification_job")
    for hour in (9, 23):
        house.clock.at = at(day, hour)
        run(house, "health_job")
        for sensor in SENSORS:
            house.evaluate(sensor)
    assert store.read_bytes[main] == 2 * backup.manifest.main.stored_bytes
    house.clock.at = at(day, 8) + timedelta(days=1)
    run(house, "metric_verification_job")
    assert store.read_bytes[main] == 3 * backup.manifest.main.stored_bytes


def at(day: str, hour: int) -> datetime:
    """That hour of a day in November, in Paris."""
    return datetime.fromisoformat(f"{day}T{hour:02}:00:00+01:00").astimezone(UTC)
