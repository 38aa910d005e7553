"""A quarter in the life of an installation, prepared in a minute: most nights have their backup, some were missed.

Every backup is a real dump of a database that grows; only the clock was set. Dagster learns of them as it would
learn of what the command line did: from the storage, through the sensor ``catalog_sync``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.config.load import load_settings
from recyclic_backups.definitions import definitions_in
from recyclic_backups.defs.database import Environment
from recyclic_backups.demo.dagster_process import run_job, ui
from recyclic_backups.demo.stage import DATABASE, Stage, open_stage
from recyclic_backups.dump.back_up import back_up
from recyclic_backups.dump.take import BackupRequest

PARIS = ZoneInfo("Europe/Paris")
SCALE = 0.1
ROWS_A_DAY = 150


@dataclass(frozen=True)
class Quarter:
    """The installation, its pages' address, and what was missed: ``gaps`` may be filled, ``lost_week`` never."""

    stage: Stage
    address: str
    days: list[str]
    gaps: list[str]
    lost_week: str

    @property
    def catalog(self) -> Catalog:
        """What the storage holds now."""
        return load_catalog(wiring.open_repository(self.stage.settings, create=False))


@dataclass
class SetClock:
    """A clock that was set and runs on."""

    set_to: datetime
    set_at: float = 0.0

    def set(self, moment: datetime) -> None:
        """Aware."""
        self.set_to, self.set_at = moment, time.monotonic()

    def __call__(self) -> datetime:
        """Aware UTC."""
        return self.set_to + timedelta(seconds=time.monotonic() - self.set_at)


@contextmanager
def open_quarter() -> Iterator[Quarter]:
    """Prepare it, start webserver and daemon on the real definitions; everything is gone at the end."""
    now = datetime.now(UTC)
    today = now.astimezone(PARIS).date()
    # From the first of a month, so that days, weeks and months all begin; two months and what has passed.
    first = (today.replace(day=1) - timedelta(days=40)).replace(day=1)
    with open_stage(today, None, first) as stage:
        stage.fill(SCALE, first)
        started = stage.settings.calendar.partition_of(Tier.DAILY, now)
        days = stage.settings.calendar.partitions(Tier.DAILY, now)
        monday = today - timedelta(days=today.weekday() + 28)
        lost = [(monday + timedelta(days=number)).isoformat() for number in range(7)]
        gaps = [*lost, *((today - timedelta(days=number)).isoformat() for number in (4, 3, 2))]
        late = (monday - timedelta(days=10)).isoformat()
        _live(stage, [day for day in days if day not in gaps and day != started], late)
        tell_dagster(stage)
        run_job(stage, "daily_backup_job", started)
        with ui(stage) as address:
            yield Quarter(stage, address, days, sorted(gaps), monday.isoformat())


def _live(stage: Stage, nights: list[str], late: str) -> None:
    """Take the backup of each night when it was due, that of the ``late`` day two days after; promote them."""
    settings, clock = stage.settings, SetClock(datetime.now(UTC))
    calendar = settings.calendar
    repository = wiring.open_repository(settings)

    def take(tier: Tier, partition: str, at: datetime) -> None:
        clock.set(at)
        slot = BackupRequest(tier, partition, "scheduled")
        back_up(settings.server, repository, slot, wiring.backup_plan(settings), clock=clock)

    for night in nights:
        _work_a_day(stage, night)
        due = calendar.scheduled_for(Tier.DAILY, night)
        take(Tier.DAILY, night, due + timedelta(days=2, hours=8) if night == late else due)
        for tier in (Tier.WEEKLY, Tier.MONTHLY):
            partition = calendar.partition_of(tier, due)
            preferred = calendar.preferred_day(tier, partition).isoformat() == night
            if preferred and calendar.is_valid_key(tier, partition):
                take(tier, partition, calendar.scheduled_for(tier, partition))


def _work_a_day(stage: Stage, day: str) -> None:
    with stage.server.connect(DATABASE) as connection:
        connection.execute(
            "INSERT INTO association.messages"
            " SELECT gen_random_uuid(), (SELECT id FROM users LIMIT 1), repeat(md5(n::text), 9), "
            f"'{day}'::date FROM generate_series(1, {ROWS_A_DAY}) AS n"
        )


def tell_dagster(stage: Stage) -> None:
    """Let ``catalog_sync`` look, as often as it needs, without waiting a minute between two looks."""
    environment = Environment(lambda: load_settings(stage.variables))
    definitions = definitions_in(environment)
    sensor = definitions.get_repository_def().get_sensor_def("catalog_sync")
    with dg.DagsterInstance.from_config(str(stage.dagster_home)) as instance:
        cursor, more = None, True
        while more:
            with dg.build_sensor_context(
                instance=instance, cursor=cursor, definitions=definitions
            ) as context:
                data = sensor.evaluate_tick(context)
            cursor, more = data.cursor, "more to come" in (data.skip_message or "")
