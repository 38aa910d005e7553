"""Jobs and schedules: expiry after the backup of the night, the review every month."""

from __future__ import annotations

import dagster as dg

from recyclic_backups.defs.automation import Job, cron_after, scheduled
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.retention.assets import EXPIRED, REVIEW

AFTER_THE_BACKUP_MINUTES = 60


def expiry(database: Database) -> tuple[Job, dg.ScheduleDefinition]:
    """``retention_job``: after the backup of the night, and after it was promoted."""
    settings = database.settings
    return scheduled(
        database,
        "retention",
        dg.AssetSelection.assets(database.key(EXPIRED)),
        does=f"Let go what retention does not keep of {settings.database}, and prove that it is gone.",
        cron=cron_after(settings.calendar, AFTER_THE_BACKUP_MINUTES),
        when=f"Every day, {AFTER_THE_BACKUP_MINUTES} minutes after the backup.",
        limit_seconds=settings.run_limit_seconds,
        priority=-1,
    )


def monthly_review(database: Database) -> tuple[Job, dg.ScheduleDefinition]:
    """``retention_review_job``: on the 2nd, when the month's backup is there."""
    return scheduled(
        database,
        "retention_review",
        dg.AssetSelection.assets(database.key(REVIEW)),
        does=f"Write the monthly review of what is kept of {database.settings.database}, and why.",
        cron="0 8 2 * *",
        when="On the second of every month at 08:00.",
        limit_seconds=600,
        priority=-2,
    )
