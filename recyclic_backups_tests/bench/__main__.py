"""Run the benchmark: ``python -m recyclic_backups_tests.bench [--scale N] [--rounds N] [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from recyclic_backups.cli.render import print_table
from recyclic_backups.demo.dataset import fill
from recyclic_backups.postgres.discovery import find_installations
from recyclic_backups.postgres.programs import Installation, choose, conninfo_dbname
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.recovery.database import maintenance
from recyclic_backups_tests.bench.measure import Command, Series, compare

KEY = "q83vEjRWeJq83u8SNFZ4kKvN7xI0VniavN7vEjRWeJA="  # 256 bits: no derivation is measured
DATABASE = "bench"


@dataclass
class Row:
    """One line of the table: a ratio, its target, and what it is made of."""

    name: str
    value: float
    target: str
    met: bool

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """For the table."""
        return self.name, f"{self.value:.2f}", self.target, "met" if self.met else "missed"


@dataclass
class Bench:
    """A server with data, and the commands to compare on it."""

    cluster: ScratchCluster
    installation: Installation
    directory: Path
    rounds: int
    rows: list[Row] = field(default_factory=list)
    series: dict[str, Series] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    # --- pieces of commands -------------------------------------------------------------------

    @property
    def libpq(self) -> dict[str, str]:
        """How PostgreSQL's programs reach the server."""
        return self.cluster.server.environment(DATABASE)

    def ours(self, *arguments: str, **settings: str) -> Command:
        """One of our commands."""
        server = self.cluster.server
        environment = {
            "POSTGRES_HOST": server.host,
            "POSTGRES_PORT": str(server.port),
            "POSTGRES_USER": server.user,
            "POSTGRES_PASSWORD": server.password,
            "POSTGRES_DB": DATABASE,
            "PG_BIN": str(self.installation.directory),
            "BACKUP_STORAGE": f"file://{self.storage}",
            "BACKUP_ENCRYPTION": "true",
            "BACKUP_ENCRYPTION_KEY": KEY,
            **settings,
        }
        argv = [sys.executable, "-m", "recyclic_backups", *arguments]
        return Command(" ".join(arguments), argv, environment, cwd=self.directory)

    @property
    def storage(self) -> Path:
        """Where our backups are."""
        return self.directory / "backups"

    def shell(self, name: str, script: str, prepare: Callable[[], None] = lambda: None) -> Command:
        """A pipeline, as an operator would have written it."""
        path = f"{self.installation.directory}:{os.environ['PATH']}"
        environment = {**self.libpq, "PATH": path, "OLD_KEY": KEY}
        return Command(name, ["/bin/sh", "-ec", script], environment, prepare, self.directory)

    def fresh_database(self, name: str) -> Callable[[], None]:
        """Make an empty database to restore into."""

        def prepare() -> None:
            with maintenance(self.cluster.server) as connection:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
                connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")

        return prepare

    def no_database(self, name: str) -> Callable[[], None]:
        """Make room for a database that the command creates."""

        def prepare() -> None:
            with maintenance(self.cluster.server) as connection:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

        return prepare

    def row(self, name: str, value: float, target: float, *, at_least: bool = False) -> None:
        """Note a figure and whether it meets its target."""
        met = value >= target if at_least else value <= target
        self.rows.append(Row(name, value, f"{'≥' if at_least else '≤'} {target:g}", met))

    # --- comparisons --------------------------------------------------------------------------

    def backup(self) -> None:
        """Taking a backup against the fastest pg_dump there is, and against what people do."""
        counts = self.ours("backup", BACKUP_FINGERPRINT="counts")
        content = self.ours("backup", BACKUP_FINGERPRINT="content")
        commands = [
            self.shell("limit", "pg_dump -Fc -Z0 >/dev/null"),
            Command("ours, counts", counts.argv, counts.environment, cwd=self.directory),
            Command("ours, content", content.argv, content.environment, cwd=self.directory),
            self.shell("pg_dump -Fc", "pg_dump -Fc >custom.dump"),
            self.shell(
                "old script",
                "pg_dump -Fc -Z9 >old.dump;"
                "openssl enc -aes-256-cbc -pbkdf2 -salt -in old.dump -out old.enc -pass env:OLD_KEY;"
                "gzip -9 -f old.enc",
            ),
        ]
        series = self.series["backup"] = compare(commands, self.rounds)
        taking = self._taking_seconds()
        limit = series.median("limit")
        self.facts |= {f"taking_{name}_seconds": round(seconds, 2) for name, seconds in taking.items()}
        self.facts |= {"limit_seconds": round(limit, 2)}
        self.row("taking (counts) / pg_dump -Fc -Z0 >/dev/null", taking["counts"] / limit, 1.10)
        self.row("taking (content) / same", taking["content"] / limit, 2.0)
        self.row(
            "whole command with verification (counts) / same", series.ratio("ours, counts", "limit"), 2.0
        )
        self.row(
            "old script / ours (counts), wall", series.ratio("old script", "ours, counts"), 6, at_least=True
        )
        self.row(
            "old script / ours (counts), CPU",
            series.ratio("old script", "ours, counts", "cpu_seconds"),
            7,
            at_least=True,
        )
        self.row("pg_dump -Fc / ours (counts)", series.ratio("pg_dump -Fc", "ours, counts"), 4, at_least=True)
        stored = max(int(each["stored_bytes"]) for each in self._manifests())
        self.row("stored bytes / old script's", stored / (self.directory / "old.enc.gz").stat().st_size, 0.87)
        peak = max(run.peak_bytes for run in series.runs["ours, counts"])
        self.row("peak memory with children, MB", peak / 1e6, 55)

    def _manifests(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self.storage.glob("*/backups/*/manifest.json")]

    def _taking_seconds(self) -> dict[str, float]:
        """From the manifests: what the dump took, without starting Python and without verifying."""
        seconds: dict[str, list[float]] = {}
        for manifest in self._manifests():
            seconds.setdefault(manifest["fingerprint"]["level"], []).append(manifest["duration_seconds"])
        return {level: sorted(values)[len(values) // 2] for level, values in seconds.items()}

    def verify(self) -> None:
        """Reading a backup again, against reading its bytes."""
        (stored,) = list(self.storage.glob("*/backups/*/main.dump.zst.sealed"))[:1]
        readable = self.ours("verify", "latest", "--level", "readable")
        parsed = self.ours("verify", "latest", "--level", "parsed")
        commands = [
            self.shell("sha256sum", f"sha256sum '{stored}'"),
            Command("readable", readable.argv, readable.environment, cwd=self.directory),
            Command("parsed", parsed.argv, parsed.environment, cwd=self.directory),
            self.ours("backup", BACKUP_FINGERPRINT="counts"),
        ]
        series = self.series["verify"] = compare(commands, self.rounds)
        self.row("verify readable / sha256sum of the file", series.ratio("readable", "sha256sum"), 0.2)
        self.row("verify parsed / whole backup", series.ratio("parsed", "backup"), 0.3)

    def restore(self) -> None:
        """Bringing it back, against psql and pg_restore of files that lie there plain."""
        self.shell_once("pg_dump -Fp >plain.sql; pg_dump -Fc -Z0 >plain.dump")
        self.shell_once(
            " ".join(self.ours("backup", BACKUP_JOBS="2").argv), **self.ours("backup").environment
        )
        into = f"--dbname={conninfo_dbname('bench_into')}"
        piped = self.ours(
            "restore", "latest", "--into", "bench_ours", "--jobs", "1", BACKUP_FINGERPRINT="off"
        )
        parallel = self.ours("restore", "latest", "--into", "bench_ours", "--jobs", "2")
        gone = self.no_database("bench_ours")
        commands = [
            self.shell("psql -f", f'psql -qX "{into}" -f plain.sql', self.fresh_database("bench_into")),
            self.shell(
                "pg_restore -j2", f'pg_restore -j2 "{into}" plain.dump', self.fresh_database("bench_into")
            ),
            Command("ours, 1 job", piped.argv, piped.environment, gone, self.directory),
            Command("ours, 2 jobs", parallel.argv, parallel.environment, gone, self.directory),
            self.shell(
                "old script reversed",
                "gzip -dc old.enc.gz >old.back;"
                "openssl enc -d -aes-256-cbc -pbkdf2 -in old.back -out old.dump -pass env:OLD_KEY;"
                f'pg_restore "{into}" old.dump',
                self.fresh_database("bench_into"),
            ),
        ]
        series = self.series["restore"] = compare(commands, self.rounds)
        self.row("restore, compared / psql -f", series.ratio("ours, 1 job", "psql -f"), 1.0)
        self.row(
            "parallel restore, compared / old script reversed",
            series.ratio("ours, 2 jobs", "old script reversed"),
            0.55,
        )
        self.row(
            "parallel restore, compared / pg_restore -j2", series.ratio("ours, 2 jobs", "pg_restore -j2"), 1.0
        )

    def shell_once(self, script: str, **environment: str) -> None:
        """Run something that is not measured."""
        command = self.shell("once", script)
        compare(
            [Command("once", command.argv, {**command.environment, **environment}, cwd=self.directory)], 0
        )

    def command_line(self) -> None:
        """What an operator waits for before anything happens."""
        series = self.series["command line"] = compare(
            [self.ours("--help"), self.ours("list", "--json")], max(self.rounds, 5)
        )
        self.row("--help, seconds", series.median("--help"), 0.3)
        self.row("list, seconds", series.median("list --json"), 0.6)


def _report(bench: Bench, comparison: Callable[[], None]) -> None:
    """Run one comparison and print it at once: what is interrupted later has not been in vain."""
    shown = len(bench.rows)
    comparison()
    title = comparison.__name__.replace("_", " ")
    series = bench.series[title]
    print(f"\n{title}")
    print_table(
        ("COMMAND", "WALL s", "CPU s", "PEAK MB"),
        [
            (
                command,
                f"{series.median(command):.2f}",
                f"{series.median(command, 'cpu_seconds'):.2f}",
                f"{series.median(command, 'peak_bytes') / 1e6:.0f}",
            )
            for command in series.runs
        ],
        right=(1, 2, 3),
    )
    print()
    print_table(("RATIO", "SEEN", "TARGET", ""), [row.cells for row in bench.rows[shown:]], right=(1,))
    sys.stdout.flush()


def main() -> int:
    """Run every comparison and print the table."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…")
    parser.add_argument("--scale", type=float, default=4.0, help="size of the data; 1 is 50 MB (default 4)")
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each command (default 5)")
    parser.add_argument("--json", type=Path, help="write every figure of every run to this file")
    options = parser.parse_args()

    found = [
        each
        for each in find_installations(os.environ.get("PG_BIN"), os.environ.get("PATH"))
        if each.has_server
    ]
    installation = choose(found, 15, {"initdb", "postgres", "pg_dump", "pg_restore", "psql"})
    with (
        tempfile.TemporaryDirectory(prefix="recyclic-bench-") as name,
        tempfile.TemporaryDirectory(prefix="recyclic-bench-server-") as server_directory,
        ScratchCluster.start(
            installation, Path(server_directory), settings={"shared_buffers": "256MB"}
        ) as cluster,
    ):
        bench = Bench(cluster, installation, Path(name), options.rounds)
        bench.fresh_database(DATABASE)()
        fill(cluster.server, DATABASE, scale=options.scale, today=date(2026, 11, 22))
        bench.facts = {
            "machine": platform.platform(),
            "cores": os.cpu_count(),
            "postgresql": installation.version,
        }
        print(bench.facts)
        for comparison in (bench.backup, bench.verify, bench.restore, bench.command_line):
            _report(bench, comparison)
    if options.json:
        document = {
            "facts": bench.facts,
            "ratios": [row.__dict__ for row in bench.rows],
            "runs": {title: series.to_json() for title, series in bench.series.items()},
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
