"""What somebody put under the names of segments at the archive's end ends no receiver, and costs nothing of ours."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.beginning import archive_end, archive_id_for
from recyclic_backups.archive.documents import Position
from recyclic_backups.archive.wal import segment_name
from recyclic_backups.errors import Refused
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.archive.conftest import (
    SEGMENT_BYTES,
    archive_of,
    assert_as_on_the_server,
    receiving,
    repository_of,
)
from recyclic_backups_tests.memory_store import MemoryStore


def running_segment(archive: WalArchive) -> tuple[str, int]:
    """The last segment, of which there are tails, and where it begins."""
    end = archive_end(archive.listing(), SEGMENT_BYTES)
    assert end is not None
    assert end.segment not in archive.listing().segments
    return end.segment, end.start_lsn


@pytest.mark.parametrize("place", ["whole", "a tail", "far ahead", "of a timeline to come"])
def test_junk_under_the_name_of_a_segment_does_not_end_the_receiver(
    server_of_its_own: ScratchCluster, memory: MemoryStore, place: str
) -> None:
    """Attack: bytes under a name, and nobody receives any more until a person removes them."""
    archive = archive_of(memory, server_of_its_own)
    with receiving(server_of_its_own, memory) as running:
        running.write_and_store(server_of_its_own, archive, 10)
    segment, start_lsn = running_segment(archive)
    file = {
        "whole": segment,
        "a tail": f"{segment}.00000000-{SEGMENT_BYTES:08x}",
        "far ahead": segment_name(1, start_lsn + 500 * SEGMENT_BYTES, SEGMENT_BYTES),
        "of a timeline to come": segment_name(15, start_lsn, SEGMENT_BYTES),
    }[place]
    name = f"{archive.wal}/{file[:8]}/{file}.zst.sealed"
    memory.replace(name, b"RCYB whatever" * 100)
    with receiving(server_of_its_own, memory) as running:
        assert running.write_and_store(server_of_its_own, archive, 4000) > start_lsn + SEGMENT_BYTES
        assert any("counts for nothing" in each and file in each for each in running.said)
    listing = assert_as_on_the_server(server_of_its_own, archive)
    assert len(archive.read_segment(listing, segment, SEGMENT_BYTES)) == SEGMENT_BYTES


def test_a_position_of_another_archive_does_not_decide_which_one_goes_on(memory: MemoryStore) -> None:
    """Attack: who lays an older archive's position back has all that is stored since count for nothing."""
    ours, other, size = "0a" * 16, "0b" * 16, 4096
    archive = WalArchive(repository_of(memory), "73")
    key = archive.repository.key_for_backups(datetime.now(UTC))
    at = datetime.now(UTC)
    laid = Position(1, 1, at, at, size, 150000, "73", archive_id=other)
    empty = archive.listing()
    assert archive_id_for(archive, empty, laid, size) == other
    assert archive_id_for(archive, empty, None, size) not in (ours, other), "one that begins"

    archive.of(ours).store_segment(segment_name(1, 1 << 20, 1 << 20), bytes(size), key)
    listing = archive.listing()
    assert archive_id_for(archive, listing, None, size) == ours
    with pytest.raises(Refused, match="parts of two archives"):
        archive_id_for(archive, listing, laid, size)
    name = f"{archive.root}/base/20261122T010003Z-K3X7QA/manifest.json"
    memory.create(name, archive.encode_document(name, {"format": 1, "archive_id": ours}, key))
    assert archive_id_for(archive, listing, laid, size) == ours
