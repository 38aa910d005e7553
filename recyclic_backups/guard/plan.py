"""How a guard works, as the settings say it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recyclic_backups.dump.back_up import BackupPlan
from recyclic_backups.restore.attempt import RestoreOptions


@dataclass(frozen=True, slots=True)
class GuardPlan:
    """How the checkpoint is taken, with what it would be restored, and the user's own probes if there are any."""

    backup: BackupPlan
    restore: RestoreOptions
    probes: Path | None
