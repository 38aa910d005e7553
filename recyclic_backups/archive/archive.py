"""One server's part of a storage: sealed segments, tails of unfinished ones, histories (docs/format/wal.md).

WAL belongs to a server and not to one of its databases, so it lies beside the databases' folders. Each object is
bound to the server, to its own name and to this archive: none can be put in the place of another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NewType

from recyclic_backups.archive.archive_id import WithArchiveId, frame_of, is_same_archive
from recyclic_backups.archive.listing import Listing, Tail, listing_of, name_in_timeline
from recyclic_backups.archive.wal import history_name
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.compression import Compression, Decompressor, Source, compressed
from recyclic_backups.envelope import document as envelope_document
from recyclic_backups.envelope.keyring import DataKey
from recyclic_backups.envelope.seal import SealedWriter
from recyclic_backups.envelope.unseal import UnsealedReader
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey, ObjectMissing, StorageError
from recyclic_backups.storage.shared import newest

Packed = NewType("Packed", bytes)
"""WAL as :func:`packed` makes it."""

MOST_SEGMENT_BYTES = 1 << 30
"""The largest wal_segment_size that initdb takes."""
MOST_HISTORY_BYTES = 1 << 20

_READ_BYTES = 1 << 20
_LOOKS = 5
"""So often a segment is listed anew whose objects others replace while it is read: they do it once in a while."""
_LEVEL = Compression("zstd", 1)  # docs/performance.md: less CPU than level 2, for up to 4 % more bytes
_SYSTEM_IDENTIFIER = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class AuthenticPart:
    """The bytes of a segment, from its beginning on, that somebody with the key stored.

    ``damage`` says of objects, by storage name, why they count for nothing.
    """

    content: bytes
    damage: Mapping[str, BackupError]


def folder_of_server(system_identifier: str) -> str:
    """Where everything of a server lies. Raises DamagedData for what is no system identifier."""
    if not _SYSTEM_IDENTIFIER.fullmatch(system_identifier):
        raise DamagedData(f"{system_identifier!r} is no system identifier of a server")
    return f"server.{system_identifier}"


def servers_in(repository: Repository) -> list[str]:
    """The system identifiers of the servers that have a folder in the storage. Raises StorageError."""
    names = (child.name for child in repository.store.children() if child.kind == "directory")
    found = (name.removeprefix("server.") for name in names if name.startswith("server."))
    return sorted(each for each in found if _SYSTEM_IDENTIFIER.fullmatch(each))


class WalArchive:
    """The WAL of one server. Methods raise StorageError; those that read DamagedData and NoUsableKey too.

    Who only shows how things are does without a key (``needs_key`` False): where none of the storage is at hand,
    documents are read unchecked, and ``is_checked`` is False.
    """

    def __init__(
        self, repository: Repository, system_identifier: str, archive_id: str = "", *, needs_key: bool = True
    ) -> None:
        self.repository = repository
        self.system_identifier = system_identifier
        self.archive_id = archive_id
        """Which one it is: what is written says so, and what says another one is damage. Empty where nobody knows."""
        self.needs_key = needs_key
        self.root = folder_of_server(system_identifier)
        self.wal = f"{self.root}/wal"

    def of(self, archive_id: str) -> WalArchive:
        """The same, known to be the archive of that id."""
        return WalArchive(self.repository, self.system_identifier, archive_id, needs_key=self.needs_key)

    def listing(self) -> Listing:
        """Everything that lies there now. Where the storage has keys, what is not sealed does not exist."""
        return self._listed(f"{self.wal}/")

    def listing_of(self, segment: str) -> Listing:
        """What lies there now of one segment: one call, however long the archive is."""
        return self._listed(f"{self.wal}/{segment[:8]}/{segment}")

    def _listed(self, beginning: str) -> Listing:
        store, wal = self.repository.store, self.wal
        return listing_of(store.list(beginning), wal, sealed_only=self.repository.asks_for_macs)

    # -- writing

    def store_segment(self, segment: str, packed: Packed, key: DataKey | None) -> str:
        """Store a whole segment, :func:`packed`; returns its storage name. Once this returns it is there for good."""
        return self._store(name_in_timeline(self.wal, _suffixed(segment, key)), packed, key)

    def store_tail(
        self, segment: str, start: int, data: bytes | bytearray | memoryview, key: DataKey | None
    ) -> Tail:
        """Store a part of a segment that begins at its byte ``start``."""
        end = start + len(data)
        name = name_in_timeline(self.wal, _suffixed(f"{segment}.{start:08x}-{end:08x}", key))
        return Tail(start, end, self._store(name, packed(data), key))

    def store_history(self, timeline: int, content: bytes, key: DataKey | None) -> None:
        """Store a history file: before any WAL of its timeline, since no recovery finds that without it."""
        self._store(f"{self.wal}/{_suffixed(history_name(timeline), key)}", packed(content), key)

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects."""
        for name in names:
            self.repository.store.delete(name)

    # -- reading

    def read(self, name: str, most_bytes: int = MOST_SEGMENT_BYTES) -> bytes:
        """The plain content of an object. Raises DamagedData where it is not what was stored under that name.

        Also where it was stored in another archive of this server.
        """
        try:
            return self._content(name, most_bytes)
        except ObjectMissing:
            raise DamagedData(f"{name} is missing from the storage") from None

    def _content(self, name: str, most_bytes: int) -> bytes:
        with self._opened(name) as marked:
            plain = Decompressor(marked, compressed=True, name=name)
            pieces, found_bytes = [], 0
            while piece := plain.read(_READ_BYTES):
                pieces.append(piece)
                found_bytes += len(piece)
                if found_bytes > most_bytes:
                    raise DamagedData(f"{name} holds more than the {most_bytes} bytes that it may have")
            archive_id = marked.archive_id
        if not is_same_archive(archive_id, self.archive_id):
            raise DamagedData(
                f"{name} is of another archive of this server: somebody put it there, or moved a part of an archive"
            )
        return b"".join(pieces)

    @contextmanager
    def _opened(self, name: str) -> Iterator[WithArchiveId]:
        """An object, unsealed as it is read, and which archive it says it is of."""
        file = name.rpartition("/")[2]
        with self.repository.store.reader(name) as stored:
            source: Source = stored
            if file.endswith(".sealed"):
                source = UnsealedReader(
                    stored, self.repository.keyring.for_reading, f"wal/{self.system_identifier}", file
                )
            elif self.repository.asks_for_macs:
                raise DamagedData(
                    f"{name} is not sealed, as everything of this storage is: it proves nothing"
                )
            yield WithArchiveId(source)

    def id_in(self, listing: Listing, segment: str) -> str:
        """Which archive the first object of a segment says it is of, by its beginning; empty for none.

        Raises as :meth:`read`.
        """
        names = listing.names_of(segment)
        if not names:
            return ""
        try:
            with self._opened(names[0]) as marked:
                return marked.archive_id
        except ObjectMissing:
            raise DamagedData(f"{names[0]} is missing from the storage") from None

    def read_history(self, listing: Listing, timeline: int) -> bytes:
        """A timeline's history file; empty for the first timeline. Raises DamagedData where there is none."""
        if timeline == 1:
            return b""
        if timeline not in listing.histories:
            raise DamagedData(f"the history of timeline {timeline} is missing from the storage")
        return self.read(listing.histories[timeline], MOST_HISTORY_BYTES)

    def read_segment(
        self, listing: Listing, segment: str, segment_bytes: int, needed_bytes: int | None = None
    ) -> bytes:
        """A segment, or what there is of it: without a hole, from its beginning on.

        An object of it that is damaged does no harm where others have its bytes. Raises DamagedData or NoUsableKey
        where fewer than ``needed_bytes`` remain; without that, fewer than the names of its objects say.
        """
        found = self.authentic_part(listing, segment, segment_bytes)
        needed = listing.end_in(segment, segment_bytes) if needed_bytes is None else needed_bytes
        if found.damage and len(found.content) < needed:
            raise next(iter(found.damage.values()))
        return found.content

    def authentic_part(self, listing: Listing, segment: str, segment_bytes: int) -> AuthenticPart:
        """What there is of a segment that can be believed; what cannot counts for nothing. Raises StorageError.

        A receiver at work stores a whole segment and deletes its tails. So what was listed and is gone is listed anew.
        """
        damage: dict[str, BackupError] = {}
        for _ in range(_LOOKS):
            try:
                return AuthenticPart(self._joined(listing, segment, segment_bytes, damage), damage)
            except _Gone as gone:
                now = self.listing_of(segment)
                is_less = now.end_in(segment, segment_bytes) < listing.end_in(segment, segment_bytes)
                if is_less or now.names_of(segment) == listing.names_of(segment):
                    damage[gone.name] = DamagedData(
                        f"a part of the WAL segment {segment} is gone: {gone.name} is missing from the storage"
                    )
                listing = now.without(damage)
        raise StorageError(
            f"the objects of the WAL segment {segment} change faster than they can be read", retryable=True
        )

    def _joined(
        self, listing: Listing, segment: str, segment_bytes: int, damage: dict[str, BackupError]
    ) -> bytes:
        """What of it can be believed, the rest noted as damage. Raises _Gone."""
        if segment in listing.segments:
            name = listing.segments[segment]
            try:
                return self._of_length(name, segment_bytes, segment_bytes)
            except (DamagedData, NoUsableKey) as error:
                damage[name] = error
        content = b""
        for tail in listing.tails.get(segment, ()):
            if tail.start > len(content):
                break
            if tail.end > len(content):
                try:
                    part = self._of_length(tail.name, tail.end - tail.start, segment_bytes - tail.start)
                except (DamagedData, NoUsableKey) as error:
                    damage[tail.name] = error
                    continue
                content += part[len(content) - tail.start :]
        return content

    def _of_length(self, name: str, length: int, most_bytes: int) -> bytes:
        try:
            content = self._content(name, max(0, most_bytes))
        except ObjectMissing:
            raise _Gone(name) from None
        if len(content) != length:
            raise DamagedData(f"{name} is not as long as its name says")
        return content

    # -- documents beside the WAL

    def read_document(self, name: str, get: Callable[[str], bytes] | None = None) -> dict[str, object] | None:
        """A document, checked if it can be; None where there is none. ``get`` is another way to its bytes.

        Raises DamagedData for one that is not authentic.
        """
        try:
            content = (get or self.repository.store.get)(name)
        except ObjectMissing:
            return None
        document = envelope_document.decode(content, name)
        try:
            envelope_document.check_authentic(
                document, name, self.repository.keyring.for_reading, signed=self.repository.asks_for_macs
            )
        except NoUsableKey:
            if self.needs_key or self.is_checked:
                raise
        return document

    def newest(self, name: str, *, anew: bool) -> bytes:
        """A document that is replaced all the time: see :func:`recyclic_backups.storage.shared.newest`."""
        return newest(self.repository.store, name, anew=anew)

    @property
    def is_checked(self) -> bool:
        """Whether what is read is checked: a key of the storage is at hand, or it has none. Raises StorageError."""
        return not self.repository.asks_for_macs or self.repository.keyring.belonging().is_known

    def encode_document(self, name: str, document: dict[str, object], key: DataKey | None) -> bytes:
        """A document with its MAC, or its SHA-256 where nothing is encrypted."""
        return envelope_document.encode(envelope_document.vouched(document, name, key))

    def _store(self, name: str, content: bytes, key: DataKey | None) -> str:
        with self.repository.store.writer(name) as upload:
            frame = frame_of(self.archive_id) if self.archive_id else b""
            if key is None:
                upload.write(frame + content)
            else:
                context, file = f"wal/{self.system_identifier}", name.rpartition("/")[2]
                with SealedWriter(upload, key, context, file) as sealed:
                    sealed.write(frame)
                    sealed.write(content)
                    sealed.finish()
            upload.commit()
        return name


class _Gone(Exception):
    """An object that was listed is not there any more."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def packed(data: bytes | bytearray | memoryview) -> Packed:
    """WAL as it is stored, before it is sealed: the part of storing that takes the processor, and no storage."""
    return Packed(compressed(data, _LEVEL))


def _suffixed(file: str, key: DataKey | None) -> str:
    return f"{file}.zst" if key is None else f"{file}.zst.sealed"
