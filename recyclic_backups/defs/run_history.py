"""What became of Dagster's runs: what each was to do, and whether it was done since, by whomever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import dagster as dg
from dagster._core.storage.dagster_run import RunRecord

from recyclic_backups.catalog.catalog import Catalog, is_of_the_future
from recyclic_backups.catalog.layout import asset_name_of
from recyclic_backups.config.settings import Settings
from recyclic_backups.defs.drill_history import drills_of
from recyclic_backups.defs.partitions import SCHEDULED_TIERS
from recyclic_backups.defs.runs import PARTITION_TAG
from recyclic_backups.drill.scenarios import Scenario

PAGE_RUNS_LISTED = 100
LAPSES_AFTER = timedelta(days=14)
"""A partition whose run failed so long before the newest run of all is told of as a missed one, if at all."""

BACKFILL_TAG = "dagster/backfill"
BACKUP_JOBS = {f"{tier.value}_backup_job": tier for tier in SCHEDULED_TIERS}
DRILL_JOBS = {f"drill_{scenario}_job": scenario for scenario in Scenario}

_ASSET_JOB = "__ASSET_JOB"
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


@dataclass(frozen=True)
class Target:
    """What a run is to do: the same for every attempt at it, whoever launched it."""

    job: str
    partition: str | None

    @property
    def key(self) -> str:
        """That of the problem that it failed. A drill and the check on it are one problem."""
        if self.job in DRILL_JOBS:
            return f"drill/{DRILL_JOBS[self.job]}"
        return f"run/{self.job}" + (f"/{self.partition}" if self.partition else "")


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


class Ended:
    """Runs that are over, each question asked once. What the storage dates in the future is no answer."""

    def __init__(
        self, instance: dg.DagsterInstance, settings: Settings, catalog: Catalog | None, now: datetime
    ) -> None:
        self.instance = instance
        self.settings = settings
        self.catalog = catalog
        self._now = now
        newest = instance.get_run_records(limit=1)
        self._newest_at = newest[0].create_timestamp if newest else None
        self._successes: dict[str, tuple[datetime, int]] = {}

    @cached_property
    def _by_page(self) -> Sequence[RunRecord]:
        """Those from asset pages: asked for only where a job without partitions failed."""
        filters = dg.RunsFilter(job_name=_ASSET_JOB, statuses=_ENDED)
        return self.instance.get_run_records(filters, limit=PAGE_RUNS_LISTED)

    def is_long_before_the_newest(self, target: Target, failed: RunRecord) -> bool:
        """Whether a partition failed so long ago that its failure is told of no more."""
        if not target.partition or self._newest_at is None:
            return False
        return self._newest_at - failed.create_timestamp > LAPSES_AFTER

    def last(self, target: Target, failed: RunRecord | None) -> RunRecord | None:
        """The run with that target that succeeded or failed last, maybe ``failed``; None if none is known any more."""
        if target.partition:
            filters = dg.RunsFilter(tags={PARTITION_TAG: target.partition}, statuses=_ENDED)
            found = list(self.instance.get_run_records(filters, limit=50))
        else:
            filters = dg.RunsFilter(job_name=target.job, statuses=_ENDED)
            found = [*self.instance.get_run_records(filters, limit=10), *self._by_page]
        fitting = [each for each in found if target in targets_of(each.dagster_run, self.settings)]
        if failed is not None:
            fitting.append(failed)
        return max(fitting, key=place, default=None)

    def done_elsewhere(self, target: Target, last: RunRecord | None) -> bool | None:
        """Whether the storage knows that it was done after its last run: by the command line, perhaps elsewhere.

        Without a last run: whether it knows that it was done at all. None: nobody knows, as there is no catalog.
        """
        tier, scenario = BACKUP_JOBS.get(target.job), DRILL_JOBS.get(target.job)
        failed_at = datetime.min.replace(tzinfo=UTC) if last is None else ended_at(last)
        if scenario is not None:
            if self.catalog is None:
                return None
            drills = [
                each
                for each in drills_of(self.catalog, scenario)
                if not is_of_the_future(each.checked_at, self._now)
            ]
            return bool(drills) and drills[-1].passed and drills[-1].checked_at > failed_at
        if tier is None or not target.partition:
            return False  # nothing but runs does that
        if self.catalog is None:
            return None
        label = self.catalog.labels.get((tier, target.partition))
        holder = self.catalog.labelled(tier, target.partition)
        if label is None or holder is None or not holder.good:
            return False
        return failed_at < label.labelled_at and not is_of_the_future(label.labelled_at, self._now)

    def has_succeeded_since(self, failed: RunRecord, job: str) -> bool:
        """Whether the job's work was done after that run, for any partition, by a run or by the command line."""
        if job not in self._successes:
            self._successes[job] = self._last_success(job)
        return self._successes[job] > place(failed)

    def _last_success(self, job: str) -> tuple[datetime, int]:
        succeeded = [dg.DagsterRunStatus.SUCCESS]
        found = [*self.instance.get_run_records(dg.RunsFilter(job_name=job, statuses=succeeded), limit=1)]
        # Those from asset pages and of their backfills are all of one job, whatever they did.
        by_page = dg.RunsFilter(job_name=_ASSET_JOB, statuses=succeeded)
        for record in self.instance.get_run_records(by_page, limit=PAGE_RUNS_LISTED):
            if any(target.job == job for target in targets_of(record.dagster_run, self.settings)):
                found.append(record)
        tier = BACKUP_JOBS.get(job)
        backups = [] if self.catalog is None else [each for each in self.catalog if each.good]
        labelled = [
            (label.labelled_at, 0)
            for each in backups
            for label in each.labels
            if label.tier is tier and not is_of_the_future(label.labelled_at, self._now)
        ]
        return max([*map(place, found), *labelled], default=(datetime.min.replace(tzinfo=UTC), 0))


def place(record: RunRecord) -> tuple[datetime, int]:
    """For which of two runs was over later: those of a backfill are all made at once, and wait for their turn."""
    return ended_at(record), record.storage_id


def ended_at(record: RunRecord) -> datetime:
    """When a run was over, aware UTC."""
    return aware(record.update_timestamp) if record.end_time is None else moment_of(record.end_time)


def moment_of(timestamp: float) -> datetime:
    """A moment as Dagster's runs have it, aware UTC."""
    return datetime.fromtimestamp(timestamp, UTC)


def aware(moment: datetime) -> datetime:
    """Dagster's columns are in UTC, and some of its storages read them back without saying so."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
