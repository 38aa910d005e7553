"""Who listens in the server's place, and knows its identifier but none of its WAL, writes nothing into the archive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from recyclic_backups.archive.accept import accept_without_proof
from recyclic_backups.archive.archive import WalArchive, packed
from recyclic_backups.archive.documents import Position, read_position, store_position
from recyclic_backups.archive.wal import segment_name
from recyclic_backups.base_backup.back_up import back_up_server
from recyclic_backups.base_backup.take import BaseBackupTerms
from recyclic_backups.compression import Compression
from recyclic_backups.errors import DatabaseError, Refused
from recyclic_backups.postgres import replication
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups_tests.archive.conftest import (
    SEGMENT_BYTES,
    Running,
    archive_of,
    fail_over,
    receiving,
    repository_of,
)
from recyclic_backups_tests.archive.impostor import answer, impostor
from recyclic_backups_tests.memory_store import MemoryStore

SYSTEM = "7400000000000000001"
FAR = 100 * SEGMENT_BYTES


@dataclass
class Elsewhere:
    """Where the receiver goes."""

    server: Server


@pytest.fixture
def archive(memory: MemoryStore) -> WalArchive:
    """Segments 5 to 8 of timeline 1, and a part of the ninth."""
    archive = WalArchive(repository_of(memory), SYSTEM)
    key = archive.repository.key_for_backups(datetime.now(UTC))
    for number in range(5, 9):
        segment = segment_name(1, number * SEGMENT_BYTES, SEGMENT_BYTES)
        archive.store_segment(segment, packed(os.urandom(SEGMENT_BYTES)), key)
    archive.store_tail(segment_name(1, 9 * SEGMENT_BYTES, SEGMENT_BYTES), 0, os.urandom(5000), key)
    return archive


@pytest.fixture
def before(memory: MemoryStore, archive: WalArchive) -> Iterator[dict[str, str]]:
    """What the storage holds; the same at the end of the test."""
    found = {each.name: each.version for each in memory.list("server.")}
    yield found
    assert {each.name: each.version for each in memory.list("server.")} == found


def refused(store: MemoryStore, server: Server) -> Refused:
    """How a receiver ends that is sent there."""
    error = Running(Elsewhere(server), store).join()  # type: ignore[arg-type]
    assert isinstance(error, Refused), error
    return error


@pytest.mark.usefixtures("before")
def test_who_is_refused_leaves_no_history_of_a_timeline(memory: MemoryStore) -> None:
    """Attack: the next failover would find a history of his, and recoveries would follow that."""
    histories = dict.fromkeys(range(2, 5), "1\tFFFF/0\tmine\n") | {5: "4\t0/0\tmine\n"}
    with impostor(SYSTEM, 5, FAR, histories) as he:
        assert "nothing was written" in refused(memory, he.server).message


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize("restart", [5, 9], ids=["from the first segment on", "from the last one on"])
def test_stored_wal_is_not_written_over_from_where_a_slot_is_said_to_begin(
    memory: MemoryStore, restart: int
) -> None:
    """Attack: he has removed what is asked for first, and sends his own from a place for which nothing was compared."""
    with impostor(
        SYSTEM, 1, FAR, {}, os.urandom(5 * SEGMENT_BYTES), restart_lsn=restart * SEGMENT_BYTES, removed=1
    ) as he:
        assert "differs" in refused(memory, he.server).message


def position(proof: str = "", settled: int = 5) -> Position:
    """Of the archive above, whose receiver was at work an hour ago; five segments of it were settled."""
    at = datetime.now(UTC) - timedelta(hours=1)
    lsn = 9 * SEGMENT_BYTES + 5000
    return Position(1, lsn, at, at, SEGMENT_BYTES, 150009, SYSTEM, proof, settled * SEGMENT_BYTES)


def note(archive: WalArchive, noted: Position) -> None:
    """Store a position, as a receiver does."""
    store_position(archive, noted, archive.repository.key_for_backups(datetime.now(UTC)))


@pytest.fixture
def settled(archive: WalArchive) -> WalArchive:
    """With a position: of what was stored lately a failover may give up something."""
    note(archive, position())
    return archive


@pytest.fixture
def proved(memory: MemoryStore, archive: WalArchive) -> WalArchive:
    """The archive ends with a full segment, and its server proved itself once."""
    for tail in archive.listing().tails.popitem()[1]:
        memory.delete(tail.name)
    note(archive, position("password"))
    return archive


@pytest.mark.usefixtures("proved", "before")
@pytest.mark.parametrize("restart", [9, 12], ids=["where a segment is full", "behind a gap"])
def test_who_does_not_prove_himself_as_the_server_did_appends_nothing(
    memory: MemoryStore, restart: int
) -> None:
    """Attack: he listens when a receiver begins, and nothing that is stored can be compared with what he sends."""
    with impostor(
        SYSTEM, 1, FAR, {}, os.urandom(SEGMENT_BYTES), restart_lsn=restart * SEGMENT_BYTES, removed=1
    ) as he:
        error = refused(memory, he.server)
    assert "its password" in error.message
    assert "wal accept --without-proof" in error.hint
    assert he.asked == ["IDENTIFY_SYSTEM"]


@pytest.mark.usefixtures("before")
def test_who_sends_nothing_writes_no_gap_down(memory: MemoryStore) -> None:
    """Attack: "WAL is lost", of an archive that lacks nothing, and a base backup is taken for it; of him, who knows."""
    with impostor(SYSTEM, 1, FAR, {}, silent=True, restart_lsn=12 * SEGMENT_BYTES, removed=1) as he:
        running = Running(Elsewhere(he.server), memory)  # type: ignore[arg-type]
        running.wait_until(lambda: any("receiving" in each for each in running.said))
        running.wait_until(lambda: he.answered >= 5)
        running.stop()
    assert running.gaps == []


def test_a_server_that_proved_itself_is_asked_for_it_by_every_process_until_somebody_says_otherwise(
    server_of_its_own: ScratchCluster, memory: MemoryStore
) -> None:
    """Attack: whoever answers the first session of a new process, or a base backup; the way out is a person's word."""
    archive = archive_of(memory, server_of_its_own)
    plain = Elsewhere(replace(server_of_its_own.server, proves_itself=False))
    with receiving(plain, memory) as running:  # type: ignore[arg-type]
        running.write_and_store(server_of_its_own, archive)
    kept = read_position(archive)
    assert kept is not None
    assert kept.proof == "password"
    hba = server_of_its_own.data_directory / "pg_hba.conf"
    hba.write_text("host replication all all trust\nhost all all all scram-sha-256\nlocal all all trust\n")
    server_of_its_own.restart()
    assert "does not show any more" in refused(memory, plain.server).message
    terms = BaseBackupTerms(Compression(), None, lock_wait_seconds=5, wal_patience_seconds=5)
    with pytest.raises(Refused, match="does not show any more"):
        back_up_server(plain.server, archive.repository, None, terms, clock=lambda: datetime.now(UTC))
    accept_without_proof(archive, datetime.now(UTC))
    with receiving(plain, memory) as running:  # type: ignore[arg-type]
        running.write_and_store(server_of_its_own, archive)


