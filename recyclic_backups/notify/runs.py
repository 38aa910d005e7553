"""Problems that runs tell of: which failed and were not made up for, which wait or work for too long. Pure.

A run is whatever did, or should have done, some work: one of Dagster's, a backup or drill of the command line as the
audit log has it, and every label, base backup and drill that the storage holds, which are work that was done, by
whomever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from recyclic_backups.catalog.catalog import Catalog, is_of_the_future
from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.why import why
from recyclic_backups.health.drill_records import is_about, tells_of_a_drill
from recyclic_backups.notify.facts import (
    BACKUP_JOBS,
    BASE_JOB,
    DRILL_JOBS,
    STORED_JOBS,
    BackfillFact,
    Facts,
    RunFact,
    Target,
)
from recyclic_backups.notify.harmless import shortened
from recyclic_backups.notify.incidents import Incident, Observation, Problem, in_both
from recyclic_backups.notify.severity import Severity
from recyclic_backups.texts.language import Bilingual, Seconds, Untranslated
from recyclic_backups.texts.text import say

LAPSES_AFTER = timedelta(days=14)
"""A partition whose run failed so long before the newest run of all is told of as a missed one, if at all."""

QUEUED_TOO_LONG = timedelta(hours=1)
QUEUED_IN_A_BACKFILL_FOR = timedelta(hours=24)
OVERTIME = timedelta(minutes=10)
"""How long after its limit a run may still be there: Dagster's monitoring ends it within a minute."""

NAMED = 3
"""Partitions of a backfill that are told by name: the others are on its page."""

_BACKFILL = "run/backfill/"


@dataclass(frozen=True)
class Failure:
    """A target whose last run failed. ``remind`` is whether people are reminded of it."""

    target: Target
    run: RunFact
    remind: bool


def backup_is_working(facts: Facts, now: datetime) -> bool:
    """Whether a run that makes a backup is inside its time limit."""
    limit = timedelta(seconds=facts.terms.run_limit_seconds)
    return any(
        run.status == "working" and run.started_at is not None and now - run.started_at <= limit
        for run in _runs_of_dagster(facts)
        if any(target.job in BACKUP_JOBS for target in run.targets)
    )


def failed_runs(
    facts: Facts, catalog: Catalog | None, known: Mapping[str, Incident], now: datetime
) -> Observation:
    """Targets whose last run failed: of all facts, and of every open incident, however old it is.

    Without a ``catalog`` nobody knows whether the storage got since what failed here: it is neither new nor solved.
    A failure of which no fact is left (its run was deleted) leaves without a word, unless the storage has the work.
    """
    if facts.dagster is not None and facts.dagster.runs is None:
        return Observation(unseen=frozenset({"run", "drill"}))
    members = members_of(known)
    remembered = [*_remembered(facts, known)]
    ended = [run for run in _runs_of_dagster(facts) if run.status in ("succeeded", "failed")]
    ended += [*_failures_of_the_log(facts), *remembered, *_work_in(facts, catalog, now)]
    last: dict[Target, RunFact] = {}
    succeeded: dict[str, RunFact] = {}
    for run in sorted(ended, key=lambda each: each.place):
        for target in run.targets:
            before = last.get(target)
            if run.page and before and run.started_at and before.updated_at >= run.started_at:
                # What the storage has of a drill that this run made says why it failed.
                last[target] = replace(run, reason=before.reason)
            else:
                last[target] = run
            if run.status == "succeeded":
                succeeded[target.job] = run
    created = [run.created_at for run in ended]
    if facts.dagster is not None and facts.dagster.newest_created_at is not None:
        created.append(facts.dagster.newest_created_at)
    newest_at = max(created, default=now)
    asked = {target for run in ended if run.status == "failed" for target in run.targets} | {*members}
    asked |= {told for key, each in known.items() if (told := _target_of(key, each)) is not None}
    found: dict[str, list[Failure]] = {}
    lapsed: dict[str, list[Target]] = {}
    unseen = set()
    for target in sorted(asked, key=lambda each: (each.job, each.partition or "")):
        if facts.dagster is None and target.job not in STORED_JOBS:
            continue  # only Dagster knows
        newest = last.get(target)
        if newest is not None and newest.status == "succeeded":
            continue
        is_known = target.key in known or target in members
        key = incident_key(target, newest, known, members)
        is_in_catalog = target.job in STORED_JOBS and (target.job not in BACKUP_JOBS or target.partition)
        if is_in_catalog and catalog is None:
            unseen |= {key} if is_known else set()
        elif newest is None or (target.partition and is_history(newest, newest_at)):
            if is_known:
                lapsed.setdefault(key, []).append(target)
        else:
            # Once another partition succeeded, what is left of this one is a gap: it needs no reminder.
            later = succeeded.get(target.job)
            remind = not target.partition or later is None or later.place <= newest.place
            found.setdefault(key, []).append(Failure(target, newest, remind))
    problems = []
    for key, each in found.items():
        if key == each[0].target.key:
            problems.append(_failure(facts, each[0], known.get(key)))
        else:
            problems.append(_backfill_failure(facts, key, each, lapsed.get(key, ()), known.get(key)))
    return Observation(tuple(problems), frozenset(unseen), frozenset(lapsed.keys() - unseen - found.keys()))


