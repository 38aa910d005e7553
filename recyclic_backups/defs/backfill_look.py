"""Problems of backfills: what failed in one of them is one problem, however many of its partitions that is.

A backfill runs its partitions one after another, for hours. When a password breaks meanwhile, every look finds another
failure with the same reason: told one by one, the message that matters would be lost among them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.storage.dagster_run import RunRecord

from recyclic_backups.defs.run_history import BACKFILL_TAG, BACKUP_JOBS, Target, ended_at, moment_of, place
from recyclic_backups.notify.incidents import Incident, Observation, Problem
from recyclic_backups.notify.severity import Severity
from recyclic_backups.notify.wording import Kind

BACKFILLS_LISTED = 20
NAMED = 3
"""Partitions that are told by name: the others are on the backfill's page."""

_HOME = "run/backfill/"


@dataclass(frozen=True)
class Failure:
    """A target whose last run failed. Nobody is reminded of one that does not ``nag``."""

    target: Target
    record: RunRecord
    nags: bool


def members_of(known: Mapping[str, Incident]) -> dict[Target, str]:
    """The targets that the open incidents of backfills are about, each with the key of its incident. Pure."""
    return {
        Target(job, partition): key
        for key, incident in known.items()
        if key.startswith(_HOME) and (job := incident.problem.facts.get("job", "")) in BACKUP_JOBS
        for partition in incident.problem.facts.get("partitions", "").split()
    }


def home_of(
    target: Target, last: RunRecord | None, known: Collection[str], members: Mapping[Target, str]
) -> str:
    """The key of the problem that a failure belongs to. Pure.

    Where people were told of it before, in whatever way it is tried again: nothing else would be true of the incident
    that it left. Otherwise its backfill's, or its own.
    """
    backfill = None if last is None else last.dagster_run.tags.get(BACKFILL_TAG)
    if target.key not in known:
        if target in members:
            return members[target]
        if backfill and target.partition and target.job in BACKUP_JOBS:
            return f"{_HOME}{backfill}/{target.job}"
    return target.key


def one_problem(
    key: str,
    failures: Collection[Failure],
    left: Collection[Target],
    incident: Incident | None,
    reason_of: Callable[[str], str],
) -> Problem:
    """What failed in a backfill and is not made up for, with the newest reason. ``reason_of`` is asked for a run's.

    ``left`` are those of which nobody would be told alone any more, too old or deleted: they are missing all the same.
    """
    newest = max(failures, key=lambda each: place(each.record))
    job, run_id = newest.target.job, newest.record.dagster_run.run_id
    before = {} if incident is None else incident.problem.facts
    partitions = sorted(each.partition or "" for each in [*(one.target for one in failures), *left])
    # Those that were made up for are not remembered one by one, only that they failed once.
    total, told = before.get("total", ""), before.get("partitions", "").split()
    failed_before = int(total) if total.isascii() and total.isdigit() and len(total) < 9 else len(told)
    facts = {
        "job": job,
        "tier": BACKUP_JOBS[job].value,
        "backfill": key.removeprefix(_HOME).partition("/")[0],
        "partitions": " ".join(partitions),
        "names": ", ".join(partitions[:NAMED]) + (" …" if len(partitions) > NAMED else ""),
        "count": str(len(partitions)),
        "total": str(failed_before + len(set(partitions).difference(told))),
        "run": run_id,
        # Reading it again costs a look into the run's log.
        "reason": before.get("reason", "") if before.get("run") == run_id else reason_of(run_id),
    }
    return Problem(
        key,
        Kind.BACKUPS_FAILED,
        Severity.CRITICAL,
        min(ended_at(each.record) for each in failures),
        facts,
        f"runs/b/{facts['backfill']}",
        # What failed after the last message is told by one reminder more, even if another day succeeded since.
        nags=any(
            each.nags or (incident is not None and ended_at(each.record) > incident.told_at)
            for each in failures
        ),
    )


def look_at_backfills(instance: dg.DagsterInstance) -> Observation:
    """Backfills that broke before they had launched their runs; what became of runs is seen at the runs."""
    failed = instance.get_backfills(
        filters=BulkActionsFilter(statuses=[BulkActionStatus.FAILED, BulkActionStatus.FAILING]),
        limit=BACKFILLS_LISTED,
    )
    newest = instance.get_backfills(limit=1)
    problems, lapsed = [], set()
    for each in failed:
        key = f"backfill/{each.backfill_id}"
        since = moment_of(each.backfill_timestamp)
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
