"""What Dagster loads: for each database of the code location, the capabilities of ``recyclic_backups.defs``.

The settings are read when Dagster asks for the definitions, not when this module is imported. What is wrong
with them is then said in the one sentence that the command line says.
"""

from __future__ import annotations

import os

import dagster as dg

from recyclic_backups.defs.alerts.sensors import alerts_sensor
from recyclic_backups.defs.backups import backups
from recyclic_backups.defs.database import Database, Environment, databases_of
from recyclic_backups.defs.drills import drills
from recyclic_backups.defs.health import health
from recyclic_backups.defs.history.sensors import catalog_sync_sensor
from recyclic_backups.defs.retention import retention
from recyclic_backups.defs.runs import sentence
from recyclic_backups.defs.serving import guard_the_server
from recyclic_backups.defs.wal import wal
from recyclic_backups.errors import ConfigurationError
from recyclic_backups.own_command import name_program
from recyclic_backups.postgres.process import keep_to_ourselves
from recyclic_backups.storage.shared import SECONDS


def definitions_in(*environments: Environment) -> dg.Definitions:
    """All definitions of the databases that these environments describe, shaped by their settings.

    With one database, jobs, schedules and sensors have their plain names; with several, each ends with the name of its
    database. Raises ConfigurationError.
    """
    return dg.Definitions.merge(
        # One process per run: a step is a whole dump, and starting a process per step would take longer than
        # the dump of a small database (docs/adr/0005).
        dg.Definitions(executor=dg.in_process_executor),
        *map(definitions_of, databases_of(environments)),
    )


def definitions_of(database: Database) -> dg.Definitions:
    """All definitions of one database."""
    return dg.Definitions.merge(
        backups(database),
        health(database),
        retention(database),
        drills(database),
        wal(database),
        dg.Definitions(sensors=[catalog_sync_sensor(database), alerts_sensor(database)]),
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
