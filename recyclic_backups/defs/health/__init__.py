"""Health: the figures of all backups together, the page about them, and every question asked again."""

import dagster as dg

from recyclic_backups.defs.database import Database
from recyclic_backups.defs.health.assets import metrics_asset
from recyclic_backups.defs.health.schedules import daily, hourly


def health(database: Database) -> dg.Definitions:
    """Those of one database."""
    jobs, schedules = zip(hourly(database), daily(database), strict=True)
    return dg.Definitions(assets=[metrics_asset(database)], jobs=jobs, schedules=schedules)
