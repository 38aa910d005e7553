"""Which base backups of a server there are: their manifests, checks and holds, read and judged.

The storage is the truth. A base backup exists when its manifest does, and where the storage has keys only a signed one
exists (decision 12); what is not believed is told as damage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from recyclic_backups.archive.archive import WalArchive, servers_in
from recyclic_backups.base_backup.manifest import BaseManifest
from recyclic_backups.catalog.authenticity import Judge
from recyclic_backups.catalog.catalog import Damage, is_of_the_future
from recyclic_backups.catalog.documents import Check, Checked, Hold
from recyclic_backups.catalog.layout import BACKUP_ID
from recyclic_backups.catalog.objects import ObjectFolder
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.sealing import check_of
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.envelope.document import decode
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey, ObjectMissing, RecoveryError
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
    reading.documents.save()
    for base_id, found in reading.checks.items():
        name = manifest_name(archive, base_id)
        if found and base_id not in reading.manifests and name not in reading.names:
            reading.tell(name, "it is missing, but the base backup was checked once")
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
        (*damage, *reading.damage),
        is_checked=not reading.not_checked,
    )


def base_backups_in(repository: Repository) -> tuple[BaseBackup, ...]:
    """The base backups of every server in the storage. Raises StorageError."""
    archives = (WalArchive(repository, server) for server in servers_in(repository))
    return tuple(base for archive in archives for base in load_base_backups(archive).bases)


def has_base_backups(archive: WalArchive) -> bool:
    """Whether a server has a base backup that can be believed: anybody can make its folder. Raises StorageError."""
    return bool(load_base_backups(archive).bases)


@dataclass(frozen=True, slots=True)
class _Read:
    """A document that is believed, and the key that it is signed with."""

    value: Any
    standing: Standing
    key_id: str | None


@dataclass
class _Reading:
    """Reads, judges and parses documents one after the other, and collects what is wrong with them."""

    archive: WalArchive
    damage: list[Damage] = field(default_factory=list)
    manifests: dict[str, _Read] = field(default_factory=dict)
    checks: dict[str, list[_Read]] = field(default_factory=lambda: defaultdict(list))
    holds: dict[str, Hold] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    not_checked: bool = False

    def __post_init__(self) -> None:
        self.judge = Judge(self.archive.repository)
        self.documents = self.archive.repository.documents()

    def take(self, item: StoredObject) -> None:
        """Read the document that was listed, if it is a manifest or a check."""
        self.names.add(item.name)
        match item.name.removeprefix(f"{bases_folder(self.archive)}/").split("/"):
            case (base_id, "manifest.json") if BACKUP_ID.fullmatch(base_id):
                read = self._document(item, lambda document: self._manifest(document, base_id))
                if read is not None:
                    self.manifests[base_id] = read
            case (base_id, "checks", _) if BACKUP_ID.fullmatch(base_id):
                read = self._document(item, lambda document: self._check(document, item.name, base_id))
                if read is not None:
                    self.checks[base_id].append(read)
            case _:
                pass

    def take_hold(self, item: StoredObject) -> None:
        """Read a hold; one that is not believed holds for ever."""
        base_id = item.name.rpartition("/")[2].removesuffix(".json")
        if not BACKUP_ID.fullmatch(base_id):
            return
        read = self._document(item, lambda document: _hold(document, base_id))
        self.holds[base_id] = (
            read.value if read is not None else Hold(base_id, "its document cannot be believed", None, None)
        )

    def tell(self, name: str, problem: BackupError | str) -> None:
        """Note damage."""
        said = problem.message.removeprefix(f"{name} ") if isinstance(problem, BackupError) else problem
        self.damage.append(Damage(name, said, lacks_key=isinstance(problem, NoUsableKey)))

    def _manifest(self, document: Mapping[str, Any], base_id: str) -> BaseManifest:
        manifest = BaseManifest.from_json(document)
        if (manifest.base_id, manifest.system_identifier) != (base_id, self.archive.system_identifier):
            raise DamagedData(f"it describes {manifest.system_identifier}/{manifest.base_id}")
        if manifest.key_id != _key_of(document):
            raise DamagedData("it is not signed with the key of its base backup")
        return manifest

    def _check(self, document: Mapping[str, Any], name: str, base_id: str) -> Check:
        check = check_of(self.archive.repository, name, document)
        if check.backup_id != base_id:
            raise DamagedData("it does not name the base backup that it is filed under")
        return check

    def _document(self, item: StoredObject, parse: Callable[[Mapping[str, Any]], T]) -> _Read | None:
        """Read, judge, parse; None, and damage, where that fails or it is not believed."""
        name = item.name
        try:
            content = self.documents.read(item, lambda found: self.judge.vouches_for(name, found))
            document = decode(content, name)
            standing = self.judge.standing(document, name)
            if not standing.is_believed:
                self.tell(name, standing.problem)
                return None
            self.not_checked |= standing is Standing.NOT_CHECKED
            return _Read(parse(document), standing, _key_of(document))
        except ObjectMissing:
            return None  # it expired between the listing and the reading
        except (DamagedData, NoUsableKey) as error:
            self.tell(name, error)
            return None


def _key_of(document: Mapping[str, Any]) -> str | None:
    mac = document.get("mac")
    return mac["key_id"] if isinstance(mac, dict) else None


def _hold(document: Mapping[str, Any], base_id: str) -> Hold:
    hold = Hold.from_json(document)
    if hold.backup_id != base_id:
        raise DamagedData("it does not name the base backup that it is filed under")
    return hold