@pytest.mark.usefixtures("settled", "before")
@pytest.mark.parametrize("inside", [0, 40], ids=["at a segment", "behind its header"])
@pytest.mark.parametrize("removed", [0, 1])
def test_a_timeline_that_leaves_ours_where_there_is_nothing_to_compare_is_refused(
    memory: MemoryStore, inside: int, removed: int
) -> None:
    """Attack: recoveries would follow his timeline, and production's receiver be refused for good."""
    left = 7 * SEGMENT_BYTES + inside
    with impostor(
        SYSTEM, 2, FAR, {2: f"1\t0/{left:X}\tmine\n"}, os.urandom(3 * SEGMENT_BYTES), removed=removed
    ) as he:
        assert "no failover" not in refused(memory, he.server).message


@pytest.mark.usefixtures("before")
def test_a_timeline_that_is_over_at_once_is_refused(memory: MemoryStore) -> None:
    """Attack: asked for what is to be compared, he says that another timeline follows, elsewhere."""
    with impostor(
        SYSTEM, 2, FAR, {2: "1\tF/0\tmine\n"}, os.urandom(SEGMENT_BYTES), ends=(2, 7 * SEGMENT_BYTES)
    ) as he:
        assert "that cannot be" in refused(memory, he.server).message


@pytest.mark.usefixtures("before")
def test_who_sends_nothing_does_not_say_up_to_when_everything_is_stored(
    memory: MemoryStore, archive: WalArchive
) -> None:
    """Attack: an archive that seems to be whole up to 2049; nobody is told that nothing comes any more."""
    with impostor(SYSTEM, 1, FAR, {}, silent=True) as he:
        running = Running(Elsewhere(he.server), memory)  # type: ignore[arg-type]
        running.wait_until(lambda: any("receiving" in each for each in running.said))
        running.wait_until(
            lambda: he.answered >= 5
        )  # one tells a time, the next one the end that belongs to it
        running.stop()
    assert read_position(archive) is None


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize("size", ["99999999GB", "0MB", "3MB"])
def test_segments_of_a_size_that_no_server_has_are_refused(memory: MemoryStore, size: str) -> None:
    """Attack: he has memory filled that the receiver does not have, and it dies."""
    with impostor(SYSTEM, 1, FAR, {}, os.urandom(9000), segment_size=size) as he:
        error = Running(Elsewhere(he.server), memory).join()  # type: ignore[arg-type]
    assert isinstance(error, DatabaseError), error


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize(
    "message", [b"w123", b"k", b"k" + b"\x7f" * 17], ids=["short", "empty", "of no time"]
)
def test_a_message_that_is_none_ends_the_session_and_not_the_receiver(
    memory: MemoryStore, message: bytes
) -> None:
    """Attack: the receiver dies of an answer, and nobody receives any more."""
    with (
        impostor(SYSTEM, 1, FAR, {}, silent=True, greeting=message) as he,
        receiving(Elsewhere(he.server), memory) as running,  # type: ignore[arg-type]
    ):
        running.wait_until(lambda: any("not receiving" in each for each in running.said))
        assert running.error is None


