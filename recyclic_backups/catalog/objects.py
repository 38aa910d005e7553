"""The bytes of a backup: written as plain → zstd → envelope → storage in one stream, read back the other way.

Dumps and base backups share it: what differs is the folder that their objects lie in (:class:`ObjectFolder`).

Nothing is ever plain on disk once encryption is on (invariant 7), and nothing partial ever becomes an object:
the end of the frame, the final chunk of the envelope and the storage's commit all happen in
:meth:`ObjectStream.finish`, which the caller reaches only when every child process exited 0 (invariant 2).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

from recyclic_backups.catalog.manifest import BackupObject, Manifest, Role
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.compression import Compression, Compressor, Decompressor, Sink, Source
from recyclic_backups.envelope.keyring import DataKey
from recyclic_backups.envelope.seal import SealedWriter
from recyclic_backups.envelope.unseal import UnsealedReader
from recyclic_backups.errors import DamagedData, NoUsableKey, ObjectMissing
from recyclic_backups.storage.store import ObjectReader, ObjectWriter, Store

READ_BYTES = 1 << 20
KEPT_BYTES = 8 << 20
"""How much of an object's beginning a restore keeps in memory, as it is stored: its table of contents is there."""
SEALED_SUFFIX = ".sealed"


@dataclass(frozen=True, slots=True)
class ObjectFolder:
    """Where objects lie that one manifest lists, what each is bound to beside its name, what sentences call them.

    ``bound_to`` is the "backup id" of the envelope's associated data.
    """

    path: str
    bound_to: str
    called: str

    @classmethod
    def of_backup(cls, repository: Repository, backup_id: str) -> ObjectFolder:
        """That of a dump."""
        return cls(repository.layout.backup(backup_id), backup_id, f"backup {backup_id}")


class StoredItem(Protocol):
    """What a manifest says of one of its objects."""

    @property
    def name(self) -> str:
        """With its suffixes."""

    @property
    def plain_bytes(self) -> int:
        """Before compression."""

    @property
    def stored_bytes(self) -> int:
        """As it lies in the storage."""

    @property
    def stored_sha256(self) -> str:
        """Of those bytes, in hexadecimal."""


@dataclass(frozen=True, slots=True)
class WrittenObject:
    """An object that was written: what its manifest is to say of it."""

    name: str
    plain_bytes: int
    stored_bytes: int
    stored_sha256: str


class _Hashing:
    """Counts and hashes what the storage is given."""

    def __init__(self, writer: ObjectWriter) -> None:
        self._writer = writer
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._writer.write(data)
        self._sha256.update(data)
        self.size_bytes += len(data)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


class ObjectStream:
    """One object being written. Leaving the ``with`` block without :meth:`finish` leaves nothing behind."""

    def __init__(
        self,
        name: str,
        writer: ObjectWriter,
        stored: _Hashing,
        compressor: Compressor,
        sealed: SealedWriter | None,
    ) -> None:
        self._name = name
        self._writer, self._stored = writer, stored
        self._compressor, self._sealed = compressor, sealed
        self.plain_bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append plain bytes. Raises StorageError."""
        self.plain_bytes += len(data)
        self._compressor.write(data)

    def finish(self) -> WrittenObject:
        """Commit: only after whatever produced the bytes is known to have ended well. Raises StorageError."""
        self._compressor.finish()
        if self._sealed is not None:
            self._sealed.finish()
        self._writer.commit()
        return WrittenObject(self._name, self.plain_bytes, self._stored.size_bytes, self._stored.sha256)


class BackupStream:
    """An object of a dump being written: as :class:`ObjectStream`, and the manifest's entry at the end."""

    def __init__(self, stream: ObjectStream, role: Role) -> None:
        self._stream, self._role = stream, role

    def write(self, data: bytes) -> None:
        """Append plain bytes. Raises StorageError."""
        self._stream.write(data)

    def finish(self) -> BackupObject:
        """Commit, as :meth:`ObjectStream.finish`. Raises StorageError."""
        done = self._stream.finish()
        return BackupObject(
            name=done.name,
            role=self._role,
            plain_bytes=done.plain_bytes,
            stored_bytes=done.stored_bytes,
            stored_sha256=done.stored_sha256,
        )


