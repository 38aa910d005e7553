"""Jobs and schedules: each tier's backup with its checks, at the time the calendar of the house says."""

from __future__ import annotations

import dagster as dg

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.defs.automation import Job, scheduled
from recyclic_backups.defs.database import Database

# In the night that skips 02:00 to 03:00 the daily and the weekly tick are the same instant: what is promoted
# has to leave the queue before what promotes it.
_PRIORITIES = {Tier.DAILY: 2, Tier.WEEKLY: 1, Tier.MONTHLY: 0}


def tier_of(database: Database, tier: Tier) -> tuple[Job, dg.ScheduleDefinition]:
    """``daily_backup_job`` and so on, the asset and its checks, and its schedule.

    Pure: every tick requests the partition that is due, done or not. The limit of a run is the wait for the lock, the
    dump, and reading it again; BACKUP_TIMEOUT bounds dumping and each reading.
    """
    settings, calendar = database.settings, database.settings.calendar

    def request(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        key = calendar.partition_due(tier, context.scheduled_execution_time)
        if not calendar.is_valid_key(tier, key):
            return dg.SkipReason(f"{key} is before the first {tier.value} partition (BACKUP_START_DATE)")
        return dg.RunRequest(run_key=key, partition_key=key)

    return scheduled(
        database,
        f"{tier.value}_backup",
        dg.AssetSelection.assets(database.backup_key(tier)),
        does=f"The {tier.value} backup of {settings.database} ({settings.environment}) and its checks.",
        cron=calendar.cron(tier),
        when=_when(calendar, tier),
        limit_seconds=settings.run_limit_seconds,
        priority=_PRIORITIES[tier],
        tags={"tier": tier.value},
        request=request,
    )


def _when(calendar: Calendar, tier: Tier) -> str:
    daily = f"{calendar.hour:02}:{calendar.minute:02}"
    if tier is Tier.DAILY:
        return f"Every night at {daily}."
    when = "Sunday's daily backup" if tier is Tier.WEEKLY else "the daily backup of the first of the month"
    return f"After {when} of {daily}: gives it the {tier.value} label."
