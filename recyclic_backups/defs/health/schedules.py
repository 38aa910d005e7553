"""Jobs and schedules: how healthy the backups are, every hour, and every day by reading the newest ones again."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from recyclic_backups.defs.automation import Job, cron_after, scheduled
from recyclic_backups.defs.backups.checks import VERIFIED_TAG
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.health.assets import METRICS
from recyclic_backups.defs.partitions import SCHEDULED_TIERS
from recyclic_backups.defs.wal.archive import ARCHIVE
from recyclic_backups.health.questions import QUESTIONS

HEALTH_JOB = "health_job"

HOURLY_QUESTIONS = ("age", "proven")
"""Checks whose answer changes though nothing happens."""

_VERIFICATION_AFTER_MINUTES = 6 * 60


def hourly(database: Database) -> tuple[Job, dg.ScheduleDefinition]:
    """``health_job``: the questions whose answer changes with time alone, asked of the newest backup of each tier.

    With WAL it says how its archive is, too. It runs ten minutes after the backup of the night if there is one to be,
    without a partition. It takes no lock and reads no backup: documents of the catalog only.
    """
    settings = database.settings
    selection = _questions(database, HOURLY_QUESTIONS)
    if settings.wal_archive:
        # In the same run: what lies in the storage is listed once for both.
        selection |= dg.AssetSelection.assets(database.key(ARCHIVE))
    return scheduled(
        database,
        "health",
        selection,
        does=f"How healthy the backups of {settings.database} are: age, proof, space, anomalies.",
        cron=f"{(settings.calendar.minute + 10) % 60} * * * *",
        when="Every hour: no other event makes a backup older.",
        limit_seconds=600,
        priority=-1,
    )


def daily(database: Database) -> tuple[Job, dg.ScheduleDefinition]:
    """``metric_verification_job``: every question anew of the newest backup of each tier, which are read again.

    Each is read once, whatever number of tiers has it: what a tier's checks have just read answers the next one's. What
    the night's own run read is too old for that.
    """
    settings = database.settings
    return scheduled(
        database,
        "metric_verification",
        _questions(database, tuple(QUESTIONS)),
        does=f"Read the newest backups of {settings.database} again, hold every figure against its objective.",
        cron=cron_after(settings.calendar, _VERIFICATION_AFTER_MINUTES),
        when="Every day, six hours after the backup: what rots on the disk is found while others are whole.",
        limit_seconds=settings.run_limit_seconds,
        priority=-2,
        tags={VERIFIED_TAG: str(_VERIFICATION_AFTER_MINUTES * 60 // 2)},
    )


def _questions(database: Database, names: Sequence[str]) -> dg.AssetSelection:
    """Those questions about each tier's backups, and the metrics."""
    keys = [database.backup_key(tier) for tier in SCHEDULED_TIERS]
    checks = dg.AssetSelection.checks(*(dg.AssetCheckKey(key, name) for key in keys for name in names))
    return checks | dg.AssetSelection.assets(database.key(METRICS))
