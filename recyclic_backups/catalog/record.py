"""Write what the catalog consists of: manifests, labels, checks, holds, tombstones. Each is one atomic, durable write.

Every document of an encrypted backup carries a MAC under that backup's own data key, whatever the settings
say by then: switching encryption off later must not make older documents forgeable. Those of a backup that is
not encrypted carry a SHA-256 in its place, which shows damage and no more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from recyclic_backups.catalog.documents import Check, Hold, Label, Tombstone
from recyclic_backups.catalog.layout import check_name
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.sealing import seal, seal_check
from recyclic_backups.envelope import document as envelope_document
from recyclic_backups.errors import DamagedData, NoUsableKey, ObjectExists, ObjectMissing


def record_manifest(repository: Repository, manifest: Manifest) -> Manifest:
    """Make the backup exist: create-only and last of all its objects. Raises ObjectExists, StorageError.

    Of an encrypted backup it describes the content sealed, and says which storage it is of. Returns the manifest with
    the document that was stored.
    """
    if manifest.encryption is not None:
        manifest = dataclasses.replace(manifest, storage_id=repository.storage_id())
    name = repository.layout.manifest(manifest.backup_id)
    content = manifest.to_json()
    if manifest.encryption is not None:
        content = seal(content, repository.keyring.for_reading(manifest.encryption.key_id))
    document = _signed(repository, content, name, manifest)
    repository.store.create(name, envelope_document.encode(document))
    return dataclasses.replace(manifest, document=document)


def record_label(repository: Repository, label: Label, manifest: Manifest) -> None:
    """Point a tier's partition at a backup, in place of the one it pointed at. Raises StorageError."""
    name = repository.layout.label(label.tier, label.partition)
    document = _signed(repository, label.to_json(), name, manifest)
    repository.store.replace(name, envelope_document.encode(document))


def record_check(repository: Repository, check: Check, manifest: Manifest) -> None:
    """Append a verdict to a dump, as :func:`append_check`."""
    key_id = None if manifest.encryption is None else manifest.encryption.key_id
    append_check(repository, check, repository.layout.backup(check.backup_id), key_id)


def append_check(repository: Repository, check: Check, folder: str, key_id: str | None) -> None:
    """Append a verdict to what lies in ``folder``. Raises NoUsableKey, StorageError.

    With a key, reasons and details are sealed. The newest verdict is the one that counts, so it is never filed before
    one that is there already, whatever the clock says: two in the same microsecond, or after the clock was set back,
    get later names.
    """
    store = repository.store
    moment = check.checked_at
    for _ in range(100):
        name = check_name(folder, moment)
        moment = max(moment, _after_the_last(repository, name, signed=key_id is not None))
        name = check_name(folder, moment)
        check = dataclasses.replace(check, checked_at=moment)
        content = check.to_json()
        if key_id is not None:
            content = seal_check(content, name, repository.keyring.for_reading(key_id))
        document = _vouched(repository, content, name, key_id)
        try:
            store.create(name, envelope_document.encode(document))
        except ObjectExists:
            moment += timedelta(microseconds=1)  # of another process, or what somebody put there
            continue
        return
    raise ObjectExists(f"others keep adding checks to {check.backup_id}", "try again later", retryable=True)


def _after_the_last(repository: Repository, name: str, *, signed: bool) -> datetime:
    """A microsecond after the newest check filed under that name or a later one that is believed; the beginning of time
    if none is. Raises StorageError.

    Anybody who can write to the storage can put a file of the year 9999 there: no moment is moved by that.
    """
    store = repository.store
    later = [item.name for item in store.list(f"{name.rpartition('/')[0]}/") if item.name >= name]
    for each in sorted(later, reverse=True):
        try:
            document = envelope_document.decode(store.get(each), each)
            envelope_document.check_authentic(document, each, repository.keyring.for_reading, signed=signed)
            return Check.from_json(document).checked_at + timedelta(microseconds=1)
        except (DamagedData, NoUsableKey, ObjectMissing):
            continue
    return datetime.min.replace(tzinfo=UTC)


def record_hold(repository: Repository, hold: Hold, manifest: Manifest) -> None:
    """Keep a backup from expiring, in place of the hold it had. Raises NoUsableKey, StorageError."""
    name = repository.layout.hold(hold.backup_id)
    document = _signed(repository, hold.to_json(), name, manifest)
    repository.store.replace(name, envelope_document.encode(document))


def record_tombstone(repository: Repository, tombstone: Tombstone, manifest: Manifest) -> None:
    """Make a backup unusable, before anything of it is deleted. Raises ObjectExists, NoUsableKey, StorageError.

    That of a backup which nobody signed is signed, where the storage asks for it: it hides nothing otherwise.
    """
    name = repository.layout.tombstone(tombstone.backup_id)
    if manifest.encryption is None and repository.asks_for_macs and tombstone.expired_at is not None:
        data_key = repository.keyring.for_writing(tombstone.expired_at)
        document: Mapping[str, Any] = envelope_document.signed(tombstone.to_json(), name, data_key)
        # In the place of one that nobody signed, if there is one: it hides nothing.
        repository.store.replace(name, envelope_document.encode(document))
        return
    document = _signed(repository, tombstone.to_json(), name, manifest)
    repository.store.create(name, envelope_document.encode(document))


def _signed(
    repository: Repository, document: Mapping[str, Any], name: str, manifest: Manifest
) -> Mapping[str, Any]:
    key_id = None if manifest.encryption is None else manifest.encryption.key_id
    return _vouched(repository, document, name, key_id)


def _vouched(
    repository: Repository, document: Mapping[str, Any], name: str, key_id: str | None
) -> Mapping[str, Any]:
    key = None if key_id is None else repository.keyring.for_reading(key_id)
    return envelope_document.vouched(document, name, key)
