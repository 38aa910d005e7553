"""Jobs and schedules: base backups, by default on Sundays, and a look at the archive every quarter of an hour."""

from __future__ import annotations

import dagster as dg

from recyclic_backups.defs.automation import Job, scheduled
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.wal.assets import ARCHIVE, BASE

_LIMIT_SECONDS = 24 * 3600


def every_week(database: Database) -> tuple[Job, dg.ScheduleDefinition]:
    """``base_backup_job``: when BASE_BACKUP_CRON says, else each Sunday, an hour after the backup of the night."""
    settings = database.settings
    return scheduled(
        database,
        BASE,
        dg.AssetSelection.assets(database.key(BASE)),
        does="Copy the files of the whole server, from which WAL is replayed.",
        cron=settings.base_backup_schedule,
        when="Each Sunday, an hour after the backup of the night, or when BASE_BACKUP_CRON says.",
        # Copying a large server takes hours, and reading it again: nothing else ends it, also not BACKUP_TIMEOUT.
        limit_seconds=settings.lock_wait_seconds + _LIMIT_SECONDS,
        priority=-1,
    )


def every_quarter_of_an_hour(database: Database) -> tuple[Job, dg.ScheduleDefinition]:
    """``wal_archive_job``: a look at what the receiver has stored."""
    return scheduled(
        database,
        ARCHIVE,
        dg.AssetSelection.assets(database.key(ARCHIVE)),
        does="How the archive of WAL is: up to when it reaches, whether any of it is missing.",
        cron="*/15 * * * *",
        when="Every quarter of an hour.",
        limit_seconds=600,
        priority=-1,
    )
