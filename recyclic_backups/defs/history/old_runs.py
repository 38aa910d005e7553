"""Old runs that nobody reads again: deleted, so that Dagster's own storage stays small.

Dagster (1.13) has retention for ticks and none for runs; a run every hour would be a gigabyte and a half a year in
SQLite. Only runs that answer questions are deleted, never one that made a backup: those are few, and lead from a
backup to the log of its making. Answers to checks stay when their run is deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

from recyclic_backups.defs.facts import files_of_run

KEPT_FOR = timedelta(days=14)

AT_ONCE = 20
"""How many runs one call deletes: an evaluation of a sensor has to end soon, and there is another in a minute."""


def delete_old_runs(instance: dg.DagsterInstance, job_names: Sequence[str], now: datetime) -> int:
    """Delete runs of those jobs that ended and were created more than :data:`KEPT_FOR` before now; how many it were."""
    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    found: list[str] = []
    for job in job_names:
        old = dg.RunsFilter(job_name=job, created_before=now - KEPT_FOR, statuses=ended)
        records = instance.get_run_records(old, limit=AT_ONCE, ascending=True)
        found += [record.dagster_run.run_id for record in records]
    for run_id in found[:AT_ONCE]:
        _delete(instance, run_id)
    return len(found[:AT_ONCE])


def _delete(instance: dg.DagsterInstance, run_id: str) -> None:
    instance.delete_run(run_id)
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    for file in files_of_run(instance, run_id):
        Path(file).unlink(missing_ok=True)
