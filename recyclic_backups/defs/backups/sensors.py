"""The sensor ``missed_backups``: starts what is due and missing, lists what only a person can decide about.

Dagster keeps but the last tick that its scheduler missed, and forgets everything with its database. So the
storage is asked, every minute; what to do about its answer is decided in :mod:`recyclic_backups.health.gaps`.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.config.settings import Settings
from recyclic_backups.defs.automation import Job, cursor_of, remembered, sensor_that
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.runs import partitions_in_work
from recyclic_backups.errors import StorageError
from recyclic_backups.flags.flags import FILL_GAPS
from recyclic_backups.flags.store import flags_in_force
from recyclic_backups.health.gaps import (
    Gap,
    Remedy,
    Start,
    Stretch,
    before_the_first,
    due,
    missing_partitions,
    stretches,
)
from recyclic_backups.storage.shared import ask_anew

_LISTED = 20
"""Stretches that are listed one by one: a longer list is not read."""


def missed_backups_sensor(database: Database, jobs: Sequence[Job]) -> dg.SensorDefinition:
    """The sensor. ``jobs`` are those of the tiers."""
    return sensor_that(
        look,
        database,
        "missed_backups",
        jobs=jobs,
        description=(
            "Starts the backup that is due and missing, at most once an hour for each partition. Older partitions "
            "without a backup are listed with what fills them: a dump taken now is not of those days."
        ),
    )


def look(context: dg.SensorEvaluationContext, database: Database) -> dg.SensorResult:
    """One evaluation. Raises BackupError when the storage cannot be read, or has lost every backup it had."""
    settings = database.settings_now()
    before = remembered(context.cursor)
    known = before.get("storage") == settings.storage_url and before.get("had_backups") is True
    # A storage that has never held anything is made here, as the backup itself would make it.
    repository = wiring.open_repository(settings, create=not known)
    catalog = load_catalog(repository)
    filling = flags_in_force(repository).is_on(FILL_GAPS)
    if filling and due(catalog, settings.calendar, database.now()):
        ask_anew()  # the run that was due may have ended a moment ago
        catalog = load_catalog(repository)
    require_backups(len(catalog), known, settings)

    now, calendar = database.now(), settings.calendar
    earlier, since = before_the_first(missing_partitions(catalog, calendar, now), catalog, calendar)
    older = stretches(since, calendar)
    missing = [line_of(each, database) for each in older[:_LISTED]]
    if len(older) > _LISTED:
        missing.append(f"… and {len(older) - _LISTED} more")
    lines = [*missing, *([line_before_the_first(earlier, calendar)] if earlier else ())]

    cursor = cursor_of(storage=settings.storage_url, had_backups=len(catalog) > 0, missing=missing)
    if missing != before.get("missing") and lines:
        context.log.warning("Partitions without a good backup:\n" + "\n".join(lines))
    requests = [
        request
        for start in (due(catalog, calendar, now) if filling else ())
        if (request := request_for(start, context, database)) is not None
    ]
    if requests:
        return dg.SensorResult(run_requests=requests, cursor=cursor)
    idle = [] if filling else ["The flag fill_gaps is off: nothing is started by itself."]
    said = [*idle, "Nothing to start." if lines else "Nothing to start, and nothing is missing."]
    said += lines
    return dg.SensorResult(skip_reason=dg.SkipReason("\n".join(said)), cursor=cursor)


def require_backups(count: int, known: bool, settings: Settings) -> None:
    """Raises StorageError if a storage that held backups a minute ago holds none: it is not the same disk."""
    if known and count == 0:
        raise StorageError(
            f"{settings.storage_url} held backups of {settings.database} a moment ago and holds none now",
            "see that its disk is mounted; if it was emptied on purpose, take a backup: recyclic-backups backup",
        )


def request_for(
    start: Start, context: dg.SensorEvaluationContext, database: Database
) -> dg.RunRequest | None:
    """The run that fills the partition; None while another one is at it.

    The run key changes every hour: Dagster starts each only once, whatever became of it.
    """
    if start.partition in partitions_in_work(context.instance, database, f"{start.tier.value}_backup"):
        return None
    return dg.RunRequest(
        run_key=f"{start.tier.value}/{start.partition}/{start.attempt}",
        job_name=database.named(f"{start.tier.value}_backup_job"),
        partition_key=start.partition,
    )


def line_of(stretch: Stretch, database: Database) -> str:
    """What is missing and what to do about it, in one line."""
    job = database.named(f"{stretch.tier.value}_backup_job")
    if stretch.remedy is Remedy.NOTHING:
        return f"{_span(stretch)}: no good backup is of that time any more, nothing can fill it"
    command = (
        f"dagster job backfill -w workspace.yaml -l recyclic_backups -j {job} "
        f"--from {stretch.first} --to {stretch.last} --noprompt"
    )
    late = "with one dump taken now, marked late"
    if database.settings.wal_archive:
        late = f"from WAL as the database was then, or, where that does not reach, {late}"
    effect = (
        late
        if stretch.remedy is Remedy.LATE_DUMP
        else "with the label of a good backup of that time, without a dump"
    )
    return f"{_span(stretch)}: filled {effect} by: {command}"


def _span(stretch: Stretch) -> str:
    if stretch.count == 1:
        return f"{stretch.tier.value} {stretch.first}"
    return f"{stretch.tier.value} {stretch.first} to {stretch.last} ({stretch.count})"


def line_before_the_first(gaps: Sequence[Gap], calendar: Calendar) -> str:
    """One line about everything between the configured start and the first backup."""
    counts = {tier: sum(gap.tier is tier for gap in gaps) for tier in Tier}
    said = ", ".join(f"{count} {tier.value}" for tier, count in counts.items() if count)
    return (
        f"{said}: between BACKUP_START_DATE ({calendar.start}) and the first backup; with a later date these are no "
        "longer asked for"
    )
