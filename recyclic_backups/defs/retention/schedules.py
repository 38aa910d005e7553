"""Jobs and schedules: expiry after the backup of the night, the review every month."""

from __future__ import annotations

import dagster as dg

from recyclic_backups.defs.automation import Job, cron_after, job_of, schedule_of
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.retention.assets import EXPIRED, REVIEW

AFTER_THE_BACKUP_MINUTES = 60
_REVIEW_SECONDS = 600


def retention_job(database: Database) -> Job:
    """``retention_job``."""
    return job_of(
        database,
        "retention_job",
        dg.AssetSelection.assets(database.key(EXPIRED)),
        description=f"Let go what retention does not keep of {database.settings.database}, and prove that it is gone.",
        limit_seconds=database.settings.run_limit_seconds,
        priority=-1,
    )


def retention_schedule(database: Database, job: Job) -> dg.ScheduleDefinition:
    """``retention_schedule``: after the backup of the night, and after it was promoted."""
    return schedule_of(
        database,
        job,
        "retention_schedule",
        cron=cron_after(database.settings.calendar, AFTER_THE_BACKUP_MINUTES),
        description=f"Every day, {AFTER_THE_BACKUP_MINUTES} minutes after the backup.",
    )


def review_job(database: Database) -> Job:
    """``retention_review_job``."""
    return job_of(
        database,
        "retention_review_job",
        dg.AssetSelection.assets(database.key(REVIEW)),
        description=f"Write the monthly review of what is kept of {database.settings.database}, and why.",
        limit_seconds=_REVIEW_SECONDS,
        priority=-2,
    )


def review_schedule(database: Database, job: Job) -> dg.ScheduleDefinition:
    """``retention_review_schedule``: on the 2nd, when the month's backup is there."""
    return schedule_of(
        database,
        job,
        "retention_review_schedule",
        cron="0 8 2 * *",
        description="On the second of every month at 08:00.",
    )
