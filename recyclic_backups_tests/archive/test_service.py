"""``wal receive`` as the process that it is: killed, cut off, without room, beside a server that works and crashes.

The server keeps all of its WAL, so that afterwards every stored segment is compared with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import recyclic_backups_tests
from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.continuity import holes, stretches
from recyclic_backups.archive.wal import segment_name
from recyclic_backups.errors import DatabaseError
from recyclic_backups.postgres.lsn import lsn_of
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.archive.conftest import (
    PATIENCE_SECONDS,
    SEGMENT_BYTES,
    archive_of,
    reached,
    small_segments,
)
from recyclic_backups_tests.faults.disks import can_mount, mounted
from recyclic_backups_tests.faults.proxy import Proxy
from recyclic_backups_tests.faults.selection import slow
from recyclic_backups_tests.faults.site import wait_until
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.operator import variables_of


class Busy:
    """Two clients that write and commit, through crashes too; ``committed`` is up to where the server said so."""

    def __init__(self, cluster: ScratchCluster) -> None:
        self.committed = 0
        self._cluster, self._over = cluster, threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(2)]

    def __enter__(self) -> Busy:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join()

    def _work(self) -> None:
        while not self._over.is_set():
            with suppress(DatabaseError), self._cluster.server.connect("postgres") as connection:
                while not self._over.wait(0.005):
                    connection.execute(
                        "INSERT INTO public.log (what) SELECT repeat(md5(n::text), 40) FROM generate_series(1, 20) n"
                    )
                    row = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
                    assert row is not None
                    self.committed = max(self.committed, lsn_of(row[0]))
            self._over.wait(0.05)


class Service:
    """The receiver beside a server, started and ended as its operator, or an accident, does it."""

    def __init__(self, cluster: ScratchCluster, directory: Path) -> None:
        self.cluster, self.directory = cluster, directory
        self.storage = directory / "backups"
        self.variables: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None
        self.log = directory / "log"

    @property
    def archive(self) -> WalArchive:
        """What it writes into."""
        return archive_of(LocalStore(self.storage), self.cluster)

    @property
    def running(self) -> bool:
        """Whether it is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def environment(self) -> dict[str, str]:
        """Of its operator's commands, and its own."""
        return {
            **variables_of(self.cluster.server, "postgres"),
            "BACKUP_STORAGE": f"file://{self.storage}",
            "BACKUP_ENCRYPTION": "true",
            "BACKUP_ENCRYPTION_KEY": KEY,
            "WAL_ARCHIVE": "true",
            "WAL_TAIL_SECONDS": "1",
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(recyclic_backups_tests.__file__).parent.parent),
            **self.variables,
        }

    def start(self) -> None:
        """Start it."""
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "recyclic_backups", "wal", "receive"],
                cwd=self.directory,
                env=self.environment,
                stdout=log,
                stderr=log,
                text=True,
            )

    def end(self, number: signal.Signals) -> int:
        """Send a signal; the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(PATIENCE_SECONDS)

    def require(self, lsn: int) -> None:
        """Wait until the archive says that it reaches that far."""

        def there() -> bool:
            assert self.running, self.log.read_text()
            return reached(self.archive) >= lsn

        wait_until(there, self.log.read_text)

    def require_whole(self) -> None:
        """Everything that is stored is the server's, byte for byte, without a hole; nothing else stays behind.

        Its receiver has ended: it deletes tails a moment after it has stored their segment.
        """
        assert not self.running
        listing = self.archive.listing()
        found = stretches(listing, SEGMENT_BYTES)
        assert list(holes(found)) == []
        assert not listing.tails.keys() & listing.segments.keys()
        end = reached(self.archive)
        assert found[-1].start_lsn < end <= found[-1].end_lsn
        assert segment_name(found[-1].timeline, end - 1, SEGMENT_BYTES) in {*listing.segments, *listing.tails}
        for name in {*listing.segments, *listing.tails}:
            ours = self.archive.read_segment(listing, name, SEGMENT_BYTES)
            theirs = (self.cluster.data_directory / "pg_wal" / name).read_bytes()
            assert theirs[: len(ours)] == ours, name
        store = LocalStore(self.storage)
        assert all(store.is_abandoned(each.name) for each in store.partials()), "backup sweeps them"


@contextmanager
def _service(cluster: ScratchCluster, directory: Path) -> Iterator[Service]:
    service = Service(cluster, directory)
    try:
        yield service
    finally:
        if service.running:
            service.end(signal.SIGKILL)


@pytest.fixture
def service(installation: Installation, scratch_directory: Path, tmp_path: Path) -> Iterator[Service]:
    """See :class:`Service`; not started yet."""
    with small_segments(installation, scratch_directory, keep="2GB") as cluster:
        with cluster.server.connect("postgres") as connection:
            connection.execute("CREATE TABLE public.log (id bigserial, what text)")
        with _service(cluster, tmp_path) as service:
            yield service


def test_told_to_stop_it_stores_the_end_and_ends_well(service: Service) -> None:
    """Loss prevented: the last seconds before each update of the software."""
    service.variables["WAL_TAIL_SECONDS"] = "60"
    service.start()
    with Busy(service.cluster) as busy:
        wait_until(lambda: busy.committed > 0 and "receiving from" in service.log.read_text())
        time.sleep(1)
    # What it has not received when it is told to stop the server keeps.
    wait_until(lambda: _received(service.cluster) >= busy.committed, service.log.read_text)
    assert service.end(signal.SIGTERM) == 0, service.log.read_text()
    archive = service.archive
    listing = archive.listing()
    (stretch,) = stretches(listing, SEGMENT_BYTES)
    assert stretch.end_lsn >= busy.committed
    service.require_whole()


def _received(cluster: ScratchCluster) -> int:
    """Up to where the receiver has told the server that it received, stored or not."""
    with cluster.server.connect("postgres") as connection:
        row = connection.execute("SELECT write_lsn::text FROM pg_stat_replication").fetchone()
    return 0 if row is None or row[0] is None else lsn_of(row[0])


@slow
@pytest.mark.timeout(300)
def test_killed_again_and_again_beside_a_server_that_works_and_crashes(service: Service) -> None:
    """Loss prevented: WAL that the server was told to forget, and that a kill kept from the storage."""
    with Busy(service.cluster) as busy:
        for number in range(14):
            service.start()
            time.sleep(0.7 + 0.23 * (number % 7))
            if number % 4 == 3:
                service.cluster.crash()
                service.cluster.restart()
                time.sleep(0.5)
            service.end(signal.SIGKILL)
        service.start()
        wait_until(lambda: "receiving from" in service.log.read_text())
        time.sleep(3)
        assert service.running, service.log.read_text()
    service.require(busy.committed)
    # While it works, tails become parts of others between our look and our reading.
    assert service.end(signal.SIGTERM) == 0, service.log.read_text()
    service.require_whole()
    assert len(service.archive.listing().segments) > 10


@slow
@pytest.mark.timeout(300)
def test_a_line_that_is_cut_and_goes_silent(service: Service) -> None:
    """Loss prevented: a network that fails for a moment, and an archive that ends there."""
    service.cluster.configure({"wal_sender_timeout": "5s"})
    service.cluster.restart()
    with Proxy.to(service.cluster.server.port) as line:
        service.variables["POSTGRES_PORT"] = str(line.port)
        service.start()
        with Busy(service.cluster) as busy:
            wait_until(lambda: reached_quietly(service) > 0, service.log.read_text)
            for _ in range(6):
                time.sleep(0.8)
                line.cut()
            service.require(busy.committed)
            line.go_silent()
            wait_until(lambda: "said nothing" in service.log.read_text(), service.log.read_text)
            line.speak_again()
            time.sleep(2)
        service.require(busy.committed)
        assert service.end(signal.SIGTERM) == 0
        service.require_whole()


@slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not can_mount(), reason="mounts: no file system may be mounted here")
def test_a_disk_that_is_full_and_one_that_is_read_only(service: Service) -> None:
    """Loss prevented: a full disk of ours that becomes a hole, a dead receiver, or a server that cannot stop."""
    with mounted(service.storage, 4 << 20) as disk:
        service.start()
        with Busy(service.cluster):
            wait_until(lambda: "no space" in service.log.read_text(), service.log.read_text)
            time.sleep(10)
            assert service.running
            began = time.monotonic()
            service.cluster.stop()
            assert time.monotonic() - began < 9
            service.cluster.restart()
            disk.remount("size=1g")
            wait_until(lambda: "takes WAL again" in service.log.read_text(), service.log.read_text)
            time.sleep(3)
            disk.remount("ro")
            wait_until(lambda: "ead-only" in service.log.read_text(), service.log.read_text)
            time.sleep(3)
            disk.remount("rw")
            time.sleep(2)
        with service.cluster.server.connect("postgres") as connection:
            row = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
        assert row is not None
        service.require(lsn_of(row[0]))
        assert service.end(signal.SIGTERM) == 0
        service.require_whole()


def reached_quietly(service: Service) -> int:
    """How far the archive reaches; 0 while there is none."""
    return reached(service.archive) if service.storage.is_dir() else 0