@contextmanager
def write_object(
    repository: Repository,
    backup_id: str,
    base_name: str,
    role: Role,
    compression: Compression,
    data_key: DataKey | None,
    size_bytes: int | None = None,
) -> Iterator[BackupStream]:
    """Open an object of a dump for writing, as :func:`write_into`."""
    folder = ObjectFolder.of_backup(repository, backup_id)
    with write_into(repository.store, folder, base_name, compression, data_key, size_bytes) as stream:
        yield BackupStream(stream, role)


@contextmanager
def write_into(
    store: Store,
    folder: ObjectFolder,
    base_name: str,
    compression: Compression,
    data_key: DataKey | None,
    size_bytes: int | None = None,
) -> Iterator[ObjectStream]:
    """Open an object for writing; its name tells what was done to it (``main.dump.zst.sealed``).

    ``size_bytes`` is how many plain bytes it will have, where that is known.
    """
    name = f"{base_name}{compression.suffix}{SEALED_SUFFIX if data_key else ''}"
    with ExitStack() as stack:
        writer = stack.enter_context(store.writer(f"{folder.path}/{name}"))
        stored = _Hashing(writer)
        sealed = None
        sink: Sink = stored
        if data_key is not None:
            sealed = stack.enter_context(SealedWriter(stored, data_key, folder.bound_to, name))
            sink = sealed
        yield ObjectStream(name, writer, stored, Compressor(sink, compression, size_bytes), sealed)


class _Continued:
    """A stored object whose beginning may be at hand: the storage is asked for the rest, once somebody gets there."""

    def __init__(self, beginning: bytes, open_rest: Callable[[], ObjectReader]) -> None:
        self._beginning, self._position = beginning, 0
        self._open_rest = open_rest
        self._rest = None if beginning else open_rest()

    def read(self, size: int, /) -> bytes:
        if self._position < len(self._beginning):
            piece = self._beginning[self._position : self._position + size]
            self._position += len(piece)
            return piece
        if self._rest is None:
            self._rest = self._open_rest()
        return self._rest.read(size)


class _Stored:
    """Counts and hashes what the storage returns; its first ``kept_bytes`` stay in ``beginning``."""

    def __init__(self, reader: ObjectReader, item: StoredItem, kept_bytes: int = 0) -> None:
        self._reader, self._item = reader, item
        self._kept_bytes, self.beginning = kept_bytes, b""
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def read(self, size: int, /) -> bytes:
        data = self._reader.read(size)
        self._sha256.update(data)
        self.size_bytes += len(data)
        if len(self.beginning) < self._kept_bytes:
            self.beginning += data[: self._kept_bytes - len(self.beginning)]
        if self.size_bytes > self._item.stored_bytes:
            # At once: what is put in an object's place may have no end.
            raise DamagedData(
                f"{self._item.name} has more than the {self._item.stored_bytes} bytes it was stored with"
            )
        return data

    def require_whole(self) -> None:
        """Read what is left and compare with the manifest. Raises DamagedData."""
        item = self._item
        while self.read(READ_BYTES):
            pass
        if self.size_bytes != item.stored_bytes:
            raise DamagedData(f"{item.name} has {self.size_bytes} bytes instead of {item.stored_bytes}")
        if self._sha256.hexdigest() != item.stored_sha256:
            raise DamagedData(f"{item.name} is not what was stored: its SHA-256 differs")


