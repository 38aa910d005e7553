"""Whether compressed data are whole, seen at the skeleton of their frames."""

from __future__ import annotations

import io
import random

import pytest
import zstandard

from recyclic_backups.compression import Compression, Compressor, Decompressor
from recyclic_backups.errors import DamagedData
from recyclic_backups.frames import WholeFrames

PLAIN = random.Random(7).randbytes(400_000) + b"x" * 1_000_000


def written(plain: bytes, size_bytes: int | None = None) -> bytes:
    """As an object is compressed."""
    sink = io.BytesIO()
    compressor = Compressor(sink, Compression(), size_bytes)
    for at in range(0, len(plain), 70_000):
        compressor.write(plain[at : at + 70_000])
    compressor.finish()
    return sink.getvalue()


def read(data: bytes) -> bytes:
    """As an object is read."""
    reader = Decompressor(io.BytesIO(data), compressed=True, name="main.dump.zst")
    pieces = []
    while piece := reader.read(100_000):
        pieces.append(piece)
    return b"".join(pieces)


def test_a_frame_has_a_checksum_and_the_size_where_it_is_known() -> None:
    """Loss prevented: a frame of which nobody can say whether it is whole, or how much is in it."""
    stream, known = written(PLAIN), written(PLAIN, len(PLAIN))
    assert zstandard.get_frame_parameters(stream).has_checksum
    assert zstandard.get_frame_parameters(known).has_checksum
    assert zstandard.get_frame_parameters(known).content_size == len(PLAIN)
    assert zstandard.frame_content_size(stream) == -1
    assert read(stream) == read(known) == PLAIN
    assert read(written(b"")) == read(written(b"", 0)) == b""


@pytest.mark.parametrize("missing", [1, 2, 3, 4, 5, 100, 200_000])
def test_a_frame_cut_anywhere_near_its_end_is_damage(missing: int) -> None:
    """Loss prevented: a decompressor ends quietly in the middle of a frame, and the checksum was never compared."""
    with pytest.raises(DamagedData):
        read(written(PLAIN)[:-missing])


def test_every_cut_of_a_small_frame_is_seen() -> None:
    """The same at every byte, for frames with and without checksum, size, window and dictionary id."""
    frames = [
        written(b"small"),
        written(b"small", 5),
        zstandard.compress(b"s"),
        written(b""),
        zstandard.compress(b"x" * 300),
    ]
    for whole in frames:
        for length in range(len(whole)):
            watched = WholeFrames()
            watched.take(whole[:length])
            with pytest.raises(ValueError, match="cut short"):
                watched.finish()
        for step in (1, 2, 3, len(whole)):
            watched = WholeFrames()
            for at in range(0, len(whole), step):
                watched.take(whole[at : at + step])
            watched.finish()


def test_old_frames_without_checksum_and_several_frames_are_read() -> None:
    """Loss prevented: what was written before, or by another program, can no longer be read."""
    assert read(zstandard.compress(PLAIN, 2)) == PLAIN
    assert read(zstandard.compress(PLAIN[:10]) + written(PLAIN[10:])) == PLAIN
    assert read(b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc" + written(PLAIN)) == PLAIN


@pytest.mark.parametrize("after", [b"x", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18\xff\x00\x00\x00"])
def test_what_follows_the_frames_is_no_secret_place(after: bytes) -> None:
    """Attack: bytes behind the end that one reader sees and another does not."""
    with pytest.raises(DamagedData):
        read(written(PLAIN) + after)


def test_a_frame_that_asks_for_all_memory_is_refused() -> None:
    """Attack: a window of gigabytes in a frame of a few bytes."""
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=28)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(DamagedData):
        read(compressor.compress(PLAIN) + compressor.flush())
