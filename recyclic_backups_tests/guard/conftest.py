"""An operator who migrates a small database with psql, and looks at what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.operator import Operator, Outcome

SEEN = """DO $$
DECLARE since timestamptz := clock_timestamp();
BEGIN
    WHILE NOT EXISTS (
        SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query_start > since AND state LIKE 'idle%'
        AND query LIKE '%backend_start%autovacuum worker%'
    ) LOOP
        IF clock_timestamp() > since + interval '60 seconds' THEN RAISE 'nobody looks'; END IF;
        PERFORM pg_sleep(0.005), pg_stat_clear_snapshot();
    END LOOP;
END $$"""
"""Stays until it has been seen: until a look of the watch, known by its question, has begun and ended meanwhile."""


@dataclass
class Migrator:
    """Runs commands under guard in a database with members and their sales."""

    operator: Operator
    cluster: ScratchCluster
    database: str

    def psql(self, *statements: str) -> list[str]:
        """A migration: statements one after the other until one fails."""
        argv = [
            self.cluster.installation.path("psql"),
            "-X",
            "-q",
            "-o",
            "/dev/null",
            "-v",
            "ON_ERROR_STOP=1",
        ]
        return [*argv, *(word for each in statements for word in ("-c", each))]

    def guard(self, *arguments: str, **overrides: str | None) -> Outcome:
        """Run ``guard`` with these arguments."""
        return self.operator.run("guard", *arguments, **overrides)

    def report(self) -> Any:
        """What ``--report report.json`` has written."""
        return json.loads((self.operator.directory / "report.json").read_text())

    def ask(self, query: str) -> object:
        """The first value that the last of these statements answers."""
        with self.cluster.server.connect(self.database) as connection:
            answer = connection.execute(query.encode())
            while answer.nextset():
                pass
            row = answer.fetchone()
        return row[0] if row else None

    def names(self) -> set[str]:
        """The databases of the server."""
        with self.cluster.server.connect("postgres") as connection:
            return {str(row[0]) for row in connection.execute("SELECT datname FROM pg_database").fetchall()}

    def probe(self, name: str, text: str) -> None:
        """A probe of the association's own."""
        directory = self.operator.directory / "probes"
        directory.mkdir(exist_ok=True)
        (directory / f"{name}.sql").write_text(text)
        self.operator.variables["DRILL_PROBES"] = str(directory)

    def drop_kept(self) -> None:
        """Drop what going back has kept beside."""
        with self.cluster.server.connect("postgres") as connection:
            for name in self.names():
                if name.startswith(f"{self.database}_"):
                    connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@pytest.fixture
def migrator(operator: Operator, small_database: str, cluster: ScratchCluster, tmp_path: Path) -> Migrator:
    """The small database under the guard's care, with one probe of its own."""
    server = cluster.server
    operator.variables |= {
        "POSTGRES_DB": small_database,
        "BACKUP_ENCRYPTION_KEY": KEY,
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": server.user,
        "PGPASSWORD": server.password,
        "PGDATABASE": small_database,
    }
    made = Migrator(operator, cluster, small_database)
    made.probe(
        "totals",
        "-- probe: every sale has a total\n-- needs: public.sale\n-- expect: no rows\n"
        "SELECT id FROM public.sale WHERE total IS NULL LIMIT 1;\n",
    )
    return made
