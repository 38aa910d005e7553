"""The sensor ``needed_base_backups``: WAL without a base backup before it recovers nothing, so one is taken at once."""

from __future__ import annotations

import dagster as dg

from recyclic_backups import wiring
from recyclic_backups.archive.archive import WalArchive, servers_in
from recyclic_backups.archive.documents import read_gaps, read_position
from recyclic_backups.base_backup.catalog import load_base_backups
from recyclic_backups.base_backup.due import why_due
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.defs.automation import Job, sensor_that
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.runs import is_in_work
from recyclic_backups.defs.wal.assets import BASE
from recyclic_backups.errors import StorageMissing


def needed_base_backups_sensor(database: Database, job: Job) -> dg.SensorDefinition:
    """The sensor; ``job`` is that of base backups."""
    return sensor_that(
        look,
        database,
        "needed_base_backups",
        jobs=[job],
        interval_seconds=300,
        description="Starts base_backup_job when WAL is received and there is no verified base backup to replay it "
        "from: at the beginning, and after WAL was lost. Once an hour at most.",
    )


def look(context: dg.SensorEvaluationContext, database: Database) -> dg.SensorResult:
    """One evaluation. Raises ConfigurationError, StorageError or DamagedData when there is no knowing."""
    settings = database.settings_now()

    def skipped(why: str) -> dg.SensorResult:
        return dg.SensorResult(skip_reason=dg.SkipReason(why), cursor=context.cursor)

    try:
        repository = wiring.open_repository(settings, create=False)
    except StorageMissing as error:
        # The sensors alerts and missed_backups make it where there was none, and tell that it is gone where one was.
        return skipped(f"{error.message}: {error.hint}.")
    archive = _archive_of(repository)
    if archive is None or read_position(archive) is None:
        return skipped("No WAL of this database's server is archived yet: start `wal receive`.")
    bases = load_base_backups(archive)
    if not bases.is_checked:
        return skipped("No key of the storage is at hand: whether there is a base backup cannot be told.")
    reason = why_due(bases.bases, read_gaps(archive))
    if not reason:
        return skipped("There is a verified base backup, and no WAL was lost since.")
    if is_in_work(context.instance, database, BASE):
        return skipped(f"A base backup is being taken: {reason}.")
    context.log.warning(f"{reason}: taking a base backup")
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=f"needed_base_backups {database.now():%Y-%m-%dT%H}")],
        cursor=context.cursor,
    )


def _archive_of(repository: Repository) -> WalArchive | None:
    """The WAL of the server that the newest backup is of; without a backup, of the only server there is."""
    found = servers_in(repository)
    named = [backup.manifest.server.system_identifier for backup in load_catalog(repository)][:1]
    chosen = [each for each in found if each in named] if named else found
    return WalArchive(repository, chosen[0]) if len(chosen) == 1 else None
