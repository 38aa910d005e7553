"""Jobs and schedules: how healthy the backups are, every hour, and every day by reading the newest ones again."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from recyclic_backups.defs.automation import Job, cron_after, job_of, schedule_of
from recyclic_backups.defs.backups.checks import VERIFIED_TAG
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.health.assets import METRICS
from recyclic_backups.defs.partitions import SCHEDULED_TIERS
from recyclic_backups.health.questions import QUESTIONS

HEALTH_JOB = "health_job"

HOURLY_QUESTIONS = ("age", "proven")
"""Checks whose answer changes though nothing happens."""

_HEALTH_SECONDS = 600
_VERIFICATION_AFTER_MINUTES = 6 * 60


def health_job(database: Database) -> Job:
    """``health_job``: the questions whose answer changes with time alone, asked of the newest backup of each tier.

    It runs without a partition, takes no lock and reads no backup: documents of the catalog only.
    """
    return job_of(
        database,
        HEALTH_JOB,
        _questions(database, HOURLY_QUESTIONS),
        description=f"How healthy the backups of {database.settings.database} are: age, proof, space, anomalies.",
        limit_seconds=_HEALTH_SECONDS,
        priority=-1,
    )


def health_schedule(database: Database, job: Job) -> dg.ScheduleDefinition:
    """``health_schedule``: every hour, ten minutes after the backup of the night if there is one to be."""
    minute = (database.settings.calendar.minute + 10) % 60
    return schedule_of(
        database,
        job,
        "health_schedule",
        cron=f"{minute} * * * *",
        description="Every hour: no other event makes a backup older.",
    )


def verification_job(database: Database) -> Job:
    """``metric_verification_job``: every question anew of the newest backup of each tier, which are read again.

    Each is read once, whatever number of tiers has it: what a tier's checks have just read answers the next one's. What
    the night's own run read is too old for that.
    """
    name = database.settings.database
    return job_of(
        database,
        "metric_verification_job",
        _questions(database, tuple(QUESTIONS)),
        description=f"Read the newest backups of {name} again, hold every figure against its objective.",
        limit_seconds=database.settings.run_limit_seconds,
        priority=-2,
        tags={VERIFIED_TAG: str(_VERIFICATION_AFTER_MINUTES * 60 // 2)},
    )


def verification_schedule(database: Database, job: Job) -> dg.ScheduleDefinition:
    """``metric_verification_schedule``: every day, when the night's work is done."""
    return schedule_of(
        database,
        job,
        "metric_verification_schedule",
        cron=cron_after(database.settings.calendar, _VERIFICATION_AFTER_MINUTES),
        description="Every day, six hours after the backup: what rots on the disk is found while others are whole.",
    )


def _questions(database: Database, names: Sequence[str]) -> dg.AssetSelection:
    """Those questions about each tier's backups, and the metrics."""
    keys = [database.backup_key(tier) for tier in SCHEDULED_TIERS]
    checks = dg.AssetSelection.checks(*(dg.AssetCheckKey(key, name) for key in keys for name in names))
    return checks | dg.AssetSelection.assets(database.key(METRICS))
