"""What a recovery needs of this machine: the programs of the server's version, and space."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from recyclic_backups.base_backup.manifest import BaseManifest
from recyclic_backups.errors import ProgramMissing, Refused
from recyclic_backups.postgres.programs import SERVER_PROGRAMS, Installation
from recyclic_backups.quantities import human_bytes
from recyclic_backups.recovery.plan import Plan


def server_programs(installations: Sequence[Installation], base: BaseManifest) -> Installation:
    """The installation to recover with: a server of the base backup's own major version. Raises ProgramMissing."""
    major = base.server_version // 10000
    needed = {*SERVER_PROGRAMS, "pg_controldata", *({"pg_combinebackup"} if base.is_incremental else ())}
    for each in installations:
        if each.major == major and each.programs >= needed:
            return each
    raise ProgramMissing(
        f"recovery needs the server programs of PostgreSQL {major}, and this machine has none",
        f"install postgresql-{major}, the server package: files of a server are read by its own version alone",
    )


def require_space(directory: Path, plan: Plan) -> None:
    """Refuse a disk that the base backup does not fit on, with the WAL that a server keeps. Raises Refused."""
    kept_wal = min(2 << 30, plan.segments * plan.window.segment_bytes)
    needed_bytes = plan.plain_bytes * (2 if len(plan.chain) > 1 else 1) + kept_wal
    free_bytes = shutil.disk_usage(directory).free
    if free_bytes < needed_bytes:
        raise Refused(
            f"{directory} has {human_bytes(free_bytes)} free, and the recovery may need {human_bytes(needed_bytes)}",
            "recover to a larger disk (BACKUP_SCRATCH, or --data-directory)",
        )
