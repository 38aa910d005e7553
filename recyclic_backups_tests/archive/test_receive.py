"""The receiver: everything that it confirmed is stored, whatever happens to it, to the server and to the storage."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recyclic_backups.archive import receive, stream
from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.continuity import holes, stretches
from recyclic_backups.archive.documents import Position, read_gaps, read_position, store_position
from recyclic_backups.archive.status import wal_status
from recyclic_backups.envelope.keyring import DataKey
from recyclic_backups.errors import DatabaseError, Refused
from recyclic_backups.postgres.lsn import lsn_of
from recyclic_backups.postgres.replication import Replication
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups.postgres.slots import look_at
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.archive.conftest import (
    PATIENCE_SECONDS,
    SEGMENT_BYTES,
    SLOT,
    Running,
    archive_of,
    assert_as_on_the_server,
    assert_whole,
    copied,
    fail_over,
    full_disk,
    lose_the_slot,
    put_in_its_place,
    reached,
    receiving,
    write_rows,
)
from recyclic_backups_tests.faults.proxy import Proxy
from recyclic_backups_tests.memory_store import MemoryStore


class Killed(BaseException):
    """The process is gone, at that call."""


class _Behind:
    """A server behind a line that may fail."""

    def __init__(self, cluster: ScratchCluster, line: Proxy) -> None:
        self.server = replace(cluster.server, port=line.port)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is shut down is let go sooner than in production, where Docker would kill it after ten seconds."""
    assert stream._SHUTDOWN_SECONDS < 9
    monkeypatch.setattr(stream, "_SHUTDOWN_SECONDS", 1.0)


def test_every_committed_row_is_stored_within_seconds_and_nothing_of_it_is_plain(
    server_of_its_own: ScratchCluster, tmp_path: Path
) -> None:
    """Loss prevented: a day of sales; and the members' names, in a storage that somebody else can read."""
    store = LocalStore.open(tmp_path / "storage", create=True)
    archive = archive_of(store, server_of_its_own)
    with receiving(server_of_its_own, store) as running:
        for _ in range(4):
            end = write_rows(server_of_its_own, 2500)
        running.wait_until(lambda: reached(archive) >= end)
    listing = assert_as_on_the_server(server_of_its_own, archive)
    assert len(listing.segments) >= 2
    assert not any(each in listing.tails for each in listing.segments), "tails of a whole segment stay"
    assert list(holes(stretches(listing, SEGMENT_BYTES))) == []
    for file in (tmp_path / "storage").rglob("*"):
        assert file.is_dir() or b"Plaintext-Marker" not in file.read_bytes()


