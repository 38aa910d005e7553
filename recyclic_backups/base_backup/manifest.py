"""The document that makes a base backup exist (docs/format/wal.md). Pure.

It is written last, and only once the archive holds the WAL up to ``stop_lsn``: before that the files are not
consistent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from recyclic_backups.catalog.fields import OMITTED, Document, spelled
from recyclic_backups.postgres.lsn import lsn_of, lsn_text

BaseRole = Literal["data", "tablespace", "server_manifest"]


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
class BaseManifest(Document):
    """One base backup. WAL replay starts at ``start_lsn``; from ``stop_lsn`` on the files are consistent.

    ``parent`` is the base backup that an incremental one builds on. ``superuser`` is the bootstrap superuser's name.
    Moments are aware UTC; ``as_of`` is when it began.
    """

    FORMAT = 1

    base_id: str
    system_identifier: str
    parent: str | None
    server_version: int
    segment_bytes: int
    timeline: int
    start_lsn: int = field(metadata=spelled(lsn_text, lsn_of))
    stop_lsn: int = field(metadata=spelled(lsn_text, lsn_of))
    as_of: datetime
    taken_at: datetime
    duration_seconds: float
    superuser: str
    data_checksums: bool
    objects: tuple[BaseObject, ...]
    key_id: str | None
    storage_id: str | None = None
    archive_id: str = field(default="", metadata=OMITTED)
    """Of the archive that holds its WAL; empty where an older release took it."""

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
