"""What only Dagster knows, as plain facts: the one file that uses what Dagster does not promise to keep (``_core``).

A new version of Dagster that breaks anything breaks it here. Nothing is decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, TypeVar

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorTick, TickStatus
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from dagster._core.storage.dagster_run import RunRecord
from dagster._core.storage.event_log import SqliteEventLogStorage

from recyclic_backups import errors
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.runs import (
    BACKFILL_TAG,
    MAX_RUNTIME_TAG,
    PAGE_JOB,
    PARTITION_TAG,
    UNFINISHED,
    work_of,
)
from recyclic_backups.notify.facts import (
    AutomationFact,
    BackfillFact,
    DagsterFacts,
    RunFact,
    Target,
    TickFact,
)
from recyclic_backups.notify.runs import LAPSES_AFTER, members_of
from recyclic_backups.notify.state import AlertState
from recyclic_backups.texts.language import Bilingual, Untranslated
from recyclic_backups.texts.text import say

T = TypeVar("T")

FAILED_LISTED = 300
PAGE_RUNS_LISTED = 100
BACKFILLS_LISTED = 20
TICKS_LISTED = 3

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
_STATUSES: Mapping[dg.DagsterRunStatus, Literal["waiting", "working", "succeeded"]] = {
    dg.DagsterRunStatus.QUEUED: "waiting",
    dg.DagsterRunStatus.STARTING: "waiting",
    dg.DagsterRunStatus.STARTED: "working",
    dg.DagsterRunStatus.CANCELING: "working",
    dg.DagsterRunStatus.SUCCESS: "succeeded",
}
_OUR_ERRORS = {
    name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)
}


def read_dagster(
    instance: dg.DagsterInstance, database: Database, own_sensor: str, before: AlertState
) -> DagsterFacts:
    """Everything that alerts ask of Dagster; ``before`` is what people were told, which is asked for by name.

    Ticks of ``own_sensor``, which looks, are left out: nobody is left to tell that it fails.
    """
    broken: dict[str, str] = {}

    def part(name: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except Exception as error:  # noqa: BLE001 - whatever a new Dagster raises must not silence the rest
            broken[name] = type(error).__name__
            return None

    newest_created_at = part("runs", lambda: _newest_created_at(instance))
    return DagsterFacts(
        runs=part("runs", lambda: tuple(_runs(instance, database, before, newest_created_at))),
        automation=part("automation", lambda: tuple(_automation(instance, database, own_sensor))),
        backfills=part("backfills", lambda: tuple(_broken_backfills(instance))),
        newest_created_at=newest_created_at,
        reason_of=lambda run_id: reason_of(instance, run_id),
        broken=broken,
    )


def reason_of(instance: dg.DagsterInstance, run_id: str) -> Bilingual:
    """Why a run failed, as far as we said it; of other exceptions the class only: their text may hold a secret."""
    failures = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    reason: Bilingual = say("alerts.nothing_logged")
    for entry in instance.all_logs(run_id, of_type=failures):
        event = entry.dagster_event
        if event is None:
            continue
        if event.event_type is dg.DagsterEventType.STEP_FAILURE:
            data = event.step_failure_data
            told = data.user_failure_data.description if data.user_failure_data else None
            if told:
                return Untranslated(told.split("\n")[0])
            if data.error is not None:
                reason = say("alerts.unexpected", name=str(data.error.cls_name))
        elif reason == say("alerts.nothing_logged") and event.message:
            reason = Untranslated(event.message)
    return reason


def newest_answer(
    instance: dg.DagsterInstance, check: dg.AssetCheckKey, partition: str
) -> tuple[datetime, dg.AssetCheckEvaluation] | None:
    """The newest answer to a check of one partition, and when it was given; None while there is none."""
    answered = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
    newest = _newest(instance, check, partition, answered)
    event = newest.event.dagster_event if newest and newest.event else None
    if newest is None or event is None:
        return None
    return _moment(newest.create_timestamp), event.asset_check_evaluation_data


def is_unanswered(instance: dg.DagsterInstance, check: dg.AssetCheckKey, partition: str) -> bool:
    """Whether the last run that was to answer a check of a partition has not done it.

    If that run is over, Dagster shows the check as failed, whatever it was answered before.
    """
    newest = _newest(instance, check, partition)
    return newest is not None and newest.status is AssetCheckExecutionRecordStatus.PLANNED


def _newest(
    instance: dg.DagsterInstance,
    check: dg.AssetCheckKey,
    partition: str,
    status: set[AssetCheckExecutionRecordStatus] | None = None,
) -> AssetCheckExecutionRecord | None:
    found = instance.event_log_storage.get_asset_check_execution_history(
        check, limit=1, status=status, partition_filter=PartitionKeyFilter(key=partition)
    )
    return found[0] if found else None


def has_looked_since(instance: dg.DagsterInstance, sensor: str, moment: datetime) -> bool:
    """Whether a sensor is on, and has ended a tick well since then (aware)."""
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        if state.name == sensor and state.status is not InstigatorStatus.STOPPED:
            ticks = instance.get_ticks(
                state.instigator_origin_id,
                state.selector_id,
                after=moment.timestamp(),
                limit=1,
                statuses=[TickStatus.SUCCESS, TickStatus.SKIPPED],
            )
            if ticks:
                return True
    return False


def files_of_run(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Files that Dagster's SQLite empties and leaves when a run is deleted: a database for each run."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        return []
    return [storage.path_for_shard(run_id) + suffix for suffix in ("", "-wal", "-shm")]


def port_of_code_server(arguments: Sequence[str]) -> int | None:
    """The TCP port that ``dagster code-server start`` is given with these arguments; None for a Unix socket."""
    from dagster._cli.code_server import start_command  # noqa: PLC0415 - only a code server needs it

    port = start_command.make_context("start", list(arguments), resilient_parsing=True).params.get("port")
    return port if isinstance(port, int) else None


def _runs(
    instance: dg.DagsterInstance, database: Database, before: AlertState, newest_at: datetime | None
) -> Iterator[RunFact]:
    """Unfinished runs, the newest failed ones, and of everything that failed, or that people were told of, what ended.

    A failure is seen while it is among the newest :data:`FAILED_LISTED`; from then on its incident is asked for by
    name. So what the list does not reach is neither forgotten nor open for ever. Runs of other databases are none of
    ours, but they are in the same lists. ``newest_at`` is when the newest run of all was created.
    """
    databases = 1 + len(database.others)

    def facts(filters: dg.RunsFilter, limit: int | None = None) -> Iterator[RunFact]:
        found = instance.get_run_records(filters, limit=limit and limit * databases)
        yield from _run_facts(found, database)

    yield from facts(dg.RunsFilter(statuses=UNFINISHED))
    failed = [*facts(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]), FAILED_LISTED)]
    asked = {*members_of(before.open.incidents)}
    for key, incident in before.open.incidents.items():
        if key.startswith(("run/", "drill/")):
            told = incident.problem.facts
            asked.add(Target(told.get("job", ""), told.get("partition") or None))
            folder, _, run_id = incident.problem.page.partition("/")
            record = instance.get_run_record_by_id(run_id) if folder == "runs" and run_id else None
            failed += [] if record is None else _run_facts([record], database)
    yield from failed
    # What failed so long ago is not told of: not worth a question.
    recent = [each for each in failed if newest_at is None or newest_at - each.created_at <= LAPSES_AFTER]
    asked |= {target for each in recent for target in each.targets}
    for partition in sorted({target.partition for target in asked if target.partition}):
        yield from facts(dg.RunsFilter(tags={PARTITION_TAG: partition}, statuses=_ENDED), 50)
    for job in sorted({target.job for target in asked if not target.partition}):
        yield from facts(dg.RunsFilter(job_name=database.named(job), statuses=_ENDED), 10)
    succeeded = [dg.DagsterRunStatus.SUCCESS]
    for job in sorted({target.job for target in asked if target.partition}):
        yield from facts(dg.RunsFilter(job_name=database.named(job), statuses=succeeded), 1)
    if asked:
        # Those from asset pages and of their backfills are all of one job, whatever they did.
        yield from facts(dg.RunsFilter(job_name=PAGE_JOB, statuses=_ENDED), PAGE_RUNS_LISTED)


def _run_facts(records: Iterable[RunRecord], database: Database) -> Iterator[RunFact]:
    """Those runs that do any work for the database."""
    for record in records:
        run = record.dagster_run
        partition, limit = run.tags.get(PARTITION_TAG), run.tags.get(MAX_RUNTIME_TAG, "")
        targets = tuple(Target(job, partition) for job in work_of(run, database))
        if not targets:
            continue
        updated_at = _aware(record.update_timestamp) if record.end_time is None else _moment(record.end_time)
        yield RunFact(
            targets=targets,
            status=_STATUSES.get(run.status, "failed"),
            created_at=_aware(record.create_timestamp),
            updated_at=updated_at,
            started_at=None if record.start_time is None else _moment(record.start_time),
            run_id=run.run_id,
            order=record.storage_id,
            backfill=run.tags.get(BACKFILL_TAG, ""),
            limit_seconds=float(limit) if limit.isascii() and limit.isdigit() else None,
            page=f"runs/{run.run_id}",
        )


def _newest_created_at(instance: dg.DagsterInstance) -> datetime | None:
    newest = instance.get_run_records(limit=1)
    return _aware(newest[0].create_timestamp) if newest else None


def _automation(
    instance: dg.DagsterInstance, database: Database, own_sensor: str
) -> Iterator[AutomationFact]:
    """Sensors and schedules that are on. Of another database's only the sensor that looks: it cannot tell of itself."""
    if instance.schedule_storage is None:  # an instance in memory has no daemon either
        return
    others = {f"{own_sensor}__{other}" for other in database.others}
    for state in instance.all_instigator_state():
        plain = database.plain(state.name)
        if state.status is InstigatorStatus.STOPPED or plain == own_sensor:
            continue
        if plain is None and state.name not in others:
            continue
        if state.instigator_type is InstigatorType.SENSOR:
            yield AutomationFact(state.name, "sensor", _ticks(instance, state))
        elif state.instigator_type is InstigatorType.SCHEDULE:
            yield AutomationFact(state.name, "schedule", _ticks(instance, state))