_ODD = {
    "a name that is no text": ("IDENTIFY_SYSTEM", answer((b"\xff", "1", "0/1", None))),
    "a name that leads elsewhere": ("IDENTIFY_SYSTEM", answer(("../x", "1", "0/1", None))),
    "fewer columns": ("IDENTIFY_SYSTEM", answer((SYSTEM, "1"))),
    "a negative timeline": ("IDENTIFY_SYSTEM", answer((SYSTEM, "-5", "0/1", None))),
    "no position": ("IDENTIFY_SYSTEM", answer((SYSTEM, "1", "here", None))),
    "no slot": ("READ_REPLICATION_SLOT", answer(("physical", "0/1", "first"))),
    "no next timeline": ("START_REPLICATION", answer(("x",))),
    "no size": ("SHOW", answer((b"\xff",))),
}


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize(("command", "odd"), _ODD.values(), ids=_ODD)
def test_an_answer_that_is_none_ends_the_session_and_not_the_receiver(
    memory: MemoryStore, command: str, odd: bytes
) -> None:
    """Attack: one answer that nobody expects, and nobody receives any more."""
    with (
        impostor(SYSTEM, 1, FAR, {}, silent=True, instead={command: odd}) as he,
        receiving(Elsewhere(he.server), memory) as running,  # type: ignore[arg-type]
    ):
        running.wait_until(lambda: any("cannot be understood" in each for each in running.said))
        assert running.error is None


@pytest.mark.usefixtures("before")
def test_a_history_that_is_none_ends_the_session_and_not_the_receiver(memory: MemoryStore) -> None:
    """Attack: the same, in a document."""
    with (
        impostor(SYSTEM, 2, FAR, {2: "one\n"}, silent=True) as he,
        receiving(Elsewhere(he.server), memory) as running,  # type: ignore[arg-type]
    ):
        running.wait_until(lambda: any("is damaged" in each for each in running.said))
        assert running.error is None


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize("command", ["IDENTIFY_SYSTEM", "START_REPLICATION"], ids=["rows", "message"])
def test_an_answer_without_end_fills_no_memory(
    memory: MemoryStore, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: libpq keeps whatever comes until it is whole, and the machine that takes backups has no memory left."""
    monkeypatch.setattr(replication, "_MOST_ANSWER_BYTES", 1 << 20)
    endless = bytes(40 << 20)
    odd = {
        "IDENTIFY_SYSTEM": answer((endless, "1", "0/1", None)),
        "START_REPLICATION": b"W\0\0\0\x07\0\0\0d\x70\0\0\0" + endless,
    }[command]
    with (
        impostor(SYSTEM, 1, FAR, {}, silent=True, instead={command: odd}) as he,
        receiving(Elsewhere(he.server), memory) as running,  # type: ignore[arg-type]
    ):
        running.wait_until(lambda: any("has no end" in each for each in running.said))


def test_who_listens_while_the_server_is_down_is_not_spoken_with_once_it_has_shown_who_it_is(
    server_of_its_own: ScratchCluster, memory: MemoryStore
) -> None:
    """Attack: another user of the machine waits for a restart of the server, while the receiver waits too."""
    archive = archive_of(memory, server_of_its_own)
    # As the settings of production say it: nobody asks for a proof.
    plain = replace(server_of_its_own.server, proves_itself=False)
    with receiving(Elsewhere(plain), memory) as running:  # type: ignore[arg-type]
        running.write_and_store(server_of_its_own, archive)
        server_of_its_own.stop()
        with impostor(
            archive.system_identifier,
            1,
            FAR,
            {},
            os.urandom(SEGMENT_BYTES),
            port=server_of_its_own.server.port,
        ) as he:
            running.wait_until(
                lambda: bool(he.asked) or any("does not show any more" in each for each in running.said)
            )
            assert he.asked == []
        server_of_its_own.restart()
        running.write_and_store(server_of_its_own, archive)


def test_a_history_that_somebody_put_there_is_replaced_by_the_server_s(
    server_of_its_own: ScratchCluster, memory: MemoryStore
) -> None:
    """Attack: bytes under the name of the next timeline's history, and no recovery leads along it for ever."""
    archive = archive_of(memory, server_of_its_own)
    with receiving(server_of_its_own, memory) as running:
        running.write_and_store(server_of_its_own, archive)
    memory.replace(f"{archive.wal}/00000002.history.zst.sealed", b"whatever")
    fail_over(server_of_its_own)
    with receiving(server_of_its_own, memory) as running:
        running.write_and_store(server_of_its_own, archive)
    assert archive.read_history(archive.listing(), 2).startswith(b"1\t")