def is_history(run: RunFact, newest_at: datetime) -> bool:
    """Whether a partition's run is so much older than the newest run of all that its failure is told of no more."""
    return newest_at - run.created_at > LAPSES_AFTER


def unfinished_runs(facts: Facts, now: datetime) -> Observation:
    """Runs that wait or work for too long."""
    problems = []
    for run in _runs_of_dagster(facts):
        if run.status not in ("waiting", "working"):
            continue
        target = run.targets[0]
        values: dict[str, object] = {"job": target.job, "partition": target.partition or ""}
        key = f"stuck/{run.run_id}"
        if run.started_at is None:
            patience = QUEUED_IN_A_BACKFILL_FOR if run.backfill else QUEUED_TOO_LONG
            if now - run.created_at > patience:
                severity = Severity.CRITICAL if target.job in BACKUP_JOBS else Severity.WARNING
                problems.append(
                    Problem(key, "run waits", severity, run.created_at, in_both(**values), run.page)
                )
            continue
        # Without a limit of its own it was started from a page: as long as a drill may take.
        limit_seconds = run.limit_seconds or 4 * facts.terms.run_limit_seconds
        over_at = run.started_at + timedelta(seconds=limit_seconds)
        if now - over_at > OVERTIME:
            values["limit"] = Seconds(limit_seconds)
            problems.append(
                Problem(key, "run endless", Severity.CRITICAL, over_at, in_both(**values), run.page)
            )
    return Observation(tuple(problems))


def broken_backfills(backfills: Collection[BackfillFact]) -> Observation:
    """Backfills that broke before they had started their runs; what became of runs is seen at the runs."""
    # One stays as it is for ever: it was told, and a newer one was started since.
    lapsed = frozenset(f"backfill/{each.backfill_id}" for each in backfills if not each.is_newest)
    problems = tuple(
        Problem(
            f"backfill/{each.backfill_id}",
            "backfill failed",
            Severity.WARNING,
            each.since,
            in_both(backfill=each.backfill_id, reason=each.reason),
            f"runs/b/{each.backfill_id}",
            remind=False,
        )
        for each in backfills
        if each.is_newest
    )
    return Observation(problems, lapsed=lapsed)


def members_of(known: Mapping[str, Incident]) -> dict[Target, str]:
    """The targets that the open incidents of backfills are about, each with the key of its incident."""
    return {
        Target(job, partition): key
        for key, incident in known.items()
        if key.startswith(_BACKFILL) and (job := incident.problem.facts.get("job", "")) in BACKUP_JOBS
        for partition in incident.problem.facts.get("partitions", "").split()
    }


def incident_key(
    target: Target, last: RunFact | None, known: Collection[str], members: Mapping[Target, str]
) -> str:
    """The key of the problem that a failure belongs to.

    Where people were told of it before, in whatever way it is tried again: nothing else would be true of the incident
    that it left. Otherwise its backfill's, or its own.
    """
    if target.key not in known:
        if target in members:
            return members[target]
        if last is not None and last.backfill and target.partition and target.job in BACKUP_JOBS:
            return f"{_BACKFILL}{last.backfill}/{target.job}"
    return target.key


def _runs_of_dagster(facts: Facts) -> Sequence[RunFact]:
    return () if facts.dagster is None else facts.dagster.runs or ()


def _failures_of_the_log(facts: Facts) -> Iterator[RunFact]:
    """Backups, base backups and drills of the command line that failed; what Dagster started it tells itself."""
    for event in facts.storage.failures:
        partition = None
        if event.action == "backup":
            job, partition = f"{event.details.get('tier')}_backup_job", str(event.details.get("partition"))
        elif event.action == "base backup":
            job = BASE_JOB
        else:
            job = f"drill_{event.details.get('scenario')}_job"
        if job in STORED_JOBS:
            at = event.happened_at
            reason = Untranslated(shortened(str(event.details.get("error", ""))))
            yield RunFact((Target(job, partition),), "failed", at, at, order=event.number, reason=reason)


def _remembered(facts: Facts, known: Mapping[str, Incident]) -> Iterator[RunFact]:
    """Failures that people were told of, and of which this look has no other fact.

    Events of the audit log are read once. A failed run of Dagster is there as long as it is not deleted: without
    Dagster nobody can tell.
    """
    for key, incident in known.items():
        problem, target = incident.problem, _target_of(key, incident)
        if target is not None and (facts.dagster is None or not problem.page):
            yield RunFact((target,), "failed", problem.since, problem.since, page=problem.page)
    if facts.dagster is None:
        for target, key in members_of(known).items():
            problem = known[key].problem
            backfill = key.removeprefix(_BACKFILL).partition("/")[0]
            yield RunFact((target,), "failed", problem.since, problem.since, backfill=backfill)


