"""A quarter of operation through the real schedules, sensors and jobs: what expired, was drilled, said and recorded."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from recyclic_backups import wiring
from recyclic_backups.audit.event import Event, Head
from recyclic_backups.audit.examine import examine
from recyclic_backups.audit.log import read_log
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.layout import BACKUP_ID
from recyclic_backups_tests.defs.conftest import House
from recyclic_backups_tests.defs.simulation import PARIS, Simulation, day_of
from recyclic_backups_tests.notify.receivers import Web, bot

__all__ = ["bot"]

OTHER_SCHEDULES = ("retention", "drill_simple", "drill_partial", "drill_full", "retention_review")


class Operation(Simulation):
    """The same installation with everything else that runs by itself: retention, drills, the review, alerts."""

    done: list[tuple[str, str, bool]]

    def __init__(self, house: House) -> None:
        super().__init__(house)
        self.done = []

    def _next(self, now: datetime) -> datetime:
        ticks = [self._other_tick_after(name, now) for name in OTHER_SCHEDULES]
        return min(super()._next(now), *ticks)

    def _pass_until(self, now: datetime) -> None:
        super()._pass_until(now)
        if not self.on:
            return
        for name in OTHER_SCHEDULES:
            self._other(name, now)
        self.alert()

    def _other_tick_after(self, name: str, now: datetime) -> datetime:
        schedule = self.house.definitions.resolve_schedule_def(f"{name}_schedule")
        ticks = schedule_execution_time_iterator(
            now.timestamp(), schedule.cron_schedule, schedule.execution_timezone, ascending=True
        )
        return next(tick.astimezone(UTC) for tick in ticks if tick.timestamp() > now.timestamp())

    def _other(self, name: str, now: datetime) -> None:
        """Of missed ticks only the last is evaluated, late, as Dagster does."""
        missed, tick = None, self._other_tick_after(name, self._ticked.setdefault(name, now))
        while tick <= now:
            missed, tick = tick, self._other_tick_after(name, tick)
        if missed is None:
            return
        self._ticked[name] = missed
        job = self.house.definitions.resolve_job_def(f"{name}_job")
        result = job.execute_in_process(instance=self.house.instance, raise_on_error=False)
        day = self.house.clock.at.astimezone(PARIS).date().isoformat()
        self.done.append((name, day, bool(result.success)))

    def alert(self) -> None:
        """One look of the sensor that tells people."""
        self._cursors["alerts"] = self.house.evaluate("alerts", self._cursors.get("alerts")).cursor

    def look(self) -> None:
        """All sensors."""
        super().look()
        self.alert()

    @property
    def events(self) -> list[Event]:
        """The audit log."""
        return [
            stored.event for stored in read_log(wiring.open_repository(self.house.settings())) if stored.event
        ]

    def audit_problems(self) -> list[str]:
        """What an examination of the log finds, with the heads that manifests carry."""
        heads = {
            backup.backup_id: head
            for backup in self.catalog
            if (head := Head.in_manifest(backup.manifest.audit_head)) is not None
        }
        return examine(wiring.open_repository(self.house.settings()), heads)[0]


@pytest.fixture
def operation(quick_house: House, bot: Web) -> Iterator[Operation]:
    """An installation that does not run yet, with one channel; Dagster's log of hundreds of runs is kept out."""
    quick_house.variables |= {
        "NOTIFICATION_TELEGRAM_TOKEN": "424242:nobody-knows-this-one",
        "NOTIFICATION_TELEGRAM_CHAT_ID": "99",
        "DAGSTER_URL": "https://dagster.example.org/",
    }
    with quick_house.settings().server.connect(quick_house.variables["POSTGRES_DB"]) as connection:
        # Something that a drill can damage and put right.
        connection.execute("ALTER TABLE member ADD PRIMARY KEY (id), ADD name text")
        connection.execute("UPDATE member SET name = 'member ' || id")
        connection.execute(
            "CREATE TABLE visit (id int PRIMARY KEY, member_id int NOT NULL REFERENCES member);"
            "INSERT INTO visit SELECT n, n FROM generate_series(1, 20) n"
        )
    logger = logging.getLogger("dagster")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield Operation(quick_house)
    logger.setLevel(level)


def heads_of(operation: Operation, texts: list[str]) -> list[str]:
    """The first line of each message, without the database, ids, percentages, and what is cut off for length."""
    prefix = f"[{operation.house.variables['POSTGRES_DB']}] "
    # How well a few rows are compressed depends on the name of the database.
    heads = (re.sub(r"[0-9.]+ %", "N %", BACKUP_ID.sub("ID", text.splitlines()[0])) for text in texts)
    return [head.removeprefix(prefix)[:60] for head in heads]


def require_recorded(operation: Operation) -> None:
    """The audit log tells of every backup, expiry and drill, and is whole."""
    counts = Counter((event.action, event.outcome) for event in operation.events)
    assert operation.audit_problems() == []
    assert counts["expire", "done"] == counts["expire", "begun"] == len(operation.catalog.tombstones)
    drilled = [success for name, _, success in operation.done if name.startswith("drill_")]
    assert counts["drill", "passed"] == sum(drilled)
    assert counts["drill", "not passed"] == len(drilled) - sum(drilled)
    done = [event for event in operation.events if event.action == "backup" and event.outcome != "failed"]
    dumped = {event.backup_id for event in done if event.outcome == "done"}
    dumped |= {each for event in done if (each := event.details.get("dumped_for_the_day"))}
    assert dumped == {backup.backup_id for backup in operation.catalog} | operation.catalog.tombstones
    assert operation.orphans() == []


