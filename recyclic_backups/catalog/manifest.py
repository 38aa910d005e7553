"""One backup's document: what was taken, when, from what, where its bytes lie and what they contain.

The manifest is written last and create-only: a backup exists if and only if its manifest does
(docs/design.md, invariant 1). Format 1 is specified in docs/format/documents.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeVar

from recyclic_backups.catalog.layout import BACKUP_ID
from recyclic_backups.catalog.moments import from_text, to_text
from recyclic_backups.errors import DamagedData
from recyclic_backups.tiers import Tier

FORMAT = 1

T = TypeVar("T")

Source = Literal["scheduled", "backfill", "manual", "checkpoint", "reconstructed", "adopted"]
Role = Literal["main", "table", "globals"]

SOURCES: tuple[Source, ...] = ("scheduled", "backfill", "manual", "checkpoint", "reconstructed", "adopted")
ROLES: tuple[Role, ...] = ("main", "table", "globals")


@dataclass(frozen=True, slots=True)
class BackupObject:
    """One stored object: sizes before and after compression and encryption, and the hash of what is stored."""

    name: str
    role: Role
    plain_bytes: int
    stored_bytes: int
    stored_sha256: str
    relation: str | None = None


@dataclass(frozen=True, slots=True)
class Encryption:
    """The envelope's version and the data key that opens it."""

    envelope: int
    key_id: str


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server and database at the snapshot: what a restore has to make again around the dump.

    Of an adopted backup some of it is not known: a text is empty then, as is the locale.
    """

    system_identifier: str
    version: str
    lsn: str
    encoding: str
    locale: Mapping[str, Any]
    owner: str
    settings: tuple[Mapping[str, str], ...] = ()
    acl: tuple[Mapping[str, Any], ...] | None = None
    comment: str | None = None

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
class Manifest:
    """Format 1. Times are aware UTC; ``fingerprint`` is the JSON of fingerprint.model, kept as it was read."""

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
    encryption: Encryption | None
    fingerprint: Mapping[str, Any] | None
    notes: tuple[str, ...] = ()
    kind: str = "dump"
    adopted: Adopted | None = None
    checkpoint: Checkpoint | None = None
    audit_head: Mapping[str, Any] | None = None
    """The newest event of the audit log when it was written: a log that was cut off later shows."""
    storage_id: str | None = None
    """The storage that it was written into, where that has keys."""
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The document as stored, MAC included; empty before it is."""

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
    def archive_major(self) -> int:
        """Major version of the pg_dump that wrote the archive: an older pg_restore could not read it."""
        version = self.programs.get("pg_dump", self.server.version)
        found = re.match(r"\d+", version)
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
        """The document, without its MAC."""
        document: dict[str, Any] = {
            "format": FORMAT,
            "backup_id": self.backup_id,
            "database": self.database,
            "kind": self.kind,
            "tier": self.tier.value,
            "partition": self.partition,
            "source": self.source,
            "scheduled_for": to_text(self.scheduled_for),
            "as_of": to_text(self.as_of),
            "taken_at": to_text(self.taken_at),
            "duration_seconds": self.duration_seconds,
            "late": self.late,
            "server": {
                "system_identifier": self.server.system_identifier,
                "version": self.server.version,
                "lsn": self.server.lsn,
                "encoding": self.server.encoding,
                "locale": dict(self.server.locale),
                "owner": self.server.owner,
                "settings": [dict(setting) for setting in self.server.settings],
                "acl": None if self.server.acl is None else [dict(grant) for grant in self.server.acl],
                "comment": self.server.comment,
            },
            "programs": dict(self.programs),
            "objects": [
                {
                    "name": item.name,
                    "role": item.role,
                    "relation": item.relation,
                    "plain_bytes": item.plain_bytes,
                    "stored_bytes": item.stored_bytes,
                    "stored_sha256": item.stored_sha256,
                }
                for item in self.objects
            ],
            "plain_bytes": self.plain_bytes,
            "stored_bytes": self.stored_bytes,
            "compression": self.compression,
            "encryption": None
            if self.encryption is None
            else {"envelope": self.encryption.envelope, "key_id": self.encryption.key_id},
            "fingerprint": None if self.fingerprint is None else dict(self.fingerprint),
            "notes": list(self.notes),
        }
        if self.adopted is not None:
            document["adopted"] = {"file_name": self.adopted.file_name, "sha256": self.adopted.sha256}
        if self.audit_head is not None:
            document["audit_head"] = dict(self.audit_head)
        if self.storage_id is not None:
            document["storage_id"] = self.storage_id
        if self.checkpoint is not None:
            document["checkpoint"] = {
                "version": self.checkpoint.version,
                "revision": self.checkpoint.revision,
            }
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Manifest:
        """Read a document. Raises DamagedData, naming the field, on anything that format 1 does not allow."""
        version = document.get("format")
        if isinstance(version, int) and version > FORMAT:
            raise DamagedData(
                f"the manifest has format {version}, this version reads up to {FORMAT}: "
                "a newer recyclic-backups wrote it",
                "use a newer recyclic-backups",
            )
        if version != FORMAT:
            raise DamagedData("the manifest does not say its format")
        backup_id = _text(document, "backup_id")
        if not BACKUP_ID.fullmatch(backup_id):
            raise DamagedData(f"{backup_id!r} is not a backup id")
        manifest = cls(
            backup_id=backup_id,
            database=_text(document, "database"),
            kind=_text(document, "kind"),
            tier=_tier(document),
            partition=_text(document, "partition"),
            source=_one_of(document, "source", SOURCES),
            scheduled_for=from_text(document.get("scheduled_for")),
            as_of=from_text(document.get("as_of")),
            taken_at=from_text(document.get("taken_at")),
            duration_seconds=float(_number(document, "duration_seconds")),
            late=_boolean(document, "late"),
            server=_server(_mapping(document, "server")),
            programs={name: str(version) for name, version in _mapping(document, "programs").items()},
            objects=tuple(_object(item) for item in _list(document, "objects")),
            compression=_text(document, "compression"),
            encryption=_encryption(document.get("encryption")),
            fingerprint=None if document.get("fingerprint") is None else _mapping(document, "fingerprint"),
            notes=tuple(str(note) for note in _list(document, "notes")),
            adopted=_adopted(document.get("adopted")),
            checkpoint=_checkpoint(document.get("checkpoint")),
            audit_head=None if document.get("audit_head") is None else _mapping(document, "audit_head"),
            storage_id=None if document.get("storage_id") is None else _text(document, "storage_id"),
            document=document,
        )
        names = [item.name for item in manifest.objects]
        if len(set(names)) != len(names):
            raise DamagedData(f"the manifest of {backup_id} lists an object twice")
        return manifest


