"""Definitions for the tests: a clock one can set, settings of the scratch server, an instance in a directory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.manifest import Source
from recyclic_backups.config.load import load_settings
from recyclic_backups.config.settings import Settings
from recyclic_backups.definitions import definitions_in
from recyclic_backups.defs.database import Environment
from recyclic_backups.dump.back_up import BackedUp, back_up
from recyclic_backups.dump.take import BackupRequest
from recyclic_backups.dump.verify import verify
from recyclic_backups.postgres.scratch import ScratchCluster

BEGINNING = datetime(2026, 11, 1, 1, 0, tzinfo=UTC)
"""Sunday 1 November 2026, 02:00 in Paris."""

# Full entropy, so that no test waits for scrypt.
PASSPHRASE = "YSBwYXNzcGhyYXNlIG5ldmVyIHRvIGJlIHNob3duISE="


_revisions_of, _known = ScriptDirectory.from_config, dict[str | None, ScriptDirectory]()


def _read_once(config: Config) -> ScriptDirectory:
    """The revisions of a database of Dagster's, which are the same all the time.

    Dagster reads the hundred files of them again for each SQLite database, and a run has one of its own.
    """
    where = config.get_main_option("script_location")
    if where not in _known:
        _known[where] = _revisions_of(config)
    return _known[where]


setattr(ScriptDirectory, "from_config", staticmethod(_read_once))  # noqa: B010 - a type checker forbids it otherwise


@dataclass
class Clock:
    """A clock that stands where it was set, but for one second at each look."""

    at: datetime

    def __call__(self) -> datetime:
        """One second later than the last time, aware UTC."""
        self.at += timedelta(seconds=1)
        return self.at.astimezone(UTC)


@dataclass
class House:
    """A configured installation: what an operator has in the environment, and what Dagster made of it."""

    variables: dict[str, str]
    clock: Clock
    instance: dg.DagsterInstance
    folder: Path
    first_retry_seconds: float = 0.0
    shared_seconds: float = 0.0
    overrides: list[Mapping[str, str]] = field(default_factory=list)
    neighbours: list[House] = field(default_factory=list)
    """Other databases of the same code location."""
    _loaded: dict[str, dg.Definitions] = field(default_factory=dict)

    def settings(self) -> Settings:
        """The settings; one of the overrides is used up by each call after the definitions are loaded."""
        return load_settings({**self.variables, **(self.overrides.pop(0) if self.overrides else {})})

    def named(self, name: str) -> str:
        """The name of a job or sensor of this database in its code location."""
        return f"{name}__{self.variables['POSTGRES_DB']}" if self.neighbours else name

    @property
    def environment(self) -> Environment:
        """Where its runs get the settings and the time from."""
        return Environment(self.settings, self.clock, self.first_retry_seconds, self.shared_seconds)

    @property
    def definitions(self) -> dg.Definitions:
        """All definitions, as Dagster would load them now; kept until a setting changes."""
        known = repr(self.variables)
        if known not in self._loaded:
            self._loaded[known] = self._load()
        return self._loaded[known]

    def _load(self) -> dg.Definitions:
        held, self.overrides = self.overrides, []
        try:
            return definitions_in(self.environment, *(each.environment for each in self.neighbours))
        finally:
            self.overrides = held

    def run(self, tier: str, partition: str, tags: Mapping[str, str] | None = None) -> Any:
        """Run a tier's job for a partition, at the clock's time."""
        with dg.partition_loading_context(effective_dt=self.clock()):
            job = self.definitions.resolve_job_def(self.named(f"{tier}_backup_job"))
            return job.execute_in_process(
                partition_key=partition, instance=self.instance, tags=dict(tags or {}), raise_on_error=False
            )

    def evaluate(self, sensor: str, cursor: str | None = None) -> Any:
        """One evaluation of a sensor at the clock's time: its run requests or reason, and its cursor."""
        with (
            dg.partition_loading_context(effective_dt=self.clock()),
            dg.build_sensor_context(
                instance=self.instance, cursor=cursor, definitions=self.definitions
            ) as context,
        ):
            repository = self.definitions.get_repository_def()
            return repository.get_sensor_def(self.named(sensor)).evaluate_tick(context)

    @property
    def catalog(self) -> Catalog:
        """What the storage holds."""
        return load_catalog(wiring.open_repository(self.settings()))

    def traces_of(self, secret: str) -> list[str]:
        """Files of Dagster's own storage (events, runs, captured output) that hold the text."""
        return [
            path.name
            for path in self.folder.rglob("*")
            if path.is_file() and secret.encode() in path.read_bytes()
        ]


