"""Write what the catalog consists of: manifests, labels, checks. Each is one atomic, durable write.

Every document of an encrypted backup carries a MAC under that backup's own data key, whatever the settings
say by then: switching encryption off later must not make older documents forgeable.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from recyclic_backups.catalog.documents import Check, Label
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope import document as envelope_document
from recyclic_backups.errors import ObjectExists


def record_manifest(repository: Repository, manifest: Manifest) -> Manifest:
    """Make the backup exist: create-only and last of all its objects. Raises ObjectExists, StorageError.

    Returns the manifest with the document that was stored.
    """
    name = repository.layout.manifest(manifest.backup_id)
    document = _signed(repository, manifest.to_json(), name, manifest)
    repository.store.create(name, envelope_document.encode(document))
    return dataclasses.replace(manifest, document=document)


def record_label(repository: Repository, label: Label, manifest: Manifest) -> None:
    """Point a tier's partition at a backup, in place of the one it pointed at. Raises StorageError."""
    name = repository.layout.label(label.tier, label.partition)
    document = _signed(repository, label.to_json(), name, manifest)
    repository.store.replace(name, envelope_document.encode(document))


def record_check(repository: Repository, check: Check, manifest: Manifest) -> None:
    """Append a verdict to a backup. Two in the same microsecond get different names. Raises StorageError."""
    for attempt in range(100):
        suffix = f"-{attempt}" if attempt else ""
        name = repository.layout.check(check.backup_id, check.checked_at, suffix)
        document = _signed(repository, check.to_json(), name, manifest)
        try:
            repository.store.create(name, envelope_document.encode(document))
        except ObjectExists:
            continue
        return
    raise ObjectExists(
        f"a hundred checks of {check.backup_id} at the same moment", "is the clock standing still?"
    )


def _signed(
    repository: Repository, document: Mapping[str, Any], name: str, manifest: Manifest
) -> Mapping[str, Any]:
    if manifest.encryption is None:
        return document
    return envelope_document.signed(
        document, name, repository.keyring.for_reading(manifest.encryption.key_id)
    )
