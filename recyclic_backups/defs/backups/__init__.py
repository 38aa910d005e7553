"""Backups: an asset for each tier with its checks, the schedules, and the sensor that fills what was missed."""

import dagster as dg

from recyclic_backups.defs.backups.assets import backup_asset
from recyclic_backups.defs.backups.checks import backup_checks
from recyclic_backups.defs.backups.schedules import tier_of
from recyclic_backups.defs.backups.sensors import missed_backups_sensor
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.partitions import SCHEDULED_TIERS


def backups(database: Database) -> dg.Definitions:
    """Those of one database."""
    jobs, schedules = zip(*(tier_of(database, tier) for tier in SCHEDULED_TIERS), strict=True)
    return dg.Definitions(
        assets=[backup_asset(database, tier) for tier in SCHEDULED_TIERS],
        asset_checks=[backup_checks(database, tier) for tier in SCHEDULED_TIERS],
        jobs=jobs,
        schedules=schedules,
        sensors=[missed_backups_sensor(database, jobs)],
    )
