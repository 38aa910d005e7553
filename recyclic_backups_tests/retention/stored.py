"""A made-up history written into a storage as the house writes it, without a server."""

from __future__ import annotations

from dataclasses import replace

from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.manifest import Encryption
from recyclic_backups.catalog.record import record_check, record_hold, record_label, record_manifest
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.storage.store import Store
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.retention.histories import History


def open_repository(store: Store, *, encrypt: bool = True) -> Repository:
    """Opened anew, as every command does."""
    return Repository(store, "recyclic", Keyring(store, KEY if encrypt else ""), encrypt=encrypt)


def stored(history: History, *, encrypt: bool = True) -> MemoryStore:
    """A storage in RAM with the history in it."""
    store = MemoryStore()
    write(history, store, encrypt=encrypt)
    return store


def write(history: History, store: Store, *, encrypt: bool = True) -> None:
    """Add a history's backups to a storage."""
    repository = open_repository(store, encrypt=encrypt)
    for backup in history.catalog():
        manifest = backup.manifest
        if encrypt:
            key_id = repository.keyring.for_writing(manifest.taken_at).key_id
            manifest = replace(manifest, encryption=Encryption(1, key_id))
        for item in manifest.objects:
            with store.writer(repository.layout.object(manifest.backup_id, item.name)) as upload:
                upload.write(b"x" * item.stored_bytes)
                upload.commit()
        manifest = record_manifest(repository, manifest)
        for check in backup.checks:
            record_check(repository, check, manifest)
        for label in backup.labels:
            record_label(repository, label, manifest)
        if backup.hold is not None:
            record_hold(repository, backup.hold, manifest)


def catalog_of(store: Store, *, encrypt: bool = True) -> Catalog:
    """What the storage holds now."""
    return load_catalog(open_repository(store, encrypt=encrypt))


def names(store: Store) -> list[str]:
    """Every object of the storage but for the audit log, which whatever happens adds to."""
    return [item.name for item in store.list("") if "/audit/" not in item.name]
