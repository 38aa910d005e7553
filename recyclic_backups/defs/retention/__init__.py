"""Retention: expiry after the backup of the night or when the disk is nearly full, and the monthly review."""

import dagster as dg

from recyclic_backups.defs.database import Database
from recyclic_backups.defs.retention.assets import expired_asset, review_asset
from recyclic_backups.defs.retention.schedules import expiry, monthly_review
from recyclic_backups.defs.retention.sensors import disk_space_sensor


def retention(database: Database) -> dg.Definitions:
    """Those of one database."""
    jobs, schedules = zip(expiry(database), monthly_review(database), strict=True)
    return dg.Definitions(
        assets=[expired_asset(database), review_asset(database)],
        jobs=jobs,
        schedules=schedules,
        sensors=[disk_space_sensor(database, jobs[0])],
    )