def days_kept(operation: Operation) -> dict[str, list[str]]:
    """For each tier the days whose backups are still there, oldest first."""
    return {
        tier.value: sorted(day_of(backup.backup_id) for backup in operation.catalog if tier in backup.tiers)
        for tier in (Tier.DAILY, Tier.WEEKLY, Tier.MONTHLY)
    }


def drills(operation: Operation) -> list[tuple[str, str, bool]]:
    """What was drilled when, and whether it passed."""
    return [(name, day, success) for name, day, success in operation.done if name.startswith("drill_")]


QUALITY = "warning: 2 problems: A backup is not as it should be: ID is "
"""Of a tiny, unencrypted database."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_three_weeks_expire_drill_tell_and_record_what_a_person_would_expect(
    operation: Operation, bot: Web
) -> None:
    """Loss prevented: retention, drills and alerts that each work alone and not together, over a night of 25 hours."""
    operation.house.variables["BACKUP_START_DATE"] = "2026-10-05"
    operation.live(
        "2026-10-05T12:00",
        "2026-10-27T12:00",
        {
            "2026-10-05T15:00": operation.switch_on,
            "2026-10-14T01:00": operation.database_down,
            "2026-10-14T10:30": operation.database_up,
            "2026-10-20T01:59": operation.kill_the_next_run,
        },
    )
    assert operation.drawn().splitlines()[1] == "2026-10     DDDDDDDDDDDDDDDDDDDDDDD"
    assert days_kept(operation) == {
        "daily": ["2026-10-11", "2026-10-18", *(f"2026-10-{day}" for day in range(21, 28))],
        "weekly": ["2026-10-11", "2026-10-18", "2026-10-25"],
        "monthly": [],
    }
    assert drills(operation) == [
        (f"drill_{scenario}", f"2026-10-{sunday}", True)
        for sunday in (11, 18, 25)
        for scenario in ("simple", "partial")
    ]
    assert [day for name, day, success in operation.done if name == "retention" and not success] == [
        "2026-10-14"
    ]
    assert heads_of(operation, bot.texts) == [
        QUALITY[:60],
        # From the fifth on, compression is held against the database's own history.
        "resolved: A backup is not as it should be: ID is only N % sm"[:60],
        "CRITICAL: The daily backup of 2026-10-14 failed: database 'test_"[:60],
        "warning: retention_job failed: nothing expires while the database"[:60],
        "CRITICAL: 2 problems: The newest verified backup is of 2026-10-13"[:60],
        "resolved: 2 problems: The newest verified backup is of 2026-10-13"[:60],
        "resolved: retention_job failed: nothing expires while the databas"[:60],
        "CRITICAL: The daily backup of 2026-10-20 failed: This run has bee"[:60],
        "resolved: The daily backup of 2026-10-20 failed: This run has bee"[:60],
    ]
    require_recorded(operation)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_quarter_ends_as_a_person_would_expect(operation: Operation, bot: Web, tmp_path: Path) -> None:
    """Loss prevented: as above, with a machine that is off, rot, a drill that fails, month ends and the year's end."""
    operation.house.variables["BACKUP_START_DATE"] = "2026-10-01"
    probes = tmp_path / "probes"
    probes.mkdir()

    def break_the_probe() -> None:
        (probes / "members.sql").write_text(
            "-- probe: members\n-- expect: at least 21\nSELECT count(*) FROM public.member"
        )

    def repair_the_probe() -> None:
        (probes / "members.sql").write_text(
            "-- probe: members\n-- expect: at least 20\nSELECT count(*) FROM public.member"
        )

    repair_the_probe()
    operation.house.variables["DRILL_PROBES"] = str(probes)
    operation.live(
        "2026-10-01T12:00",
        "2027-01-02T12:00",
        {
            "2026-10-01T15:00": operation.switch_on,
            "2026-10-14T01:00": operation.database_down,
            "2026-10-14T10:30": operation.database_up,
            "2026-10-20T01:59": operation.kill_the_next_run,
            # Off for three days, among them no Sunday.
            "2026-11-17T12:00": operation.switch_off,
            "2026-11-20T12:00": operation.switch_on,
            # Sunday's backup rots before the week is promoted.
            "2026-11-29T02:15": lambda: operation.damage("2026-11-29"),
            "2026-12-06T03:00": break_the_probe,
            "2026-12-07T03:00": repair_the_probe,
        },
    )
    december = [f"2026-12-{day}" for day in range(27, 32)]
    # The first of November was a Sunday: it stays for its month.
    sundays = ["2026-11-01", "2026-12-06", "2026-12-13", "2026-12-20", "2026-12-27"]
    assert days_kept(operation)["weekly"] == sundays
    assert days_kept(operation)["monthly"] == ["2026-10-01", "2026-11-01", "2026-12-01", "2027-01-01"]
    assert set(december) | {"2027-01-01", "2027-01-02"} <= set(days_kept(operation)["daily"])
    failed = [(name, day) for name, day, success in drills(operation) if not success]
    assert failed == [("drill_simple", "2026-12-06"), ("drill_partial", "2026-12-06")]
    assert ("drill_full", "2027-01-01", True) in drills(operation)
    assert Counter(name for name, _, _ in drills(operation)) == {
        "drill_simple": 13,
        "drill_partial": 13,
        "drill_full": 1,
    }
    told = heads_of(operation, bot.texts)
    assert sum(head.startswith("CRITICAL: The newest verified backup is of") for head in told) == 1
    reason = "“partial” failed: probe 'members': is 20, less than 21"
    assert any(reason in text for text in bot.texts)
    assert len(told) < 60
    opened = sum(head.startswith(("CRITICAL", "warning")) for head in told)
    assert opened >= sum(head.startswith("resolved") for head in told)
    require_recorded(operation)
