"""Sealing and unsealing: what goes in comes out, and nothing but all of it."""

from __future__ import annotations

import io
import itertools

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.envelope import chunk_layout, seal
from recyclic_backups.envelope.data_key import DataKey, key_id_of
from recyclic_backups.envelope.header import HEADER_BYTES
from recyclic_backups.envelope.seal import SealedWriter
from recyclic_backups.envelope.unseal import UnsealedReader, sealed_size
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey, StorageError
from recyclic_backups_tests.memory_store import MemoryStore

SECRET = bytes(range(32))
KEY = DataKey(key_id_of(SECRET), SECRET)
BACKUP_ID, NAME = "20261122T010003Z-K3X7QA", "main.dump.zst.sealed"
CHUNK = 16

plaintexts = st.binary(max_size=100)


def sealed(plain: bytes, chunk_bytes: int = CHUNK) -> bytes:
    """The plaintext in one sealed object."""
    sink = io.BytesIO()
    with SealedWriter(sink, KEY, BACKUP_ID, NAME, chunk_bytes=chunk_bytes) as writer:
        writer.write(plain)
        writer.finish()
    return sink.getvalue()


def reader_of(data: bytes) -> UnsealedReader:
    """A reader that knows the one key."""

    def open_key(key_id: str) -> DataKey:
        if key_id != KEY.key_id:
            raise NoUsableKey(f"no key {key_id}")
        return KEY

    return UnsealedReader(io.BytesIO(data), open_key, BACKUP_ID, NAME)


def unsealed(data: bytes) -> bytes:
    """The plaintext of a whole object."""
    reader = reader_of(data)
    return b"".join(iter(lambda: reader.read(13), b""))


@given(
    pieces=st.lists(st.binary(max_size=50), max_size=10),
    chunk_bytes=st.integers(min_value=16, max_value=70),
    read_sizes=st.lists(st.integers(min_value=1, max_value=80), min_size=1, max_size=5),
)
def test_whatever_is_written_is_read_back(
    pieces: list[bytes], chunk_bytes: int, read_sizes: list[int]
) -> None:
    """A byte lost or doubled where writes, chunks and reads do not align would ruin a restore."""
    sink = io.BytesIO()
    with SealedWriter(sink, KEY, BACKUP_ID, NAME, chunk_bytes=chunk_bytes) as writer:
        for piece in pieces:
            writer.write(memoryview(piece))
        writer.finish()
    plain = b"".join(pieces)
    assert len(sink.getvalue()) == sealed_size(len(plain), chunk_bytes)
    reader = reader_of(sink.getvalue())
    read = []
    for size_bytes in itertools.cycle(read_sizes):
        piece = reader.read(size_bytes)
        assert len(piece) <= size_bytes
        if not piece:
            break
        read.append(piece)
    assert b"".join(read) == plain


@given(plain=plaintexts, position=st.integers(min_value=0), change=st.integers(min_value=1, max_value=255))
def test_any_byte_changed_is_noticed(plain: bytes, position: int, change: int) -> None:
    """Rot or tampering anywhere in an object must end in an error, not in other content."""
    data = bytearray(sealed(plain))
    data[position % len(data)] ^= change
    with pytest.raises((DamagedData, NoUsableKey)):
        unsealed(bytes(data))


@given(plain=plaintexts, data=st.data())
def test_any_truncation_is_noticed(plain: bytes, data: st.DataObject) -> None:
    """A dump that lost its end must never read as a shorter, valid one."""
    whole = sealed(plain)
    length = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
    with pytest.raises(DamagedData):
        unsealed(whole[:length])


@given(plain=plaintexts, tail=st.binary(min_size=1, max_size=40))
def test_anything_appended_is_noticed(plain: bytes, tail: bytes) -> None:
    """Bytes after the end are not what was written."""
    with pytest.raises(DamagedData):
        unsealed(sealed(plain) + tail)


@given(pieces=st.lists(st.binary(min_size=1, max_size=40), max_size=6))
def test_a_writer_left_without_finish_never_unseals(pieces: list[bytes]) -> None:
    """When pg_dump dies its pipe just ends: what was sealed until then must not pass for a backup."""
    sink = io.BytesIO()
    with SealedWriter(sink, KEY, BACKUP_ID, NAME, chunk_bytes=CHUNK) as writer:
        for piece in pieces:
            writer.write(piece)
    with pytest.raises(DamagedData):
        unsealed(sink.getvalue())
    with pytest.raises(BackupError):
        writer.finish()
    with pytest.raises(BackupError):
        writer.write(b"more")


