"""Read the catalog from a storage: the storage is the truth, there is no other list (invariant 3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Any, TypeVar

from recyclic_backups.catalog.catalog import Backup, Catalog, Damage
from recyclic_backups.catalog.documents import Check, Hold, Label, Tombstone
from recyclic_backups.catalog.layout import BACKUP_ID
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.sealing import manifest_of
from recyclic_backups.envelope.document import check_authentic, check_signature, check_sum, decode
from recyclic_backups.errors import DamagedData, ObjectMissing
from recyclic_backups.tiers import Tier

T = TypeVar("T")


def load_catalog(repository: Repository) -> Catalog:
    """Everything that is usable, newest first. Damaged documents are reported in ``damage``, never skipped in silence.

    MACs are not checked here, so that listing needs no key; :func:`require_authentic` does it before data are used.
    Raises StorageError when the storage does not answer.
    """
    layout = repository.layout
    names = [item.name for item in repository.store.list(f"{layout.root}/")]
    reading = _Reading(repository)

    tombstones = frozenset(_stems(names, f"{layout.tombstones}/"))
    # Their being there is what counts: one that cannot be read still buries, or holds for ever. What is wrong with
    # it, find_forged() tells.
    expired = [
        found
        for backup_id in sorted(tombstones)
        if (found := reading.quietly(layout.tombstone(backup_id), Tombstone.from_json)) is not None
    ]
    holds = {
        backup_id: reading.quietly(layout.hold(backup_id), Hold.from_json)
        or Hold(backup_id, "its document cannot be read", held_at=None, until=None)
        for backup_id in _stems(names, f"{layout.holds}/")
    }
    manifests: dict[str, Manifest] = {}
    checks: dict[str, list[Check]] = defaultdict(list)
    labels: dict[tuple[Tier, str], Label] = {}
    for name in names:
        inside = PurePosixPath(name).relative_to(layout.root).parts
        match inside:
            case ("backups", backup_id, "manifest.json") if backup_id not in tombstones:
                if manifest := reading.document(name, partial(manifest_of, repository)):
                    if manifest.backup_id != backup_id or manifest.database != repository.database:
                        reading.damage.append(
                            Damage(name, f"it describes {manifest.database}/{manifest.backup_id}")
                        )
                    else:
                        manifests[backup_id] = manifest
            case ("backups", backup_id, "checks", _) if backup_id not in tombstones:
                if check := reading.document(name, Check.from_json):
                    checks[backup_id].append(check)
            case ("tiers", tier, file):
                if label := reading.document(name, Label.from_json):
                    if (label.tier.value, f"{label.partition}.json") != (tier, file):
                        reading.damage.append(
                            Damage(name, f"it is the label of {label.tier}/{label.partition}")
                        )
                    else:
                        labels[(label.tier, label.partition)] = label
            case _:
                pass

    for tombstone in expired:
        for label in tombstone.labels:
            if label.backup_id in tombstones:
                labels.setdefault((label.tier, label.partition), label)
    labels_of: dict[str, list[Label]] = defaultdict(list)
    for (tier, partition), label in sorted(labels.items()):
        if label.backup_id in tombstones:
            continue
        labels_of[label.backup_id].append(label)
        if label.backup_id not in manifests:
            name = layout.label(tier, partition)
            reading.damage.append(Damage(name, f"it points at {label.backup_id}, whose manifest is missing"))
    for backup_id in checks.keys() - manifests.keys():
        if not any(damage.name == layout.manifest(backup_id) for damage in reading.damage):
            reading.damage.append(
                Damage(layout.manifest(backup_id), "it is missing, but the backup was checked once")
            )

    backups = (
        Backup(
            manifest=manifest,
            labels=tuple(labels_of[backup_id]),
            checks=tuple(sorted(checks[backup_id], key=lambda check: check.checked_at)),
            hold=holds.get(backup_id),
        )
        for backup_id, manifest in manifests.items()
    )
    newest_first = tuple(sorted(backups, key=lambda backup: (backup.as_of, backup.backup_id), reverse=True))
    return Catalog(newest_first, labels, tuple(reading.damage), tombstones, tuple(expired))


class _Reading:
    """Reads documents one after the other and collects what is wrong with them."""

    def __init__(self, repository: Repository) -> None:
        self.store = repository.store
        self.damage: list[Damage] = []

    def document(self, name: str, parse: Callable[[Mapping[str, Any]], T]) -> T | None:
        try:
            return parse(decode(self.store.get(name), name))
        except ObjectMissing:
            # Expired between the listing and the reading: an ordinary race with `expire`.
            return None
        except DamagedData as error:
            self.damage.append(Damage(name, error.message))
            return None

    def quietly(self, name: str, parse: Callable[[Mapping[str, Any]], T]) -> T | None:
        """The same for a document that says enough by being there."""
        known = len(self.damage)
        found = self.document(name, parse)
        del self.damage[known:]
        return found


def _stems(names: Iterable[str], folder: str) -> Iterable[str]:
    for name in names:
        stem = name.removeprefix(folder).removesuffix(".json")
        if name.startswith(folder) and BACKUP_ID.fullmatch(stem):
            yield stem


def require_authentic(repository: Repository, backup: Backup) -> None:
    """Check the MACs of a backup's manifest, labels and checks before its data are used.

    Raises DamagedData naming the document that was edited, NoUsableKey when its key cannot be opened. Documents of
    a backup taken without encryption have a SHA-256 instead, which tells damage but not forgery.
    """
    require_authentic_labels(repository, backup)
    require_authentic_content(repository, backup)


def require_authentic_labels(repository: Repository, backup: Backup) -> None:
    """The labels' part of :func:`require_authentic`: whether partitions point at it by our hand."""
    for label in backup.labels:
        name = repository.layout.label(label.tier, label.partition)
        _require_unedited(repository, backup.manifest, decode(repository.store.get(name), name), name)


