"""A database with one of everything, its fingerprint, and fresh copies of it to damage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from recyclic_backups.fingerprint.model import Fingerprint, Level
from recyclic_backups.fingerprint.read import read_fingerprint
from recyclic_backups.fingerprint.schema_text import SCHEMA_DUMP_ENVIRONMENT
from recyclic_backups.postgres.process import run
from recyclic_backups.postgres.programs import Installation, dump_argv
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server

ROLES = """
CREATE ROLE club_staff;
CREATE ROLE club_owner LOGIN CREATEDB;
CREATE ROLE club_reader;
GRANT club_staff TO club_reader;
ALTER ROLE club_reader SET work_mem = '8MB';
"""
NO_ROLES = "DROP ROLE IF EXISTS club_staff, club_owner, club_reader"
CLUB = (Path(__file__).parent / "club.sql").read_text()
TEMPLATE = "club_template"


@dataclass(frozen=True)
class Club:
    """A database with one of everything, on a server with programs of its version."""

    installation: Installation
    server: Server
    database: str

    def execute(self, statements: str) -> None:
        """Run SQL in the database."""
        with self.server.connect(self.database) as connection:
            connection.execute(statements)

    def schema_text(self) -> str:
        """What pg_dump writes of its schema."""
        argv = dump_argv(
            self.installation, database=self.database, snapshot="", lock_wait_seconds=10, schema_only=True
        )
        environment = {**self.server.environment(self.database), **SCHEMA_DUMP_ENVIRONMENT}
        return run(argv, environment, timeout_seconds=60).stdout.decode()

    def fingerprint(self, level: Level = "content", *, schema: bool = True) -> Fingerprint:
        """Its fingerprint as it stands."""
        text = self.schema_text() if schema else None
        return read_fingerprint(self.server, self.database, level=level, schema_text=text)


@pytest.fixture(scope="session")
def club_template(cluster: ScratchCluster, installation: Installation) -> Iterator[Club]:
    """The database that the others are copies of: never change it, nor stay connected to it."""
    with cluster.server.connect("postgres") as connection:
        connection.execute(ROLES)
        connection.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
    club = Club(installation, cluster.server, TEMPLATE)
    club.execute(CLUB)
    yield club
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"DROP DATABASE {TEMPLATE} WITH (FORCE)")
        connection.execute(NO_ROLES)


@pytest.fixture(scope="session")
def intact(club_template: Club) -> Fingerprint:
    """The fingerprint of the template, with the text of its schema."""
    return club_template.fingerprint()


@pytest.fixture
def club(club_template: Club, cluster: ScratchCluster) -> Iterator[Club]:
    """A fresh copy of the database with one of everything."""
    name = "club_copy"
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
    yield Club(club_template.installation, club_template.server, name)
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
