"""Which base backups of a server there are: their manifests, checks and holds, read and judged.

The storage is the truth. A base backup exists when its manifest does, and where the storage has keys only a signed one
exists (decision 12); what is not believed is told as damage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from recyclic_backups.archive.archive import WalArchive, servers_in
from recyclic_backups.base_backup.manifest import BaseManifest
from recyclic_backups.catalog.catalog import Damage, is_of_the_future
from recyclic_backups.catalog.documents import (
    FORMAT,
    SEALED_CHECK_FORMAT,
    Check,
    Checked,
    Hold,
    held_for_ever,
)
from recyclic_backups.catalog.layout import BACKUP_ID
from recyclic_backups.catalog.objects import ObjectFolder
from recyclic_backups.catalog.reading import DocumentReader, Read
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.sealing import check_of
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.errors import DamagedData, RecoveryError
from recyclic_backups.storage.store import StoredObject

T = TypeVar("T")

LATEST = "latest"


def bases_folder(archive: WalArchive) -> str:
    """The folder of all base backups of a server."""
    return f"{archive.root}/base"


def folder_of_base(archive: WalArchive, base_id: str) -> ObjectFolder:
    """Where the objects of one lie, and what they are bound to."""
    return ObjectFolder(
        f"{bases_folder(archive)}/{base_id}",
        f"base/{archive.system_identifier}/{base_id}",
        f"base backup {base_id}",
    )


def manifest_name(archive: WalArchive, base_id: str) -> str:
    """The storage name of the document that makes it exist."""
    return f"{folder_of_base(archive, base_id).path}/manifest.json"


def hold_name(archive: WalArchive, base_id: str) -> str:
    """The storage name of the document that keeps it from expiring."""
    return f"{archive.root}/holds/{base_id}.json"


@dataclass(frozen=True, slots=True)
class BaseBackup(Checked):
    """One base backup with what was said of it since; ``checks`` are oldest first."""

    manifest: BaseManifest
    checks: tuple[Check, ...] = ()
    hold: Hold | None = None
    standing: Standing = Standing.SIGNED

    @property
    def base_id(self) -> str:
        """Its id."""
        return self.manifest.base_id

    @property
    def as_of(self) -> datetime:
        """When it began."""
        return self.manifest.as_of


@dataclass(frozen=True, slots=True)
class BaseBackups:
    """The base backups of one server, newest first, and what is wrong with documents among them.

    ``is_checked`` is False where no key was at hand to check any with.
    """

    system_identifier: str
    bases: tuple[BaseBackup, ...] = ()
    damage: tuple[Damage, ...] = ()
    is_checked: bool = True

    @property
    def by_id(self) -> Mapping[str, BaseManifest]:
        """Manifests by id."""
        return {each.base_id: each.manifest for each in self.bases}

    def find(self, reference: str, now: datetime) -> BaseBackup:
        """The one of that id, or the ``latest``. Raises RecoveryError, and DamagedData for one that is damaged."""
        if reference == LATEST:
            for each in self.bases:
                if not is_of_the_future(each.as_of, now):
                    return each
        for each in self.bases:
            if each.base_id == reference.upper():
                return each
        for damage in self.damage:
            if f"/base/{reference.upper()}/" in damage.name:
                raise damage.error
        raise RecoveryError(
            f"there is no base backup {reference} of server {self.system_identifier}",
            "list them: recyclic-backups base-backup --list",
        )


def load_base_backups(archive: WalArchive) -> BaseBackups:
    """Everything that is there, judged. Raises StorageError."""
    reading = _Reading(archive)
    store = archive.repository.store
    folders = (bases_folder(archive), f"{archive.root}/holds")
    damage = [Damage(each.name, each.problem) for folder in folders for each in store.strange(folder)]
    for item in store.list(f"{bases_folder(archive)}/"):
        reading.take(item)
    for item in store.list(f"{archive.root}/holds/"):
        reading.take_hold(item)
    reading.reader.save()
    for base_id, found in reading.checks.items():
        name = manifest_name(archive, base_id)
        if found and base_id not in reading.manifests and name not in reading.names:
            reading.reader.tell(name, "it is missing, but the base backup was checked once")
    bases = [
        BaseBackup(
            read.value,
            tuple(
                sorted(
                    (check.value for check in reading.checks[base_id] if check.key_id == read.key_id),
                    key=lambda check: check.checked_at,
                )
            ),
            reading.holds.get(base_id),
            read.standing,
        )
        for base_id, read in reading.manifests.items()
    ]
    return BaseBackups(
        archive.system_identifier,
        tuple(sorted(bases, key=lambda each: (each.as_of, each.base_id), reverse=True)),
        (*damage, *reading.reader.damage),
        is_checked=not reading.not_checked,
    )


def base_backups_in(repository: Repository) -> tuple[BaseBackup, ...]:
    """The base backups of every server in the storage. Raises StorageError."""
    archives = (WalArchive(repository, server) for server in servers_in(repository))
    return tuple(base for archive in archives for base in load_base_backups(archive).bases)


def has_base_backups(archive: WalArchive) -> bool:
    """Whether a server has a base backup that can be believed: anybody can make its folder. Raises StorageError."""
    return bool(load_base_backups(archive).bases)


class _Reading:
    """The documents of a server's base backups, by kind, as they are read."""

    def __init__(self, archive: WalArchive) -> None:
        self.archive, self.reader = archive, DocumentReader(archive.repository)
        self.manifests: dict[str, Read[BaseManifest]] = {}
        self.checks: dict[str, list[Read[Check]]] = defaultdict(list)
        self.holds: dict[str, Hold] = {}
        self.names: set[str] = set()
        self.not_checked = False

    def take(self, item: StoredObject) -> None:
        """Read the document that was listed, if it is a manifest or a check."""
        self.names.add(item.name)
        match item.name.removeprefix(f"{bases_folder(self.archive)}/").split("/"):
            case (base_id, "manifest.json") if BACKUP_ID.fullmatch(base_id):
                if manifest := self._believed(item, lambda found: self._manifest(found, base_id)):
                    self.manifests[base_id] = manifest
            case (base_id, "checks", _) if BACKUP_ID.fullmatch(base_id):
                parse = partial(check_of, self.archive.repository, item.name)
                if check := self._believed(item, parse, base_id, SEALED_CHECK_FORMAT):
                    self.checks[base_id].append(check)
            case _:
                pass

    def take_hold(self, item: StoredObject) -> None:
        """Read a hold; one that is not believed holds for ever."""
        base_id = item.name.rpartition("/")[2].removesuffix(".json")
        if BACKUP_ID.fullmatch(base_id):
            read = self._believed(item, Hold.from_json, base_id)
            self.holds[base_id] = held_for_ever(base_id) if read is None else read.value

    def _manifest(self, document: Mapping[str, Any], base_id: str) -> BaseManifest:
        manifest = BaseManifest.from_json(document)
        if (manifest.base_id, manifest.system_identifier) != (base_id, self.archive.system_identifier):
            raise DamagedData(f"it describes {manifest.system_identifier}/{manifest.base_id}")
        mac = document.get("mac")
        if manifest.key_id != (None if mac is None else mac["key_id"]):
            raise DamagedData("it is not signed with the key of its base backup")
        return manifest

    def _believed(
        self,
        item: StoredObject,
        parse: Callable[[Mapping[str, Any]], T],
        filed_under: str = "",
        newest_format: int = FORMAT,
    ) -> Read[T] | None:
        read = self.reader.read(item, parse, filed_under=filed_under, newest_format=newest_format)
        if read is not None and not read.standing.is_believed:
            self.reader.tell(read.name, read.standing.problem)
            return None
        self.not_checked |= read is not None and read.standing is Standing.NOT_CHECKED
        return read
