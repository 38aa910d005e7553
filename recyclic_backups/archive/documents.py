"""Documents beside the WAL: how far it reaches, what is missing, from where on it is kept (docs/format/wal.md)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from recyclic_backups.catalog.fields import OMITTED, Document, spelled
from recyclic_backups.errors import DamagedData, NoUsableKey, ObjectExists
from recyclic_backups.postgres.lsn import lsn_of, lsn_text

if TYPE_CHECKING:
    from recyclic_backups.archive.archive import WalArchive
    from recyclic_backups.envelope.keyring import DataKey

D = TypeVar("D", bound=Document)

SETTLED = timedelta(minutes=5)
"""What was stored so long ago no failover gives up: a standby that takes over lacks seconds."""


@dataclass(frozen=True, slots=True)
class Position(Document):
    """Everything that the server had committed at ``server_time``, by its own clock, is stored: up to ``lsn``."""

    FORMAT = 1

    timeline: int
    lsn: int = field(metadata=spelled(lsn_text, lsn_of))
    server_time: datetime
    written_at: datetime
    segment_bytes: int
    server_version: int
    system_identifier: str
    proof: str = field(default="", metadata=OMITTED)
    """How the server proved who it is (:mod:`recyclic_backups.archive.proof`); empty where it did not."""
    settled_lsn: int = field(default=0, metadata={**spelled(lsn_text, lsn_of), **OMITTED})
    """What lies before it was stored :data:`SETTLED` before ``server_time``; 0 where nothing was."""
    archive_id: str = field(default="", metadata=OMITTED)
    """Of the archive whose objects it speaks of; empty where an older release wrote it."""

    @property
    def heard_at(self) -> datetime:
        """When the receiver was last heard, by the clock that is further behind: one that is ahead hides a silence."""
        return min(self.server_time, self.written_at)


@dataclass(frozen=True, slots=True)
class Followed(Document):
    """Somebody said that the archive goes on along ``timeline``, though that gives up what is stored of another."""

    FORMAT = 1

    timeline: int
    left_timeline: int
    left_lsn: int = field(metadata=spelled(lsn_text, lsn_of))
    accepted_at: datetime
    archive_id: str = field(default="", metadata=OMITTED)
    """Of the archive that goes on; empty where an older release wrote it."""


@dataclass(frozen=True, slots=True)
class Gap(Document):
    """WAL that is lost to the archive: no recovery comes past it. A base backup after it begins anew."""

    FORMAT = 1

    timeline: int
    from_lsn: int = field(metadata=spelled(lsn_text, lsn_of))
    to_lsn: int = field(metadata=spelled(lsn_text, lsn_of))
    noticed_at: datetime
    reason: str


def position_name(archive: WalArchive) -> str:
    """The storage name of the position."""
    return f"{archive.wal}/position.json"


def store_position(archive: WalArchive, position: Position, key: DataKey | None) -> None:
    """Write how far the archive reaches. Raises StorageError."""
    name = position_name(archive)
    archive.repository.store.replace(name, archive.encode_document(name, position.to_json(), key))


def read_position(archive: WalArchive) -> Position | None:
    """How far the archive reaches; None where no receiver ever said. Raises DamagedData, NoUsableKey, StorageError."""
    return _read(archive, position_name(archive), Position)


def believed_position(archive: WalArchive) -> Position | None:
    """The position; None also for one that cannot be believed. Raises StorageError."""
    try:
        return read_position(archive)
    except (DamagedData, NoUsableKey):
        return None


def followed_name(archive: WalArchive, timeline: int) -> str:
    """The storage name of somebody's word that a timeline is to be followed."""
    return f"{archive.wal}/followed/{timeline:08X}.json"


def store_followed(archive: WalArchive, followed: Followed, key: DataKey | None) -> None:
    """Write down that a timeline is to be followed. Raises StorageError."""
    name = followed_name(archive, followed.timeline)
    archive.repository.store.replace(name, archive.encode_document(name, followed.to_json(), key))


def read_followed(archive: WalArchive, timeline: int) -> Followed | None:
    """Whether somebody said so. Raises DamagedData, NoUsableKey, StorageError."""
    return _read(archive, followed_name(archive, timeline), Followed)


def read_newest_position(archive: WalArchive, *, anew: bool) -> Position | None:
    """The same for who looks often: it may be newer than what was seen of the archive. ``anew`` asks the storage."""
    return _read(archive, position_name(archive), Position, lambda name: archive.newest(name, anew=anew))


@dataclass(frozen=True, slots=True)
class KeptFrom(Document):
    """WAL before this position is not kept as a whole any more: retention took it. Where some is missing is no hole."""

    FORMAT = 1

    timeline: int
    lsn: int = field(metadata=spelled(lsn_text, lsn_of))
    archive_id: str = field(default="", metadata=OMITTED)
    """Of the archive whose WAL it speaks of; empty where an older release wrote it."""

    def covers(self, timeline: int, to_lsn: int) -> bool:
        """Whether WAL that is missing up to that position is missing because of it."""
        return (timeline, to_lsn) <= (self.timeline, self.lsn)


def store_kept_from(archive: WalArchive, kept: KeptFrom, key: DataKey | None) -> None:
    """Write down from where on WAL is kept. Raises StorageError."""
    name = f"{archive.wal}/kept_from.json"
    archive.repository.store.replace(name, archive.encode_document(name, kept.to_json(), key))


def read_kept_from(archive: WalArchive) -> KeptFrom | None:
    """From where on WAL is kept; None where all is. Raises DamagedData, NoUsableKey, StorageError."""
    return _read(archive, f"{archive.wal}/kept_from.json", KeptFrom)


def gap_name(archive: WalArchive, gap: Gap) -> str:
    """The storage name of the document on a hole."""
    return f"{archive.wal}/gaps/{gap.timeline:08X}.{gap.from_lsn:016x}.json"


def store_gap(archive: WalArchive, gap: Gap, key: DataKey | None) -> None:
    """Write down a hole, once: the time at which it was first noticed is the one to keep. Raises StorageError."""
    name = gap_name(archive, gap)
    with suppress(ObjectExists):
        archive.repository.store.create(name, archive.encode_document(name, gap.to_json(), key))


def read_gaps(archive: WalArchive) -> list[Gap]:
    """Every hole that was written down, in order. Raises DamagedData, NoUsableKey, StorageError."""
    found, problem = gaps_and_problem(archive)
    if problem is not None:
        raise problem
    return found


def believed_gaps(archive: WalArchive) -> list[Gap]:
    """Every hole that was written down and can be believed, in order. Raises StorageError."""
    return gaps_and_problem(archive)[0]


def gaps_and_problem(archive: WalArchive) -> tuple[list[Gap], DamagedData | NoUsableKey | None]:
    """Every hole that was written down and can be believed, in order, and what is wrong with the first that cannot.

    Raises StorageError.
    """
    found: list[Gap] = []
    problem: DamagedData | NoUsableKey | None = None
    for each in archive.repository.store.list(f"{archive.wal}/gaps/"):
        try:
            gap = _read(archive, each.name, Gap)
        except (DamagedData, NoUsableKey) as error:
            problem = problem or error
        else:
            found += [gap] if gap is not None else []
    return found, problem


def _read(
    archive: WalArchive, name: str, kind: type[D], get: Callable[[str], bytes] | None = None
) -> D | None:
    document = archive.read_document(name, get)
    try:
        return None if document is None else kind.from_json(document)
    except DamagedData as error:
        raise DamagedData(f"{name} is damaged: {error.message}", error.hint) from None
