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
from recyclic_backups.catalog.fields import a_boolean, a_list, a_number, a_text, an_object, as_object, one_of
from recyclic_backups.catalog.layout import BACKUP_ID
from recyclic_backups.catalog.partly_sealed import PartlySealed, closed
from recyclic_backups.catalog.timestamps import from_text, to_text
from recyclic_backups.errors import DamagedData, NoUsableKey

FORMAT = 1
SEALED_FORMAT = 2

_OBJECT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")

CLEAR_SERVER_FIELDS = ("system_identifier", "version", "lsn", "encoding")
"""Of ``server``, what a manifest of format 2 says in clear; whatever else is there is sealed."""
SEALED_FIELDS = ("fingerprint", "notes", "adopted", "checkpoint")
SEALED_OBJECT_FIELDS = ("relation",)

Source = Literal["scheduled", "backfill", "manual", "checkpoint", "reconstructed", "adopted"]
Role = Literal["main", "table", "globals"]

SOURCES: tuple[Source, ...] = ("scheduled", "backfill", "manual", "checkpoint", "reconstructed", "adopted")
ROLES: tuple[Role, ...] = ("main", "table", "globals")


@dataclass(frozen=True, slots=True)
class BackupObject(PartlySealed):
    """One stored object: sizes before and after compression and encryption, and the hash of what is stored."""

    name: str
    role: Role
    plain_bytes: int
    stored_bytes: int
    stored_sha256: str
    relation: str | None = field(default=None, repr=False)
    twin: Callable[[], BackupObject] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Encryption:
    """The envelope's version and the data key that opens it."""

    envelope: int
    key_id: str


@dataclass(frozen=True, slots=True)
class ServerFacts(PartlySealed):
    """The server and database at the snapshot: what a restore has to make again around the dump.

    Of an adopted backup some of it is not known: a text is empty then, as is the locale.
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
    connection_limit: int = field(default=-1, repr=False)
    is_template: bool = field(default=False, repr=False)
    has_plpgsql: bool = field(default=True, repr=False)
    is_standby: bool = field(default=False, repr=False)
    twin: Callable[[], ServerFacts] | None = field(default=None, repr=False, compare=False)

    def oddities(self) -> dict[str, Any]:
        """The fields of the document that are left out where they are as in a new database of an ordinary server."""
        odd = {"connection_limit": self.connection_limit} if self.connection_limit != -1 else {}
        odd |= {"is_template": True} if self.is_template else {}
        odd |= {} if self.has_plpgsql else {"has_plpgsql": False}
        return odd | ({"is_standby": True} if self.is_standby else {})

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
    encryption: Encryption | None
    fingerprint: Mapping[str, Any] | None = field(repr=False)
    notes: tuple[str, ...] = field(default=(), repr=False)
    kind: str = "dump"
    adopted: Adopted | None = field(default=None, repr=False)
    checkpoint: Checkpoint | None = field(default=None, repr=False)
    audit_head: Mapping[str, Any] | None = None
    """The newest event of the audit log when it was written: a log that was cut off later shows."""
    storage_id: str | None = None
    """The storage that it was written into, where that has keys."""
    recover_sha256: str = ""
    instructions_sha256: str = ""
    """Of the ``recover.py`` and ``RECOVERY.md`` that its writer puts into storages; empty in older manifests."""
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The document as stored, MAC included; empty before it is."""
    twin: Callable[[], Manifest] | None = field(default=None, repr=False, compare=False)
    """Opens what is sealed, once; None where all of it is known."""

    @property
    def is_closed(self) -> bool:
        """Whether what describes the content is sealed, and no key at hand opens it. Raises DamagedData."""
        if self.twin is None:
            return False
        try:
            self.twin()
        except NoUsableKey:
            return True
        return False

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
                **self.server.oddities(),
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
        if self.recover_sha256:
            document["recover_sha256"] = self.recover_sha256
        if self.instructions_sha256:
            document["instructions_sha256"] = self.instructions_sha256
        if self.checkpoint is not None:
            document["checkpoint"] = {
                "version": self.checkpoint.version,
                "revision": self.checkpoint.revision,
            }
        return document

    @classmethod
    def from_json(
        cls, document: Mapping[str, Any], unseal: Callable[[], Mapping[str, Any]] | None = None
    ) -> Manifest:
        """Read a document; ``unseal`` gives the whole of a sealed one, and is called when somebody needs it.

        Raises DamagedData, naming the field, on anything that the formats do not allow.
        """
        version = document.get("format")
        if isinstance(version, int) and version > SEALED_FORMAT:
            raise DamagedData(
                f"the manifest has format {version}, this version reads up to {SEALED_FORMAT}: "
                "a newer release wrote it",
                "use a newer recyclic-backups",
            )
        if version == FORMAT:
            return _parsed(document, document)
        if version != SEALED_FORMAT:
            raise DamagedData("the manifest does not say its format")
        return _sealed(document, unseal or _no_key)


def _no_key() -> Mapping[str, Any]:
    raise NoUsableKey("what the manifest says of the content is sealed", "set BACKUP_ENCRYPTION_KEY")


