"""The checks of every tier: eight questions, answered by the house, shown beside the backups.

None of them blocks: what must stop a backup from counting raises inside the asset. All eight are answered by
one step, so that the storage is asked once; any of them can be run alone.
"""

# Without the future import of annotations: Dagster compares the context's annotation with its classes.

import warnings
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import dagster as dg

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.config.settings import Settings
from recyclic_backups.defs.backups.metadata import ANSWERED_AT, SEVERITIES
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.partitions import partitions_of
from recyclic_backups.defs.runs import LoggedProgress, dagster_errors, door_of, report_evaluation
from recyclic_backups.errors import RecoveryError
from recyclic_backups.health.assess import Demands, assess
from recyclic_backups.health.finding import CheckAnswer
from recyclic_backups.health.questions import QUESTIONS

VERIFIED_TAG = "recyclic_backups/verified_within_s"
"""Of a job whose ``integrity`` asks for a younger verification than BACKUP_VERIFY_INTERVAL does."""


def backup_checks(database: Database, tier: Tier) -> dg.AssetChecksDefinition:
    """The checks of one tier's asset, partitioned as it is."""
    key, calendar = database.backup_key(tier), database.settings.calendar
    with warnings.catch_warnings():
        # Partitions of checks are in preview; without them one red day would hide among green ones.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        specs = [
            dg.AssetCheckSpec(
                name, asset=key, description=question, partitions_def=partitions_of(calendar, tier)
            )
            for name, question in QUESTIONS.items()
        ]

    @dg.multi_asset_check(name=f"{'__'.join(key.path)}__checks", specs=specs, can_subset=True)
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        wanted = {check.name for check in context.selected_asset_check_keys}
        with dagster_errors(context, database.environment), database.looking():
            now_settings = database.settings_now(door_of(context.run))
            repository = wiring.open_repository(now_settings, create=False)
            partition = (
                context.partition_key
                if context.has_partition_key
                else newest_partition(repository, tier, calendar, database.now())
            )
            if partition is None:
                context.log.info(f"There is no {tier.value} backup yet: nothing to ask about.")
                return
            answers = assess(
                repository,
                tier,
                partition,
                wanted,
                demands_of(now_settings, context.run),
                clock=database.now,
                progress=LoggedProgress(context.log),
            )
            answered_at = database.now()
        for name, answer in answers.items():
            if context.has_partition_key:
                yield dg.AssetCheckResult(**_said(key, name, answer, answered_at))
            else:
                evaluation = evaluation_of(key, name, partition, answer, answered_at)
                report_evaluation(context.instance, evaluation, context.run)

    return checks


def newest_partition(repository: Repository, tier: Tier, calendar: Calendar, now: datetime) -> str | None:
    """The newest partition with a backup: what is meant by a run without a partition. None while the tier has none.

    The button that executes all checks of an asset starts such runs, and so does the hourly schedule. Raises
    RecoveryError when no tier has a backup.
    """
    catalog = load_catalog(repository)
    if not catalog.labels:
        raise RecoveryError(f"there is no {tier.value} backup yet", "materialize a partition first")
    return catalog.newest_partition(tier, calendar, now)


def evaluation_of(
    key: dg.AssetKey, name: str, partition: str, answer: CheckAnswer, answered_at: datetime
) -> dg.AssetCheckEvaluation:
    """An answer reported beside the run: Dagster takes no result of a partitioned check from a run without one."""
    return dg.AssetCheckEvaluation(partition=partition, **_said(key, name, answer, answered_at))


def _said(key: dg.AssetKey, name: str, answer: CheckAnswer, answered_at: datetime) -> dict[str, Any]:
    """An answer, in Dagster's words."""
    return {
        "check_name": name,
        "asset_key": key,
        "passed": answer.passed,
        "severity": SEVERITIES[answer.level],
        "description": answer.text(),
        "metadata": {**answer.figures, ANSWERED_AT: to_text(answered_at)},
    }


def demands_of(settings: Settings, run: dg.DagsterRun) -> Demands:
    """What the settings ask of backups, in a run that may ask for a younger verification (:data:`VERIFIED_TAG`)."""
    within = float(run.tags.get(VERIFIED_TAG, settings.verify_interval_seconds))
    return Demands(
        thresholds=wiring.health_terms(settings).thresholds,
        installations=wiring.installations(settings),
        timeout_seconds=settings.timeout_seconds,
        verify_interval_seconds=min(within, settings.verify_interval_seconds),
    )
