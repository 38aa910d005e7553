"""Problems that Dagster's runs tell of: which failed and did not succeed since, which wait or run for too long.

Asked of the instance itself, not of events as they come: a failure that happened while nobody looked is still there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.storage.dagster_run import RunRecord

from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.layout import asset_name_of
from recyclic_backups.defs.drill_history import drills_of
from recyclic_backups.defs.partitions import SCHEDULED_TIERS
from recyclic_backups.defs.runs import PARTITION_TAG
from recyclic_backups.defs.schedules import max_runtime_seconds
from recyclic_backups.defs.slow_runs import MAX_RUNTIME_TAG, QUEUED_TOO_LONG
from recyclic_backups.drill.scenarios import Scenario
from recyclic_backups.notify.incidents import Incident, Observation, Problem
from recyclic_backups.notify.severity import Severity
from recyclic_backups.notify.wording import Kind
from recyclic_backups.quantities import human_seconds
from recyclic_backups.settings import Settings

QUEUED_IN_A_BACKFILL_FOR = timedelta(hours=24)
OVERTIME = timedelta(minutes=10)
"""How long after its limit a run may still be there: Dagster's monitoring ends it within a minute."""

FAILED_LISTED = 300
SUCCEEDED_LISTED = 100
BACKFILLS_LISTED = 20
LAPSES_AFTER = timedelta(days=14)
"""A partition whose run failed so long before the newest run of all is told of as a missed one, if at all."""

_LONGEST_REASON = 300
_ASSET_JOB = "__ASSET_JOB"
_BACKFILL_TAG = "dagster/backfill"
_OURS = {f"{tier.value}_backup_job": tier for tier in SCHEDULED_TIERS}
_DRILLS = {f"drill_{scenario}_job": scenario for scenario in Scenario}
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


@dataclass(frozen=True)
class Target:
    """What a run is to do: the same for every attempt at it, whoever launched it."""

    job: str
    partition: str | None

    @property
    def key(self) -> str:
        """That of the problem that it failed. A drill and the check on it are one problem."""
        if self.job in _DRILLS:
            return f"drill/{_DRILLS[self.job]}"
        return f"run/{self.job}" + (f"/{self.partition}" if self.partition else "")

    @property
    def is_done_elsewhere_too(self) -> bool:
        """Whether the command line does the same: then only the storage knows whether it was done after all."""
        return self.job in _DRILLS or (self.job in _OURS and self.partition is not None)


def look_at_runs(
    instance: dg.DagsterInstance,
    settings: Settings,
    catalog: Catalog | None,
    known: Mapping[str, Incident],
    now: datetime,
) -> Observation:
    """Failed, waiting and endless runs, and backfills that failed themselves.

    Without a catalog nobody knows whether the command line did since what failed here: it is neither new nor solved.
    """
    return (
        _failed(instance, settings, catalog, known)
        + _unfinished(instance, settings, now)
        + _backfills(instance)
    )


def backup_is_working(instance: dg.DagsterInstance, settings: Settings, now: datetime) -> bool:
    """Whether a run that makes a backup is inside its time limit."""
    limit = timedelta(seconds=max_runtime_seconds(settings))
    records = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    return any(
        target.job in _OURS and record.start_time is not None and now - _moment(record.start_time) <= limit
        for record in records
        for target in targets_of(record.dagster_run, settings)
    )


def targets_of(run: dg.DagsterRun, settings: Settings) -> list[Target]:
    """What a run is to do. One started from an asset's page is named as the job of that asset would be."""
    partition = run.tags.get(PARTITION_TAG)
    if run.job_name != _ASSET_JOB:
        return [Target(run.job_name, partition)]
    own = asset_name_of(settings.database)
    names = [
        f"{key.path[-1]}_job" if key.path[0] == own else "/".join(key.path)
        for key in sorted(run.asset_selection or (), key=lambda key: key.path)
    ]
    return [Target(name, partition) for name in names] or [Target("checks", partition)]


