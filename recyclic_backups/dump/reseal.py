"""Seal what older releases left readable: manifests of encrypted backups that describe their content in clear.

Each manifest is replaced in one step by one that says the same, signed anew and compared with the old one first.
Whatever stops a run leaves every manifest whole, the old one or the new one; the next run does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from recyclic_backups.audit.log import audited
from recyclic_backups.catalog.catalog import Backup, Damage
from recyclic_backups.catalog.layout import backup_id_of_manifest
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.sealing import is_readable_by_all, seal, unseal
from recyclic_backups.envelope.data_key import DataKey
from recyclic_backups.envelope.document import canonical, check_signature, decode, encode, signed
from recyclic_backups.errors import DamagedData, ObjectMissing, StorageError
from recyclic_backups.postgres.lock import exclusive
from recyclic_backups.postgres.server import Server
from recyclic_backups.progress import SILENT, Progress


@dataclass(frozen=True, slots=True)
class Resealed:
    """The backups whose manifests were sealed, and the manifests that were left alone: nothing vouches for them."""

    sealed: tuple[str, ...]
    refused: tuple[Damage, ...]


def seal_older_manifests(
    server: Server,
    repository: Repository,
    *,
    clock: Callable[[], datetime],
    lock_wait_seconds: float,
    progress: Progress = SILENT,
) -> Resealed:
    """Seal every manifest of an encrypted backup that is in clear, under the lock that backups hold too.

    One whose MAC is wrong is never rewritten: that would sign what somebody else wrote. Raises NoUsableKey (41) when a
    backup's key cannot be opened, StorageError (30), DatabaseError (20), and Refused (70) while others hold the lock.
    """
    progress.stage("waiting for backups")
    done: list[str] = []
    refused: list[Damage] = []
    with exclusive(server, repository.database, "backup", wait_seconds=lock_wait_seconds) as lock:
        catalog = load_catalog(repository)
        refused += [each for each in catalog.damage if backup_id_of_manifest(each.name) is not None]
        readable = [backup for backup in catalog if is_readable_by_all(backup.manifest)]
        if not readable:
            return Resealed((), tuple(refused))
        progress.stage("sealing manifests")
        with audited(repository, "seal manifests", clock) as entry:
            entry.details["backup_ids"] = done
            for backup in readable:
                lock.require()
                try:
                    _seal_one(repository, backup)
                except DamagedData as damage:
                    name = repository.layout.manifest(backup.backup_id)
                    refused.append(Damage(name, damage.message.removeprefix(f"{name} ")))
                else:
                    done.append(backup.backup_id)
            if refused:
                entry.outcome = "incomplete"
                entry.details["refused"] = [each.name for each in refused]
    return Resealed(tuple(done), tuple(refused))


def _seal_one(repository: Repository, backup: Backup) -> None:
    """Replace one manifest. Raises DamagedData, having changed nothing, when it is not what was written."""
    name = repository.layout.manifest(backup.backup_id)
    encryption = backup.manifest.encryption
    assert encryption is not None
    try:
        document = decode(repository.store.get(name), name)
    except ObjectMissing:
        raise DamagedData(f"{name} went away meanwhile") from None
    mac = document.get("mac")
    if isinstance(mac, Mapping) and mac.get("key_id") != encryption.key_id:
        raise DamagedData(f"{name} is damaged: it is not signed with the key of its backup")
    check_signature(document, name, repository.keyring.for_reading)
    data_key = repository.keyring.for_reading(encryption.key_id)
    new = encode(signed(seal(document, data_key), name, data_key))
    _require_same(document, new, name, data_key)
    repository.store.replace(name, new)
    if repository.store.get(name) != new:
        raise StorageError(f"{name} was written, and reads otherwise", "see: recyclic-backups verify --all")


def _require_same(old: Mapping[str, Any], new: bytes, name: str, data_key: DataKey) -> None:
    """Read the new manifest as everybody will, before it takes the place of the only copy of what it says."""
    document = decode(new, name)
    check_signature(document, name, lambda _: data_key)
    opened = {**unseal(document, lambda _: data_key), "format": old["format"]}
    if canonical(opened) != canonical({key: value for key, value in old.items() if key != "mac"}):
        raise StorageError(f"the sealed manifest {name} would not say the same as the one in clear; it stays")
