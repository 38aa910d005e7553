"""One backup's document: what was taken, when, from what, where its bytes lie and what they contain.

The manifest is written last and create-only: a backup exists if and only if its manifest does
(docs/design.md, invariant 1). The formats are specified in docs/format/documents.md: 1 says everything in clear; 2,
of encrypted backups, holds sealed what describes the content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache
from typing import Any, Literal

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.fields import (
    OMITTED,
    UNSTORED,
    fields_of,
    parsed,
    require_known_format,
    spelled,
)
from recyclic_backups.catalog.layout import BACKUP_ID
from recyclic_backups.catalog.partly_sealed import PartlySealed, closed
from recyclic_backups.errors import DamagedData, NoUsableKey
from recyclic_backups.postgres.lsn import lsn_of, lsn_text

FORMAT = 1
SEALED_FORMAT = 2

_OBJECT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")

CLEAR_SERVER_FIELDS = ("system_identifier", "version", "lsn", "encoding")
"""Of ``server``, what a manifest of format 2 says in clear; whatever else is there is sealed."""
SEALED_FIELDS = ("fingerprint", "notes", "adopted", "checkpoint")
SEALED_OBJECT_FIELDS = ("relation",)

Source = Literal["scheduled", "backfill", "manual", "checkpoint", "reconstructed", "adopted"]
Role = Literal["main", "table", "globals"]


@dataclass(frozen=True, slots=True)
class BackupObject(PartlySealed):
    """One stored object: sizes before and after compression and encryption, and the hash of what is stored."""

    name: str
    role: Role
    plain_bytes: int
    stored_bytes: int
    stored_sha256: str
    relation: str | None = field(default=None, repr=False)
    twin: Callable[[], BackupObject] | None = field(
        default=None, repr=False, compare=False, metadata=UNSTORED
    )


@dataclass(frozen=True, slots=True)
class Encryption:
    """The envelope's version and the data key that opens it."""

    envelope: int
    key_id: str


@dataclass(frozen=True, slots=True)
class ServerFacts(PartlySealed):
    """The server and database at the snapshot: what a restore has to make again around the dump.

    Of an adopted backup some of it is not known: a text is empty then, as is the locale. What older releases say
    nothing of is as in a new database of an ordinary server, and left out where it is.
    """

    system_identifier: str
    version: str
    lsn: str
    encoding: str
    locale: Mapping[str, Any] = field(repr=False)
    owner: str = field(repr=False)
    settings: tuple[Mapping[str, str], ...] = field(default=(), repr=False)
    acl: tuple[Mapping[str, Any], ...] | None = field(default=None, repr=False)
    comment: str | None = field(default=None, repr=False)
    connection_limit: int = field(default=-1, repr=False, metadata=OMITTED)
    is_template: bool = field(default=False, repr=False, metadata=OMITTED)
    has_plpgsql: bool = field(default=True, repr=False, metadata=OMITTED)
    is_standby: bool = field(default=False, repr=False, metadata=OMITTED)
    twin: Callable[[], ServerFacts] | None = field(default=None, repr=False, compare=False, metadata=UNSTORED)

    @property
    def major(self) -> int:
        """15 for ``15.18``."""
        return int(self.version.split(".")[0])


