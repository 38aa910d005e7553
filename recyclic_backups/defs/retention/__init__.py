"""Retention: expiry after the backup of the night or when the disk is nearly full, and the monthly review."""

import dagster as dg

from recyclic_backups.defs.database import Database
from recyclic_backups.defs.retention.assets import expired_asset, review_asset
from recyclic_backups.defs.retention.schedules import (
    retention_job,
    retention_schedule,
    review_job,
    review_schedule,
)
from recyclic_backups.defs.retention.sensors import disk_space_sensor


def retention(database: Database) -> dg.Definitions:
    """Those of one database."""
    expiry, review = retention_job(database), review_job(database)
    return dg.Definitions(
        assets=[expired_asset(database), review_asset(database)],
        jobs=[expiry, review],
        schedules=[retention_schedule(database, expiry), review_schedule(database, review)],
        sensors=[disk_space_sensor(database, expiry)],
    )
