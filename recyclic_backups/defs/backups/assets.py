"""The assets: one per tier, each partition a verified backup in the storage."""

# Without the future import of annotations: Dagster compares the context's annotation with its classes.

from datetime import UTC, datetime
from functools import partial

import dagster as dg

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.manifest import Source
from recyclic_backups.catalog.strangers import tell_strangers
from recyclic_backups.defs.backups.metadata import metadata_of
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.partitions import days_of_the_period, partitions_of
from recyclic_backups.defs.runs import (
    BACKFILL_TAG,
    OWNERS,
    LoggedProgress,
    dagster_errors,
    door_of,
    will_retry,
)
from recyclic_backups.dump.back_up import back_up
from recyclic_backups.dump.take import BackupRequest
from recyclic_backups.notify.heartbeat import heartbeat
from recyclic_backups.postgres.process import lower_priority

GROUP = "backups"
_REGULAR_TAGS = ("dagster/schedule_name", "dagster/sensor_name")

_DESCRIPTIONS = {
    Tier.DAILY: """The database as it was on that day.

**Where does it come from?** `pg_dump` inside one snapshot, compressed, encrypted if so configured, read again
from the storage and only then counted. It runs every night; a run by hand replaces the day's backup only
once the new one has been verified.

**What if a day was missed?** Its partition is empty. {missed}""",
    Tier.WEEKLY: """The database as it was on that week's Sunday (the partition is named by its Monday).

**Is it another dump?** No: it is another label on the Sunday's daily backup, or on the nearest good one of the same
week, and then it says why. Only a running week without any backup takes a dump of its own.""",
    Tier.MONTHLY: """The database as it was on the first of that month.

**Is it another dump?** No: it is another label on the first day's backup, or on the nearest good one of the same
month, and then it says why. Only a running month without any backup takes a dump of its own.""",
}

_MISSED = """A backfill fills it with a dump taken now and says `late`:
nobody can dump the past."""
_MISSED_WITH_WAL = """A backfill rebuilds it from WAL: the server is recovered to the
moment at which that backup was due, on a throwaway server, and dumped there. `source` says `reconstructed`. Where WAL
does not reach, it is filled with a dump taken now, and says `late`."""


def backup_asset(database: Database, tier: Tier) -> dg.AssetsDefinition:
    """The asset of one tier. The settings shape it; those of the run that makes a partition are read then."""
    settings = database.settings
    deps = (
        []
        if tier is Tier.DAILY
        else [dg.AssetDep(database.backup_key(Tier.DAILY), partition_mapping=days_of_the_period())]
    )

    @dg.asset(
        key=database.backup_key(tier),
        description=_DESCRIPTIONS[tier].format(missed=_MISSED_WITH_WAL if settings.wal_archive else _MISSED)
        + database.report_note,
        partitions_def=partitions_of(settings.calendar, tier),
        deps=deps,
        group_name=GROUP,
        kinds={"postgres"},
        owners=OWNERS,
        tags={"environment": settings.environment, "tier": tier.value},
        pool=database.pool,
    )
    def backup(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        with dagster_errors(context, database.environment):
            now_settings = database.settings_now(door_of(context.run))
            lower_priority()
            # One launched from the asset's page is of no job of ours, and has none of its tags.
            tag = partial(context.instance.add_run_tags, context.run.run_id)
            tag({"tier": tier.value, **database.tags})
            with heartbeat(
                wiring.heartbeat_for(now_settings, tier, context.partition_key, database.now()),
                context.log.warning,
                will_retry=partial(will_retry, context),
                doubt=wiring.heartbeat_doubt(now_settings, database.now),
            ):
                repository = wiring.open_repository(now_settings)
                tell_strangers(repository.store, context.log.warning)
                done = back_up(
                    now_settings.server,
                    repository,
                    BackupRequest(tier, context.partition_key, source_of(context.run)),
                    wiring.backup_plan(now_settings),
                    clock=database.now,
                    progress=LoggedProgress(context.log),
                    reuse_since=backfill_began_at(context.instance, context.run),
                )
            tag({"backup_id": done.backup.backup_id, "late": str(done.label.late).lower()})
        return dg.MaterializeResult(
            metadata=metadata_of(done, now_settings), data_version=dg.DataVersion(done.backup.backup_id)
        )

    return backup


def source_of(run: dg.DagsterRun) -> Source:
    """Who asked for the run, as the manifest remembers it. Whether a backup is late is never read from this."""
    if BACKFILL_TAG in run.tags:
        return "backfill"
    return "scheduled" if any(tag in run.tags for tag in _REGULAR_TAGS) else "manual"


def backfill_began_at(instance: dg.DagsterInstance, run: dg.DagsterRun) -> datetime | None:
    """When the run's backfill began, aware UTC; None when it belongs to none.

    Days missed for the same reason are as late with one dump as with seven: they share what was dumped since.
    """
    backfill_id = run.tags.get(BACKFILL_TAG)
    backfill = instance.get_backfill(backfill_id) if backfill_id else None
    return datetime.fromtimestamp(backfill.backfill_timestamp, UTC) if backfill else None
