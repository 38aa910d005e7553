"""The sensor ``catalog_sync``: Dagster's asset history made equal to the storage, whoever wrote to the storage.

What the command line or another machine did is reported once; what Dagster did itself is known by its data
version, which is the backup's id. Nothing has to be remembered for that: after Dagster's own database is lost,
the history is reported anew from the storage, oldest first, some events a minute.

Dagster cannot forget one partition (its open source version refuses to wipe single ones). A partition whose
backup is gone gets a last materialization that says so, and shows no restore command any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain

import dagster as dg

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.base_backup.catalog import base_backups_in
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.changes import Gone, gone, last_verdict, new_labels
from recyclic_backups.catalog.documents import Label
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.timestamps import from_text, to_text
from recyclic_backups.config.settings import Settings
from recyclic_backups.defs.automation import cursor_of, moment_in, remembered, sensor_that
from recyclic_backups.defs.backups.checks import evaluation_of
from recyclic_backups.defs.backups.metadata import ANSWERED_AT, metadata_of
from recyclic_backups.defs.backups.sensors import require_backups
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.facts import is_unanswered, newest_answer
from recyclic_backups.defs.health.schedules import HEALTH_JOB
from recyclic_backups.defs.history.drills import drills_elsewhere
from recyclic_backups.defs.history.old_runs import delete_old_runs
from recyclic_backups.defs.partitions import SCHEDULED_TIERS
from recyclic_backups.defs.runs import broken_off, partitions_in_work, report_evaluation
from recyclic_backups.dump.back_up import BackedUp
from recyclic_backups.health.assess import answers
from recyclic_backups.health.questions import QUESTIONS
from recyclic_backups.storage.shared import ask_anew

SENSOR = "catalog_sync"
EVENTS = 200
"""How many events one evaluation reports before it leaves the rest to the next."""

_DATA_VERSION_TAG = "dagster/data_version"
_GONE = "gone:"
"""Before the backup id in the data version of a partition that was told to be gone."""

# Jobs whose runs only answer questions: every hour, and in the name of this sensor.
_PASSING = (HEALTH_JOB, SENSOR)

# How long a verdict may take to reach the storage after its own time, clocks of two machines included.
_OVERLAP = timedelta(days=1)

_ANSWERED_BY_VERDICTS = {"integrity": True, "proven": False}
"""Questions that what others record beside a backup answers anew: verifications, or else restores and drills."""

Event = dg.AssetMaterialization | dg.AssetCheckEvaluation


def catalog_sync_sensor(database: Database) -> dg.SensorDefinition:
    """The sensor."""
    return sensor_that(
        look,
        database,
        SENSOR,
        acts_itself=True,
        description=(
            "Reports backups, verifications and restores made by the command line or elsewhere, each once, and "
            "the whole history again should Dagster's database be lost."
        ),
    )


def look(context: dg.SensorEvaluationContext, database: Database) -> dg.SensorResult:
    """One evaluation, and the runs deleted that nobody looks at any more. Raises what :func:`sync` does."""
    delete_old_runs(context.instance, [database.named(name) for name in _PASSING], database.now())
    return sync(context, database)


def sync(context: dg.SensorEvaluationContext, database: Database) -> dg.SensorResult:
    """One evaluation. Raises BackupError when the storage cannot be read, or has lost every backup it had."""
    settings = database.settings_now()
    before = remembered(context.cursor)
    told_until = moment_in(before, "told_until") if before.get("storage") == settings.storage_url else None
    history = History(context.instance, database)
    versions = history.data_versions()
    known = any(not version.startswith(_GONE) for version in versions.values())
    repository = wiring.open_repository(settings, create=False)
    now, catalog = database.now(), load_catalog(repository)
    news = News(catalog, history, settings, versions, told_until, now)

    def drills() -> Iterator[Sequence[Event]]:
        bases = base_backups_in(repository) if settings.wal_archive else ()
        return drills_elsewhere((*catalog, *bases), context.instance, database)

    groups: Iterator[Sequence[Event]] = iter(())
    if not len(catalog) or any(chain(news, drills())):
        # What a run has done since the storage was asked is in the history, and would be told as gone.
        ask_anew()
        now, catalog = database.now(), load_catalog(repository)
        news = News(catalog, history, settings, versions, told_until, now)
        groups = chain(news, drills())
    require_backups(len(catalog), known, settings)

    told = 0
    report = Report(context.instance, database)
    for events in groups:
        for event in events:
            report.tell(event)
        told += len(events)
        if told >= EVENTS:
            # The rest is found again by the next look: what has been told until now is in the history.
            said = f"Reported {told} events, more to come."
            return dg.SensorResult(skip_reason=dg.SkipReason(said), cursor=context.cursor)
    until = max((check.checked_at for backup in catalog for check in backup.checks), default=None)
    if news.waiting:
        until = told_until
    said = f"Reported {told} events." if told else "Nothing new in the storage."
    cursor = cursor_of(storage=settings.storage_url, told_until=None if until is None else to_text(until))
    return dg.SensorResult(skip_reason=dg.SkipReason(said), cursor=cursor)


class History:
    """Dagster's view: what it believes each partition to have, and when a question was last answered."""

    def __init__(self, instance: dg.DagsterInstance, database: Database) -> None:
        self.instance, self.storage = instance, instance.event_log_storage
        self.keys = {tier: database.backup_key(tier) for tier in SCHEDULED_TIERS}
        names = {tier: f"{tier.value}_backup" for tier in SCHEDULED_TIERS}
        self.in_work = {tier: partitions_in_work(instance, database, name) for tier, name in names.items()}
        broken = broken_off(instance, database)
        self.broken_off = {tier: broken.get(f"{name}_job", ()) for tier, name in names.items()}

    def data_versions(self) -> dict[tuple[Tier, str], str]:
        """Of every partition that counts as materialized: a backup id, or empty where somebody reported by hand."""
        found: dict[tuple[Tier, str], str] = {}
        for tier, key in self.keys.items():
            materialized = self.storage.get_materialized_partitions(key)
            tags = self.storage.get_latest_tags_by_partition(
                key, dg.DagsterEventType.ASSET_MATERIALIZATION, [_DATA_VERSION_TAG], list(materialized)
            )
            for partition in materialized:
                found[tier, partition] = tags.get(partition, {}).get(_DATA_VERSION_TAG, "")
        return found

    def unanswered(self) -> set[tuple[Tier, str]]:
        """Partitions whose last run ended before it answered its checks: Dagster shows them as failed."""
        return {
            (tier, partition)
            for tier, key in self.keys.items()
            for partition in self.broken_off[tier]
            if is_unanswered(self.instance, dg.AssetCheckKey(key, "integrity"), partition)
        }

    def answered_at(self, tier: Tier, partition: str, question: str) -> datetime | None:
        """Up to when verdicts are part of the newest answer; None when the question was never answered."""
        newest = newest_answer(self.instance, dg.AssetCheckKey(self.keys[tier], question), partition)
        if newest is None:
            return None
        answered_at, evaluation = newest
        said = evaluation.metadata.get(ANSWERED_AT)
        text = said.value if isinstance(said, dg.TextMetadataValue) else None
        return from_text(text) if text else answered_at


