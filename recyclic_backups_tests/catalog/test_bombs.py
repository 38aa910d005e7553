"""Objects that unfold, or go on, without end: reading stops where the manifest says that they end."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import zstandard

from recyclic_backups.catalog.manifest import BackupObject
from recyclic_backups.catalog.objects import PlainReader, read_object, require_stored
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.compression import Compression, Compressor, Decompressor
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.errors import DamagedData
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.retention.histories import manifest, paris

NAME = "main.dump.zst"
MEBIBYTE = 1 << 20


class _Endless:
    """A file of zeros that never ends, and how much of it was read."""

    read_bytes = 0

    def read(self, size: int, /) -> bytes:
        self.read_bytes += size
        return bytes(size)


class _EndlessStore(MemoryStore):
    """A storage that gives the endless file for every object."""

    endless = _Endless()

    @contextmanager
    def reader(self, _name: str, _offset: int = 0) -> Iterator[_Endless]:  # type: ignore[override]
        yield self.endless


def _read(stored: bytes, plain_bytes: int) -> int:
    """Read an object to its end; how much was unfolded."""
    store = MemoryStore()
    repository = Repository(store, "recyclic", Keyring(store, ""), encrypt=False)
    item = BackupObject(NAME, "main", plain_bytes, len(stored), hashlib.sha256(stored).hexdigest())
    document = replace(manifest(paris("2026-11-22T02:00")), objects=(item,))
    with store.writer(repository.layout.object(document.backup_id, NAME)) as upload:
        upload.write(stored)
        upload.commit()
    with read_object(repository, document, item) as reader:
        return _drained(reader)


def _drained(reader: PlainReader) -> int:
    total = 0
    while piece := reader.read(MEBIBYTE):
        total += len(piece)
        assert total <= 64 * MEBIBYTE, "it went on unfolding"
    return total


def _bomb(plain_bytes: int) -> bytes:
    """Zeros, which zstd makes thousands of times smaller."""
    sink = io.BytesIO()
    compressor = Compressor(sink, Compression())
    for _ in range(plain_bytes // MEBIBYTE):
        compressor.write(bytes(MEBIBYTE))
    compressor.finish()
    return sink.getvalue()


def test_an_object_is_read_to_the_bytes_that_its_manifest_says() -> None:
    """The bound must not refuse what is whole."""
    assert _read(_bomb(8 * MEBIBYTE), 8 * MEBIBYTE) == 8 * MEBIBYTE


def test_zstd_that_unfolds_without_end_is_stopped_at_once() -> None:
    """Attack: some kilobytes that become terabytes in the database, or on the disk of whoever extracts them."""
    bomb = _bomb(4096 * MEBIBYTE)
    assert len(bomb) < MEBIBYTE
    with pytest.raises(DamagedData, match=r"main\.dump\.zst holds more than its 8388608 plain bytes"):
        _read(bomb, 8 * MEBIBYTE)


def test_an_object_without_end_is_stopped_at_the_size_it_was_stored_with() -> None:
    """Attack: a file of a network file system that grows while it is read: verify would never come back."""
    store = _EndlessStore()
    repository = Repository(store, "recyclic", Keyring(store, ""), encrypt=False)
    document = manifest(paris("2026-11-22T02:00"))
    [item] = document.objects
    with pytest.raises(DamagedData, match="has more than the 100 bytes it was stored with"):
        require_stored(repository, document, item)
    with read_object(repository, document, item) as reader, pytest.raises(DamagedData):
        _drained(reader)
    assert store.endless.read_bytes < 8 * MEBIBYTE


def test_a_frame_that_wants_a_window_of_gigabytes_is_refused() -> None:
    """Attack: a few bytes that say "keep the last 128 MiB, or 2 GiB, in memory", for each stream of a restore."""
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = b"".join([frame.compress(bytes(MEBIBYTE)), frame.flush()])
    tracemalloc.start()
    try:
        with pytest.raises(DamagedData, match="are broken"):
            Decompressor(io.BytesIO(data), compressed=True, name=NAME).read(MEBIBYTE)
        assert tracemalloc.get_traced_memory()[1] < 16 * MEBIBYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("level", [1, 2, 19])
def test_every_level_that_was_ever_written_can_be_read(level: int) -> None:
    """What was written once can be read for ever: the limit is above what any level of ours asks for."""
    sink = io.BytesIO()
    compressor = Compressor(sink, Compression("zstd", level))
    for number in range(12):
        compressor.write(number.to_bytes(4, "big") * (MEBIBYTE // 4))
    compressor.finish()
    assert _read(sink.getvalue(), 12 * MEBIBYTE) == 12 * MEBIBYTE