def require_authentic_content(repository: Repository, backup: Backup) -> None:
    """The part of :func:`require_authentic` about what the backup is: its manifest and its checks."""
    layout = repository.layout
    names = [item.name for item in repository.store.list(f"{layout.backup(backup.backup_id)}/checks/")]
    _require_unedited(
        repository, backup.manifest, backup.manifest.document, layout.manifest(backup.backup_id)
    )
    for name in names:
        _require_unedited(repository, backup.manifest, decode(repository.store.get(name), name), name)


def find_forged(repository: Repository, catalog: Catalog) -> tuple[Damage, ...]:
    """Holds and tombstones that are damaged or were not written by us: one such file would hide a whole backup.

    The other documents belong to a backup and are checked with it (:func:`require_authentic`). Raises NoUsableKey,
    StorageError.
    """
    layout, store = repository.layout, repository.store
    manifests = {backup.backup_id: backup.manifest for backup in catalog}
    reading = _Reading(repository)
    for folder in ("holds", "tombstones"):
        for item in store.list(f"{layout.root}/{folder}/"):
            backup_id = PurePosixPath(item.name).stem
            try:
                document = decode(store.get(item.name), item.name)
                manifest = manifests.get(backup_id) or _manifest_beside(
                    repository, reading, layout.manifest(backup_id)
                )
                if document.get("backup_id") != backup_id:
                    raise DamagedData("it does not name the backup that it is filed under")
                if manifest is not None:
                    _require_unedited(repository, manifest, document, item.name)
                else:
                    check_authentic(document, item.name, repository.keyring.for_reading)
            except ObjectMissing:
                continue
            except DamagedData as error:
                reading.damage.append(Damage(item.name, error.message.removeprefix(f"{item.name} ")))
    return tuple(reading.damage)


def _manifest_beside(repository: Repository, reading: _Reading, name: str) -> Manifest | None:
    """The manifest of a backup that a tombstone hides, as long as it is there."""
    return reading.document(name, partial(manifest_of, repository))


def _require_unedited(
    repository: Repository, manifest: Manifest, document: Mapping[str, Any], name: str
) -> None:
    if manifest.encryption is None:
        check_sum(document, name)
        return
    mac = document.get("mac")
    if isinstance(mac, Mapping) and mac.get("key_id") != manifest.encryption.key_id:
        # Before the key is looked for: a name that was damaged must not be taken for a key that is missing.
        raise DamagedData(f"{name} is damaged: it is not signed with the key of its backup")
    check_signature(document, name, repository.keyring.for_reading)