def _sealed(document: Mapping[str, Any], unseal: Callable[[], Mapping[str, Any]]) -> Manifest:
    """The manifest of format 2: what is in clear is read now, the rest at the first look."""
    server, objects = an_object(document, "server"), a_list(document, "objects")
    a_text(document, "sealed")
    if document.get("encryption") is None:
        raise DamagedData("the manifest is sealed, and says that its backup is not encrypted")
    readable = [name for name in SEALED_FIELDS if name in document]
    readable += [name for name in server if name not in CLEAR_SERVER_FIELDS]
    readable += [
        name for item in objects for name in SEALED_OBJECT_FIELDS if name in as_object(item, "objects")
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
    backup_id = a_text(document, "backup_id")
    if not BACKUP_ID.fullmatch(backup_id):
        raise DamagedData(f"{backup_id!r} is not a backup id")
    manifest = Manifest(
        backup_id=backup_id,
        database=a_text(document, "database"),
        kind=a_text(document, "kind"),
        tier=_tier(document),
        partition=a_text(document, "partition"),
        source=one_of(document, "source", SOURCES),
        scheduled_for=from_text(document.get("scheduled_for")),
        as_of=from_text(document.get("as_of")),
        taken_at=from_text(document.get("taken_at")),
        duration_seconds=float(a_number(document, "duration_seconds")),
        late=a_boolean(document, "late"),
        server=_server(an_object(document, "server")),
        programs={name: str(version) for name, version in an_object(document, "programs").items()},
        objects=tuple(_object(item) for item in a_list(document, "objects")),
        compression=a_text(document, "compression"),
        encryption=_encryption(document.get("encryption")),
        fingerprint=None if document.get("fingerprint") is None else an_object(document, "fingerprint"),
        notes=tuple(str(note) for note in a_list(document, "notes")),
        adopted=_adopted(document.get("adopted")),
        checkpoint=_checkpoint(document.get("checkpoint")),
        audit_head=None if document.get("audit_head") is None else an_object(document, "audit_head"),
        storage_id=None if document.get("storage_id") is None else a_text(document, "storage_id"),
        recover_sha256=str(document.get("recover_sha256", "")),
        instructions_sha256=str(document.get("instructions_sha256", "")),
        document=stored,
    )
    names = {_plain_name(item.name).lower() for item in manifest.objects}
    if len(names) != len(manifest.objects):
        raise DamagedData(f"the manifest of {backup_id} lists an object twice")
    return manifest


def _server(document: Mapping[str, Any]) -> ServerFacts:
    acl = document.get("acl")
    version = a_text(document, "version")
    if not re.fullmatch(r"[0-9]{1,9}", version.split(".")[0]):
        raise DamagedData(f"the manifest's server.version is {version!r}")
    return ServerFacts(
        system_identifier=a_text(document, "system_identifier"),
        version=version,
        lsn=a_text(document, "lsn"),
        encoding=a_text(document, "encoding"),
        locale=an_object(document, "locale"),
        owner=a_text(document, "owner"),
        settings=tuple(as_object(item, "settings") for item in a_list(document, "settings")),
        acl=None if acl is None else tuple(as_object(item, "acl") for item in a_list(document, "acl")),
        comment=None if document.get("comment") is None else a_text(document, "comment"),
        # Manifests of earlier releases say nothing of these: they are as in a new database then.
        connection_limit=-1
        if document.get("connection_limit", -1) == -1
        else a_number(document, "connection_limit"),
        is_template="is_template" in document and a_boolean(document, "is_template"),
        has_plpgsql="has_plpgsql" not in document or a_boolean(document, "has_plpgsql"),
        is_standby="is_standby" in document and a_boolean(document, "is_standby"),
    )


def _plain_name(name: str) -> str:
    """The name of what an object holds: its own without the suffixes that tell how it was packed."""
    return name.removesuffix(".sealed").removesuffix(".zst")


def _object(document: Any) -> BackupObject:
    item = as_object(document, "objects")
    name = a_text(item, "name")
    if (
        not _OBJECT_NAME.fullmatch(name)
        or name in ("manifest.json", "checks")
        or _plain_name(name) == "database.sql"  # recover.py writes one of its own
    ):
        raise DamagedData(f"{name!r} cannot be the name of a backup's object")
    sha256 = a_text(item, "stored_sha256")
    if len(sha256) != 64 or any(character not in "0123456789abcdef" for character in sha256):
        raise DamagedData(f"the manifest's hash of {name} is not a SHA-256")
    return BackupObject(
        name=name,
        role=one_of(item, "role", ROLES),
        relation=None if item.get("relation") is None else a_text(item, "relation"),
        plain_bytes=a_number(item, "plain_bytes"),
        stored_bytes=a_number(item, "stored_bytes"),
        stored_sha256=sha256,
    )


def _encryption(document: Any) -> Encryption | None:
    if document is None:
        return None
    item = as_object(document, "encryption")
    return Encryption(envelope=a_number(item, "envelope"), key_id=a_text(item, "key_id"))


def _adopted(document: Any) -> Adopted | None:
    if document is None:
        return None
    item = as_object(document, "adopted")
    return Adopted(file_name=a_text(item, "file_name"), sha256=a_text(item, "sha256"))


def _checkpoint(document: Any) -> Checkpoint | None:
    if document is None:
        return None
    item = as_object(document, "checkpoint")
    return Checkpoint(version=a_text(item, "version"), revision=a_text(item, "revision"))


def _tier(document: Mapping[str, Any]) -> Tier:
    try:
        return Tier(a_text(document, "tier"))
    except ValueError:
        raise DamagedData(f"the manifest's tier is {document.get('tier')!r}") from None
