"""One server's part of a storage: sealed segments, tails of unfinished ones, histories (docs/format/wal.md).

WAL belongs to a server and not to one of its databases, so it lies beside the databases' folders. Each object is
bound to the server, to its own name and to this archive: none can be put in the place of another one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from recyclic_backups.archive.archive_id import WithArchiveId, frame_of
from recyclic_backups.archive.wal import history_name, timeline_of
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.compression import Compression, Decompressor, Source, compressed
from recyclic_backups.envelope import document as envelope_document
from recyclic_backups.envelope.keyring import DataKey
from recyclic_backups.envelope.seal import SealedWriter
from recyclic_backups.envelope.unseal import UnsealedReader
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey, ObjectMissing

MOST_SEGMENT_BYTES = 1 << 30
"""The largest wal_segment_size that initdb takes."""
MOST_HISTORY_BYTES = 1 << 20

_READ_BYTES = 1 << 20
_LEVEL = Compression("zstd", 1)  # docs/performance.md: less CPU than level 2, for up to 4 % more bytes
_SYSTEM_IDENTIFIER = re.compile(r"[0-9]{1,20}")
_FILE = re.compile(
    r"(?P<segment>[0-9A-F]{24})(?:\.(?P<start>[0-9a-f]{8})-(?P<end>[0-9a-f]{8}))?\.zst(?:\.sealed)?"
)
_HISTORY = re.compile(r"([0-9A-F]{8})\.history\.zst(?:\.sealed)?")


@dataclass(frozen=True, slots=True, order=True)
class Tail:
    """A part of an unfinished segment: its bytes from ``start`` up to ``end``."""

    start: int
    end: int
    name: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Listing:
    """What there is, by name alone. A segment exists when its object does."""

    segments: dict[str, str]
    """Storage names of whole segments, by segment."""
    tails: dict[str, list[Tail]]
    """Tails of segments, in order."""
    histories: dict[int, str]
    """Storage names of history files, by timeline."""
    stored_bytes: int = 0

    def end_in(self, segment: str, segment_bytes: int) -> int:
        """How many bytes of a segment there are from its beginning on, without a hole."""
        if segment in self.segments:
            return segment_bytes
        filled = 0
        for tail in self.tails.get(segment, ()):
            if tail.start > filled:
                break
            filled = max(filled, tail.end)
        return min(filled, segment_bytes)

    def segments_of(self, timeline: int) -> list[str]:
        """The segments of a timeline, whole or in part, in order."""
        return sorted({each for each in (*self.segments, *self.tails) if timeline_of(each) == timeline})

    def without(self, names: Iterable[str]) -> Listing:
        """The same without objects of these storage names: those that are not authentic do not exist for a receiver."""
        gone = frozenset(names)
        tails = {
            segment: [each for each in found if each.name not in gone]
            for segment, found in self.tails.items()
        }
        return replace(
            self,
            segments={segment: name for segment, name in self.segments.items() if name not in gone},
            tails={segment: found for segment, found in tails.items() if found},
        )

    @property
    def timelines(self) -> list[int]:
        """Every timeline of which there is WAL or a history."""
        return sorted({*map(timeline_of, self.segments), *map(timeline_of, self.tails), *self.histories})


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
    """The WAL of one server. Methods raise StorageError; those that read DamagedData and NoUsableKey too."""

    def __init__(self, repository: Repository, system_identifier: str, archive_id: str = "") -> None:
        self.repository = repository
        self.system_identifier = system_identifier
        self.archive_id = archive_id
        """Which one it is: what is written says so, and what says another one is damage. Empty where nobody knows."""
        self.root = folder_of_server(system_identifier)
        self.wal = f"{self.root}/wal"

    def of(self, archive_id: str) -> WalArchive:
        """The same, known to be the archive of that id."""
        return WalArchive(self.repository, self.system_identifier, archive_id)

    def listing(self) -> Listing:
        """Everything that lies there now. Where the storage has keys, what is not sealed does not exist."""
        sealed_only = self.repository.asks_for_macs
        segments: dict[str, str] = {}
        tails: dict[str, list[Tail]] = defaultdict(list)
        histories: dict[int, str] = {}
        stored_bytes = 0
        for each in self.repository.store.list(f"{self.wal}/"):
            stored_bytes += each.size_bytes
            file = each.name.rpartition("/")[2]
            if sealed_only and not file.endswith(".sealed"):
                continue  # it proves nothing, and must not stand in the way of what does
            if match := _FILE.fullmatch(file):
                if each.name != self._in_timeline(file):
                    continue  # moved into the folder of another timeline
                if match["start"] is None:
                    segments[match["segment"]] = each.name
                else:
                    tails[match["segment"]].append(
                        Tail(int(match["start"], 16), int(match["end"], 16), each.name)
                    )
            elif match := _HISTORY.fullmatch(file):
                histories[int(match[1], 16)] = each.name
        return Listing(
            segments, {name: sorted(found) for name, found in tails.items()}, histories, stored_bytes
        )

    # -- writing

    def store_segment(self, segment: str, packed: bytes, key: DataKey | None) -> str:
        """Store a whole segment, :func:`packed`; returns its storage name. Once this returns it is there for good."""
        return self._store(self._in_timeline(_suffixed(segment, key)), packed, key)

    def store_tail(
        self, segment: str, start: int, data: bytes | bytearray | memoryview, key: DataKey | None
    ) -> Tail:
        """Store a part of a segment that begins at its byte ``start``."""
        end = start + len(data)
        name = self._in_timeline(_suffixed(f"{segment}.{start:08x}-{end:08x}", key))
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
        content, archive_id = self.read_with_id(name, most_bytes)
        if self.archive_id and archive_id not in ("", self.archive_id):  # older releases wrote none
            raise DamagedData(
                f"{name} is of another archive of this server: somebody put it there, or moved a part of an archive"
            )
        return content

    def read_with_id(self, name: str, most_bytes: int = MOST_SEGMENT_BYTES) -> tuple[bytes, str]:
        """The content of an object of whatever archive, and the id of that; empty where it says none."""
        file = name.rpartition("/")[2]
        try:
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
                marked = WithArchiveId(source)
                plain = Decompressor(marked, compressed=True, name=name)
                pieces, found_bytes = [], 0
                while piece := plain.read(_READ_BYTES):
                    pieces.append(piece)
                    found_bytes += len(piece)
                    if found_bytes > most_bytes:
                        raise DamagedData(f"{name} holds more than the {most_bytes} bytes that it may have")
        except ObjectMissing:
            raise DamagedData(f"{name} is missing from the storage") from None
        return b"".join(pieces), marked.archive_id

    def id_in(self, listing: Listing, segment: str) -> str:
        """Which archive the first object of a segment says it is of; empty for none. Raises as :meth:`read`."""
        names = [each.name for each in listing.tails.get(segment, ())]
        name = listing.segments.get(segment) or next(iter(names), "")
        return self.read_with_id(name)[1] if name else ""

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
        """What there is of a segment that can be believed; what cannot counts for nothing. Raises StorageError."""
        damage: dict[str, BackupError] = {}
        if segment in listing.segments:
            name = listing.segments[segment]
            try:
                return AuthenticPart(self._of_length(name, segment_bytes, segment_bytes), damage)
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
        return AuthenticPart(content, damage)

    def _of_length(self, name: str, length: int, most_bytes: int) -> bytes:
        content = self.read(name, max(0, most_bytes))
        if len(content) != length:
            raise DamagedData(f"{name} is not as long as its name says")
        return content

    # -- documents beside the WAL

    def read_document(self, name: str) -> dict[str, object] | None:
        """A document, checked; None where there is none. Raises DamagedData for one that is not authentic."""
        try:
            content = self.repository.store.get(name)
        except ObjectMissing:
            return None
        document = envelope_document.decode(content, name)
        envelope_document.check_authentic(
            document, name, self.repository.keyring.for_reading, signed=self.repository.asks_for_macs
        )
        return document

    def encode_document(self, name: str, document: dict[str, object], key: DataKey | None) -> bytes:
        """A document with its MAC, or its SHA-256 where nothing is encrypted."""
        return envelope_document.encode(envelope_document.vouched(document, name, key))

    def _in_timeline(self, file: str) -> str:
        return f"{self.wal}/{file[:8]}/{file}"

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


def packed(data: bytes | bytearray | memoryview) -> bytes:
    """WAL as it is stored, before it is sealed: the part of storing that takes the processor, and no storage."""
    return compressed(data, _LEVEL)


def _suffixed(file: str, key: DataKey | None) -> str:
    return f"{file}.zst" if key is None else f"{file}.zst.sealed"
