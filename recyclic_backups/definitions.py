"""What Dagster loads: the table of contents of ``recyclic_backups.defs``.

The settings are read when Dagster asks for the definitions, not when this module is imported. What is wrong
with them is then said in the one sentence that the command line says.
"""

from __future__ import annotations

import os

import dagster as dg

from recyclic_backups.defs.alerts import alerts_sensor
from recyclic_backups.defs.backups import backup_asset
from recyclic_backups.defs.catalog_sync import catalog_sync_sensor
from recyclic_backups.defs.checks import backup_checks
from recyclic_backups.defs.drills import drill_asset, drill_job, drill_schedule
from recyclic_backups.defs.metrics import disk_space_sensor, metrics_asset, metrics_key
from recyclic_backups.defs.missed_backups import missed_backups_sensor
from recyclic_backups.defs.partitions import SCHEDULED_TIERS
from recyclic_backups.defs.resources import Environment, sentence
from recyclic_backups.defs.retention import (
    expired_asset,
    retention_job,
    retention_schedule,
    review_asset,
    review_job,
    review_schedule,
)
from recyclic_backups.defs.schedules import (
    backup_job,
    backup_schedule,
    health_job,
    health_schedule,
    verification_job,
    verification_schedule,
)
from recyclic_backups.defs.serving import guard_the_server
from recyclic_backups.drill.scenarios import Scenario
from recyclic_backups.errors import ConfigurationError
from recyclic_backups.own_command import name_program
from recyclic_backups.postgres.process import keep_to_ourselves
from recyclic_backups.storage.shared import SECONDS


def definitions_in(environment: Environment) -> dg.Definitions:
    """All definitions, shaped by that environment's settings. Raises ConfigurationError."""
    settings, environment = environment.settled()
    jobs = {tier: backup_job(settings, tier) for tier in SCHEDULED_TIERS}
    drills = {scenario: drill_job(settings, scenario) for scenario in Scenario}
    health = health_job(settings, metrics_key(settings))
    verification = verification_job(settings, metrics_key(settings))
    retention, review = retention_job(settings), review_job(settings)
    return dg.Definitions(
        assets=[
            *(backup_asset(settings, environment, tier) for tier in SCHEDULED_TIERS),
            *(drill_asset(settings, environment, scenario) for scenario in Scenario),
            expired_asset(settings, environment),
            review_asset(settings, environment),
            metrics_asset(settings, environment),
        ],
        asset_checks=[backup_checks(settings, environment, tier) for tier in SCHEDULED_TIERS],
        jobs=[*jobs.values(), *drills.values(), health, verification, retention, review],
        schedules=[
            *(backup_schedule(settings, tier, job) for tier, job in jobs.items()),
            *(drill_schedule(settings, scenario, job) for scenario, job in drills.items()),
            health_schedule(settings, health),
            verification_schedule(settings, verification),
            retention_schedule(settings, retention),
            review_schedule(settings, review),
        ],
        sensors=[
            missed_backups_sensor(settings, environment, list(jobs.values())),
            catalog_sync_sensor(settings, environment),
            disk_space_sensor(settings, environment, retention),
            alerts_sensor(settings, environment),
        ],
        # One process per run: a step is a whole dump, and starting a process per step would take longer than
        # the dump of a small database (docs/adr/0005).
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The code location. Wrong settings are named in one error, with the hint that Dagster would not show.

    Ends a code server that anybody could ask (:mod:`recyclic_backups.defs.serving`).
    """
    keep_to_ourselves()
    name_program((), os.environ)
    environment = Environment(shared_seconds=SECONDS)
    guard_the_server(environment.settings)
    try:
        return definitions_in(environment)
    except ConfigurationError as error:
        raise ConfigurationError(sentence(error)) from None
