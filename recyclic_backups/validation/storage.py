"""Whether backups can be stored, and opened again: the storage, what lies in it, and the keys."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from recyclic_backups import wiring
from recyclic_backups.catalog.layout import Layout
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.sealing import READABLE_HINT, is_readable_by_all
from recyclic_backups.catalog.strangers import HINT, find_strangers, objects_and_damage
from recyclic_backups.config.settings import Settings
from recyclic_backups.dump.rescue_files import inspect_rescue
from recyclic_backups.postgres.names import some
from recyclic_backups.quantities import human_bytes
from recyclic_backups.rescue import SCRIPT, shipped_sha256
from recyclic_backups.storage.descent import REMOVE_IT
from recyclic_backups.validation.finding import Finding


def check_storage(settings: Settings) -> Iterator[Finding]:
    """It is there, has room, is ours alone, and holds nothing strange."""
    store = wiring.open_store(settings)
    free_bytes = store.free_bytes()
    free = "" if free_bytes is None else f", {human_bytes(free_bytes)} free"
    if free_bytes is not None and free_bytes < settings.disk_critical_bytes:
        yield Finding("storage", "warning", f"{store.url}{free}", "make room, or move the storage")
    else:
        yield Finding("storage", "ok", f"{store.url}{free}")
    if others := store.open_to_others():
        yield Finding(
            "storage",
            "warning",
            f"others can change what is in {store.url}: {others}",
            "let the user that runs the backups own the directory, with mode 700",
        )
    for sentence in find_strangers(store):
        yield Finding("storage", "warning", sentence, HINT)
    _, damage = objects_and_damage(store, Layout(settings.database))
    for each in damage:
        yield Finding("storage", "warning", f"{each.name} is damaged: {each.problem}", REMOVE_IT)


def check_rescue(settings: Settings) -> Iterator[Finding]:
    """The script and the instructions that people follow when this software is gone."""
    repository = wiring.open_repository(settings)
    findings = inspect_rescue(repository, lambda: load_catalog(repository))
    for each in findings:
        yield Finding(
            "rescue",
            "warning",
            f"{each.name} in the storage: {each.problem}",
            f"this release's {SCRIPT} has the SHA-256 {shipped_sha256(SCRIPT)}",
        )
    if not findings:
        yield Finding("rescue", "ok", f"{SCRIPT} in the storage is as it was put there")


def check_encryption(settings: Settings, now: datetime) -> Iterator[Finding]:
    """It is on, and the key opens the storage's keys."""
    if not settings.encryption:
        yield Finding(
            "encryption",
            "warning",
            "BACKUP_ENCRYPTION is off: members' data are stored readable (GDPR, article 32)",
            "set BACKUP_ENCRYPTION=true and BACKUP_ENCRYPTION_KEY (recyclic-backups keys generate)",
        )
        wiring.open_repository(settings).key_for_backups(now)  # refused where the storage has keys
        return
    repository = wiring.open_repository(settings)
    existing = any(True for _ in repository.store.list("keys/"))
    if existing:
        data_key = repository.keyring.writer()
        storage_id = repository.storage_id()
        yield Finding(
            "encryption",
            "ok",
            f"the key opens the data key {data_key.key_id} of the storage {storage_id or 'without an id yet'}",
        )
        for name, problem in repository.keyring.belonging().problems:
            yield Finding("keys", "warning", f"{name}: {problem}", "see: recyclic-backups keys list")
    else:
        yield Finding("encryption", "ok", "a data key will be made by the first backup")


def check_manifests(settings: Settings) -> Iterator[Finding]:
    """Encrypted backups of older releases, whose manifests everybody can read."""
    catalog = load_catalog(wiring.open_repository(settings))
    readable = [backup.backup_id for backup in catalog if is_readable_by_all(backup.manifest)]
    if readable:
        yield Finding(
            "manifests",
            "warning",
            f"settings, comment, owner and tables lie in clear beside the encrypted {some(readable)}",
            READABLE_HINT,
        )
