"""Runs of Dagster: those that are not over, and what is reported in the name of one."""

from __future__ import annotations

import dagster as dg

PARTITION_TAG = "dagster/partition"
BACKFILL_TAG = "dagster/backfill"
MAX_RUNTIME_TAG = "dagster/max_runtime"

# Not NOT_STARTED: what is launched here leaves it at once, and a run that was prepared elsewhere and never
# launched would keep its partition for ever.
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def partitions_in_work(instance: dg.DagsterInstance, key: dg.AssetKey) -> set[str]:
    """The asset's partitions for which a run waits or works, whoever launched it."""
    return {
        run.tags[PARTITION_TAG]
        for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED))
        if PARTITION_TAG in run.tags and _makes(run, key)
    }


def door_of(run: dg.DagsterRun) -> str:
    """What the audit log says of whoever comes through Dagster: enough to find the run by."""
    return f"dagster run {run.run_id.split('-')[0]}"


def is_in_work(instance: dg.DagsterInstance, key: dg.AssetKey) -> bool:
    """Whether a run waits or works on an asset, whoever launched it."""
    return any(_makes(run, key) for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)))


def _makes(run: dg.DagsterRun, key: dg.AssetKey) -> bool:
    # The job of a tier is named as its asset; a run of it may have no selection of assets.
    return run.job_name == f"{key.path[-1]}_job" or key in (run.asset_selection or ())


def report_evaluation(
    instance: dg.DagsterInstance, evaluation: dg.AssetCheckEvaluation, run: dg.DagsterRun
) -> None:
    """Add an answer to a check of one partition to the history, as a result of a run that has no partition.

    Dagster (1.13) keeps a single answer for each check, partition and run, and takes those without a run for one
    and the same: a second ``report_runless_asset_event`` for a partition fails on its unique index.
    """
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
        job_name=run.job_name,
        event_specific_data=evaluation,
    )
    instance.report_dagster_event(event, run_id=run.run_id)
