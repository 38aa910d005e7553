"""One database of the code location: its settings, its names in Dagster, and where its runs get the time from."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import unquote

import dagster as dg

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.layout import Layout, asset_name_of
from recyclic_backups.config.load import load_settings
from recyclic_backups.config.settings import Settings
from recyclic_backups.errors import ConfigurationError
from recyclic_backups.foreign_text import markdown_code
from recyclic_backups.storage.shared import looking

DATABASE_TAG = "database"
"""Of every run of our jobs: the name of its database, as asset keys begin with it."""

_BETWEEN = "__"
"""Between the name of a job, schedule or sensor and that of its database. None of our own names has it."""

_LONGEST_WAIT_SECONDS = 600.0


def utc_now() -> datetime:
    """The clock of Dagster's runs; below them ``now`` is always a parameter."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Environment:
    """What a run finds when it starts: the settings, read anew every time, and the clock.

    It has no configuration, so there is nothing secret for Dagster to show or store. The wait before the first
    retry is in seconds; each later one is four times as long, up to ten minutes.
    """

    settings: Callable[[], Settings] = load_settings
    now: Callable[[], datetime] = utc_now
    first_retry_seconds: float = 15.0
    shared_seconds: float = 0.0
    """How old what sensors and checks see of the storage may be, in one process (storage/shared.py); 0: not at all."""

    def retry_seconds(self, retry_number: int) -> float:
        """How long to wait before trying again, after so many retries already."""
        return min(self.first_retry_seconds * 4.0**retry_number, _LONGEST_WAIT_SECONDS)


@dataclass(frozen=True)
class Database:
    """A database, as its definitions were made: ``settings`` shape them, those of a run are read when it starts.

    ``others`` are the names of the other databases of the code location. Where there are none, jobs, schedules and
    sensors have their plain names. ``wal_told_by`` is the one whose alerts tell of their server's WAL, so that each
    thing is told once; empty where its own do.
    """

    settings: Settings
    environment: Environment
    others: frozenset[str] = frozenset()
    wal_told_by: str = ""

    @property
    def name(self) -> str:
        """The first part of its asset keys."""
        return asset_name_of(self.settings.database)

    def key(self, name: str) -> dg.AssetKey:
        """``<database>/<name>``."""
        return dg.AssetKey([self.name, name])

    def backup_key(self, tier: Tier) -> dg.AssetKey:
        """``<database>/daily_backup`` and so on."""
        return self.key(f"{tier.value}_backup")

    def newest(self, *tiers: Tier) -> list[dg.AssetDep]:
        """That an asset reads whatever is newest in the storage: shown as lineage, not as something to wait for."""
        newest = dg.LastPartitionMapping()
        return [dg.AssetDep(self.backup_key(tier), partition_mapping=newest) for tier in tiers]

    def named(self, name: str) -> str:
        """The name of its job, schedule or sensor: ``daily_backup_job``, or ``daily_backup_job__<database>``."""
        return f"{name}{_BETWEEN}{self.name}" if self.others else name

    def plain(self, name: str) -> str | None:
        """The same without the database; None for the name of another database's."""
        plain, _, owner = name.partition(_BETWEEN)
        if plain and owner in self.others:
            return None
        return plain if plain and owner == self.name else name

    @property
    def pool(self) -> str:
        """The pool that lets one backup at a time near the server, whichever database it is of.

        The server's advisory lock does the same for everybody else.
        """
        return "backup_" + re.sub(r"[^A-Za-z0-9_]", "_", f"{self.settings.host}_{self.settings.port}")

    @property
    def tags(self) -> dict[str, str]:
        """What runs can be searched by on Dagster's page of runs, beside Dagster's own ``dagster/partition``."""
        return {DATABASE_TAG: self.name, "environment": self.settings.environment}

    @property
    def report(self) -> dg.MetadataValue[str]:
        """The page about all backups: below DAGSTER_URL, as our containers serve it, else its file in the storage."""
        if self.settings.dagster_url:
            return dg.MetadataValue.url(f"{self.settings.dagster_url.rstrip('/')}/report")
        return dg.MetadataValue.path(self._report_file)

    @property
    def report_note(self) -> str:
        """The same as a paragraph of a description, in Markdown."""
        url = f"<{self.report.value}>, if our containers serve it; " if self.settings.dagster_url else ""
        return (
            f"\n\n**Are we safe?** The report says it in one page: {url}{markdown_code(self._report_file)}."
        )

    @property
    def _report_file(self) -> str:
        settings = self.settings
        return path_of(f"{settings.storage_url.rstrip('/')}/{Layout(settings.database).report}")

    def now(self) -> datetime:
        """The time, aware UTC."""
        return self.environment.now()

    def looking(self) -> AbstractContextManager[None]:
        """A block in which nothing is taken, restored or deleted: it shares one view of the storage with others."""
        return looking(self.environment.now, self.environment.shared_seconds)

    def settings_now(self, door: str = "dagster") -> Settings:
        """The settings of this run. Raises ConfigurationError if they name another database than was loaded."""
        settings = self.environment.settings().coming_through(door)
        if settings.database != self.settings.database:
            raise ConfigurationError(
                f"these definitions are of the database {self.settings.database!r}, "
                f"POSTGRES_DB names {settings.database!r} now",
                "reload the code location",
            )
        # The first day that counts is that of the partitions that Dagster was given.
        return replace(settings, start_date=settings.start_date or self.settings.start_date)


def path_of(url: str) -> str:
    """An object of a storage as people look for it: a path, where it is a file."""
    return unquote(url.removeprefix("file://")) if url.startswith("file://") else url


def databases_of(environments: Sequence[Environment]) -> list[Database]:
    """The databases of a code location.

    The first day that counts is read from the storage where the settings do not say it, once: partitions stay what
    they are until the code location is loaded again. A storage that does not answer stops nobody from loading it.
    Raises ConfigurationError, also where two databases would have the same assets.
    """
    found = [Database(_settled(each), each) for each in environments]
    names = [each.name for each in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(
            f"two databases of one code location are called {', '.join(twice)}: their assets would be the same",
            "load them in two code locations",
        )
    return [
        replace(each, others=frozenset(names) - {each.name}, wal_told_by=_told_by(found, each))
        for each in found
    ]


def _told_by(databases: Sequence[Database], database: Database) -> str:
    """The first one, by name, that has the same archive, is on as well, and tells everybody whom this one would."""
    ours = database.settings
    told = set(wiring.channels(ours))
    for each in sorted(databases, key=lambda each: each.name):
        theirs = each.settings
        if each is database:
            break
        if (
            ours.wal_archive
            and theirs.wal_archive
            and (ours.host, ours.port, ours.storage_url) == (theirs.host, theirs.port, theirs.storage_url)
            and ours.environment == theirs.environment
            and told <= set(wiring.channels(theirs))
            and (not ours.heartbeat_url or theirs.heartbeat_url)
        ):
            return each.name
    return ""


def _settled(environment: Environment) -> Settings:
    settings = wiring.with_first_day(environment.settings())
    return replace(settings, start_date=settings.calendar.start_at(environment.now()))
