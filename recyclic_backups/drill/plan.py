"""How drills are done, as the settings say it: where, with what, and from what the full one starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recyclic_backups.health.judge import WalSource
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.server import Server
from recyclic_backups.restore.attempt import RestoreOptions


@dataclass(frozen=True, slots=True)
class DrillPlacement:
    """What is known about where drills run, with how many sessions; ``production`` no drill may touch."""

    installations: Sequence[Installation]
    production: Server
    staging: Server | None = None
    scratch: Path | None = None
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class StorageAccess:
    """What is left when all else is gone: where the storage is, and what opens it."""

    storage_url: str
    directory: Path | None
    encryption_key: str = field(repr=False)
    old_keys: tuple[str, ...] = field(default=(), repr=False)

    def environment(self) -> dict[str, str]:
        """The keys, as both ways back read them."""
        keys = {
            "BACKUP_ENCRYPTION_KEY": self.encryption_key,
            "BACKUP_ENCRYPTION_OLD_KEYS": "\n".join(self.old_keys),
        }
        return {name: value for name, value in keys.items() if value}


@dataclass(frozen=True, slots=True)
class DrillPlan:
    """How drills are done: where, with which restore options and probes, and what the full one starts from."""

    placement: DrillPlacement
    options: RestoreOptions
    probes: Path | None
    access: StorageAccess
    wal: WalSource | None = None
    """Whose WAL is archived, if any: then a disaster costs seconds, and no drill says otherwise."""
