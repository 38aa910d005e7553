"""Back up one partition of one tier: what the schedules, a backfill and the command line all ask for.

Take or promote, verify, and only then label. The lock of the server makes it one at a time for everybody.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from recyclic_backups.audit.log import Entry, audited, last_event, note_configuration
from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Label
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.manifest import Checkpoint, Manifest
from recyclic_backups.catalog.promotion import choose_promotion, takes_over
from recyclic_backups.catalog.record import record_label
from recyclic_backups.catalog.recovery_point import newest_verified
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.timestamps import compact
from recyclic_backups.dump.facts import read_system_identifier
from recyclic_backups.dump.rescue_files import renew_rescue
from recyclic_backups.dump.streams import DumpOptions
from recyclic_backups.dump.sweep import sweep
from recyclic_backups.dump.take import BackupRequest, Clock, take
from recyclic_backups.dump.verify import verify
from recyclic_backups.errors import DamagedData, Refused
from recyclic_backups.flags.flags import PARALLEL_STREAMS, PROMOTE_PROVEN, Feature, Flags
from recyclic_backups.flags.store import flags_in_force
from recyclic_backups.postgres.lock import HeldLock, exclusive
from recyclic_backups.postgres.server import Server
from recyclic_backups.progress import SILENT, Progress
from recyclic_backups.storage.room import require_room

_log = logging.getLogger(__name__)

REUSE_SECONDS = 3600
"""A missed day takes a dump younger than this instead of burdening production with another that is as late."""

_PARALLEL_JOBS = 4
"""Streams at once where the flag asks for as many as there are cores: a server has other work as well."""

_NOT_REBUILT = "not_rebuilt"
"""In the details of a backup's event: why WAL does not bring a missed day back."""

_WITH = "with"
"""In the details of a backup's event: the flags that it made use of."""


@dataclass(frozen=True, slots=True)
class MissedDay:
    """A day that is over and has no backup: ``at`` is when that was due, aware UTC."""

    repository: Repository
    request: BackupRequest
    at: datetime
    system_identifier: str
    calendar: Calendar
    options: DumpOptions
    clock: Clock
    progress: Progress
    check_lock: Callable[[], None]


