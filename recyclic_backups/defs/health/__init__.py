"""Health: the figures of all backups together, the page about them, and every question asked again."""

import dagster as dg

from recyclic_backups.defs.database import Database
from recyclic_backups.defs.health.assets import metrics_asset
from recyclic_backups.defs.health.schedules import (
    health_job,
    health_schedule,
    verification_job,
    verification_schedule,
)


def health(database: Database) -> dg.Definitions:
    """Those of one database."""
    hourly, daily = health_job(database), verification_job(database)
    return dg.Definitions(
        assets=[metrics_asset(database)],
        jobs=[hourly, daily],
        schedules=[health_schedule(database, hourly), verification_schedule(database, daily)],
    )
