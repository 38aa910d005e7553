"""When the archive of WAL is looked at."""

from __future__ import annotations

import dagster as dg

from recyclic_backups.defs.automation import Job, scheduled
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.wal.assets import ARCHIVE


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
