"""Runs of Dagster: whose they are, which are not over, how our errors end them, what is reported in their name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg

from recyclic_backups.defs.database import DATABASE_TAG, Database, Environment
from recyclic_backups.errors import BackupError
from recyclic_backups.foreign_text import in_a_sentence, visible

PARTITION_TAG = "dagster/partition"
BACKFILL_TAG = "dagster/backfill"
MAX_RUNTIME_TAG = "dagster/max_runtime"
PAGE_JOB = "__ASSET_JOB"
"""The job of every run that was started from an asset's page, whatever it is to do."""

OWNERS = ("team:backups",)
"""Whom Dagster's pages name: the people, whoever they are, that read ``NOTIFICATION_EMAIL``."""

MAXIMUM_RETRIES = 3
"""How often a run tries again after an error that may pass by itself."""

BROKEN_OFF_LISTED = 20
"""More do not fail in the minute between two looks."""

_LONG_BYTES = 500_000_000

# Not NOT_STARTED: what is launched here leaves it at once, and a run that was prepared elsewhere and never
# launched would keep its partition for ever.
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def work_of(run: dg.DagsterRun, database: Database) -> tuple[str, ...]:
    """The plain names of the jobs whose work a run does for a database: none if it is another database's run.

    A run of a job says by its tag whose it is. One started from a page says it by its assets, and is named as the
    jobs of these would be. A run that says nothing (of another software, or of an older release) is everybody's.
    """
    if run.job_name != PAGE_JOB:
        plain = database.plain(run.job_name)
        is_ours = run.tags.get(DATABASE_TAG, database.name) == database.name
        return (plain,) if plain is not None and is_ours else ()
    names = [
        f"{key.path[-1]}_job" if key.path[0] == database.name else "/".join(key.path)
        for key in sorted(run.asset_selection or (), key=lambda key: key.path)
        if key.path[0] not in database.others
    ]
    asked = {key.asset_key.path[0] for key in run.asset_check_selection or ()}
    if not run.asset_selection and not (asked and asked <= database.others):
        return ("checks",)
    return tuple(names)


def partitions_in_work(instance: dg.DagsterInstance, database: Database, name: str) -> set[str]:
    """The partitions of the database's asset of that name for which a run waits or works, whoever launched it."""
    runs = _at_work(instance, database, name)
    return {run.tags[PARTITION_TAG] for run in runs if PARTITION_TAG in run.tags}


def is_in_work(instance: dg.DagsterInstance, database: Database, name: str) -> bool:
    """Whether a run waits or works on the database's asset of that name, whoever launched it."""
    return bool(_at_work(instance, database, name))


def _at_work(instance: dg.DagsterInstance, database: Database, name: str) -> list[dg.DagsterRun]:
    # The job of an asset is named as the asset; a run of it may have no selection of assets.
    return [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        if f"{name}_job" in work_of(run, database) or database.key(name) in (run.asset_selection or ())
    ]


def broken_off(instance: dg.DagsterInstance, database: Database) -> dict[str, set[str]]:
    """What the newest runs of the database failed to do: partitions, by the plain name of the job."""
    ended = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
    found: dict[str, set[str]] = {}
    for run in instance.get_runs(ended, limit=BROKEN_OFF_LISTED * (1 + len(database.others))):
        for job in work_of(run, database) if PARTITION_TAG in run.tags else ():
            found.setdefault(job, set()).add(run.tags[PARTITION_TAG])
    return found


def door_of(run: dg.DagsterRun) -> str:
    """What the audit log says of whoever comes through Dagster: enough to find the run by."""
    return f"dagster run {run.run_id.split('-')[0]}"


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


def sentence(error: BackupError) -> str:
    """The error and its hint, as Dagster shows them."""
    message, hint = in_a_sentence(error.message), in_a_sentence(error.hint)
    return f"{message}\nHint: {hint}" if hint else message


def will_retry(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, error: BaseException
) -> bool:
    """Whether a run that meets this error tries again by itself."""
    retries = context.op_execution_context.retry_number
    return isinstance(error, BackupError) and error.retryable and retries < MAXIMUM_RETRIES


@contextmanager
def dagster_errors(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, environment: Environment
) -> Iterator[None]:
    """Turn what may pass by itself into a bounded retry, and every other BackupError into a Failure without one.

    Neither carries the original exception: its traceback says nothing to whoever reads a run's log.
    """
    try:
        yield
    except BackupError as error:
        if will_retry(context, error):
            seconds = environment.retry_seconds(context.op_execution_context.retry_number)
            context.log.warning(f"{sentence(error)}\nTrying again in {seconds:.0f} s.")
            raise dg.RetryRequested(max_retries=MAXIMUM_RETRIES, seconds_to_wait=seconds) from None
        raise dg.Failure(description=sentence(error), allow_retries=False) from None


@dataclass
class LoggedProgress:
    """Progress as lines of the run's log: every stage, and every quarter of one that is long."""

    log: dg.DagsterLogManager
    _stage: str = ""
    _total_bytes: int = 0
    _done_bytes: int = 0

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        """A new stage begins."""
        self._stage, self._total_bytes, self._done_bytes = visible(name), total_bytes or 0, 0
        self.log.info(visible(name))

    def advance(self, done_bytes: int) -> None:
        """So many more bytes are done."""
        before = self._quarters()
        self._done_bytes += done_bytes
        # The total is an estimate: nothing is said of the last quarter, whose end is the next stage.
        if before < self._quarters() < 4:
            self.log.info(
                f"{self._stage}: {self._done_bytes / 1e6:.0f} of about {self._total_bytes / 1e6:.0f} MB"
            )

    def _quarters(self) -> int:
        return 4 * self._done_bytes // self._total_bytes if self._total_bytes >= _LONG_BYTES else 0