def elsewhere(house: House, tier: Tier, partition: str, source: Source = "manual") -> BackedUp:
    """A backup made by the command line, of which Dagster knows nothing."""
    settings = house.settings()
    return back_up(
        settings.server,
        wiring.open_repository(settings),
        BackupRequest(tier, partition, source),
        wiring.backup_plan(settings),
        clock=house.clock,
    )


def spoil(house: House, backup: Backup) -> None:
    """Change a byte of the only backup there is, and let the command line find it."""
    settings = house.settings()
    (dump,) = Path(settings.storage_url.removeprefix("file://")).rglob("main.dump*")
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 1
    dump.write_bytes(content)
    repository, installations = wiring.open_repository(settings), wiring.installations(settings)
    verify(repository, backup, "parsed", installations, clock=house.clock, timeout_seconds=60)


@pytest.fixture
def offline() -> Settings:
    """Settings that describe a server nobody has to reach: for what definitions look like."""
    return load_settings(
        {"POSTGRES_DB": "recyclic", "POSTGRES_HOST": "db.example.org", "BACKUP_START_DATE": "2026-01-01"}
    )


@pytest.fixture
def house(cluster: ScratchCluster, small_database: str, tmp_path: Path) -> Iterator[House]:
    """Two small tables, encryption on, at Sunday 1 November 2026, 02:00 in Paris."""
    server = cluster.server
    variables = {
        "POSTGRES_HOST": server.host,
        "POSTGRES_PORT": str(server.port),
        "POSTGRES_USER": server.user,
        "POSTGRES_PASSWORD": server.password,
        "POSTGRES_DB": small_database,
        "BACKUP_STORAGE": f"file://{tmp_path / 'storage'}",
        "BACKUP_ENCRYPTION": "true",
        "BACKUP_ENCRYPTION_KEY": PASSPHRASE,
        "BACKUP_START_DATE": "2026-10-01",
        "PG_BIN": str(cluster.installation.directory),
    }
    folder = tmp_path / "dagster"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder), {"telemetry": {"enabled": False}}) as instance:
        yield House(variables, Clock(BEGINNING), instance, folder)


@pytest.fixture
def quick_house(cluster: ScratchCluster, database: str, scratch_directory: Path) -> Iterator[House]:
    """One small table, no encryption, rows only counted, all in memory: where it is the calendar that matters."""
    with TemporaryDirectory(dir=scratch_directory) as folder, dg.DagsterInstance.ephemeral() as instance:
        variables = quick_variables(cluster, database, Path(folder) / "storage")
        yield House(variables, Clock(BEGINNING), instance, Path(folder) / "dagster")


def quick_variables(cluster: ScratchCluster, database: str, storage: Path) -> dict[str, str]:
    """The settings of a quick house, whose table is made."""
    server = cluster.server
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE member AS SELECT n AS id FROM generate_series(1, 20) n")
    return {
        "POSTGRES_HOST": server.host,
        "POSTGRES_PORT": str(server.port),
        "POSTGRES_USER": server.user,
        "POSTGRES_PASSWORD": server.password,
        "POSTGRES_DB": database,
        "BACKUP_STORAGE": f"file://{storage}",
        "BACKUP_START_DATE": "2026-10-01",
        "BACKUP_FINGERPRINT": "counts",
        "PG_BIN": str(cluster.installation.directory),
    }
