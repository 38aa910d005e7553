"""Servers of several versions side by side, databases made from SQL files, and the whole way round for each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from recyclic_backups.dump.streams import DumpOptions
from recyclic_backups.fingerprint.schema_text import canonical_expression, canonical_policies
from recyclic_backups.postgres.process import run
from recyclic_backups.postgres.programs import Installation, conninfo_dbname
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server, encoding_of
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups.restore.restore import RestoreReport, restore
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore

SQL = Path(__file__).parent / "sql"
ZOO = ("types", "tables", "code", "rights")


@dataclass
class Servers:
    """A server of each version, started when it is first asked for."""

    installations: Mapping[int, Installation]
    directory: Path
    stack: ExitStack
    running: dict[int, ScratchCluster] = field(default_factory=dict)
    zoos: dict[int, str] = field(default_factory=dict)

    def __getitem__(self, major: int) -> ScratchCluster:
        if major not in self.installations:
            pytest.skip(f"versions: PostgreSQL {major} is not here")
        if major not in self.running:
            starting = ScratchCluster.start(self.installations[major], self.directory)
            self.running[major] = self.stack.enter_context(starting)
        return self.running[major]

    def zoo(self, major: int) -> str:
        """The database with nearly everything, made once for each version: never change it."""
        if major not in self.zoos:
            cluster = self[major]
            with cluster.server.connect("postgres") as connection:
                known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'zoo_owner'").fetchone()
            if known is None:  # a restore from an older server may have made them
                run_sql(cluster, "postgres", (SQL / "roles.sql").read_text())
            create(cluster, "zoo")
            contents = [(SQL / f"{name}.sql").read_text() for name in ZOO]
            if major >= 18:
                contents.append((SQL / "only_18.sql").read_text())
            run_sql(cluster, "zoo", "\n".join(contents))
            run_sql(cluster, "postgres", (SQL / "properties.sql").read_text())
            self.zoos[major] = "zoo"
        return self.zoos[major]


@pytest.fixture(scope="session")
def servers(installations_by_major: dict[int, Installation], scratch_directory: Path) -> Iterator[Servers]:
    """Servers that these tests may leave roles and databases in: they are thrown away at the end."""
    with ExitStack() as stack:
        yield Servers(installations_by_major, scratch_directory, stack)


def create(cluster: ScratchCluster, name: str, options: str = "") -> str:
    """A new, empty database of any name."""
    quoted = name.replace('"', '""')
    with cluster.server.connect("postgres") as connection:
        connection.execute(f'CREATE DATABASE "{quoted}" TEMPLATE template0 {options}'.encode())
    return name


def run_sql(cluster: ScratchCluster, database: str, statements: str | bytes) -> None:
    """Run a script as psql does, statement by statement, so that it may begin and commit."""
    argv = [
        cluster.installation.path("psql"),
        "-X",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-o",
        "/dev/null",
        f"--dbname={conninfo_dbname(database)}",
    ]
    data = statements.encode() if isinstance(statements, str) else statements
    run(argv, cluster.server.environment(database), timeout_seconds=60, input=data)


def back_up(
    cluster: ScratchCluster, database: str, *, server: Server | None = None, encrypt: bool = False
) -> House:
    """A backup of the database, verified to the last level, in a storage in memory."""
    house = House(server or cluster.server, database, MemoryStore(), encrypt=encrypt)
    house.back_up()
    return house


def put(
    house: House, target: ScratchCluster, into: str, *, server: Server | None = None, **changes: object
) -> RestoreReport:
    """The newest backup restored; not yet looked at."""
    options: DumpOptions = house.plan.options
    arguments: dict[str, object] = {key: changes.pop(key) for key in ("request", "replace") if key in changes}
    return restore(
        house.repository,
        house.catalog.find("latest"),
        server or target.server,
        into,
        RestoreOptions(options.installations, timeout_seconds=60, **changes),  # type: ignore[arg-type]
        clock=house.clock,
        **arguments,  # type: ignore[arg-type]
    )


def round_trip(
    source: ScratchCluster, database: str, target: ScratchCluster, into: str, **changes: object
) -> RestoreReport:
    """Back up, verify, restore, compare: by the fingerprint, and once more by the text of a whole dump."""
    house = back_up(source, database)
    report = put(house, target, into, **changes)  # type: ignore[arg-type]
    assert report.comparison.differences == ()
    assert report.comparison.equal
    owners = not changes.get("no_owner")
    if source.installation.major == target.installation.major:
        assert dump_lines(target, into, owners=owners) == dump_lines(source, database, owners=owners)
    return report


def dump_lines(cluster: ScratchCluster, database: str, *, owners: bool = True) -> list[str]:
    """A whole plain dump by another way than ours, as sorted lines: what pg_dump sees is what there is."""
    argv = [cluster.installation.path("pg_dump"), "--no-password", f"--dbname={conninfo_dbname(database)}"]
    # Columns of a table that inherits change places, those of its parents first: PostgreSQL's own doing.
    argv.append("--exclude-table-data=zoo.pets")
    if not owners:
        argv += ["--no-owner", "--no-privileges"]
    with cluster.server.connect(database) as connection:
        argv.append(f"--encoding={encoding_of(connection)}")
    environment = {**cluster.server.environment(database), "PGTZ": "UTC"}
    text = run(argv, environment, timeout_seconds=60).stdout
    # PostgreSQL writes IN on a varchar in another way once it has read it again: no difference.
    # So it does with roles of a policy, which it writes in the order of their creation on the server.
    lines = canonical_policies(canonical_expression(text.decode("latin-1"))).split("\n")
    return sorted(line.removesuffix(",") for line in lines if not re.match(r"\\(un)?restrict ", line))
