"""Jobs and schedules: each tier's backup with its checks, at the time the calendar of the house says."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.config.settings import Settings
from recyclic_backups.defs.backups import asset_key, run_tags
from recyclic_backups.defs.partitions import SCHEDULED_TIERS
from recyclic_backups.defs.runs import MAX_RUNTIME_TAG
from recyclic_backups.health.questions import QUESTIONS

_PRIORITY_TAG = "dagster/priority"

HEALTH_JOB = "health_job"

HOURLY_QUESTIONS = ("age", "proven")
"""Checks whose answer changes though nothing happens."""

VERIFIED_TAG = "recyclic_backups/verified_within_s"
"""Of a job whose ``integrity`` asks for a younger verification than BACKUP_VERIFY_INTERVAL does."""

_HEALTH_SECONDS = 600
_VERIFICATION_AFTER_MINUTES = 6 * 60

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


def health_job(settings: Settings, *also: dg.AssetKey) -> dg.UnresolvedAssetJobDefinition:
    """``health_job``: the questions whose answer changes with time alone, asked of the newest backup of each tier.

    It runs without a partition, takes no lock and reads no backup: documents of the catalog only. ``also`` are assets
    made with them: the metrics.
    """
    return dg.define_asset_job(
        HEALTH_JOB,
        selection=_questions(settings, HOURLY_QUESTIONS) | dg.AssetSelection.assets(*also),
        description=f"How healthy the backups of {settings.database} are: age, proof, space, anomalies.",
        tags={MAX_RUNTIME_TAG: str(_HEALTH_SECONDS), _PRIORITY_TAG: "-1"},
    )


def verification_job(settings: Settings, *also: dg.AssetKey) -> dg.UnresolvedAssetJobDefinition:
    """``metric_verification_job``: every question anew of the newest backup of each tier, which are read again.

    Each is read once, whatever number of tiers has it: what a tier's checks have just read answers the next one's. What
    the night's own run read is too old for that.
    """
    return dg.define_asset_job(
        "metric_verification_job",
        selection=_questions(settings, tuple(QUESTIONS)) | dg.AssetSelection.assets(*also),
        description=f"Read the newest backups of {settings.database} again, hold every figure against its objective.",
        tags={
            MAX_RUNTIME_TAG: str(max_runtime_seconds(settings)),
            _PRIORITY_TAG: "-2",
            VERIFIED_TAG: str(_VERIFICATION_AFTER_MINUTES * 60 // 2),
        },
    )


def _questions(settings: Settings, names: Sequence[str]) -> dg.AssetSelection:
    return dg.AssetSelection.checks(
        *(dg.AssetCheckKey(asset_key(settings, tier), name) for tier in SCHEDULED_TIERS for name in names)
    )


def cron_after(calendar: Calendar, minutes: int) -> str:
    """The cron fields of every day, so many minutes after the daily backup by the clock on the wall."""
    hour, minute = divmod((calendar.hour * 60 + calendar.minute + minutes) % (24 * 60), 60)
    return f"{minute} {hour} * * *"


def verification_schedule(settings: Settings, job: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """``metric_verification_schedule``: every day, when the night's work is done."""
    return schedule_of(
        settings,
        job,
        name="metric_verification_schedule",
        cron=cron_after(settings.calendar, _VERIFICATION_AFTER_MINUTES),
        description="Every day, six hours after the backup: what rots on the disk is found while others are whole.",
    )


def health_schedule(settings: Settings, job: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """``health_schedule``: every hour, ten minutes after the backup of the night if there is one to be."""
    return schedule_of(
        settings,
        job,
        name="health_schedule",
        cron=f"{(settings.calendar.minute + 10) % 60} * * * *",
        description="Every hour: no other event makes a backup older.",
    )


def schedule_of(
    settings: Settings, job: dg.UnresolvedAssetJobDefinition, *, name: str, cron: str, description: str
) -> dg.ScheduleDefinition:
    """A schedule of a job without partitions; a tick that is repeated asks for the same run."""

    @dg.schedule(
        job=job,
        name=name,
        cron_schedule=cron,
        execution_timezone=settings.calendar.timezone.key,
        default_status=schedule_status(settings),
        description=description,
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())

    return schedule


def schedule_status(settings: Settings) -> dg.DefaultScheduleStatus:
    """On from the beginning in production; elsewhere somebody has to switch it on."""
    production = settings.environment == "production"
    return dg.DefaultScheduleStatus.RUNNING if production else dg.DefaultScheduleStatus.STOPPED


def max_runtime_seconds(settings: Settings) -> int:
    """After which a run is taken for hung: the wait for the lock, the dump, and reading it again.

    Dumping and each reading are bounded by BACKUP_TIMEOUT themselves. Dagster ends the run only where its run
    monitoring is on, as in our ``dagster.yaml``.
    """
    return settings.run_limit_seconds


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