@dataclass(frozen=True, slots=True)
class Adopted:
    """The file that an adopted backup was: its name, and the SHA-256 of the archive inside its wrappings."""

    file_name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was about to be changed when a checkpoint was taken, as whoever took it says: either may be empty."""

    version: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class ReplayPoint:
    """The snapshot's place in the server's WAL: a recovery that stops there, inclusive, holds what the dump holds."""

    timeline: int
    lsn: int = field(metadata=spelled(lsn_text, lsn_of))


@dataclass(frozen=True, slots=True)
class Manifest(PartlySealed):
    """Times are aware UTC; ``fingerprint`` is the JSON of fingerprint.model, kept as it was read.

    Of a sealed one that was read, ``fingerprint``, ``notes``, ``adopted``, ``checkpoint``, the objects' relations and
    most of ``server`` are opened at the first look; without the key that raises NoUsableKey, and :attr:`is_closed`
    asks before.
    """

    backup_id: str
    database: str
    tier: Tier
    partition: str
    source: Source
    scheduled_for: datetime
    as_of: datetime
    taken_at: datetime
    duration_seconds: float
    late: bool
    server: ServerFacts
    programs: Mapping[str, str]
    objects: tuple[BackupObject, ...]
    compression: str
    kind: str = "dump"
    encryption: Encryption | None = None
    fingerprint: Mapping[str, Any] | None = field(default=None, repr=False)
    notes: tuple[str, ...] = field(default=(), repr=False)
    adopted: Adopted | None = field(default=None, repr=False, metadata=OMITTED)
    audit_head: Mapping[str, Any] | None = field(default=None, metadata=OMITTED)
    """The newest event of the audit log when it was written: a log that was cut off later shows."""
    storage_id: str | None = field(default=None, metadata=OMITTED)
    """The storage that it was written into, where that has keys."""
    recover_sha256: str = field(default="", metadata=OMITTED)
    instructions_sha256: str = field(default="", metadata=OMITTED)
    """Of the ``recover.py`` and ``RECOVERY.md`` that its writer puts into storages; empty in older manifests."""
    checkpoint: Checkpoint | None = field(default=None, repr=False, metadata=OMITTED)
    replay_point: ReplayPoint | None = field(default=None, metadata=OMITTED)
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False, metadata=UNSTORED)
    """The document as stored, MAC included; empty before it is."""
    twin: Callable[[], Manifest] | None = field(default=None, repr=False, compare=False, metadata=UNSTORED)
    """Opens what is sealed, once; None where all of it is known."""

    @property
    def plain_bytes(self) -> int:
        """What pg_dump wrote, before compression."""
        return sum(item.plain_bytes for item in self.objects)

    @property
    def stored_bytes(self) -> int:
        """What the storage holds."""
        return sum(item.stored_bytes for item in self.objects)

    @property
    def compression_percent(self) -> float:
        """How much smaller the stored bytes are, in percent of the plain ones."""
        return round(100 * (1 - self.stored_bytes / self.plain_bytes), 1) if self.plain_bytes else 0.0

    @property
    def is_our_dump(self) -> bool:
        """Whether this software took it, so that its figures can be compared with those of other nights."""
        return self.kind == "dump" and self.source != "adopted"

    @property
    def archive_major(self) -> int:
        """Major version of the pg_dump that wrote the archive: an older pg_restore could not read it."""
        version = self.programs.get("pg_dump", self.server.version)
        found = re.match(r"[0-9]{1,9}(?![0-9])", version)
        if found is None:
            raise DamagedData(
                f"the manifest of {self.backup_id} says that pg_dump was of version {version!r}"
            )
        return max(int(found[0]), self.server.major)

    @property
    def main(self) -> BackupObject:
        """The archive of the whole database. Raises DamagedData when the manifest lists none."""
        return self.only("main")

    def only(self, role: Role) -> BackupObject:
        """The one object of a role. Raises DamagedData."""
        found = [item for item in self.objects if item.role == role]
        if len(found) != 1:
            raise DamagedData(f"the manifest of {self.backup_id} lists {len(found)} objects of role {role}")
        return found[0]

    def to_json(self) -> dict[str, Any]:
        """The document of format 1, without its MAC: everything in clear."""
        sums = {"plain_bytes": self.plain_bytes, "stored_bytes": self.stored_bytes}
        return {"format": FORMAT, **fields_of(self), **sums}

    @classmethod
    def from_json(
        cls, document: Mapping[str, Any], unseal: Callable[[], Mapping[str, Any]] | None = None
    ) -> Manifest:
        """Read a document; ``unseal`` gives the whole of a sealed one, and is called when somebody needs it.

        Raises DamagedData, naming the field, on anything that the formats do not allow.
        """
        require_known_format(document, SEALED_FORMAT)
        if document.get("format") == FORMAT:
            return _parsed(document, document)
        if document.get("format") != SEALED_FORMAT:
            raise DamagedData("the manifest does not say its format")
        return _sealed(document, unseal or _no_key)


def _no_key() -> Mapping[str, Any]:
    raise NoUsableKey("what the manifest says of the content is sealed", "set BACKUP_ENCRYPTION_KEY")


def _sealed(document: Mapping[str, Any], unseal: Callable[[], Mapping[str, Any]]) -> Manifest:
    """The manifest of format 2: what is in clear is read now, the rest at the first look."""
    server, objects = document.get("server"), document.get("objects")
    if not (
        isinstance(server, dict) and isinstance(objects, list) and isinstance(document.get("sealed"), str)
    ):
        raise DamagedData("the manifest lacks what is sealed in it, its server or its objects")
    if document.get("encryption") is None:
        raise DamagedData("the manifest is sealed, and says that its backup is not encrypted")
    readable = [name for name in SEALED_FIELDS if name in document]
    readable += [name for name in server if name not in CLEAR_SERVER_FIELDS]
    readable += [
        name for item in objects if isinstance(item, dict) for name in SEALED_OBJECT_FIELDS if name in item
    ]
    if readable:
        raise DamagedData(f"the manifest is sealed, and holds in clear: {', '.join(sorted(set(readable)))}")
    blank = {**server, "locale": {}, "owner": ""}
    manifest = _parsed({**document, "server": blank}, document)

    @cache
    def twin() -> Manifest:
        whole = unseal()
        return _parsed(whole, document)

    def twin_of(number: int) -> Callable[[], BackupObject]:
        return lambda: twin().objects[number]

    for number, item in enumerate(manifest.objects):
        closed(item, SEALED_OBJECT_FIELDS, twin_of(number))
    sealed_facts = [
        each.name for each in fields(ServerFacts) if each.name not in (*CLEAR_SERVER_FIELDS, "twin")
    ]
    closed(manifest.server, sealed_facts, lambda: twin().server)
    return closed(manifest, SEALED_FIELDS, twin)


def _parsed(document: Mapping[str, Any], stored: Mapping[str, Any]) -> Manifest:
    """The manifest that a whole document describes; ``stored`` is what lies in the storage."""
    manifest = parsed(Manifest, document, "manifest", document=stored)
    if not BACKUP_ID.fullmatch(manifest.backup_id):
        raise DamagedData(f"{manifest.backup_id!r} is not a backup id")
    if not re.fullmatch(r"[0-9]{1,9}", manifest.server.version.split(".")[0]):
        raise DamagedData(f"the manifest's server.version is {manifest.server.version!r}")
    for item in manifest.objects:
        if (
            not _OBJECT_NAME.fullmatch(item.name)
            or item.name in ("manifest.json", "checks")
            or _plain_name(item.name) == "database.sql"  # recover.py writes one of its own
        ):
            raise DamagedData(f"{item.name!r} cannot be the name of a backup's object")
        if not re.fullmatch(r"[0-9a-f]{64}", item.stored_sha256):
            raise DamagedData(f"the manifest's hash of {item.name} is not a SHA-256")
    if len({_plain_name(item.name).lower() for item in manifest.objects}) != len(manifest.objects):
        raise DamagedData(f"the manifest of {manifest.backup_id} lists an object twice")
    return manifest


def _plain_name(name: str) -> str:
    """The name of what an object holds: its own without the suffixes that tell how it was packed."""
    return name.removesuffix(".sealed").removesuffix(".zst")
