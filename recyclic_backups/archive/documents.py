"""The two documents beside the WAL: how far it reaches, and where it has a hole (docs/format/wal.md)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.catalog.timestamps import from_text, to_text
from recyclic_backups.envelope.keyring import DataKey
from recyclic_backups.errors import DamagedData, ObjectExists
from recyclic_backups.postgres.lsn import lsn_of, lsn_text

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Position:
    """Everything that the server had committed at ``server_time``, by its own clock, is stored: up to ``lsn``."""

    timeline: int
    lsn: int
    server_time: datetime
    written_at: datetime
    segment_bytes: int
    server_version: int


@dataclass(frozen=True, slots=True)
class Gap:
    """WAL that is lost to the archive: no recovery comes past it. A base backup after it begins anew."""

    timeline: int
    from_lsn: int
    to_lsn: int
    noticed_at: datetime
    reason: str


def position_name(archive: WalArchive) -> str:
    """The storage name of the position."""
    return f"{archive.wal}/position.json"


def store_position(archive: WalArchive, position: Position, key: DataKey | None) -> None:
    """Write how far the archive reaches. Raises StorageError."""
    name = position_name(archive)
    document: dict[str, object] = {
        "format": FORMAT,
        "system_identifier": archive.system_identifier,
        "timeline": position.timeline,
        "lsn": lsn_text(position.lsn),
        "server_time": to_text(position.server_time),
        "written_at": to_text(position.written_at),
        "segment_bytes": position.segment_bytes,
        "server_version": position.server_version,
    }
    archive.repository.store.replace(name, archive.encode_document(name, document, key))


def read_position(archive: WalArchive) -> Position | None:
    """How far the archive reaches; None where no receiver ever said. Raises DamagedData, NoUsableKey, StorageError."""
    name = position_name(archive)
    document = archive.read_document(name)
    if document is None:
        return None
    with _fields_of(name):
        return Position(
            timeline=_integer(document["timeline"]),
            lsn=lsn_of(str(document["lsn"])),
            server_time=from_text(document["server_time"]),
            written_at=from_text(document["written_at"]),
            segment_bytes=_integer(document["segment_bytes"]),
            server_version=_integer(document["server_version"]),
        )


def store_gap(archive: WalArchive, gap: Gap, key: DataKey | None) -> None:
    """Write down a hole, once. Raises StorageError."""
    name = gap_name(archive, gap)
    document: dict[str, object] = {
        "format": FORMAT,
        "timeline": gap.timeline,
        "from_lsn": lsn_text(gap.from_lsn),
        "to_lsn": lsn_text(gap.to_lsn),
        "noticed_at": to_text(gap.noticed_at),
        "reason": gap.reason,
    }
    try:
        archive.repository.store.create(name, archive.encode_document(name, document, key))
    except ObjectExists:
        return  # it was noticed before, and its time is the one to keep


def read_gaps(archive: WalArchive) -> list[Gap]:
    """Every hole that was written down, in order. Raises DamagedData, NoUsableKey, StorageError."""
    found = []
    for each in archive.repository.store.list(f"{archive.wal}/gaps/"):
        document = archive.read_document(each.name)
        if document is None:
            continue
        with _fields_of(each.name):
            found.append(
                Gap(
                    _integer(document["timeline"]),
                    lsn_of(str(document["from_lsn"])),
                    lsn_of(str(document["to_lsn"])),
                    from_text(document["noticed_at"]),
                    str(document["reason"]),
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class KeptFrom:
    """WAL before this position is not kept as a whole any more: retention took it. Where some is missing is no hole."""

    timeline: int
    lsn: int

    def covers(self, timeline: int, to_lsn: int) -> bool:
        """Whether WAL that is missing up to that position is missing because of it."""
        return (timeline, to_lsn) <= (self.timeline, self.lsn)


def store_kept_from(archive: WalArchive, kept: KeptFrom, key: DataKey | None) -> None:
    """Write down from where on WAL is kept. Raises StorageError."""
    name = f"{archive.wal}/kept_from.json"
    document: dict[str, object] = {"format": FORMAT, "timeline": kept.timeline, "lsn": lsn_text(kept.lsn)}
    archive.repository.store.replace(name, archive.encode_document(name, document, key))


def read_kept_from(archive: WalArchive) -> KeptFrom | None:
    """From where on WAL is kept; None where all is. Raises DamagedData, NoUsableKey, StorageError."""
    name = f"{archive.wal}/kept_from.json"
    document = archive.read_document(name)
    if document is None:
        return None
    with _fields_of(name):
        return KeptFrom(_integer(document["timeline"]), lsn_of(str(document["lsn"])))


def gap_name(archive: WalArchive, gap: Gap) -> str:
    """The storage name of the document on a hole."""
    return f"{archive.wal}/gaps/{gap.timeline:08X}.{gap.from_lsn:016x}.json"


class _fields_of:  # noqa: N801 - it reads as a statement
    """Within the block, a field that is missing or nonsense is damage of the document of that name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, KeyError | ValueError):
            raise DamagedData(f"{self._name} is damaged: {error}") from None


def _integer(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is no whole number")
    return value