def test_many_tails_of_one_segment_become_one(
    server_of_its_own: ScratchCluster, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a recovery that opens thousands of small objects, and bills of a storage for them."""
    monkeypatch.setattr(stream, "_JOINED_AFTER", 3)
    archive = archive_of(memory, server_of_its_own)
    with receiving(server_of_its_own, memory) as running:
        for _ in range(9):
            end = write_rows(server_of_its_own, 3)
            running.wait_until(lambda end=end: reached(archive) >= end)  # type: ignore[misc]
    listing = assert_as_on_the_server(server_of_its_own, archive)
    assert all(len(tails) <= 4 for tails in listing.tails.values())


def test_killed_at_any_call_of_the_storage_it_goes_on_without_a_hole(
    server_of_its_own: ScratchCluster, memory: MemoryStore
) -> None:
    """Loss prevented: WAL that was confirmed and not stored, by whatever moment the machine died at."""
    archive = archive_of(memory, server_of_its_own)
    for fatal in range(1, 25):
        calls = iter(range(1, 10_000))

        def die(verb: str, name: str, calls: Iterator[int] = calls, fatal: int = fatal) -> None:
            changes = "/wal/" in name and verb in ("writer", "write", "commit", "delete", "replace")
            if changes and next(calls) == fatal:
                memory.before = lambda _verb, _name: None
                raise Killed

        end = write_rows(server_of_its_own, 150)
        memory.before = die
        running = Running(server_of_its_own, memory, tail_seconds=0.05)
        try:
            running.wait_until(lambda end=end: reached(archive) >= end)  # type: ignore[misc]
            running.stop()
        except Killed:
            pass
        memory.before = lambda _verb, _name: None
    with receiving(server_of_its_own, memory) as running:
        running.write_and_store(server_of_its_own, archive, 1)
    assert_whole(server_of_its_own, archive)


@pytest.mark.usefixtures("impatient")
def test_a_storage_that_fails_for_a_while_loses_nothing_and_lets_the_server_stop(
    server_of_its_own: ScratchCluster, memory: MemoryStore
) -> None:
    """Loss prevented: WAL during an outage; and a server killed by Docker because it waited for our storage."""
    archive = archive_of(memory, server_of_its_own)

    with receiving(server_of_its_own, memory) as running:
        running.write_and_store(server_of_its_own, archive)
        memory.before = full_disk
        for _ in range(6):
            end = write_rows(server_of_its_own, 1000)
        running.wait_until(lambda: any("no space left" in each for each in running.said))
        server_of_its_own.stop()  # raises where it takes too long
        server_of_its_own.restart()
        memory.before = lambda _verb, _name: None
        running.wait_until(lambda: reached(archive) >= end)
    assert_whole(server_of_its_own, archive)


def test_a_slot_that_is_gone_is_made_anew_and_the_hole_is_told(
    server_of_its_own: ScratchCluster, memory: MemoryStore
) -> None:
    """Loss prevented: a hole in the WAL that is noticed on the day of the recovery."""
    archive = archive_of(memory, server_of_its_own)
    with receiving(server_of_its_own, memory) as running:
        running.write_and_store(server_of_its_own, archive)
    lose_the_slot(server_of_its_own)
    with receiving(server_of_its_own, memory) as running:
        running.write_and_store(server_of_its_own, archive)
        assert len(running.gaps) == 1
    (gap,) = read_gaps(archive)
    assert "slot was gone" in gap.reason
    status = wal_status(archive, None)
    assert [(each.from_lsn, each.to_lsn) for each in status.live_holes] == [(gap.from_lsn, gap.to_lsn)]


def test_the_timeline_of_a_promoted_server_is_followed(
    server_of_its_own: ScratchCluster, memory: MemoryStore
) -> None:
    """Loss prevented: everything after a failover."""
    archive = archive_of(memory, server_of_its_own)
    with receiving(server_of_its_own, memory) as running:
        running.write_and_store(server_of_its_own, archive)
        fail_over(server_of_its_own)
        running.write_and_store(server_of_its_own, archive)
    listing = assert_as_on_the_server(server_of_its_own, archive)
    assert listing.timelines == [1, 2]
    assert 2 in listing.histories
    status = wal_status(archive, None)
    assert status.lineage == (1, 2)
    assert status.live_holes == ()


@pytest.mark.parametrize("went_on", [True, False])
def test_a_clone_with_the_same_identifier_is_refused_before_it_writes(
    server_of_its_own: ScratchCluster, memory: MemoryStore, went_on: bool, tmp_path: Path
) -> None:
    """Attack, or mistake: a copy of production is started with our settings, and writes WAL of its own."""
    archive = archive_of(memory, server_of_its_own)
    with receiving(server_of_its_own, memory) as running:
        running.write_and_store(server_of_its_own, archive)
    copy = copied(server_of_its_own)
    with receiving(server_of_its_own, memory) as running:
        end = write_rows(server_of_its_own, 300, "production")
        running.wait_until(lambda: reached(archive) >= end)
    put_in_its_place(server_of_its_own, copy)
    if went_on:
        write_rows(server_of_its_own, 2000, "clone")
    before = {each.name: each.version for each in memory.list("server.")}
    running = Running(server_of_its_own, memory)
    error = running.join()
    assert isinstance(error, Refused), error
    assert "another" in error.message or "not the one" in error.message
    assert {each.name: each.version for each in memory.list("server.")} == before


def test_a_second_receiver_gives_up(
    server_of_its_own: ScratchCluster, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: two that write tails over each other."""
    archive = archive_of(memory, server_of_its_own)
    with receiving(server_of_its_own, memory) as running:
        running.write_and_store(server_of_its_own, archive)
        monkeypatch.setattr(receive, "_SLOT_WAIT_SECONDS", 0)
        error = Running(server_of_its_own, memory).join()
        assert isinstance(error, Refused)
        assert SLOT in error.message


def test_a_pg_hba_conf_without_a_line_for_replication_is_enough(
    server_of_its_own: ScratchCluster, memory: MemoryStore
) -> None:
    """Loss prevented: nothing is archived, since PostgreSQL's own image lets nobody in for replication."""
    hba = server_of_its_own.data_directory / "pg_hba.conf"
    hba.write_text("host all all all scram-sha-256\nlocal all all scram-sha-256\n")
    server_of_its_own.restart()
    archive = archive_of(memory, server_of_its_own)
    with receiving(server_of_its_own, memory) as running:
        running.write_and_store(server_of_its_own, archive)
        assert any("replication=database" in each for each in running.said)


def test_a_server_that_is_not_there_yet_is_waited_for(
    server_of_its_own: ScratchCluster, memory: MemoryStore
) -> None:
    """Loss prevented: a machine that starts both at once, and a receiver that gave up before the server was there."""
    archive = archive_of(memory, server_of_its_own)
    server_of_its_own.stop()
    with receiving(server_of_its_own, memory) as running:
        running.wait_until(lambda: any("not receiving" in each for each in running.said))
        server_of_its_own.restart()
        running.write_and_store(server_of_its_own, archive)


def test_the_password_is_in_no_message(server_of_its_own: ScratchCluster, memory: MemoryStore) -> None:
    """Attack: somebody reads the service's log."""
    wrong = Server(
        host="127.0.0.1", port=server_of_its_own.server.port, user="postgres", password="Geheim-1234"
    )

    class Elsewhere:
        server = wrong

    error = Running(Elsewhere(), memory).join()  # type: ignore[arg-type]
    assert "Geheim-1234" not in f"{error} {getattr(error, 'hint', '')}"
    assert "password authentication failed" in str(error)


@pytest.mark.usefixtures("impatient")
def test_a_storage_that_hangs_lets_the_server_stop(
    server_of_its_own: ScratchCluster, memory: MemoryStore
) -> None:
    """Loss prevented: a server that Docker kills after ten seconds, since our storage never answers."""
    archive = archive_of(memory, server_of_its_own)
    answers = threading.Event()

    def hang(verb: str, name: str) -> None:
        if "/wal/" in name and verb in ("commit", "replace"):
            answers.wait(PATIENCE_SECONDS)

    with receiving(server_of_its_own, memory) as running:
        running.write_and_store(server_of_its_own, archive)
        memory.before = hang
        end = write_rows(server_of_its_own)
        began = time.monotonic()
        server_of_its_own.stop()
        assert time.monotonic() - began < 9
        server_of_its_own.restart()
        answers.set()
        running.wait_until(lambda: reached(archive) >= end)
    assert_whole(server_of_its_own, archive)


@pytest.mark.usefixtures("impatient")
def test_a_full_queue_lets_the_server_stop_and_the_receiver_too(
    server_of_its_own: ScratchCluster, memory: MemoryStore
) -> None:
    """Loss prevented: the same, when so much waits for the storage that nothing more is read."""
    archive = archive_of(memory, server_of_its_own)

    with receiving(server_of_its_own, memory) as running:
        running.write_and_store(server_of_its_own, archive)
        memory.before = full_disk
        for _ in range(9):
            end = write_rows(server_of_its_own, 3000)
        time.sleep(1)
        began = time.monotonic()
        server_of_its_own.stop()
        assert time.monotonic() - began < 9
        server_of_its_own.restart()
        write_rows(server_of_its_own, 3000)
    assert running.error is None, "it ended when it was told to"
    memory.before = lambda _verb, _name: None
    with receiving(server_of_its_own, memory) as running:
        running.wait_until(lambda: reached(archive) >= end)
    assert_whole(server_of_its_own, archive)


def test_a_slow_storage_and_a_busy_server_still_have_a_position(
    server_of_its_own: ScratchCluster, memory: MemoryStore
) -> None:
    """Loss prevented: "nothing is stored since an hour", of an archive that is a second behind."""
    archive = archive_of(memory, server_of_its_own)

    def slow(verb: str, name: str) -> None:
        if "/wal/" in name and verb == "commit":
            time.sleep(0.3)

    memory.before = slow
    with receiving(server_of_its_own, memory) as running:
        running.wait_until(lambda: reached(archive) > 0)
        seen: set[int] = set()
        until = time.monotonic() + 15
        while len(seen) < 4 and time.monotonic() < until:
            write_rows(server_of_its_own, 5)
            seen.add(reached(archive))
    assert len(seen) == 4


def test_what_was_committed_by_the_position_s_time_is_stored_however_slowly_the_server_sends(
    server_of_its_own: ScratchCluster, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a row that was committed before the moment that a recovery promises, and is not there."""
    told: list[Position] = []
    store = store_position

    def stored(archive: WalArchive, position: Position, key: DataKey | None) -> None:
        told.append(position)
        store(archive, position, key)

    monkeypatch.setattr(stream, "store_position", stored)
    committed: list[tuple[datetime, int]] = []
    with (
        receiving(server_of_its_own, memory) as running,
        server_of_its_own.server.connect("postgres") as connection,
    ):
        running.wait_until(lambda: bool(told))
        row = connection.execute("SELECT active_pid FROM pg_replication_slots").fetchone()
        assert row is not None
        for _ in range(6):
            os.kill(row[0], signal.SIGSTOP)  # as a busy machine does
            try:
                time.sleep(0.3)  # it is asked meanwhile, and looks at its clock when it goes on
                found = connection.execute("SELECT pg_logical_emit_message(true, 'a', 'b')::text").fetchone()
                assert found is not None
                committed.append((datetime.now(UTC), lsn_of(found[0])))
                time.sleep(0.05)
            finally:
                os.kill(row[0], signal.SIGCONT)
            time.sleep(0.3)
    assert len(told) >= 6
    for position in told:
        missing = [at for at, lsn in committed if at <= position.server_time and lsn >= position.lsn]
        assert not missing, position


def test_a_server_that_says_nothing_any_more_is_asked_anew(
    server_of_its_own: ScratchCluster, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a firewall forgot the connection, and nothing was received for a quarter of an hour."""
    monkeypatch.setattr(stream, "_SILENCE_SECONDS", 1.5)
    archive = archive_of(memory, server_of_its_own)
    server_of_its_own.configure({"wal_sender_timeout": "2s"})
    server_of_its_own.restart()
    with (
        Proxy.to(server_of_its_own.server.port) as line,
        receiving(_Behind(server_of_its_own, line), memory) as running,  # type: ignore[arg-type]
    ):
        running.write_and_store(server_of_its_own, archive)
        line.go_silent()
        end = write_rows(server_of_its_own)
        running.wait_until(lambda: any("said nothing" in each for each in running.said))
        line.speak_again()
        running.wait_until(lambda: reached(archive) >= end)
        line.cut()
        running.write_and_store(server_of_its_own, archive)
    assert_as_on_the_server(server_of_its_own, archive)


def test_tails_that_a_kill_left_beside_their_segment_go(
    server_of_its_own: ScratchCluster, memory: MemoryStore
) -> None:
    """Loss prevented: small objects that stay for ever, one lot for each kill."""
    archive = archive_of(memory, server_of_its_own)

    def die(verb: str, name: str) -> None:
        if verb == "delete":
            raise Killed

    memory.before = die
    running = Running(server_of_its_own, memory, tail_seconds=0.05)
    while running.error is None:
        write_rows(server_of_its_own, 300)
    memory.before = lambda _verb, _name: None
    with receiving(server_of_its_own, memory) as running:
        running.write_and_store(server_of_its_own, archive)
    listing = assert_as_on_the_server(server_of_its_own, archive)
    assert listing.segments
    assert not listing.tails.keys() & listing.segments.keys()


def test_a_server_that_does_not_answer_keeps_nobody_else_waiting() -> None:
    """Loss prevented: what was received, not stored while the receiver tries to reach the server again."""
    ticks: list[int] = []
    over = threading.Event()

    def tick() -> None:
        while not over.wait(0.01):
            ticks.append(1)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = Server(
            host="127.0.0.1", port=silent.getsockname()[1], user="x", password="", connect_timeout_seconds=1
        )
        thread = threading.Thread(target=tick)
        thread.start()
        with pytest.raises(DatabaseError, match="did not answer within 1 s"), Replication.open(server):
            pass
        over.set()
        thread.join()
    assert len(ticks) > 20


def test_a_role_that_may_replicate_and_nothing_else_is_enough(
    server_of_its_own: ScratchCluster, memory: MemoryStore
) -> None:
    """Attack: whoever gets into the receiver's container has a superuser's login, because ours needed one."""
    archive = archive_of(memory, server_of_its_own)
    with server_of_its_own.server.connect("postgres") as connection:
        connection.execute("CREATE ROLE wal_receiver LOGIN REPLICATION PASSWORD 'of its own'")
    login = replace(server_of_its_own.server, user="wal_receiver", password="of its own")

    class Itself:
        server = login

    with receiving(Itself(), memory) as running:  # type: ignore[arg-type]
        running.write_and_store(server_of_its_own, archive)
    with pytest.raises(DatabaseError, match="permission denied"), login.connect("postgres") as connection:
        connection.execute("SELECT * FROM public.log")
    assert look_at(login, SLOT).slot is not None
    assert_as_on_the_server(server_of_its_own, archive)


def test_a_clock_of_ours_that_is_set_meanwhile_moves_nothing(
    server_of_its_own: ScratchCluster, memory: MemoryStore
) -> None:
    """Loss prevented: an archive that says that it reaches further than it does, or that stops, by a wrong clock."""
    archive = archive_of(memory, server_of_its_own)
    days = itertools.cycle([0, 400, -400])
    running = Running(server_of_its_own, memory, clock=lambda: datetime.now(UTC) + timedelta(days=next(days)))
    for _ in range(4):
        end = write_rows(server_of_its_own, 1500)
        running.wait_until(lambda end=end: reached(archive) >= end)  # type: ignore[misc]
    running.stop()
    position = read_position(archive)
    assert position is not None
    assert abs(datetime.now(UTC) - position.server_time) < timedelta(minutes=1)
    assert_whole(server_of_its_own, archive)
