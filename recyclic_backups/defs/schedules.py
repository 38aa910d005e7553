"""Jobs and schedules: each tier's backup with its checks, at the time the calendar of the house says."""

from __future__ import annotations

import dagster as dg

from recyclic_backups.defs.backups import asset_key, run_tags
from recyclic_backups.defs.partitions import SCHEDULED_TIERS
from recyclic_backups.defs.slow_runs import MAX_RUNTIME_TAG
from recyclic_backups.settings import Settings
from recyclic_backups.tiers import Calendar, Tier

_PRIORITY_TAG = "dagster/priority"

HEALTH_JOB = "health_job"

HOURLY_QUESTIONS = ("age", "proven")
"""Checks whose answer changes though nothing happens."""

_HEALTH_SECONDS = 600

# In the night that skips 02:00 to 03:00 the daily and the weekly tick are the same instant: what is promoted
# has to leave the queue before what promotes it.
_PRIORITIES = {Tier.DAILY: 2, Tier.WEEKLY: 1, Tier.MONTHLY: 0}


def backup_job(settings: Settings, tier: Tier) -> dg.UnresolvedAssetJobDefinition:
    """``daily_backup_job`` and so on: the asset and its checks, whoever launches it."""
    return dg.define_asset_job(
        f"{tier.value}_backup_job",
        selection=dg.AssetSelection.assets(asset_key(settings, tier)),
        description=f"The {tier.value} backup of {settings.database} ({settings.environment}) and its checks.",
        tags={
            MAX_RUNTIME_TAG: str(max_runtime_seconds(settings)),
            _PRIORITY_TAG: str(_PRIORITIES[tier]),
            "tier": tier.value,
            **run_tags(settings),
        },
    )


def health_job(settings: Settings) -> dg.UnresolvedAssetJobDefinition:
    """``health_job``: the questions whose answer changes with time alone, asked of the newest backup of each tier.

    It runs without a partition, takes no lock and reads no backup: documents of the catalog only.
    """
    keys = [
        dg.AssetCheckKey(asset_key(settings, tier), question)
        for tier in SCHEDULED_TIERS
        for question in HOURLY_QUESTIONS
    ]
    return dg.define_asset_job(
        HEALTH_JOB,
        selection=dg.AssetSelection.checks(*keys),
        description=f"How old the newest backup of {settings.database} is, and whether a restore is proven.",
        tags={MAX_RUNTIME_TAG: str(_HEALTH_SECONDS), _PRIORITY_TAG: "-1"},
    )


def health_schedule(settings: Settings, job: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """``health_schedule``: every hour, ten minutes after the backup of the night if there is one to be."""
    minute = (settings.calendar.minute + 10) % 60

    @dg.schedule(
        job=job,
        name="health_schedule",
        cron_schedule=f"{minute} * * * *",
        execution_timezone=settings.calendar.timezone.key,
        default_status=schedule_status(settings),
        description="Every hour: no other event makes a backup older.",
    )
    def schedule(_context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest()

    return schedule


def schedule_status(settings: Settings) -> dg.DefaultScheduleStatus:
    """On from the beginning in production; elsewhere somebody has to switch it on."""
    production = settings.environment == "production"
    return dg.DefaultScheduleStatus.RUNNING if production else dg.DefaultScheduleStatus.STOPPED


def max_runtime_seconds(settings: Settings) -> int:
    """After which a run is taken for hung: the wait for the lock, the dump, and reading it twice again.

    Dumping and each reading are bounded by BACKUP_TIMEOUT themselves. Dagster ends the run only where its run
    monitoring is on, as in our ``dagster.yaml``.
    """
    return settings.lock_wait_seconds + 3 * settings.timeout_seconds


def backup_schedule(
    settings: Settings, tier: Tier, job: dg.UnresolvedAssetJobDefinition
) -> dg.ScheduleDefinition:
    """``daily_backup_schedule`` and so on. Pure: every tick requests the partition that is due, done or not.

    On from the beginning in production; elsewhere somebody has to switch it on.
    """
    calendar = settings.calendar

    @dg.schedule(
        job=job,
        name=f"{tier.value}_backup_schedule",
        cron_schedule=calendar.cron(tier),
        execution_timezone=calendar.timezone.key,
        default_status=schedule_status(settings),
        description=_describe(calendar, tier),
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        key = calendar.partition_due(tier, context.scheduled_execution_time)
        if not calendar.is_valid_key(tier, key):
            return dg.SkipReason(f"{key} is before the first {tier.value} partition (BACKUP_START_DATE)")
        return dg.RunRequest(run_key=key, partition_key=key)

    return schedule


def _describe(calendar: Calendar, tier: Tier) -> str:
    daily = f"{calendar.hour:02}:{calendar.minute:02}"
    if tier is Tier.DAILY:
        return f"Every night at {daily}."
    when = "Sunday's daily backup" if tier is Tier.WEEKLY else "the daily backup of the first of the month"
    return f"After {when} of {daily}: gives it the {tier.value} label."
