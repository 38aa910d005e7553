"""Runs that wait or work for too long: said by the sensor ``missed_backups``, which looks every minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from recyclic_backups.defs.runs import PARTITION_TAG
from recyclic_backups.quantities import human_seconds

MAX_RUNTIME_TAG = "dagster/max_runtime"

QUEUED_TOO_LONG = timedelta(hours=1)
"""After which a run that has not begun is worth a look: something holds the queue, or nobody serves it."""

_WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING]
_WORKING = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def runs_too_long(instance: dg.DagsterInstance, now: datetime, limit_seconds: int) -> list[str]:
    """A sentence for each run that waits for longer than :data:`QUEUED_TOO_LONG`, or works beyond its limit.

    The limit is the run's own, else ``limit_seconds``. Dagster's run monitoring ends those that work too long:
    one that is listed tells that it is off.
    """
    found = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=_WAITING), ascending=True):
        waited = now - record.create_timestamp.replace(tzinfo=record.create_timestamp.tzinfo or UTC)
        if waited > QUEUED_TOO_LONG:
            found.append(
                f"{_name(record.dagster_run)} has not begun for {human_seconds(waited.total_seconds())}: Deployment, "
                "Daemons tells whether anybody serves the queue; Deployment, Concurrency who holds its pool"
            )
    for record in instance.get_run_records(dg.RunsFilter(statuses=_WORKING), ascending=True):
        worked_seconds = now.timestamp() - (record.start_time or now.timestamp())
        if worked_seconds > float(record.dagster_run.tags.get(MAX_RUNTIME_TAG, limit_seconds)):
            found.append(
                f"{_name(record.dagster_run)} has worked for {human_seconds(worked_seconds)}, longer than it may: "
                "terminate it, and see that run_monitoring is enabled in dagster.yaml"
            )
    return found


def _name(run: dg.DagsterRun) -> str:
    what = sorted(key.to_user_string() for key in run.asset_selection or ()) or [run.job_name]
    partition = [run.tags[PARTITION_TAG]] if PARTITION_TAG in run.tags else []
    return f"run {run.run_id[:8]} ({' '.join([*what, *partition])})"
