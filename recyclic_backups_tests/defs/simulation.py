"""Time that passes for an installation: its machine, its server, its operator, and Dagster's daemon.

The definitions are the real ones, the schedules and sensors are evaluated by Dagster, runs dump a real database.
What is played here is the daemon's loop, as Dagster 1.13 has it: of the ticks that a schedule missed only the
last is evaluated, whenever the daemon is back; a sensor's run key is launched once; a lost database forgets both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._utils.schedules import schedule_execution_time_iterator

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.documents import Tombstone
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.record import record_tombstone
from recyclic_backups.dump.facts import read_system_identifier
from recyclic_backups.dump.verify import verify
from recyclic_backups.envelope.document import encode, signed, summed
from recyclic_backups_tests.defs.conftest import House

PARIS = ZoneInfo("Europe/Paris")
TIERS = ("daily", "weekly", "monthly")
LOOKS = ("03:15", "09:15", "15:15", "21:15")
"""When the sensors are evaluated, and five minutes after the machine is switched on: not every minute, to be quick."""

_MONITORED = timedelta(minutes=30)


def paris(text: str) -> datetime:
    """An aware moment, in UTC so that moments compare, from its local time in Paris."""
    return datetime.fromisoformat(text).replace(tzinfo=PARIS).astimezone(UTC)


@dataclass
class Simulation:
    """An installation and everything that happens to it. Actions are the methods that a test puts into its script."""

    house: House
    on: bool = False
    kill_next: bool = False
    ran: list[tuple[str, str, bool]] = field(default_factory=list)
    _ticked: dict[str, datetime] = field(default_factory=dict)
    _run_keys: set[str] = field(default_factory=set)
    _cursors: dict[str, str | None] = field(default_factory=dict)
    _later: list[tuple[datetime, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def live(self, first: str, last: str, script: dict[str, Callable[[], None]]) -> None:
        """From one moment to the other (local times); the script says what happens when."""
        now, end = paris(first), paris(last)
        self.house.clock.at = now
        for moment, action in script.items():
            self._at(paris(moment), action)
        while now <= end:
            self._pass_until(min(now, end))
            now = self._next(now)

    def _at(self, moment: datetime, action: Callable[[], None]) -> None:
        heappush(self._later, (moment, next(self._numbers), action))

    def _next(self, now: datetime) -> datetime:
        """The next moment at which anything can happen."""
        day = now.astimezone(PARIS).date()
        looks = [paris(f"{each}T{clock}") for each in (day, day + timedelta(days=1)) for clock in LOOKS]
        ticks = [self._tick_after(tier, now) for tier in TIERS]
        script = [self._later[0][0]] if self._later else []
        return min(moment for moment in (*looks, *ticks, *script) if moment > now)

    def _pass_until(self, now: datetime) -> None:
        while self._later and self._later[0][0] <= now:
            moment, _, action = heappop(self._later)
            self._set_clock(moment)
            action()
        self._set_clock(now)
        if not self.on:
            return
        for tier in TIERS:  # in the order of their priorities
            self._schedule(tier, now)
        clock = now.astimezone(PARIS).strftime("%H:%M")
        if clock in LOOKS:
            self.fill()
        if clock == LOOKS[1]:
            self.synchronize()

    def _set_clock(self, now: datetime) -> None:
        self.house.clock.at = max(self.house.clock.at, now)

    def _tick_after(self, tier: str, now: datetime) -> datetime:
        schedule = self.house.definitions.resolve_schedule_def(f"{tier}_backup_schedule")
        ticks = schedule_execution_time_iterator(
            now.timestamp(), schedule.cron_schedule, schedule.execution_timezone, ascending=True
        )
        return next(tick.astimezone(UTC) for tick in ticks if tick.timestamp() > now.timestamp())

    def _schedule(self, tier: str, now: datetime) -> None:
        """Evaluate the last tick that has not been, if there is one."""
        missed = None
        tick = self._tick_after(tier, self._ticked.setdefault(tier, now))
        while tick <= now:
            missed, tick = tick, self._tick_after(tier, tick)
        if missed is None:
            return
        self._ticked[tier] = missed
        definitions = self.house.definitions
        context = dg.build_schedule_context(
            scheduled_execution_time=missed, repository_def=definitions.get_repository_def()
        )
        with dg.partition_loading_context(effective_dt=now):
            data = definitions.resolve_schedule_def(f"{tier}_backup_schedule").evaluate_tick(context)
        for request in data.run_requests or []:
            self.run(tier, str(request.partition_key), {"dagster/schedule_name": f"{tier}_backup_schedule"})

    def look(self) -> None:
        """Let both sensors look."""
        self.fill()
        self.synchronize()

    def fill(self) -> None:
        """The sensor that starts runs, until it has nothing to start."""
        requested = True
        while requested:
            data = self.house.evaluate("missed_backups", self._cursors.get("missed_backups"))
            self._cursors["missed_backups"] = data.cursor
            requests = [each for each in data.run_requests or [] if each.run_key not in self._run_keys]
            for request in requests:
                self._run_keys.add(str(request.run_key))
                tier = str(request.job_name).removesuffix("_backup_job")
                self.run(tier, str(request.partition_key), {"dagster/sensor_name": "missed_backups"})
            requested = bool(requests)

    def synchronize(self) -> None:
        """The sensor that tells Dagster what is in the storage, until it has told everything."""
        more = True
        while more:
            data = self.house.evaluate("catalog_sync", self._cursors.get("catalog_sync"))
            self._cursors["catalog_sync"] = data.cursor
            more = "more to come" in data.skip_message

    def run(self, tier: str, partition: str, tags: dict[str, str]) -> None:
        """A run, to its end; or the beginning of one that is killed."""
        if self.kill_next:
            self.kill_next = False
            self._killed(tier, partition)
            return
        result = self.house.run(tier, partition, tags)
        self.ran.append((tier, partition, bool(result.success)))

    def _killed(self, tier: str, partition: str) -> None:
        """What SIGKILL leaves: half a backup in the storage, a run that seems to go on, until it is monitored."""
        settings = self.house.settings()
        repository = wiring.open_repository(settings)
        with settings.server.connect(settings.database) as connection:
            owner = read_system_identifier(connection)
        backup_id = f"{self.house.clock.at.astimezone(ZoneInfo('UTC')):%Y%m%dT%H%M%SZ}-KKKKKK"
        layout, store = repository.layout, repository.store
        said, name = {"format": 1, "system_identifier": owner}, layout.attempt(backup_id)
        key = repository.key_for_backups(self.house.clock.at)
        store.create(name, encode(summed(said, name) if key is None else signed(said, name, key)))
        store.create(layout.object(backup_id, "main.dump.zst"), b"half a dump")
        run = dg.DagsterRun(
            job_name=f"{tier}_backup_job",
            status=dg.DagsterRunStatus.STARTED,
            tags={"dagster/partition": partition},
        )
        instance = self.house.instance
        instance.add_run(run)
        self.ran.append((tier, partition, False))
        self._at(self.house.clock.at + _MONITORED, lambda: self._end(instance, run))

    def _end(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
        instance.report_run_failed(run)

    # What a script may do.

    def switch_on(self) -> None:
        """The machine comes up: the daemon catches up what it knows of, the sensors look soon after."""
        self.on = True
        self._at(self.house.clock.at + timedelta(minutes=5), self.look)

    def switch_off(self) -> None:
        """The machine goes down."""
        self.on = False

    def database_down(self) -> None:
        """Nobody answers where the server was."""
        self._port = self.house.variables["POSTGRES_PORT"]
        self.house.variables["POSTGRES_PORT"] = "1"

    def database_up(self) -> None:
        """It answers again."""
        self.house.variables["POSTGRES_PORT"] = self._port

    def kill_the_next_run(self) -> None:
        """The next run that starts is killed halfway."""
        self.kill_next = True

    def at_hour(self, hour: int) -> None:
        """BACKUP_TIME is changed and the code location reloaded."""
        self.house.variables["BACKUP_TIME"] = str(hour)

    def damage(self, day: str) -> None:
        """A bit of that day's backup rots, and somebody verifies it."""
        settings = self.house.settings()
        repository = wiring.open_repository(settings)
        backup = self.catalog.labelled(Tier.DAILY, day)
        assert backup is not None
        root = Path(settings.storage_url.removeprefix("file://"))
        path = root / repository.layout.object(backup.backup_id, backup.manifest.main.name)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        found = verify(
            repository,
            backup,
            "parsed",
            wiring.installations(settings),
            clock=self.house.clock,
            timeout_seconds=60,
        )
        assert not found.passed

    def backfill(self, tier: str, *partitions: str) -> None:
        """The operator fills partitions that the sensor listed: one backfill, a run for each."""
        backfill_id = f"backfill{next(self._numbers)}"
        self.house.instance.add_backfill(
            PartitionBackfill(
                backfill_id=backfill_id,
                status=BulkActionStatus.REQUESTED,
                from_failure=False,
                tags={},
                backfill_timestamp=self.house.clock.at.timestamp(),
                partition_names=list(partitions),
            )
        )
        for partition in partitions:
            self.run(tier, partition, {"dagster/backfill": backfill_id})

    def lose_dagsters_database(self, empty: dg.DagsterInstance) -> None:
        """Dagster starts with another, empty database: no runs, no ticks, no cursors, no history."""
        self.house = replace(self.house, instance=empty)
        self._ticked.clear()
        self._run_keys.clear()
        self._cursors.clear()

    def expire(self, before: str) -> None:
        """Daily backups older than that go, the way invariant 1 says: tombstone, manifest, objects."""
        repository = wiring.open_repository(self.house.settings())
        layout, store = repository.layout, repository.store
        for backup in self.catalog:
            if backup.as_of >= paris(f"{before}T00:00") or backup.tiers != (Tier.DAILY,):
                continue
            record_tombstone(repository, Tombstone(backup.backup_id, self.house.clock.at), backup.manifest)
            store.delete(layout.manifest(backup.backup_id))
            for item in list(store.list(f"{layout.backup(backup.backup_id)}/")):
                store.delete(item.name)

    @property
    def catalog(self) -> Catalog:
        """What the storage holds."""
        return load_catalog(wiring.open_repository(self.house.settings()))

    def orphans(self) -> list[str]:
        """Objects that no manifest promises, and attempts."""
        repository = wiring.open_repository(self.house.settings())
        layout = repository.layout
        names = [item.name for item in repository.store.list(f"{layout.root}/")]
        known = tuple(f"{layout.backup(backup.backup_id)}/" for backup in self.catalog)
        folders = (f"{layout.backups}/", f"{layout.attempts}/")
        return [name for name in names if name.startswith(folders) and not name.startswith(known)]

    def drawn(self) -> str:
        """The labels as a person would draw them, see ``drawn_by_hand/README.md``."""
        catalog = self.catalog
        lines = ["daily"]
        days = {partition for tier, partition in catalog.labels if tier is Tier.DAILY}
        month = min(days)[:7]
        while month <= max(days)[:7]:
            lines.append(
                f"{month} {''.join(self._sign(catalog, month, day) for day in range(1, 32)).rstrip()}"
            )
            month = (date.fromisoformat(f"{month}-28") + timedelta(days=4)).isoformat()[:7]
        for tier in (Tier.WEEKLY, Tier.MONTHLY):
            lines += ["", tier.value]
            for (_, partition), label in sorted(
                entry for entry in catalog.labels.items() if entry[0][0] is tier
            ):
                why = f" ({label.reason})" if label.reason else ""
                lines.append(f"{partition} has {day_of(label.backup_id)}{' late' if label.late else ''}{why}")
        return "\n".join(lines) + "\n"

    def _sign(self, catalog: Catalog, month: str, number: int) -> str:
        day = f"{month}-{number:02}"
        if day not in self.house.settings().calendar.partitions(Tier.DAILY, self.house.clock.at):
            return " "
        label = catalog.labels.get((Tier.DAILY, day))
        if label is None:
            return "."
        own = day_of(label.backup_id) == day
        assert own is not label.late
        return "D" if own else "l"


def day_of(backup_id: str) -> str:
    """The day in Paris that a backup's content is of."""
    moment = datetime.strptime(f"{backup_id[:15]}+0000", "%Y%m%dT%H%M%S%z")
    return moment.astimezone(PARIS).date().isoformat()
