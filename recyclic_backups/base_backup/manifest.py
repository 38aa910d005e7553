"""The document that makes a base backup exist (docs/format/wal.md). Pure.

It is written last, and only once the archive holds the WAL up to ``stop_lsn``: before that the files are not
consistent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from recyclic_backups.catalog.timestamps import from_text, to_text
from recyclic_backups.errors import DamagedData
from recyclic_backups.postgres.lsn import lsn_of, lsn_text

FORMAT = 1

BaseRole = Literal["data", "tablespace", "server_manifest"]
_ROLES: tuple[BaseRole, ...] = ("data", "tablespace", "server_manifest")


@dataclass(frozen=True, slots=True)
class BaseObject:
    """One stored object: the data directory or a tablespace as tar, or the server's own manifest of all files.

    ``oid`` and ``location`` are those of a tablespace.
    """

    name: str
    role: BaseRole
    plain_bytes: int
    stored_bytes: int
    stored_sha256: str
    oid: int | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True)
class BaseManifest:
    """One base backup. WAL replay starts at ``start_lsn``; from ``stop_lsn`` on the files are consistent.

    ``parent`` is the base backup that an incremental one builds on. ``superuser`` is the bootstrap superuser's name.
    Moments are aware UTC; ``as_of`` is when it began.
    """

    base_id: str
    system_identifier: str
    parent: str | None
    server_version: int
    segment_bytes: int
    timeline: int
    start_lsn: int
    stop_lsn: int
    as_of: datetime
    taken_at: datetime
    duration_seconds: float
    superuser: str
    data_checksums: bool
    objects: tuple[BaseObject, ...]
    key_id: str | None
    storage_id: str | None = None

    @property
    def is_incremental(self) -> bool:
        """Whether it is of use only together with its parent."""
        return self.parent is not None

    @property
    def plain_bytes(self) -> int:
        """Bytes of all objects before compression."""
        return sum(each.plain_bytes for each in self.objects)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all objects in the storage."""
        return sum(each.stored_bytes for each in self.objects)

    def to_json(self) -> dict[str, Any]:
        """The document, without MAC."""
        return {
            "format": FORMAT,
            "base_id": self.base_id,
            "system_identifier": self.system_identifier,
            "storage_id": self.storage_id,
            "parent": self.parent,
            "server_version": self.server_version,
            "segment_bytes": self.segment_bytes,
            "timeline": self.timeline,
            "start_lsn": lsn_text(self.start_lsn),
            "stop_lsn": lsn_text(self.stop_lsn),
            "as_of": to_text(self.as_of),
            "taken_at": to_text(self.taken_at),
            "duration_seconds": round(self.duration_seconds, 3),
            "superuser": self.superuser,
            "data_checksums": self.data_checksums,
            "key_id": self.key_id,
            "objects": [
                {
                    "name": each.name,
                    "role": each.role,
                    "oid": each.oid,
                    "location": each.location,
                    "plain_bytes": each.plain_bytes,
                    "stored_bytes": each.stored_bytes,
                    "stored_sha256": each.stored_sha256,
                }
                for each in self.objects
            ],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any], name: str) -> BaseManifest:
        """Read a document whose MAC was checked. Raises DamagedData, naming it."""
        if document.get("format") != FORMAT:
            raise DamagedData(
                f"{name} has format {document.get('format')!r}, and this version reads {FORMAT}",
                "use a newer recyclic-backups",
            )
        try:
            return cls(
                base_id=_text(document["base_id"]),
                system_identifier=_text(document["system_identifier"]),
                storage_id=_optional(document["storage_id"]),
                parent=_optional(document["parent"]),
                server_version=_number(document["server_version"]),
                segment_bytes=_number(document["segment_bytes"]),
                timeline=_number(document["timeline"]),
                start_lsn=lsn_of(_text(document["start_lsn"])),
                stop_lsn=lsn_of(_text(document["stop_lsn"])),
                as_of=from_text(document["as_of"]),
                taken_at=from_text(document["taken_at"]),
                duration_seconds=float(document["duration_seconds"]),
                superuser=_text(document["superuser"]),
                data_checksums=bool(document["data_checksums"]),
                key_id=_optional(document["key_id"]),
                objects=tuple(_object(each) for each in document["objects"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedData(f"{name} is damaged: {error}") from None


def _object(item: Mapping[str, Any]) -> BaseObject:
    role = item["role"]
    if role not in _ROLES:
        raise ValueError(f"an object has the role {role!r}")
    return BaseObject(
        name=_text(item["name"]),
        role=role,
        plain_bytes=_number(item["plain_bytes"]),
        stored_bytes=_number(item["stored_bytes"]),
        stored_sha256=_text(item["stored_sha256"]),
        oid=None if item["oid"] is None else _number(item["oid"]),
        location=_optional(item["location"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)


def _number(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value
