"""Base backups of the server: an asset, its schedule, and the sensor that takes one at once when it is needed.

Only where WAL_ARCHIVE is on: without WAL a base backup is of no use.
"""

import dagster as dg

from recyclic_backups.defs.base_backups.assets import base_backup_asset
from recyclic_backups.defs.base_backups.schedules import base_backups_due
from recyclic_backups.defs.base_backups.sensors import needed_base_backups_sensor
from recyclic_backups.defs.database import Database


def base_backups(database: Database) -> dg.Definitions:
    """Those of one database's server."""
    if not database.settings.wal_archive:
        return dg.Definitions()
    job, schedule = base_backups_due(database)
    return dg.Definitions(
        assets=[base_backup_asset(database)],
        jobs=[job],
        schedules=[schedule],
        sensors=[needed_base_backups_sensor(database, job)],
    )
