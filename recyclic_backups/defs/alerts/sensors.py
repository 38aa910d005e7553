"""The sensor ``alerts``: once a minute it looks as the command of that name does, and at Dagster's own facts besides.

A plain sensor that asks for the state of things, not one that is called with events: what Dagster's own failure sensors
do not deliver at once is lost. What was told is remembered in the cursor too (docs/adr/0010).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import dagster as dg

from recyclic_backups import wiring
from recyclic_backups.defs.automation import sensor_that
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.facts import has_looked_since, read_dagster
from recyclic_backups.notify.heartbeat import sound_alarm
from recyclic_backups.notify.state import to_cursor
from recyclic_backups.notify.tick import look, summary

SENSOR = "alerts"

LOOKS_WITHIN = timedelta(minutes=10)
"""Another database's alerts that have not looked for so long tell nobody anything."""


def alerts_sensor(database: Database) -> dg.SensorDefinition:
    """The sensor."""
    return sensor_that(
        evaluate,
        database,
        SENSOR,
        acts_itself=True,
        description=(
            "Tells people what is wrong: failed runs, missed partitions, old or damaged backups, anomalies, stale "
            "drills, runs that wait or do not end, sensors and schedules that raise. Once when it begins, once when it "
            "becomes worse, once a day while it lasts, once when it is over."
        ),
    )


def _is_told_by_another(context: dg.SensorEvaluationContext, database: Database) -> bool:
    """Whether the alerts of another database of the server tell of its WAL: they do if they look."""
    since = database.now() - LOOKS_WITHIN
    other = f"{SENSOR}__{database.wal_told_by}"
    return bool(database.wal_told_by) and has_looked_since(context.instance, other, since)


def evaluate(context: dg.SensorEvaluationContext, database: Database) -> dg.SensorResult:
    """One evaluation. Raises ConfigurationError when the settings are of another database."""
    settings = database.settings_now()
    terms = replace(wiring.alert_terms(settings), tells_of_wal=not _is_told_by_another(context, database))
    done = look(
        terms,
        lambda create: wiring.open_repository(settings, create=create),
        clock=database.now,
        say=context.log.warning,
        warn=context.log.error,
        read_dagster=lambda before: read_dagster(context.instance, database, SENSOR, before),
        cursor=context.cursor,
        local=wiring.local_alert_state(settings),
        alarm=lambda: sound_alarm(settings.heartbeat_url, context.log.error),
    )
    said = summary(done.state, terms) if done.is_done else "Another look is under way: it tells people."
    return dg.SensorResult(skip_reason=dg.SkipReason(said), cursor=to_cursor(done.state))
