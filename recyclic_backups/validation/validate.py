"""Ask everything that a backup needs, one thing after the other: an error of one hides none of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from recyclic_backups.config.settings import Settings
from recyclic_backups.errors import BackupError
from recyclic_backups.validation import machine, server, storage, wal
from recyclic_backups.validation.finding import Finding


def validate(load: Callable[[], Settings], now: datetime) -> Iterator[Finding]:
    """Each finding when it is known. Changes nothing but that ``file://`` makes the storage's directory."""
    try:
        settings = load()
    except BackupError as error:
        yield Finding.of_error("settings", error)
        return
    checks: dict[str, Callable[[Settings], Iterator[Finding]]] = {
        "settings": machine.check_environment,
        "database": server.check_database,
        "connections": server.check_connections,
        "programs": server.check_programs,
        "wal": wal.check_wal,
        "storage": storage.check_storage,
        "rescue": storage.check_rescue,
        "encryption": lambda settings: storage.check_encryption(settings, now),
        "drills": machine.check_drills,
        "manifests": storage.check_manifests,
        "alerts": machine.check_alerts,
    }
    for name, check in checks.items():
        try:
            yield from check(settings)
        except BackupError as error:
            yield Finding.of_error(name, error)