def _failed(
    instance: dg.DagsterInstance, settings: Settings, catalog: Catalog | None, known: Mapping[str, Incident]
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
    for key, incident in known.items():
        asked = _target_of(incident) if key.startswith(("run/", "drill/")) else None
        if asked is not None and asked not in failures:
            failures[asked] = _failure_told_of(instance, incident)
    ended = _Ended(instance, settings, catalog)
    problems, lapsed, unseen = [], set(), set()
    for target, listed in failures.items():
        if target.key not in known and listed and ended.is_long_before_the_newest(target, listed):
            continue  # not worth a question: it would not be told of
        if target.key not in known and catalog is None and target.is_done_elsewhere_too:
            continue  # that the storage cannot be read is what is told
        last = ended.last(target, listed)
        if last is None or last.dagster_run.status is dg.DagsterRunStatus.SUCCESS:
            continue
        if catalog is None and target.is_done_elsewhere_too:
            unseen.add(target.key)
            continue
        if catalog is not None and _done_elsewhere(target, last, catalog):
            continue
        if ended.is_long_before_the_newest(target, last):
            lapsed.add(target.key)
            continue
        # Once another partition succeeded, what is left of this one is a gap: it needs no reminder.
        nags = not target.partition or not ended.has_succeeded_since(last, target.job)
        problems.append(_failure(instance, target, last, known, nags=nags))
    return Observation(tuple(problems), frozenset(unseen), frozenset(lapsed))


def _target_of(incident: Incident) -> Target | None:
    """What an incident is about; a drill's may have been seen at its check, which names no job."""
    facts = incident.problem.facts
    named = Target(facts.get("job", ""), facts.get("partition") or None)
    drills = [Target(job, None) for job in _DRILLS]
    return next((each for each in (named, *drills) if each.key == incident.key), None)


def _failure_told_of(instance: dg.DagsterInstance, incident: Incident) -> RunRecord | None:
    """The run whose failure people were told of, if Dagster still has it."""
    folder, _, run_id = incident.problem.page.partition("/")
    return instance.get_run_record_by_id(run_id) if folder == "runs" and run_id else None


class _Ended:
    """Runs that are over, each question asked once."""

    def __init__(self, instance: dg.DagsterInstance, settings: Settings, catalog: Catalog | None) -> None:
        self.instance = instance
        self.settings = settings
        self.catalog = catalog
        newest = instance.get_run_records(limit=1)
        self._newest_at = newest[0].create_timestamp if newest else None
        self._by_page = instance.get_run_records(
            dg.RunsFilter(job_name=_ASSET_JOB, statuses=_ENDED), limit=100
        )
        self._successes: dict[str, tuple[datetime, int]] = {}

    def is_long_before_the_newest(self, target: Target, failed: RunRecord) -> bool:
        """Whether a partition failed so long ago that its failure is told of no more."""
        if not target.partition or self._newest_at is None:
            return False
        return self._newest_at - failed.create_timestamp > LAPSES_AFTER

    def last(self, target: Target, failed: RunRecord | None) -> RunRecord | None:
        """The newest run with that target that succeeded or failed, ``failed`` if there is no newer; None if none."""
        if target.partition:
            filters = dg.RunsFilter(tags={PARTITION_TAG: target.partition}, statuses=_ENDED)
            found = list(self.instance.get_run_records(filters, limit=50))
        else:
            filters = dg.RunsFilter(job_name=target.job, statuses=_ENDED)
            found = [*self.instance.get_run_records(filters, limit=1), *self._by_page]
        fitting = [each for each in found if target in targets_of(each.dagster_run, self.settings)]
        if failed is not None:
            fitting.append(failed)
        return max(fitting, key=lambda record: record.storage_id, default=None)

    def has_succeeded_since(self, failed: RunRecord, job: str) -> bool:
        """Whether the job's work was done after that run, for any partition, by a run or by the command line."""
        if job not in self._successes:
            self._successes[job] = self._last_success(job)
        return self._successes[job] > _place(failed)

    def _last_success(self, job: str) -> tuple[datetime, int]:
        succeeded = [dg.DagsterRunStatus.SUCCESS]
        found = [*self.instance.get_run_records(dg.RunsFilter(job_name=job, statuses=succeeded), limit=1)]
        # Those from asset pages and of their backfills are all of one job, whatever they did.
        by_page = dg.RunsFilter(job_name=_ASSET_JOB, statuses=succeeded)
        for record in self.instance.get_run_records(by_page, limit=SUCCEEDED_LISTED):
            if any(target.job == job for target in targets_of(record.dagster_run, self.settings)):
                found.append(record)
        tier = _OURS.get(job)
        backups = [] if self.catalog is None else [each for each in self.catalog if each.good]
        labelled = [(label.labelled_at, 0) for each in backups for label in each.labels if label.tier is tier]
        return max([*map(_place, found), *labelled], default=(datetime.min.replace(tzinfo=UTC), 0))


def _done_elsewhere(target: Target, last: RunRecord, catalog: Catalog) -> bool:
    """Whether the storage knows that it was done after all: by the command line, perhaps on another machine."""
    failed_at = _ended_at(last)
    tier = _OURS.get(target.job)
    if tier is not None and target.partition:
        label, holder = catalog.labels.get((tier, target.partition)), catalog.labelled(tier, target.partition)
        return label is not None and holder is not None and holder.good and label.labelled_at > failed_at
    if target.job in _DRILLS:
        drills = drills_of(catalog, _DRILLS[target.job])
        return bool(drills) and drills[-1].passed and drills[-1].checked_at > failed_at
    return False


def _failure(
    instance: dg.DagsterInstance,
    target: Target,
    record: RunRecord,
    known: Mapping[str, Incident],
    *,
    nags: bool,
) -> Problem:
    run_id = record.dagster_run.run_id
    page = f"runs/{run_id}"
    incident = known.get(target.key)
    if incident is not None and incident.problem.page == page:
        reason = incident.problem.facts.get("reason", "")  # reading it again costs a look into the run's log
    else:
        reason = reason_of(instance, run_id)
    tier = _OURS.get(target.job)
    facts = {"job": target.job, "partition": target.partition or "", "reason": reason}
    kind, severity = Kind.RUN_FAILED, Severity.WARNING
    if tier is not None:
        kind, severity = Kind.BACKUP_FAILED, Severity.CRITICAL
        facts["tier"] = tier.value
    elif target.job in _DRILLS:
        kind, severity = Kind.DRILL_FAILED, Severity.CRITICAL
        facts["scenario"] = _DRILLS[target.job].value
    return Problem(target.key, kind, severity, _ended_at(record), facts, page, nags)


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
            patience = QUEUED_IN_A_BACKFILL_FOR if _BACKFILL_TAG in run.tags else QUEUED_TOO_LONG
            since = _aware(record.create_timestamp)
            if now - since > patience:
                severity = Severity.CRITICAL if target.job in _OURS else Severity.WARNING
                problems.append(Problem(key, Kind.RUN_WAITS, severity, since, facts, page))
            continue
        limit = _limit(run, settings)
        if now - _moment(record.start_time) > limit + OVERTIME:
            facts["limit"] = human_seconds(limit.total_seconds())
            since = _moment(record.start_time) + limit
            problems.append(Problem(key, Kind.RUN_ENDLESS, Severity.CRITICAL, since, facts, page))
    return Observation(tuple(problems))


def _limit(run: dg.DagsterRun, settings: Settings) -> timedelta:
    """What the run may take: as its job says, or what a drill may if it was started from a page, without a job."""
    text = run.tags.get(MAX_RUNTIME_TAG, "")
    longest = 3 * 4 * settings.timeout_seconds
    return timedelta(seconds=int(text) if text.isascii() and text.isdigit() else longest)


def _backfills(instance: dg.DagsterInstance) -> Observation:
    """Backfills that broke before they had launched their runs; what became of runs is seen at the runs."""
    failed = instance.get_backfills(
        filters=BulkActionsFilter(statuses=[BulkActionStatus.FAILED, BulkActionStatus.FAILING]),
        limit=BACKFILLS_LISTED,
    )
    newest = instance.get_backfills(limit=1)
    problems, lapsed = [], set()
    for each in failed:
        key = f"backfill/{each.backfill_id}"
        since = datetime.fromtimestamp(each.backfill_timestamp, UTC)
        # It stays as it is for ever: it was told, and a newer one has been started since.
        if each.backfill_id != newest[0].backfill_id:
            lapsed.add(key)
            continue
        reason = f"unexpected error, {each.error.cls_name}" if each.error else "its log says no more"
        problems.append(
            Problem(
                key,
                Kind.BACKFILL_FAILED,
                Severity.WARNING,
                since,
                {"backfill": each.backfill_id, "reason": reason},
                f"runs/b/{each.backfill_id}",
                nags=False,
            )
        )
    return Observation(tuple(problems), lapsed=frozenset(lapsed))


def _short(text: str) -> str:
    line = " ".join(text.partition("\nHint:")[0].split())
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 1]}…"


def _place(record: RunRecord) -> tuple[datetime, int]:
    """For which of two runs was over later: those of a backfill are all made at once, and wait for their turn."""
    return _ended_at(record), record.storage_id


def _ended_at(record: RunRecord) -> datetime:
    return _aware(record.update_timestamp) if record.end_time is None else _moment(record.end_time)


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)


def _aware(moment: datetime) -> datetime:
    """Dagster's columns are in UTC, and some of its storages read them back without saying so."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
