"""Restore drills: an asset for each scenario, and when it is rehearsed."""

import dagster as dg

from recyclic_backups.defs.database import Database
from recyclic_backups.defs.drills.assets import drill_asset
from recyclic_backups.defs.drills.schedules import rehearsal
from recyclic_backups.drill.scenarios import Scenario


def drills(database: Database) -> dg.Definitions:
    """Those of one database."""
    scenarios = [each for each in Scenario if each is not Scenario.PITR or database.settings.wal_archive]
    jobs, schedules = zip(*(rehearsal(database, scenario) for scenario in scenarios), strict=True)
    return dg.Definitions(
        assets=[drill_asset(database, scenario) for scenario in scenarios], jobs=jobs, schedules=schedules
    )