@dataclass(frozen=True, slots=True)
class BackupPlan:
    """How partitions are backed up. ``lock_wait_seconds`` bounds the wait for another backup of the database."""

    calendar: Calendar
    options: DumpOptions
    missed_day: Literal["late", "refuse"]
    lock_wait_seconds: float
    rebuild: Callable[[MissedDay], Manifest | str] | None = None
    """Makes the backup of a day that is over, or says why it cannot; None where WAL is not archived."""


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What a partition holds now. ``fresh`` is false when an existing backup was promoted, reused or kept."""

    backup: Backup
    label: Label
    fresh: bool


def back_up(
    server: Server,
    repository: Repository,
    request: BackupRequest,
    plan: BackupPlan,
    *,
    clock: Clock,
    progress: Progress = SILENT,
    reuse_since: datetime | None = None,
) -> BackedUp:
    """Make the request's partition point at a verified backup.

    A day that is over is rebuilt where WAL reaches. Else it gets a late dump, or one taken since ``reuse_since``
    (default: within the last hour); with ``missed_day`` ``refuse``, Refused. A good backup that such a day already has
    is kept.

    Raises UsageError for a partition that cannot be, Refused when the lock is busy or the period is over with
    nothing to promote, DamagedData when what was stored does not verify, and whatever taking a dump raises.
    """
    plan.calendar.check_key(request.tier, request.partition, clock())
    with _locked_run(server, repository, request, plan, clock, progress) as run:
        return run.told(_fill(run, reuse_since))


def _fill(run: _Run, reuse_since: datetime | None) -> BackedUp:
    if run.request.tier in (Tier.WEEKLY, Tier.MONTHLY):
        later = run.after_its_day()
        return later.promoted() or later.fresh()
    if run.is_over:
        return run.kept() or run.rebuilt() or run.reused(reuse_since) or run.fresh()
    return run.already_done() or run.fresh()


def take_checkpoint(
    server: Server,
    repository: Repository,
    checkpoint: Checkpoint,
    plan: BackupPlan,
    *,
    clock: Clock,
    progress: Progress = SILENT,
) -> BackedUp:
    """Take a backup before something is changed, now, and verify it. Its tier is its own; it never replaces another.

    Raises Refused when the lock is busy or there is no space, DamagedData when what was stored does not verify, and
    whatever taking a dump raises.
    """
    request = BackupRequest(Tier.CHECKPOINT, compact(clock()), "checkpoint", checkpoint)
    with _locked_run(server, repository, request, plan, clock, progress) as run:
        # Named after its second; somebody who waited for the lock, or set the clock back, gets the next free one.
        moment = clock()
        while (Tier.CHECKPOINT, compact(moment)) in run.catalog.labels:
            moment += timedelta(seconds=1)
        return run.told(replace(run, request=replace(request, partition=compact(moment))).fresh())


@contextmanager
def _locked_run(
    server: Server,
    repository: Repository,
    request: BackupRequest,
    plan: BackupPlan,
    clock: Clock,
    progress: Progress,
) -> Iterator[_Run]:
    """A run that holds the lock, after what killed ones have left is tidied up."""
    progress.stage("waiting for other backups")
    server = server.answering_within(plan.options.timeout_seconds)
    details = {"tier": str(request.tier), "partition": request.partition, "source": request.source}
    with (
        audited(repository, "backup", clock, details=details) as entry,
        exclusive(server, repository.database, "backup", wait_seconds=plan.lock_wait_seconds) as lock,
    ):
        found = renew_rescue(repository, lambda: load_catalog(repository))
        if changed := [f"{each.name}: {each.problem}" for each in found if each.damage]:
            entry.details["rescue_files_replaced"] = changed
        note_configuration(repository, clock())
        with server.connect(repository.database) as connection:
            sweep(repository, read_system_identifier(connection), clock())
        flags = _flags_for(repository, clock())
        if flags.is_on(PARALLEL_STREAMS):
            jobs = max(plan.options.jobs, min(os.cpu_count() or 1, _PARALLEL_JOBS))
            plan = replace(plan, options=replace(plan.options, jobs=jobs))
        run = _Run(
            server, repository, request, plan, load_catalog(repository), clock, progress, lock, entry, flags
        )
        yield run


def _flags_for(repository: Repository, now: datetime) -> Flags:
    """What is switched on, without what the last backup failed with: no experiment costs a second one."""
    last = last_event(repository, "backup", now)
    failed_with = last.details.get(_WITH) if last is not None and last.outcome == "failed" else None
    flags = flags_in_force(repository)
    return flags.without(failed_with) if isinstance(failed_with, list) else flags


@dataclass(frozen=True, slots=True)
class _Run:
    """One partition's backup, under the lock. Each method answers None when its way is not open."""

    server: Server
    repository: Repository
    request: BackupRequest
    plan: BackupPlan
    catalog: Catalog
    clock: Clock
    progress: Progress
    lock: HeldLock
    entry: Entry
    flags: Flags

    def told(self, done: BackedUp) -> BackedUp:
        """The same, noted for the audit log."""
        self.entry.backup_id = done.backup.backup_id
        self.entry.outcome = "done" if done.fresh else "labelled"
        return done

    @property
    def is_over(self) -> bool:
        return self.clock() >= self.plan.calendar.window(self.request.tier, self.request.partition).end_at

    def after_its_day(self) -> _Run:
        """The same run once the day it promotes is backed up, if that day is today.

        In the spring night whose 02:00 does not exist, the daily and the weekly tick are the same instant.
        """
        calendar = self.plan.calendar
        day = calendar.preferred_day(self.request.tier, self.request.partition).isoformat()
        holder = self.catalog.labelled(Tier.DAILY, day)
        if day != calendar.partition_of(Tier.DAILY, self.clock()) or (holder is not None and holder.good):
            return self
        taken = replace(self, request=replace(self.request, tier=Tier.DAILY, partition=day)).fresh()
        self.entry.details["dumped_for_the_day"] = taken.backup.backup_id
        return replace(self, catalog=load_catalog(self.repository))

    def already_done(self) -> BackedUp | None:
        """What a scheduled run finds done since it was due; somebody who asks by hand gets a new dump."""
        kept = self.kept() if self.request.source == "scheduled" else None
        due_at = self.plan.calendar.scheduled_for(self.request.tier, self.request.partition)
        return kept if kept is not None and kept.backup.as_of >= due_at else None

    def promoted(self) -> BackedUp | None:
        prefer_proven = self._uses(PROMOTE_PROVEN)
        promotion = choose_promotion(
            self.catalog,
            self.plan.calendar,
            self.request.tier,
            self.request.partition,
            proven_by=self.clock() if prefer_proven else None,
        )
        if promotion is None:
            if self.is_over:
                raise Refused(
                    f"no good backup lies in the {self.request.tier.value} partition {self.request.partition},"
                    " which is over",
                    "a dump of today would not be of that time; back up the current partition instead",
                )
            return None
        return self.label(
            promotion.backup, promoted_from=promotion.promoted_from, reason=promotion.reason, fresh=False
        )

    def kept(self) -> BackedUp | None:
        label = self.catalog.labels.get((self.request.tier, self.request.partition))
        holder = self.catalog.labelled(self.request.tier, self.request.partition)
        if label is None or holder is None or not holder.good:
            return None
        return BackedUp(holder, label, fresh=False)

    def rebuilt(self) -> BackedUp | None:
        """The day as it was, from base backup and WAL."""
        if self.plan.rebuild is None:
            return None
        with self.server.connect(self.repository.database) as connection:
            system_identifier = read_system_identifier(connection)
        at = self.plan.calendar.scheduled_for(self.request.tier, self.request.partition)
        self.progress.stage(f"rebuilding {self.request.partition} from WAL")
        made = self.plan.rebuild(
            MissedDay(
                self.repository,
                self.request,
                at.astimezone(UTC),
                system_identifier,
                self.plan.calendar,
                self.plan.options,
                self.clock,
                self.progress,
                self.lock.require,
            )
        )
        if isinstance(made, str):
            self.entry.details[_NOT_REBUILT] = made
            _log.warning("%s is not rebuilt from WAL: %s", self.request.partition, made)
            return None
        return self.verified(made, "the day was missed: rebuilt from WAL")

    def reused(self, since: datetime | None) -> BackedUp | None:
        if self.plan.missed_day == "refuse":
            raise Refused(
                f"{self.request.partition} is over, and a dump taken now is not of that day",
                "set BACKUP_MISSED_DAY=late to label a dump of today for it",
            )
        earliest = since or self.clock() - timedelta(seconds=REUSE_SECONDS)
        newest = newest_verified(self.catalog, self.clock())
        if newest is None or newest.as_of < earliest:
            return None
        return self.label(newest, reason="the day was missed: shares a later dump", fresh=False)

    def _uses(self, feature: Feature) -> bool:
        """Whether the feature is on; if so, the audit log says from here on that the run was one with it."""
        is_on = self.flags.is_on(feature)
        if is_on and not feature.default:
            self.entry.details[_WITH] = sorted({*self.entry.details.get(_WITH, ()), feature.name})
        return is_on

    def fresh(self) -> BackedUp:
        newest = self.catalog.newest_good()
        require_room(
            self.repository.store,
            None if newest is None else newest.manifest.stored_bytes,
            what="the backup",
            settings="RETENTION_DAILY, RETENTION_WEEKLY, RETENTION_MONTHLY",
        )
        self._uses(PARALLEL_STREAMS)
        manifest = take(
            self.server,
            self.repository,
            self.request,
            self.plan.calendar,
            self.plan.options,
            clock=self.clock,
            progress=self.progress,
            check_lock=self.lock.require,
            before=newest_verified(self.catalog, self.clock()),
        )
        return self.verified(manifest, "the day was missed" if manifest.late else "")

    def verified(self, manifest: Manifest, reason: str) -> BackedUp:
        """The backup that was just taken, once it is verified, with its label."""
        verification = verify(
            self.repository,
            # As the storage gives it back: what was stored wrong must not be found out in the night it is needed.
            load_catalog(self.repository).find(manifest.backup_id),
            "parsed",
            self.plan.options.installations,
            clock=self.clock,
            timeout_seconds=self.plan.options.timeout_seconds,
            progress=self.progress,
        )
        if verification.error is not None:
            if isinstance(verification.error, DamagedData):
                raise DamagedData(
                    f"the backup {manifest.backup_id} was stored but does not verify: {verification.error.message}",
                    "it keeps no partition; check the storage and take another",
                )
            raise verification.error
        backup = load_catalog(self.repository).find(manifest.backup_id)
        return self.label(backup, reason=reason, fresh=True)

    def label(
        self, backup: Backup, *, reason: str, fresh: bool, promoted_from: str | None = None
    ) -> BackedUp:
        tier, partition = self.request.tier, self.request.partition
        late = self.plan.calendar.is_late(tier, partition, backup.as_of)
        if late and _NOT_REBUILT in self.entry.details:
            reason = f"{reason}; not rebuilt from WAL: {self.entry.details[_NOT_REBUILT]}"
        present, holder = self.catalog.labels.get((tier, partition)), self.catalog.labelled(tier, partition)
        if present is not None and holder is not None and holder.backup_id == backup.backup_id:
            return BackedUp(backup, present, fresh)
        if present is not None and holder is not None and not takes_over(present, holder, late, backup):
            return BackedUp(holder, present, fresh=False)
        label = Label(tier, partition, backup.backup_id, self.clock(), late, promoted_from, reason)
        record_label(self.repository, label, backup.manifest)
        return BackedUp(backup, label, fresh)
