"""When base backups are due. The archive is looked at with health, every hour."""

from __future__ import annotations

import dagster as dg

from recyclic_backups.defs.automation import Job, scheduled
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.wal.base_backup import BASE_BACKUP

_LIMIT_SECONDS = 24 * 3600
"""A large server takes hours, twice: it is copied, then read again."""


def base_backups_due(database: Database) -> tuple[Job, dg.ScheduleDefinition]:
    """``base_backup_job``: each Sunday after the daily backup, or as BASE_BACKUP_CRON says."""
    settings = database.settings
    by_itself = "Every Sunday, one hour after the daily backup."
    return scheduled(
        database,
        BASE_BACKUP,
        dg.AssetSelection.assets(database.key(BASE_BACKUP)),
        does="Take the files of the whole server, from which WAL is replayed, and verify them.",
        cron=settings.base_backup_schedule,
        when=by_itself
        if settings.base_backup_cron is None
        else f"As BASE_BACKUP_CRON says: {settings.base_backup_cron}",
        limit_seconds=_LIMIT_SECONDS,
        priority=-1,
    )
