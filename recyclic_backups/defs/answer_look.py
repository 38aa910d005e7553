"""Problems that Dagster's checks and ticks tell of. A check that does not pass leaves its run green; a sensor or
schedule that raises has no run at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorTick, TickStatus
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)

from recyclic_backups import errors
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.config.settings import Settings
from recyclic_backups.defs.backups import asset_key
from recyclic_backups.defs.drills import VERDICT, drill_key
from recyclic_backups.defs.partitions import SCHEDULED_TIERS
from recyclic_backups.defs.retention import PROMISES
from recyclic_backups.defs.telling import reason_in, shortened
from recyclic_backups.drill.scenarios import Scenario
from recyclic_backups.notify.incidents import Incident, Observation, Problem
from recyclic_backups.notify.severity import Severity
from recyclic_backups.notify.wording import Kind

TOLD_ELSEWHERE = frozenset({"age"})
"""Checks of the tiers that say what is said of the catalog: with other thresholds, and once for all tiers."""

_KINDS = {
    "integrity": Kind.INTEGRITY,
    "proven": Kind.NOT_PROVEN,
    "size": Kind.ANOMALY,
    "anomalies": Kind.ANOMALY,
    "disk_space": Kind.SPACE,
    "availability": Kind.AVAILABILITY,
    PROMISES: Kind.PROMISE,
}

FAILURES = 3
"""A sensor that ticks every minute may fail once, when a disk or a network hesitates. A schedule may not."""

CRITICAL_AFTER = timedelta(hours=6)

SENSOR_GONE_AFTER, SCHEDULE_GONE_AFTER = timedelta(days=1), timedelta(days=35)
"""What has not ticked for so long belongs to a code location that is no more."""

_OUR_ERRORS = {
    name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)
}
_ANSWERED = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}


def look_at_checks(
    instance: dg.DagsterInstance,
    settings: Settings,
    catalog: Catalog | None,
    checks: Collection[dg.AssetCheckKey],
    now: datetime,
) -> Observation:
    """The newest answer to each check; of a tier's, the one about its newest partition that has a backup.

    What an older partition was told of is neither said again nor taken for solved. Without a catalog nobody knows
    which partition is the newest: then the checks of tiers are not seen.
    """
    tiers = {asset_key(settings, tier): tier for tier in SCHEDULED_TIERS}
    drills = {drill_key(settings, scenario): scenario for scenario in Scenario}
    found = Observation()
    for check in sorted(checks, key=lambda each: (each.asset_key.path, each.name)):
        tier = tiers.get(check.asset_key)
        scenario = drills.get(check.asset_key) if check.name == VERDICT else None
        asset = check.asset_key.path[-1]
        key = f"drill/{scenario}" if scenario else f"check/{asset}/{check.name}"
        partition = None
        if tier is not None:
            if check.name in TOLD_ELSEWHERE:
                continue
            partition = None if catalog is None else catalog.newest_partition(tier, settings.calendar, now)
            if partition is None:
                found += Observation(unseen=frozenset({key}))
                continue
        record = _newest_answer(instance, check, partition)
        if record is None:
            if tier is not None:
                found += Observation(unseen=frozenset({key}))
            continue
        problem = _problem(key, check, record, scenario)
        if problem is not None:
            found += Observation((problem,))
    return found


def _newest_answer(
    instance: dg.DagsterInstance, check: dg.AssetCheckKey, partition: str | None
) -> AssetCheckExecutionRecord | None:
    records = instance.event_log_storage.get_asset_check_execution_history(
        check,
        limit=1,
        status=_ANSWERED,
        partition_filter=None if partition is None else PartitionKeyFilter(key=partition),
    )
    return records[0] if records else None


def _problem(
    key: str, check: dg.AssetCheckKey, record: AssetCheckExecutionRecord, scenario: Scenario | None
) -> Problem | None:
    event = record.event.dagster_event if record.event is not None else None
    if record.status is AssetCheckExecutionRecordStatus.SUCCEEDED or event is None:
        return None
    evaluation = event.asset_check_evaluation_data
    critical = evaluation.severity is dg.AssetCheckSeverity.ERROR
    asset = "/".join(check.asset_key.path)
    return Problem(
        key=key,
        kind=Kind.DRILL_FAILED if scenario else _KINDS.get(check.name, Kind.CHECK_FAILED),
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        since=datetime.fromtimestamp(record.create_timestamp, UTC),
        facts={
            "check": check.name,
            "asset": check.asset_key.path[-1],
            "partition": record.partition or "",
            "scenario": str(scenario or ""),
            **reason_in(evaluation),
        },
        page=f"assets/{asset}?view=checks",
        # A warning about one backup stays what it is until the next backup: to be told once is enough.
        nags=critical,
    )


def look_at_ticks(
    instance: dg.DagsterInstance, own_name: str, known: Mapping[str, Incident], now: datetime
) -> Observation:
    """Sensors and schedules whose last ticks failed. ``own_name`` is the sensor that looks: who would it tell?"""
    found = Observation()
    if instance.schedule_storage is None:  # an instance in memory has no daemon either
        return found
    for state in instance.all_instigator_state():
        is_sensor = state.instigator_type is InstigatorType.SENSOR
        is_schedule = state.instigator_type is InstigatorType.SCHEDULE
        if state.status is InstigatorStatus.STOPPED or state.name == own_name:
            continue
        if is_sensor or is_schedule:
            found += _ticks(instance, state, FAILURES if is_sensor else 1, known, now)
    return found


def _ticks(
    instance: dg.DagsterInstance,
    state: InstigatorState,
    failures: int,
    known: Mapping[str, Incident],
    now: datetime,
) -> Observation:
    ticks = instance.get_ticks(
        state.instigator_origin_id,
        state.selector_id,
        limit=failures,
        statuses=[TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE],
    )
    key = f"tick/{state.name}"
    gone_after = SENSOR_GONE_AFTER if state.instigator_type is InstigatorType.SENSOR else SCHEDULE_GONE_AFTER
    oldest = (now - gone_after).timestamp()
    if not ticks or ticks[0].status is not TickStatus.FAILURE or ticks[0].timestamp < oldest:
        return Observation()
    if len(ticks) < failures or any(tick.status is not TickStatus.FAILURE for tick in ticks):
        return Observation(unseen=frozenset({key}))  # perhaps the beginning of a failure, perhaps not
    since = datetime.fromtimestamp(min(tick.timestamp for tick in ticks), UTC)
    if key in known:
        since = min(since, known[key].problem.since)
    return Observation(
        (
            Problem(
                key,
                Kind.TICK_FAILED,
                Severity.CRITICAL if now - since >= CRITICAL_AFTER else Severity.WARNING,
                since,
                {
                    "type": "sensor" if state.instigator_type is InstigatorType.SENSOR else "schedule",
                    "name": state.name,
                    "reason": _reason(ticks[0]),
                },
                "automation",
            ),
        )
    )


def _reason(tick: InstigatorTick) -> str:
    """What our own error said; of others the class only, as their text may hold a secret."""
    error = tick.error
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return "its tick says no more"
    if error.cls_name in _OUR_ERRORS:
        text = error.message.split("\nHint:")[0]
        return shortened(text.partition(f"{error.cls_name}: ")[2] or text)
    return f"unexpected error, {error.cls_name}"