@dataclass(slots=True)
class PlainReader:
    """A backup's object read as pg_dump wrote it; the end is returned only once everything about it was checked.

    A reader that stops before the end has checked every chunk it was given, and no more.
    """

    item: StoredItem
    stored: _Stored
    plain: Source
    on_bytes: Callable[[int], None]
    read_bytes: int = 0
    reading_seconds: float = 0.0

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes. Raises DamagedData, NoUsableKey, StorageError."""
        started = time.monotonic()
        data = self._judged(lambda: self.plain.read(size))
        self.reading_seconds += time.monotonic() - started
        self.read_bytes += len(data)
        if self.read_bytes > self.item.plain_bytes:
            # At once: a few bytes of zstd can unfold to more than any disk holds.
            self.stored.require_whole()
            raise DamagedData(f"{self.item.name} holds more than its {self.item.plain_bytes} plain bytes")
        if not data:
            self.stored.require_whole()
            if self.read_bytes != self.item.plain_bytes:
                raise DamagedData(
                    f"{self.item.name} holds {self.read_bytes} plain bytes instead of {self.item.plain_bytes}"
                )
        self.on_bytes(len(data))
        return data

    def _judged(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except (DamagedData, NoUsableKey):
            # Damaged bytes look like a wrong key; the stored hash tells them apart, so it is asked first.
            self.stored.require_whole()
            raise


def read_object(
    repository: Repository,
    manifest: Manifest,
    item: BackupObject,
    on_bytes: Callable[[int], None] = lambda _: None,
    *,
    beginning: bytes = b"",
) -> AbstractContextManager[PlainReader]:
    """Open an object of a dump for reading, as :func:`read_from`."""
    return read_from(
        repository,
        ObjectFolder.of_backup(repository, manifest.backup_id),
        item,
        on_bytes,
        is_sealed=manifest.encryption is not None,
        beginning=beginning,
    )


@contextmanager
def read_from(
    repository: Repository,
    folder: ObjectFolder,
    item: StoredItem,
    on_bytes: Callable[[int], None] = lambda _: None,
    *,
    is_sealed: bool,
    beginning: bytes = b"",
) -> Iterator[PlainReader]:
    """Open an object for reading. A missing object is damage: its manifest promises it (DamagedData).

    ``is_sealed`` is what the manifest says, never the object's name. ``beginning`` is what :func:`require_stored` kept
    of it: the storage is asked only for what comes after.
    """
    with ExitStack() as stack:

        def open_rest() -> ObjectReader:
            return stack.enter_context(_opened(repository.store, folder, item, len(beginning)))

        stored = _Stored(_Continued(beginning, open_rest), item)
        source: Source = stored
        if is_sealed:
            source = UnsealedReader(stored, repository.keyring.for_reading, folder.bound_to, item.name)
        compressed = item.name.removesuffix(SEALED_SUFFIX).endswith(".zst")
        yield PlainReader(item, stored, Decompressor(source, compressed=compressed, name=item.name), on_bytes)


def require_stored(
    repository: Repository, manifest: Manifest, item: BackupObject, *, kept_bytes: int = 0
) -> bytes:
    """Compare an object of a dump with its manifest, as :func:`require_stored_in`."""
    folder = ObjectFolder.of_backup(repository, manifest.backup_id)
    return require_stored_in(repository.store, folder, item, kept_bytes=kept_bytes)


def require_stored_in(store: Store, folder: ObjectFolder, item: StoredItem, *, kept_bytes: int = 0) -> bytes:
    """Compare size and SHA-256 of an object with its manifest, without any key; returns its first ``kept_bytes``.

    Raises DamagedData, StorageError.
    """
    with _opened(store, folder, item) as raw:
        stored = _Stored(raw, item, kept_bytes)
        stored.require_whole()
        return stored.beginning


@contextmanager
def _opened(store: Store, folder: ObjectFolder, item: StoredItem, offset: int = 0) -> Iterator[ObjectReader]:
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(store.reader(f"{folder.path}/{item.name}", offset))
        except ObjectMissing:
            raise DamagedData(f"{item.name} of {folder.called} is missing from the storage") from None
        yield reader