@pytest.mark.parametrize("size_bytes", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_a_half_stream_does_not_unseal_even_when_an_error_ends_it(size_bytes: int) -> None:
    """The same when an exception leaves the block, as it does when a child process failed."""
    sink = io.BytesIO()

    def take() -> None:
        with SealedWriter(sink, KEY, BACKUP_ID, NAME, chunk_bytes=CHUNK) as writer:
            writer.write(bytes(size_bytes))
            raise RuntimeError("pg_dump was killed")

    with pytest.raises(RuntimeError):
        take()
    with pytest.raises(DamagedData):
        unsealed(sink.getvalue())


def test_the_end_of_the_object_is_confirmed_before_the_end_of_the_plaintext_is_told() -> None:
    """``b""`` is what callers take for "all of it": it must not come before the final chunk was checked."""
    reader = reader_of(sealed(bytes(40))[:-1])
    assert reader.read(100) == bytes(16)
    assert reader.read(0) == b""
    assert reader.read(100) == bytes(16)
    for _ in range(2):  # and an error stays an error
        with pytest.raises(DamagedData, match=NAME):
            reader.read(100)


def test_the_cut_at_a_chunk_is_told_as_such() -> None:
    """An operator should learn that an upload was cut, not just that something is wrong."""
    with pytest.raises(DamagedData, match="final chunk is missing"):
        unsealed(sealed(bytes(48))[: HEADER_BYTES + 32])
    with pytest.raises(DamagedData, match="goes on after its final chunk"):
        unsealed(sealed(bytes(32)) + b"x")
    elsewhere = UnsealedReader(io.BytesIO(sealed(b"x")), lambda _key_id: KEY, BACKUP_ID, "globals.sql.sealed")
    with pytest.raises(DamagedData, match="belongs to another backup"):
        elsewhere.read(1)


def test_a_sink_that_failed_once_is_never_written_to_again() -> None:
    """Going on after a half-written chunk would leave a hole, or use a nonce twice."""

    class Full:
        calls = 0

        def write(self, _data: bytes | bytearray | memoryview, /) -> None:
            self.calls += 1
            if self.calls == 2:
                raise StorageError("no space left")

    sink = Full()
    writer = SealedWriter(sink, KEY, BACKUP_ID, NAME, chunk_bytes=CHUNK)
    with pytest.raises(StorageError):
        writer.write(bytes(40))
    for attempt in (writer.finish, lambda: writer.write(b"x")):
        with pytest.raises(BackupError, match="is over"):
            attempt()
    assert sink.calls == 2


def test_finish_happens_once() -> None:
    """Two final chunks would be damage made by ourselves."""
    sink = io.BytesIO()
    with SealedWriter(sink, KEY, BACKUP_ID, NAME) as writer:
        writer.write(b"all of it")
        writer.finish()
        with pytest.raises(BackupError):
            writer.finish()
        with pytest.raises(BackupError):
            writer.write(b"more")
    assert unsealed(sink.getvalue()) == b"all of it"


def test_the_same_content_is_never_sealed_the_same_way() -> None:
    """Equal salts or prefixes would mean equal keys and nonces: GCM forgives that not once."""
    headers = {sealed(b"same")[:HEADER_BYTES] for _ in range(50)}
    assert len({header[22:54] for header in headers}) == len({header[54:61] for header in headers}) == 50


def test_no_nonce_is_used_twice_in_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated nonce gives away both plaintexts and the authentication key."""
    seen: list[bytes] = []
    real = chunk_layout.nonce

    def spy(prefix: bytes, counter: int, *, final: bool) -> bytes:
        seen.append(real(prefix, counter, final=final))
        return seen[-1]

    monkeypatch.setattr(seal, "nonce", spy)
    sealed(bytes(10 * CHUNK))
    assert len(seen) == len(set(seen)) == 10
    assert [value[-1] for value in seen] == [0] * 9 + [1]


def test_the_counter_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond 2^32 - 1 chunks nonces would repeat: refuse instead, and do so before writing."""
    monkeypatch.setattr(seal, "LAST_COUNTER", 1)
    sink = io.BytesIO()
    with SealedWriter(sink, KEY, BACKUP_ID, NAME, chunk_bytes=CHUNK) as writer:
        writer.write(bytes(3 * CHUNK))
        with pytest.raises(BackupError, match="larger than the envelope allows"):
            writer.finish()
    assert len(sink.getvalue()) == HEADER_BYTES + 2 * (CHUNK + 16)


def test_an_older_cryptography_seals_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``encrypt_into`` backups must go on being made, and be readable."""

    class Older:
        def __init__(self, key: bytes) -> None:
            self._cipher = AESGCM(key)

        def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
            return self._cipher.encrypt(nonce, data, associated_data)

    monkeypatch.setattr("cryptography.hazmat.primitives.ciphers.aead.AESGCM", Older)
    data = sealed(b"a" * 50)
    monkeypatch.undo()
    assert unsealed(data) == b"a" * 50


@pytest.mark.parametrize("chunk_bytes", [0, 15, 2**24 + 1])
def test_chunk_sizes_that_no_reader_accepts_are_not_written(chunk_bytes: int) -> None:
    """A backup that cannot be read back is found out at once, not at the restore."""
    with pytest.raises(BackupError):
        SealedWriter(io.BytesIO(), KEY, BACKUP_ID, NAME, chunk_bytes=chunk_bytes)


def test_a_negative_read_is_refused() -> None:
    """``read(-1)`` would take a whole dump into memory."""
    with pytest.raises(BackupError):
        reader_of(sealed(b"x")).read(-1)


def test_a_stored_object_round_trips_at_its_real_chunk_size() -> None:
    """The envelope must fit the storage's writer and reader, buffers reused and all."""
    store = MemoryStore()
    plain = bytes(range(256)) * (10 * 1024)  # two and a half chunks
    with store.writer("shop/object") as upload, SealedWriter(upload, KEY, BACKUP_ID, NAME) as writer:
        for start in range(0, len(plain), 300_000):
            writer.write(plain[start : start + 300_000])
        writer.finish()
        upload.commit()
    with store.reader("shop/object") as source:
        reader = UnsealedReader(source, lambda _key_id: KEY, BACKUP_ID, NAME)
        assert b"".join(iter(lambda: reader.read(1 << 18), b"")) == plain
    assert len(store.get("shop/object")) == sealed_size(len(plain))


def test_a_key_never_shows_in_its_repr() -> None:
    """A data key in a log or traceback opens every backup of the storage."""
    assert SECRET.hex() not in repr(KEY)
    assert repr(SECRET) not in repr(KEY)
