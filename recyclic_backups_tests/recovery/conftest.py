"""A server with a history, archived once, and what is recovered from copies of its archive. All of it is real."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from recyclic_backups.archive import stream
from recyclic_backups.archive.documents import read_position
from recyclic_backups.postgres.lsn import lsn_of
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.recovery.ask_wal import questions
from recyclic_backups.recovery.cluster import RecoveredCluster
from recyclic_backups.recovery.into_scratch import recovered
from recyclic_backups.recovery.plan import Plan, plan_recovery, with_only
from recyclic_backups.recovery.survey import Survey, survey
from recyclic_backups.recovery.target import Target
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.archive.conftest import Running, receiving, repository_of, small_segments
from recyclic_backups_tests.base_backup.conftest import Premises
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.operator import Operator, variables_of

PARIS = ZoneInfo("Europe/Paris")
SEGMENT_BYTES = 1 << 20


@dataclass
class Site:
    """A production server and its archive. ``scratch`` is where throwaway servers may live."""

    cluster: ScratchCluster
    directory: Path
    installation: Installation
    scratch: Path
    system_identifier: str = ""

    def __post_init__(self) -> None:
        self.store = LocalStore.open(self.directory, create=True)
        self.system_identifier = self.system_identifier or self.sql(
            "SELECT system_identifier::text FROM pg_control_system()"
        )

    def sql(self, statement: str, database: str = "postgres") -> Any:
        """Run one statement; the first value of its first row, if it has any."""
        with self.cluster.server.connect(database) as connection:
            cursor = connection.execute(statement.encode())
            row = cursor.fetchone() if cursor.description else None
        return None if row is None else row[0]

    def moment(self) -> datetime:
        """The server's clock, between two transactions."""
        time.sleep(0.02)
        found: datetime = self.sql("SELECT clock_timestamp()")
        time.sleep(0.02)
        return found.astimezone(UTC)

    def lsn(self) -> int:
        """Up to where the server has written its WAL."""
        return lsn_of(self.sql("SELECT pg_current_wal_flush_lsn()::text"))

    def caught_up(self, receiver: Running, moment: datetime | None = None) -> None:
        """Wait until the archive has all that the server has written by now, and says so of ``moment``."""
        end = self.lsn()
        archive = self.survey().archive

        def is_there() -> bool:
            position = read_position(archive)
            return (
                position is not None
                and position.lsn >= end
                and (moment is None or position.server_time > moment)
            )

        receiver.wait_until(is_there)

    def take_base(self) -> str:
        """Take a base backup, while WAL is received; its id."""
        return Premises(self.cluster, self.store).take().base.base_id

    def survey(self) -> Survey:
        """What there is to recover from."""
        return survey(repository_of(self.store), self.system_identifier, now=datetime.now(UTC))

    def plan(self, target: Target, *, timeline: int | None = None, base_id: str | None = None) -> Plan:
        """How that is reached."""
        found = self.survey()
        windows = found.windows(timeline)
        if base_id is not None:
            windows = with_only(windows, base_id)
        with questions(found.source, [self.installation], self.scratch, windows) as asked:
            return plan_recovery(
                self.system_identifier,
                windows,
                target,
                found.chain_of,
                asked,
                now=datetime.now(UTC),
                timezone=PARIS,
            )

    @contextmanager
    def recovered(
        self, target: Target, *, promote: bool = True, **options: Any
    ) -> Iterator[RecoveredCluster]:
        """A throwaway server, recovered to the target."""
        plan = self.plan(target, **options)
        with recovered(
            self.survey().source, plan, [self.installation], self.scratch, promote=promote
        ) as cluster:
            yield cluster

    def file_of(self, segment: str) -> Path:
        """Where the storage has a whole segment."""
        return self.directory / self.survey().listing.segments[segment]


def one(cluster: RecoveredCluster, statement: str) -> Any:
    """The first value of what a recovered server answers."""
    with cluster.server.connect("postgres") as connection:
        row = connection.execute(statement.encode()).fetchone()
    return None if row is None else row[0]


@dataclass
class History:
    """A server with a table of members, and what happened to it after its base backup: each with its moment."""

    site: Site
    before: datetime
    """300 members, and nobody deleted any yet."""
    deleting_xid: int
    """Deleted 100 of them."""
    deleted: datetime
    deleted_lsn: int
    idle: datetime
    """After the last commit: the table was dropped before it."""

    def copy(self, directory: Path) -> Site:
        """The archive again, to be damaged."""
        shutil.copytree(self.site.directory, directory)
        site = self.site
        return Site(site.cluster, directory, site.installation, site.scratch, site.system_identifier)


@pytest.fixture(scope="session")
def history(installation: Installation, scratch_directory: Path) -> Iterator[History]:
    """See :class:`History`. Its archive is whole, and stays so: damage copies."""
    patched = pytest.MonkeyPatch()
    patched.setattr(stream, "_IDLE_POSITION_SECONDS", 0.2)
    with small_segments(installation, scratch_directory) as cluster:
        cluster.configure({"shared_preload_libraries": "", "track_commit_timestamp": "on"})
        cluster.restart()
        site = Site(cluster, scratch_directory / "history", installation, scratch_directory)
        with receiving(cluster, site.store) as receiver:
            site.sql(
                "CREATE TABLE public.member (id int PRIMARY KEY, name text);"
                "ALTER TABLE public.member ALTER name SET STORAGE EXTERNAL"  # to fill segments
            )
            site.take_base()
            site.sql("CREATE UNLOGGED TABLE public.scratch AS SELECT 1 AS n")
            site.sql("CREATE TABLE public.kept AS SELECT n FROM generate_series(1, 5) n")
            site.sql("TRUNCATE public.kept")
            site.sql("INSERT INTO public.kept VALUES (1), (2)")
            site.sql("UPDATE public.kept SET n = n + 1")
            site.sql(
                "INSERT INTO public.member SELECT n, 'Amélie ' || n || repeat(md5(n::text), 300) "
                "FROM generate_series(1, 300) n"
            )
            before = site.moment()
            site.sql("SELECT pg_create_restore_point('before the accident')")
            with cluster.server.connect("postgres", autocommit=False) as connection:
                connection.execute("DELETE FROM public.member WHERE id <= 100")
                row = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
            assert row is not None
            deleted, deleted_lsn = site.moment(), site.lsn()
            site.sql("DROP TABLE public.member")
            idle = site.moment()
            site.caught_up(receiver, idle)
        yield History(site, before, int(row[0]), deleted, deleted_lsn, idle)
    patched.undo()


@pytest.fixture
def recovering(history: History, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Operator:
    """The command line with the archive of the history; production is away."""
    variables = variables_of(history.site.cluster.server, "postgres")
    return Operator(
        tmp_path,
        capsys,
        {
            **variables,
            "POSTGRES_PORT": "1",
            "BACKUP_STORAGE": f"file://{history.site.directory}",
            "BACKUP_SCRATCH": str(history.site.scratch),
            "BACKUP_ENCRYPTION": "true",
            "BACKUP_ENCRYPTION_KEY": KEY,
        },
    )
