"""Problems that Dagster's runs tell of: which failed and did not succeed since, which wait or run for too long.

Asked of the instance itself, not of events as they come: a failure that happened while nobody looked is still there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import dagster as dg
from dagster._core.storage.dagster_run import RunRecord

from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.config.settings import Settings
from recyclic_backups.defs.backfill_look import Failure, home_of, look_at_backfills, members_of, one_problem
from recyclic_backups.defs.run_history import (
    BACKFILL_TAG,
    BACKUP_JOBS,
    DRILL_JOBS,
    Ended,
    Target,
    aware,
    ended_at,
    moment_of,
    targets_of,
)
from recyclic_backups.defs.schedules import max_runtime_seconds
from recyclic_backups.defs.slow_runs import MAX_RUNTIME_TAG, QUEUED_TOO_LONG
from recyclic_backups.notify.incidents import Incident, Observation, Problem
from recyclic_backups.notify.severity import Severity
from recyclic_backups.notify.wording import Kind
from recyclic_backups.quantities import human_seconds

QUEUED_IN_A_BACKFILL_FOR = timedelta(hours=24)
OVERTIME = timedelta(minutes=10)
"""How long after its limit a run may still be there: Dagster's monitoring ends it within a minute."""

FAILED_LISTED = 300

_LONGEST_REASON = 300


def look_at_runs(
    instance: dg.DagsterInstance,
    settings: Settings,
    catalog: Catalog | None,
    known: Mapping[str, Incident],
    now: datetime,
) -> Observation:
    """Failed, waiting and endless runs, and backfills that failed themselves or of which runs failed.

    Without a catalog nobody knows whether the command line did since what failed here: it is neither new nor solved.
    """
    return (
        _failed(instance, settings, catalog, known, now)
        + _unfinished(instance, settings, now)
        + look_at_backfills(instance)
    )


def backup_is_working(instance: dg.DagsterInstance, settings: Settings, now: datetime) -> bool:
    """Whether a run that makes a backup is inside its time limit."""
    limit = timedelta(seconds=max_runtime_seconds(settings))
    records = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    return any(
        target.job in BACKUP_JOBS
        and record.start_time is not None
        and now - moment_of(record.start_time) <= limit
        for record in records
        for target in targets_of(record.dagster_run, settings)
    )


def _failed(
    instance: dg.DagsterInstance,
    settings: Settings,
    catalog: Catalog | None,
    known: Mapping[str, Incident],
    now: datetime,
) -> Observation:
    """Targets whose last run failed: of the newest failed runs, and of every open incident, however old it is.

    A failure is seen while it is among the newest :data:`FAILED_LISTED`; from then on its incident is asked for by
    name. So what the list does not reach is neither forgotten nor open for ever.
    """
    records = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]), limit=FAILED_LISTED
    )
    failures: dict[Target, RunRecord | None] = {}
    for record in records:  # newest first
        for target in targets_of(record.dagster_run, settings):
            failures.setdefault(target, record)
    members = members_of(known)
    for member in members:
        failures.setdefault(member, None)
    for key, incident in known.items():
        asked = _target_of(incident) if key.startswith(("run/", "drill/")) else None
        if asked is not None and asked not in failures:
            failures[asked] = _failure_told_of(instance, incident)
    ended = Ended(instance, settings, catalog, now)
    found: dict[str, list[Failure]] = {}
    lapsed: dict[str, list[Target]] = {}
    unseen = set()
    for target, listed in failures.items():
        is_known = target.key in known or target in members
        if not is_known and listed and ended.is_long_before_the_newest(target, listed):
            continue  # not worth a question: it would not be told of
        if not is_known and ended.done_elsewhere(target, listed) is None:
            continue  # that the storage cannot be read is what is told
        last = ended.last(target, listed)
        if last is not None and last.dagster_run.status is dg.DagsterRunStatus.SUCCESS:
            continue
        done = ended.done_elsewhere(target, last)
        if done:
            continue
        key = home_of(target, last, known, members)
        if done is None:
            unseen.add(key)
        elif last is None or ended.is_long_before_the_newest(target, last):
            # Deleted in Dagster, or too old: nobody made up for it.
            lapsed.setdefault(key, []).append(target)
        else:
            # Once another partition succeeded, what is left of this one is a gap: it needs no reminder.
            nags = not target.partition or not ended.has_succeeded_since(last, target.job)
            found.setdefault(key, []).append(Failure(target, last, nags))
    problems = []
    for key, each in found.items():
        told = known.get(key)
        if key == each[0].target.key:
            problems.append(_failure(instance, each[0], told))
        else:
            left = lapsed.get(key, ())
            problems.append(one_problem(key, each, left, told, lambda run_id: reason_of(instance, run_id)))
    return Observation(tuple(problems), frozenset(unseen), frozenset(lapsed.keys() - unseen - found.keys()))


