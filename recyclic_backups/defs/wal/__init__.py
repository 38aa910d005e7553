"""WAL: base backups of the server, and how its archive is. Nothing of it where WAL_ARCHIVE is off."""

import dagster as dg

from recyclic_backups.defs.database import Database
from recyclic_backups.defs.wal.assets import archive_asset, base_asset
from recyclic_backups.defs.wal.schedules import every_quarter_of_an_hour, every_week
from recyclic_backups.defs.wal.sensors import needed_base_backups_sensor


def wal(database: Database) -> dg.Definitions:
    """Those of one database."""
    if not database.settings.wal_archive:
        return dg.Definitions()
    jobs, schedules = zip(every_week(database), every_quarter_of_an_hour(database), strict=True)
    return dg.Definitions(
        assets=[base_asset(database), archive_asset(database)],
        jobs=jobs,
        schedules=schedules,
        sensors=[needed_base_backups_sensor(database, jobs[0])],
    )