def _server(document: Mapping[str, Any]) -> ServerFacts:
    acl = document.get("acl")
    version = _text(document, "version")
    if not version.split(".")[0].isdigit():
        raise DamagedData(f"the manifest's server.version is {version!r}")
    return ServerFacts(
        system_identifier=_text(document, "system_identifier"),
        version=version,
        lsn=_text(document, "lsn"),
        encoding=_text(document, "encoding"),
        locale=_mapping(document, "locale"),
        owner=_text(document, "owner"),
        settings=tuple(_as_mapping(item, "settings") for item in _list(document, "settings")),
        acl=None if acl is None else tuple(_as_mapping(item, "acl") for item in _list(document, "acl")),
        comment=None if document.get("comment") is None else _text(document, "comment"),
    )


def _object(document: Any) -> BackupObject:
    item = _as_mapping(document, "objects")
    name = _text(item, "name")
    if "/" in name or name in ("", ".", "..", "manifest.json"):
        raise DamagedData(f"{name!r} cannot be the name of a backup's object")
    sha256 = _text(item, "stored_sha256")
    if len(sha256) != 64 or any(character not in "0123456789abcdef" for character in sha256):
        raise DamagedData(f"the manifest's hash of {name} is not a SHA-256")
    return BackupObject(
        name=name,
        role=_one_of(item, "role", ROLES),
        relation=None if item.get("relation") is None else _text(item, "relation"),
        plain_bytes=_number(item, "plain_bytes"),
        stored_bytes=_number(item, "stored_bytes"),
        stored_sha256=sha256,
    )


def _encryption(document: Any) -> Encryption | None:
    if document is None:
        return None
    item = _as_mapping(document, "encryption")
    return Encryption(envelope=_number(item, "envelope"), key_id=_text(item, "key_id"))


def _adopted(document: Any) -> Adopted | None:
    if document is None:
        return None
    item = _as_mapping(document, "adopted")
    return Adopted(file_name=_text(item, "file_name"), sha256=_text(item, "sha256"))


def _checkpoint(document: Any) -> Checkpoint | None:
    if document is None:
        return None
    item = _as_mapping(document, "checkpoint")
    return Checkpoint(version=_text(item, "version"), revision=_text(item, "revision"))


def _tier(document: Mapping[str, Any]) -> Tier:
    try:
        return Tier(_text(document, "tier"))
    except ValueError:
        raise DamagedData(f"the manifest's tier is {document.get('tier')!r}") from None


def _one_of(document: Mapping[str, Any], name: str, allowed: tuple[T, ...]) -> T:
    for value in allowed:
        if document.get(name) == value:
            return value
    raise DamagedData(f"the manifest's {name} is {document.get(name)!r}")


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise DamagedData(f"the manifest's {name} is not a text")
    return value


def _number(document: Mapping[str, Any], name: str) -> Any:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**63:
        raise DamagedData(f"the manifest's {name} is not a number")
    return value


def _boolean(document: Mapping[str, Any], name: str) -> bool:
    value = document.get(name)
    if not isinstance(value, bool):
        raise DamagedData(f"the manifest's {name} is neither true nor false")
    return value


def _list(document: Mapping[str, Any], name: str) -> list[Any]:
    value = document.get(name, [])
    if not isinstance(value, list):
        raise DamagedData(f"the manifest's {name} is not a list")
    return value


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _as_mapping(document.get(name), name)


def _as_mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DamagedData(f"the manifest's {name} is not an object")
    return value
