"""Restore drills: an asset for each scenario, and when it is rehearsed."""

import dagster as dg

from recyclic_backups.defs.database import Database
from recyclic_backups.defs.drills.assets import drill_asset
from recyclic_backups.defs.drills.schedules import rehearsal
from recyclic_backups.drill.scenarios import Scenario


def drills(database: Database) -> dg.Definitions:
    """Those of one database."""
    jobs, schedules = zip(*(rehearsal(database, scenario) for scenario in Scenario), strict=True)
    return dg.Definitions(
        assets=[drill_asset(database, scenario) for scenario in Scenario], jobs=jobs, schedules=schedules
    )
