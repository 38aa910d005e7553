"""WAL: base backups of the server, and how its archive is. Nothing of it where WAL_ARCHIVE is off."""

import dagster as dg

from recyclic_backups.defs.database import Database
from recyclic_backups.defs.wal.archive import archive_asset
from recyclic_backups.defs.wal.base_backup import base_backup_asset
from recyclic_backups.defs.wal.schedules import base_backups_due


def wal(database: Database) -> dg.Definitions:
    """Those of one database's server."""
    if not database.settings.wal_archive:
        return dg.Definitions()
    job, schedule = base_backups_due(database)
    return dg.Definitions(
        assets=[base_backup_asset(database), archive_asset(database)], jobs=[job], schedules=[schedule]
    )
