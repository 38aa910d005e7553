"""The test stand: a server with data, our commands and other people's, and the table they fill."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.restore.database import maintenance
from recyclic_backups_tests.bench.measure import Command, Series, compare

KEY = "q83vEjRWeJq83u8SNFZ4kKvN7xI0VniavN7vEjRWeJA="  # 256 bits: no derivation is measured
DATABASE = "bench"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a figure, and the target it has, if any."""

    name: str
    value: float
    target: str = ""
    met: bool = True

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """For the table."""
        verdict = ("met" if self.met else "missed") if self.target else ""
        return self.name, f"{self.value:.2f}", self.target, verdict


@dataclass
class Stand:
    """A server with data, and what has been measured on it so far."""

    cluster: ScratchCluster
    installation: Installation
    directory: Path
    rounds: int
    rows: list[Row] = field(default_factory=list)
    series: dict[str, Series] = field(default_factory=dict)

    @property
    def storage(self) -> Path:
        """Where our backups are."""
        return self.directory / "backups"

    def ours(self, *arguments: str, name: str = "", database: str = DATABASE, **settings: str) -> Command:
        """One of our commands, whole: Python starts, works, and ends."""
        server = self.cluster.server
        environment = {
            "POSTGRES_HOST": server.host,
            "POSTGRES_PORT": str(server.port),
            "POSTGRES_USER": server.user,
            "POSTGRES_PASSWORD": server.password,
            "POSTGRES_DB": database,
            "PG_BIN": str(self.installation.directory),
            "BACKUP_STORAGE": f"file://{self.storage}",
            "BACKUP_ENCRYPTION": "true",
            "BACKUP_ENCRYPTION_KEY": KEY,
            **settings,
        }
        argv = [sys.executable, "-m", "recyclic_backups", *arguments]
        return Command(name or " ".join(arguments), argv, environment, cwd=self.directory)

    def shell(
        self,
        name: str,
        script: str,
        prepare: Callable[[], None] = lambda: None,
        more: Mapping[str, str] | None = None,
    ) -> Command:
        """A pipeline, as an operator would have written it."""
        path = f"{self.installation.directory}:{os.environ['PATH']}"
        libpq = self.cluster.server.environment(DATABASE)
        environment = {**libpq, "PATH": path, "OLD_KEY": KEY, **(more or {})}
        return Command(name, ["/bin/sh", "-ec", script], environment, prepare, self.directory)

    def once(self, command: Command) -> None:
        """Run something that is needed and not measured."""
        compare([command], 0)

    def compare(self, title: str, commands: Sequence[Command]) -> Series:
        """Measure commands in turn and keep their figures under a title."""
        self.series[title] = compare(commands, self.rounds)
        return self.series[title]

    def drop(self, name: str, *, create: bool = False) -> Callable[[], None]:
        """What makes room for a database that a command creates, or an empty one for a command that does not."""

        def prepare() -> None:
            with maintenance(self.cluster.server) as connection:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
                if create:
                    connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")

        return prepare

    def after(self, command: Command, prepare: Callable[[], None]) -> Command:
        """The same command, with something to do before each run."""
        return replace(command, prepare=prepare)

    def at_most(self, name: str, value: float, target: float) -> None:
        """Note a figure that ought to be small."""
        self.rows.append(Row(name, value, f"≤ {target:g}", value <= target))

    def at_least(self, name: str, value: float, target: float) -> None:
        """Note a figure that ought to be large."""
        self.rows.append(Row(name, value, f"≥ {target:g}", value >= target))

    def seen(self, name: str, value: float) -> None:
        """Note a figure nobody has set a target for."""
        self.rows.append(Row(name, value))