class Report:
    """Writes events into the history.

    Answers to checks need a run (:func:`report_evaluation`): one named after the sensor, which has nothing else.
    A second answer to the same question in one evaluation of the sensor needs a second one.
    """

    def __init__(self, instance: dg.DagsterInstance, database: Database) -> None:
        self.instance, self.database = instance, database
        self.runs: list[dg.DagsterRun] = []
        self.answers: Counter[tuple[dg.AssetCheckKey, str | None]] = Counter()

    def tell(self, event: Event) -> None:
        """Add one event."""
        if isinstance(event, dg.AssetMaterialization):
            self.instance.report_runless_asset_event(event)
            return
        question = (event.asset_check_key, event.partition)
        turn = self.answers[question]
        self.answers[question] += 1
        if turn == len(self.runs):
            name, tags = self.database.named(SENSOR), self.database.tags
            run = dg.DagsterRun(job_name=name, status=dg.DagsterRunStatus.SUCCESS, tags=tags)
            self.runs.append(self.instance.add_run(run))
        report_evaluation(self.instance, event, self.runs[turn])


class News:
    """What the storage tells that the history does not, as groups of events that belong together.

    ``waiting`` is true once something was left for later because a run is at work on its partition.
    """

    def __init__(
        self,
        catalog: Catalog,
        history: History,
        settings: Settings,
        remembered: Mapping[tuple[Tier, str], str],
        told_until: datetime | None,
        now: datetime,
    ) -> None:
        self.catalog = catalog
        self.history = history
        self.settings = settings
        self.remembered = remembered
        self.told_until = told_until
        self.now = now
        self.waiting = False
        self.partitions = {tier: set(settings.calendar.partitions(tier, now)) for tier in SCHEDULED_TIERS}

    def __iter__(self) -> Iterator[Sequence[Event]]:
        for label, backup in new_labels(self.catalog, self.remembered, self.now):
            if self._is_ours(label.tier, label.partition):
                yield self._whole(label, backup)
        broken_off = self.history.unanswered()
        for slot, label in sorted(self.catalog.labels.items()):
            holder = self.catalog.labelled(*slot)
            if holder is None or self.remembered.get(slot) != label.backup_id:
                continue
            # What failed was another attempt: the partition has the backup that it had.
            has_it_still = slot in broken_off and holder.good
            newly = self._newly_answered(label, holder)
            if (has_it_still or newly) and self._is_ours(*slot):
                yield self._whole(label, holder) if has_it_still else self._answers(label, holder, newly)
        believed = {
            slot: version for slot, version in self.remembered.items() if not version.startswith(_GONE)
        }
        for each in gone(self.catalog, believed):
            if self._is_ours(each.tier, each.partition):
                yield self._farewell(each)

    def _is_ours(self, tier: Tier, partition: str) -> bool:
        """Whether Dagster has that partition, and no run is about to tell of it itself."""
        if partition not in self.partitions.get(tier, ()):
            return False
        if partition in self.history.in_work[tier]:
            self.waiting = True
            return False
        return True

    def _whole(self, label: Label, backup: Backup) -> list[Event]:
        """The backup of a partition, and the answers to all questions about it."""
        manifest = backup.manifest
        own = (manifest.tier, manifest.partition) == (label.tier, label.partition)
        materialization = dg.AssetMaterialization(
            asset_key=self.history.keys[label.tier],
            partition=label.partition,
            description="found in the storage",
            metadata=metadata_of(BackedUp(backup, label, fresh=own), self.settings),
            tags={_DATA_VERSION_TAG: backup.backup_id},
        )
        return [materialization, *self._answers(label, backup, QUESTIONS)]

    def _newly_answered(self, label: Label, backup: Backup) -> list[str]:
        """The questions that a later verdict answers than the one that Dagster shows."""
        found = []
        for name, verifications in _ANSWERED_BY_VERDICTS.items():
            last = last_verdict(backup, verifications=verifications)
            if last is None or (self.told_until is not None and last <= self.told_until - _OVERLAP):
                continue
            since = self.history.answered_at(label.tier, label.partition, name)
            if since is None or last > since:
                found.append(name)
        return found

    def _answers(self, label: Label, backup: Backup, wanted: Collection[str]) -> list[Event]:
        """Answers as the catalog gives them: nothing is read for them."""
        tier, partition = label.tier, label.partition
        given = answers(self.catalog, tier, partition, wanted, wiring.thresholds(self.settings), self.now)
        told: list[Event] = []
        for name, answer in given.items():
            last = None
            if name in _ANSWERED_BY_VERDICTS:
                last = last_verdict(backup, verifications=_ANSWERED_BY_VERDICTS[name])
            told.append(evaluation_of(self.history.keys[tier], name, partition, answer, last or self.now))
        return told

    def _farewell(self, each: Gone) -> list[Event]:
        key = self.history.keys[each.tier]
        events: list[Event] = [
            dg.AssetMaterialization(
                asset_key=key,
                partition=each.partition,
                description=each.reason,
                metadata={"gone": True, "backup_id": each.backup_id, "reason": each.reason},
                tags={_DATA_VERSION_TAG: f"{_GONE}{each.backup_id}"},
            )
        ]
        if not each.expired:
            events.append(
                dg.AssetCheckEvaluation(
                    asset_key=key,
                    check_name="integrity",
                    partition=each.partition,
                    passed=False,
                    severity=dg.AssetCheckSeverity.ERROR,
                    description=each.reason,
                    metadata={ANSWERED_AT: to_text(self.now)},
                )
            )
        return events
