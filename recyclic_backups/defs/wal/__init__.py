"""How the archive of WAL is. Nothing of it where WAL_ARCHIVE is off."""

import dagster as dg

from recyclic_backups.defs.database import Database
from recyclic_backups.defs.wal.assets import archive_asset
from recyclic_backups.defs.wal.schedules import every_quarter_of_an_hour


def wal(database: Database) -> dg.Definitions:
    """That of one database's server."""
    if not database.settings.wal_archive:
        return dg.Definitions()
    job, schedule = every_quarter_of_an_hour(database)
    return dg.Definitions(assets=[archive_asset(database)], jobs=[job], schedules=[schedule])
