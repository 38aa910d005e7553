"""A server whose WAL is received, its base backups, and what is recovered from them: all of it real."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.documents import read_position
from recyclic_backups.archive.receive import Receiver, ReceiveTerms
from recyclic_backups.base_backup.back_up import back_up_server
from recyclic_backups.base_backup.manifest import BaseManifest
from recyclic_backups.base_backup.take import BaseBackupTerms
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.compression import Compression
from recyclic_backups.postgres.lsn import lsn_of
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.recovery.cluster import RecoveredCluster, recovered
from recyclic_backups.recovery.ask_wal import questions
from recyclic_backups.recovery.plan import Plan, plan_recovery, with_only
from recyclic_backups.recovery.survey import Survey, survey
from recyclic_backups.recovery.target import Target

PARIS = ZoneInfo("Europe/Paris")
TERMS = ReceiveTerms("recyclic_backups", 0.2, 3600)


def now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


@dataclass
class Site:
    """A production server and its archive."""

    cluster: ScratchCluster
    repository: Repository
    installation: Installation
    scratch: Path
    said: list[str] = field(default_factory=list)
    system_identifier: str = ""

    def sql(self, statement: str, database: str = "postgres") -> Any:
        """Run one statement; the first value of its first row, if it has any."""
        with self.cluster.server.connect(database) as connection:
            cursor = connection.execute(statement)
            row = cursor.fetchone() if cursor.description else None
        return None if row is None else row[0]

    def moment(self) -> datetime:
        """The server's clock, between two transactions: nothing else happens in the milliseconds around it."""
        time.sleep(0.02)
        found: datetime = self.sql("SELECT clock_timestamp()")
        time.sleep(0.02)
        return found.astimezone(UTC)

    @property
    def archive(self) -> WalArchive:
        """Its archive."""
        return WalArchive(self.repository, self.system_identifier)

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Receive WAL; at the end all that there is by then has come."""
        stopping = threading.Event()
        receiver = Receiver(self.cluster.server, self.repository, TERMS, clock=now, say=self.said.append)
        failed: list[BaseException] = []

        def run() -> None:
            try:
                receiver.run(stopping)
            except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
            if self.cluster.running:
                self.caught_up()
        finally:
            stopping.set()
            thread.join()
        if failed:
            raise failed[0]

    def caught_up(self) -> None:
        """Wait until the archive has all that the server has written by now."""
        end = lsn_of(self.sql("SELECT pg_current_wal_flush_lsn()::text"))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            position = read_position(self.archive)
            if position is not None and position.lsn >= end:
                return
            time.sleep(0.05)
        raise AssertionError(f"the archive does not come up to the server: {self.said}")

    def take_base(self) -> BaseManifest:
        """Take a base backup; WAL has to be received meanwhile."""
        terms = BaseBackupTerms(Compression(), None, lock_wait_seconds=30, wal_patience_seconds=30)
        return back_up_server(self.cluster.server, self.repository, None, terms, clock=now).base.manifest

    def survey(self) -> Survey:
        """What there is to recover from."""
        return survey(self.repository, self.system_identifier, now=now())

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
                now=now(),
                timezone=PARIS,
            )

    @contextmanager
    def recovered(self, target: Target, **options: Any) -> Iterator[RecoveredCluster]:
        """A throwaway server, recovered to the target."""
        plan = self.plan(target, **options)
        with recovered(self.survey().source, plan, [self.installation], self.scratch) as cluster:
            yield cluster


def one(cluster: RecoveredCluster, statement: str) -> Any:
    """The first value of what a recovered server answers."""
    with cluster.server.connect("postgres") as connection:
        row = connection.execute(statement).fetchone()
    return None if row is None else row[0]


Make = Callable[..., Site]
