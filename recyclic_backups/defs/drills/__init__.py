"""Restore drills: an asset for each scenario, and when it is rehearsed."""

import dagster as dg

from recyclic_backups.defs.database import Database
from recyclic_backups.defs.drills.assets import drill_asset
from recyclic_backups.defs.drills.schedules import drill_job, drill_schedule
from recyclic_backups.drill.scenarios import Scenario


def drills(database: Database) -> dg.Definitions:
    """Those of one database."""
    jobs = {scenario: drill_job(database, scenario) for scenario in Scenario}
    return dg.Definitions(
        assets=[drill_asset(database, scenario) for scenario in Scenario],
        jobs=[*jobs.values()],
        schedules=[drill_schedule(database, scenario, job) for scenario, job in jobs.items()],
    )