def _ticks(instance: dg.DagsterInstance, state: InstigatorState) -> tuple[TickFact, ...]:
    ticks = instance.get_ticks(
        state.instigator_origin_id,
        state.selector_id,
        limit=TICKS_LISTED,
        statuses=[TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE],
    )
    return tuple(
        TickFact(_moment(each.timestamp), _tick_reason(each) if each.status is TickStatus.FAILURE else None)
        for each in ticks
    )


def _tick_reason(tick: InstigatorTick) -> Bilingual:
    """What our own error said; of others the class only, as their text may hold a secret."""
    error = tick.error
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return say("alerts.nothing_ticked")
    if error.cls_name not in _OUR_ERRORS:
        return say("alerts.unexpected", name=str(error.cls_name))
    # Dagster keeps an exception as the line that Python prints: its class, a colon, and what it said.
    line = error.message.split("\n")[0]
    return Untranslated(line.partition(f"{error.cls_name}: ")[2] or line)


def _broken_backfills(instance: dg.DagsterInstance) -> Iterator[BackfillFact]:
    failed = instance.get_backfills(
        filters=BulkActionsFilter(statuses=[BulkActionStatus.FAILED, BulkActionStatus.FAILING]),
        limit=BACKFILLS_LISTED,
    )
    newest = instance.get_backfills(limit=1)
    for each in failed:
        reason = (
            say("alerts.unexpected", name=str(each.error.cls_name))
            if each.error
            else say("alerts.nothing_logged")
        )
        is_newest = each.backfill_id == newest[0].backfill_id
        yield BackfillFact(each.backfill_id, _moment(each.backfill_timestamp), reason, is_newest)


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)


def _aware(moment: datetime) -> datetime:
    """Dagster's columns are in UTC, and some of its storages read them back without saying so."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
