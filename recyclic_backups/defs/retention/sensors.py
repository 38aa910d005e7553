"""The sensor ``disk_space``: a disk that is nearly full starts retention before its time."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from recyclic_backups import wiring
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.defs.automation import Job, cursor_of, moment_in, remembered, sensor_that
from recyclic_backups.defs.database import Database
from recyclic_backups.errors import StorageMissing
from recyclic_backups.health.finding import Level
from recyclic_backups.health.judge import space
from recyclic_backups.quantities import human_bytes

ASK_AGAIN = timedelta(days=1)
"""How long after it started retention the sensor starts it again when that did not help."""


def disk_space_sensor(database: Database, job: Job) -> dg.SensorDefinition:
    """The sensor; ``job`` is that of retention."""
    return sensor_that(
        look,
        database,
        "disk_space",
        jobs=[job],
        interval_seconds=300,
        description="Starts retention_job when free space is below ALERT_DISK_SPACE_CRITICAL, and again each day "
        "that it stays so. What the policy protects is not touched for any lack of space.",
    )


def look(context: dg.SensorEvaluationContext, database: Database) -> dg.SensorResult:
    """One evaluation. Raises ConfigurationError or StorageError when there is no knowing."""
    settings = database.settings_now()
    try:
        free_bytes = wiring.open_store(settings, create=False).free_bytes()
    except StorageMissing as error:
        # The sensors alerts and missed_backups make it where there was none, and tell that it is gone where one was.
        return dg.SensorResult(skip_reason=dg.SkipReason(f"{error.message}: {error.hint}."), cursor="{}")
    limit = settings.disk_critical_bytes
    if free_bytes is None:
        return dg.SensorResult(
            skip_reason=dg.SkipReason("The storage does not tell its free space."), cursor="{}"
        )
    fact = f"{human_bytes(free_bytes)} free, critical below {human_bytes(limit)}"
    if all(each.level is not Level.CRITICAL for each in space(free_bytes, wiring.thresholds(settings))):
        return dg.SensorResult(skip_reason=dg.SkipReason(f"{fact}."), cursor="{}")
    now = database.now()
    asked_at = moment_in(remembered(context.cursor), "asked_at")
    if asked_at is not None and now - asked_at < ASK_AGAIN:
        reason = f"{fact}. Retention was started at {asked_at:%Y-%m-%d %H:%M} UTC; see expired_backups."
        return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=context.cursor)
    context.log.warning(f"{fact}: starting retention")
    return dg.SensorResult(
        # A tick that is repeated within the hour asks for the same run.
        run_requests=[dg.RunRequest(run_key=f"disk_space {now:%Y-%m-%dT%H}")],
        cursor=cursor_of(asked_at=to_text(now)),
    )