def _target_of(incident: Incident) -> Target | None:
    """What an incident is about; a drill's may have been seen at its check, which names no job."""
    facts = incident.problem.facts
    named = Target(facts.get("job", ""), facts.get("partition") or None)
    drills = [Target(job, None) for job in DRILL_JOBS]
    return next((each for each in (named, *drills) if each.key == incident.key), None)


def _failure_told_of(instance: dg.DagsterInstance, incident: Incident) -> RunRecord | None:
    """The run whose failure people were told of, if Dagster still has it."""
    folder, _, run_id = incident.problem.page.partition("/")
    return instance.get_run_record_by_id(run_id) if folder == "runs" and run_id else None


def _failure(instance: dg.DagsterInstance, failed: Failure, incident: Incident | None) -> Problem:
    target, record = failed.target, failed.record
    run_id = record.dagster_run.run_id
    page = f"runs/{run_id}"
    if incident is not None and incident.problem.page == page:
        reason = incident.problem.facts.get("reason", "")  # reading it again costs a look into the run's log
    else:
        reason = reason_of(instance, run_id)
    tier = BACKUP_JOBS.get(target.job)
    facts = {"job": target.job, "partition": target.partition or "", "reason": reason}
    kind, severity = Kind.RUN_FAILED, Severity.WARNING
    if tier is not None:
        kind, severity = Kind.BACKUP_FAILED, Severity.CRITICAL
        facts["tier"] = tier.value
    elif target.job in DRILL_JOBS:
        kind, severity = Kind.DRILL_FAILED, Severity.CRITICAL
        facts["scenario"] = DRILL_JOBS[target.job].value
    return Problem(target.key, kind, severity, ended_at(record), facts, page, failed.nags)


def reason_of(instance: dg.DagsterInstance, run_id: str) -> str:
    """Why a run failed, as far as we said it; of other exceptions the class only: their text may hold a secret."""
    entries = instance.all_logs(
        run_id,
        of_type={
            dg.DagsterEventType.STEP_FAILURE,
            dg.DagsterEventType.RUN_FAILURE,
            dg.DagsterEventType.ASSET_CHECK_EVALUATION,
        },
    )
    said = verdict = ""
    for entry in entries:
        event = entry.dagster_event
        if event is None:
            continue
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            verdict = verdict if evaluation.passed else evaluation.description or verdict
        elif event.event_type is dg.DagsterEventType.STEP_FAILURE:
            data = event.step_failure_data
            told = data.user_failure_data.description if data.user_failure_data else None
            if told:
                return _short(told)
            if data.error is not None:
                said = f"unexpected error, {data.error.cls_name}"
                if verdict and data.error.cls_name == "DagsterAssetCheckFailedError":
                    said = _short(verdict)  # a check that ends its run, as that of a drill does
        elif not said:
            said = _short(event.message or "")
    return said or "its log says no more"


def _unfinished(instance: dg.DagsterInstance, settings: Settings, now: datetime) -> Observation:
    problems = []
    statuses = [
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ]
    for record in instance.get_run_records(dg.RunsFilter(statuses=statuses)):
        run = record.dagster_run
        target = targets_of(run, settings)[0]
        facts = {"job": target.job, "partition": target.partition or ""}
        key, page = f"stuck/{run.run_id}", f"runs/{run.run_id}"
        if record.start_time is None:
            patience = QUEUED_IN_A_BACKFILL_FOR if BACKFILL_TAG in run.tags else QUEUED_TOO_LONG
            since = aware(record.create_timestamp)
            if now - since > patience:
                severity = Severity.CRITICAL if target.job in BACKUP_JOBS else Severity.WARNING
                problems.append(Problem(key, Kind.RUN_WAITS, severity, since, facts, page))
            continue
        limit = _limit(run, settings)
        if now - moment_of(record.start_time) > limit + OVERTIME:
            facts["limit"] = human_seconds(limit.total_seconds())
            since = moment_of(record.start_time) + limit
            problems.append(Problem(key, Kind.RUN_ENDLESS, Severity.CRITICAL, since, facts, page))
    return Observation(tuple(problems))


def _limit(run: dg.DagsterRun, settings: Settings) -> timedelta:
    """What the run may take: as its job says, or what a drill may if it was started from a page, without a job."""
    text = run.tags.get(MAX_RUNTIME_TAG, "")
    longest = 3 * 4 * settings.timeout_seconds
    return timedelta(seconds=int(text) if text.isascii() and text.isdigit() else longest)


def _short(text: str) -> str:
    line = " ".join(text.partition("\nHint:")[0].split())
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 1]}…"
