"""Jobs and schedules of the drills, one of each for every scenario."""

from __future__ import annotations

import dagster as dg

from recyclic_backups.defs.automation import Job, job_of, schedule_of
from recyclic_backups.defs.database import Database
from recyclic_backups.drill.scenarios import OBJECTIVES, Scenario
from recyclic_backups.quantities import human_seconds

# Minutes and hours in the night of a Sunday, after backups and their checks; the quarterly one on its first Sunday
# would need more than cron can say, so it is the quarter's first day.
_CRON = {
    Scenario.SIMPLE: "0 5 * * 0",
    Scenario.PARTIAL: "0 6 * * 0",
    Scenario.FULL: "0 7 1 1,4,7,10 *",
}
_WHEN = {
    Scenario.SIMPLE: "Every Sunday at 05:00.",
    Scenario.PARTIAL: "Every Sunday at 06:00.",
    Scenario.FULL: "On the first day of every quarter at 07:00.",
}


def drill_job(database: Database, scenario: Scenario) -> Job:
    """``drill_simple_job`` and so on. Its limit: three tiers, each restored within the time limit of a restore."""
    settings, objective = database.settings, human_seconds(OBJECTIVES[scenario].restore_seconds)
    return job_of(
        database,
        f"drill_{scenario}_job",
        dg.AssetSelection.assets(database.key(f"drill_{scenario}")),
        description=f"Rehearse the recovery of {settings.database}: {scenario}. Objective: back within {objective}.",
        limit_seconds=3 * 4 * settings.timeout_seconds,
        priority=-2,
    )


def drill_schedule(database: Database, scenario: Scenario, job: Job) -> dg.ScheduleDefinition:
    """``drill_simple_schedule`` and so on."""
    name = f"drill_{scenario}_schedule"
    return schedule_of(database, job, name, cron=_CRON[scenario], description=_WHEN[scenario])
