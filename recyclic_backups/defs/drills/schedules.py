"""Jobs and schedules of the drills, one of each for every scenario."""

from __future__ import annotations

import dagster as dg

from recyclic_backups.defs.automation import Job, scheduled
from recyclic_backups.defs.database import Database
from recyclic_backups.drill.scenarios import OBJECTIVES, Scenario
from recyclic_backups.quantities import human_seconds

# In the night of a Sunday, after backups and their checks; the quarterly one on its first Sunday would need more than
# cron can say, so it is the quarter's first day.
_TIMES = {
    Scenario.SIMPLE: ("0 5 * * 0", "Every Sunday at 05:00."),
    Scenario.PARTIAL: ("0 6 * * 0", "Every Sunday at 06:00."),
    Scenario.PITR: ("30 5 * * 0", "Every Sunday at 05:30."),
    Scenario.FULL: ("0 7 1 1,4,7,10 *", "On the first day of every quarter at 07:00."),
}


def rehearsal(database: Database, scenario: Scenario) -> tuple[Job, dg.ScheduleDefinition]:
    """``drill_simple_job`` and so on. Its limit: three tiers, each restored within the time limit of a restore."""
    settings, (cron, when) = database.settings, _TIMES[scenario]
    objective = human_seconds(OBJECTIVES[scenario].restore_seconds)
    return scheduled(
        database,
        f"drill_{scenario}",
        dg.AssetSelection.assets(database.key(f"drill_{scenario}")),
        does=f"Rehearse the recovery of {settings.database}: {scenario}. Objective: back within {objective}.",
        cron=cron,
        when=when,
        limit_seconds=3 * 4 * settings.timeout_seconds,
        priority=-2,
    )
