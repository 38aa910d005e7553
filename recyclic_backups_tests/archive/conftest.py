"""A server with segments of 1 MB, so that a few rows fill some, and a receiver beside it."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.continuity import holes, stretches
from recyclic_backups.archive.documents import Gap, read_position
from recyclic_backups.archive.listing import Listing
from recyclic_backups.archive.receive import Receiver, ReceiveTerms
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.errors import Refused, StorageError
from recyclic_backups.postgres.lsn import lsn_of
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.storage.store import Store
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.prepared_clusters import SmallSegments

SEGMENT_BYTES = 1 << 20
SLOT = "recyclic_backups"
PATIENCE_SECONDS = 60


@contextmanager
def small_segments(installation: Installation, directory: Path, keep: str = "0") -> Iterator[ScratchCluster]:
    """A server of its own: these tests stop it, promote it, and drop its slots. It keeps so much WAL of itself."""
    with SmallSegments.start(installation, directory, settings={"wal_keep_size": keep}) as cluster:
        yield cluster


@pytest.fixture
def server_of_its_own(installation: Installation, scratch_directory: Path) -> Iterator[ScratchCluster]:
    """See :func:`small_segments`."""
    with small_segments(installation, scratch_directory) as cluster:
        with cluster.server.connect("postgres") as connection:
            connection.execute("CREATE TABLE public.log (id bigserial, what text)")
        yield cluster


def repository_of(store: Store, encrypt: bool = True) -> Repository:
    """The storage, opened anew."""
    return Repository(store, "postgres", Keyring(store, KEY if encrypt else ""), encrypt=encrypt)


def archive_of(store: Store, cluster: ScratchCluster, encrypt: bool = True) -> WalArchive:
    """The server's part of the storage."""
    with cluster.server.connect("postgres") as connection:
        row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    assert row is not None
    return WalArchive(repository_of(store, encrypt), row[0])


class Running:
    """A receiver at work in a thread. ``error`` is what it ended with, ``said`` its sentences."""

    def __init__(
        self,
        cluster: ScratchCluster,
        store: Store,
        tail_seconds: float = 0.2,
        encrypt: bool = True,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.said: list[str] = []
        self.gaps: list[Gap] = []
        self.error: BaseException | None = None
        self._stopping = threading.Event()
        self._receiver = Receiver(
            cluster.server,
            repository_of(store, encrypt),
            ReceiveTerms(SLOT, tail_seconds, 3600),
            clock=clock,
            say=self.said.append,
            on_gap=self.gaps.append,
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._receiver.run(self._stopping)
        except BaseException as error:  # noqa: BLE001 - the test's to judge
            self.error = error

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Wait for something to come true; the receiver's error, or its silence, is the test's."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not true():
            if self.error is not None:
                raise self.error
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def join(self) -> BaseException | None:
        """Wait for it to end by itself."""
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), self.said
        return self.error

    def write_and_store(self, cluster: ScratchCluster, archive: WalArchive, count: int = 500) -> int:
        """Some work, stored when this returns; returns where the WAL ends after it."""
        end = write_rows(cluster, count)
        self.wait_until(lambda: reached(archive) >= end)
        return end

    def stop(self) -> None:
        """As SIGTERM does."""
        self._stopping.set()
        self.join()
        if self.error is not None:
            raise self.error


@contextmanager
def receiving(cluster: ScratchCluster, store: Store, encrypt: bool = True) -> Iterator[Running]:
    """A receiver for the block, stopped in good order at its end."""
    running = Running(cluster, store, encrypt=encrypt)
    try:
        yield running
    except BaseException:
        running._stopping.set()
        running.join()
        raise
    running.stop()


def write_rows(cluster: ScratchCluster, count: int = 500, what: str = "Amélie Plaintext-Marker") -> int:
    """Some work; returns where the WAL ends after it, flushed."""
    with cluster.server.connect("postgres") as connection:
        connection.execute(
            "INSERT INTO public.log (what) SELECT %s || n || repeat(md5(n::text), 12) FROM generate_series(1, %s) n",
            (what, count),
        )
        row = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
    assert row is not None
    return lsn_of(row[0])


def reached(archive: WalArchive) -> int:
    """Up to where the archive says that it reaches."""
    position = read_position(archive)
    return 0 if position is None else position.lsn


def assert_as_on_the_server(cluster: ScratchCluster, archive: WalArchive) -> Listing:
    """Each segment that both have is the same, byte for byte, and so is what there is of the last one."""
    listing = archive.listing()
    compared = 0
    for name in {*listing.segments, *listing.tails}:
        file = cluster.data_directory / "pg_wal" / name
        if file.exists():
            ours = archive.read_segment(listing, name, SEGMENT_BYTES)
            assert file.read_bytes()[: len(ours)] == ours, name
            compared += 1
    assert compared
    return listing


def assert_whole(cluster: ScratchCluster, archive: WalArchive) -> None:
    """What is stored is as on the server, and there is no hole in it."""
    assert list(holes(stretches(assert_as_on_the_server(cluster, archive), SEGMENT_BYTES))) == []


def full_disk(verb: str, name: str) -> None:
    """For :attr:`MemoryStore.before`: a storage that takes no file any more."""
    if verb in ("writer", "replace"):
        raise StorageError("there is no space left")


def lose_the_slot(cluster: ScratchCluster) -> None:
    """Somebody dropped it, and the server removed WAL that nobody had received."""
    with cluster.server.connect("postgres") as connection:
        connection.execute("SELECT pg_drop_replication_slot(%s)", (SLOT,))
    for _ in range(3):
        write_rows(cluster, 3000)
        with cluster.server.connect("postgres") as connection:
            connection.execute("CHECKPOINT")


def copied(cluster: ScratchCluster) -> Path:
    """A copy of the server's files, as they are once it was stopped; it is started again."""
    cluster.stop()
    copy = cluster.home / "copied"
    shutil.copytree(cluster.data_directory, copy, symlinks=True)
    cluster.restart()
    return copy


def put_in_its_place(cluster: ScratchCluster, copy: Path) -> None:
    """From now on the copy answers."""
    cluster.stop()
    data = cluster.data_directory
    owner = data.stat()
    shutil.rmtree(data)
    copy.rename(data)
    subprocess.run(["chown", "-R", f"{owner.st_uid}:{owner.st_gid}", str(data)], check=True)
    cluster.restart()


def fail_over(cluster: ScratchCluster) -> None:
    """Restart it as a standby that is promoted: on the next timeline."""
    cluster.stop()
    (cluster.data_directory / "standby.signal").touch()
    cluster.restart()
    promote(cluster)


def promote(cluster: ScratchCluster) -> None:
    """End a standby's recovery."""
    with cluster.server.connect("postgres") as connection:
        connection.execute("SELECT pg_promote()")


def to_accept(refusal: BaseException | None) -> tuple[int, int, int]:
    """What the command in a receiver's refusal accepts: a timeline, the one that it left, and where."""
    assert isinstance(refusal, Refused), refusal
    said = re.search(r"wal accept --server \d+ --timeline (\d+) --left (\d+)@(\S+) --yes", refusal.hint)
    assert said is not None
    return int(said[1]), int(said[2]), lsn_of(said[3])