def _work_in(facts: Facts, catalog: Catalog | None, now: datetime) -> Iterator[RunFact]:
    """Backups, base backups and drills as the storage holds them. What it dates in the future makes up for nothing."""
    if catalog is None:
        return
    good = {backup.backup_id for backup in catalog if backup.good}
    for (tier, partition), label in catalog.labels.items():
        if label.backup_id in good and not is_of_the_future(label.labelled_at, now):
            target = Target(f"{tier.value}_backup_job", partition)
            yield RunFact((target,), "succeeded", label.labelled_at, label.labelled_at)
    for backup in catalog:
        for check in backup.checks:
            yield from _drill(check, now)
    health = facts.storage.health
    for base in () if health is None or health.wal is None else health.wal.bases:
        at = base.manifest.taken_at
        if base.good and not is_of_the_future(at, now):
            yield RunFact((Target(BASE_JOB),), "succeeded", at, at)
        for check in base.checks:
            if is_about(check, facts.terms.health.database):
                yield from _drill(check, now)


def _drill(check: Check, now: datetime) -> Iterator[RunFact]:
    at = check.checked_at
    if tells_of_a_drill(check) and not (check.passed and is_of_the_future(at, now)):
        target = Target(f"drill_{check.figures.get('scenario')}_job")
        if target.job in DRILL_JOBS:
            yield RunFact((target,), "succeeded" if check.passed else "failed", at, at, reason=why(check))


def _target_of(key: str, incident: Incident) -> Target | None:
    """What an incident is about; a drill's may be of a version that named no job."""
    if not key.startswith(("run/", "drill/")):
        return None
    facts = incident.problem.facts
    named = Target(facts.get("job", ""), facts.get("partition") or None)
    return next((each for each in (named, *map(Target, DRILL_JOBS)) if each.key == key), None)


def _reason(facts: Facts, run: RunFact, incident: Incident | None) -> Mapping[str, str]:
    """Why a run failed. Reading it again costs a look into the run's log: of a failure that was told it is known."""
    told = {} if incident is None else incident.problem.facts
    same = incident is not None and (
        told["run"] == run.run_id if "run" in told else incident.problem.page == run.page
    )
    if run.reason is None and same and "reason" in told:
        return {name: told[name] for name in ("reason", "reason_fr") if name in told}
    reason: Bilingual = run.reason or say("alerts.nothing_logged")
    if (
        run.reason is None
        and run.run_id
        and facts.dagster is not None
        and facts.dagster.reason_of is not None
    ):
        reason = facts.dagster.reason_of(run.run_id)
    return in_both(reason=reason)


def _failure(facts: Facts, failed: Failure, incident: Incident | None) -> Problem:
    target, run = failed.target, failed.run
    values: dict[str, object] = {"job": target.job, "partition": target.partition or ""}
    kind, severity = "run failed", Severity.WARNING
    if target.job in BACKUP_JOBS:
        kind, severity = "backup failed", Severity.CRITICAL
        values["tier"] = BACKUP_JOBS[target.job]
    elif target.job in DRILL_JOBS:
        kind, severity = "drill failed", Severity.CRITICAL
        values["scenario"] = DRILL_JOBS[target.job].value
    elif target.job == BASE_JOB:
        kind = "base backup failed"
    said = {**in_both(**values), **_reason(facts, run, incident)}
    return Problem(target.key, kind, severity, run.updated_at, said, run.page, failed.remind)


def _backfill_failure(
    facts: Facts,
    key: str,
    failures: Collection[Failure],
    left: Collection[Target],
    incident: Incident | None,
) -> Problem:
    """What failed in a backfill and is not made up for, with the newest reason: one problem, however much it is.

    A backfill runs its partitions for hours. When a password breaks meanwhile, every look finds another failure with
    the same reason: told one by one, the message that matters would be lost among them. ``left`` are those of which
    nobody would be told alone any more, too old or deleted: they are missing all the same.
    """
    newest = max(failures, key=lambda each: each.run.place)
    job = newest.target.job
    before = {} if incident is None else incident.problem.facts
    partitions = sorted(each.partition or "" for each in [*(one.target for one in failures), *left])
    # Those that were made up for are not remembered one by one, only that they failed once.
    total, told = before.get("total", ""), before.get("partitions", "").split()
    failed_before = int(total) if total.isascii() and total.isdigit() and len(total) < 9 else len(told)
    backfill = key.removeprefix(_BACKFILL).partition("/")[0]
    values = in_both(
        job=job,
        tier=BACKUP_JOBS[job],
        backfill=backfill,
        partitions=" ".join(partitions),
        names=", ".join(partitions[:NAMED]) + (" …" if len(partitions) > NAMED else ""),
        count=len(partitions),
        total=failed_before + len(set(partitions).difference(told)),
        run=newest.run.run_id,
    )
    return Problem(
        key,
        "backups failed",
        Severity.CRITICAL,
        min(each.run.updated_at for each in failures),
        {**values, **_reason(facts, newest.run, incident)},
        f"runs/b/{backfill}",
        # What failed after the last message is told by one reminder more, even if another day succeeded since.
        remind=any(
            each.remind or (incident is not None and each.run.updated_at > incident.told_at)
            for each in failures
        ),
    )
