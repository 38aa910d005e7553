"""One database as it was at a moment, as a backup of its own: recovered on a throwaway server, and dumped there.

From that backup everything goes on as from any other: a restore beside, which is compared, or a merge into live tables.
It lies in a storage that is gone afterwards, sealed with a key that nobody keeps.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.actor import Actor
from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.dump.streams import DumpOptions
from recyclic_backups.dump.take import BackupRequest, take
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.envelope.passphrase import generate_passphrase
from recyclic_backups.errors import RecoveryError
from recyclic_backups.postgres.names import qualified_name
from recyclic_backups.progress import SILENT, Progress, timed
from recyclic_backups.recovery.cluster import Reached, RecoveredCluster
from recyclic_backups.recovery.feed import Source
from recyclic_backups.recovery.into_scratch import recovered
from recyclic_backups.recovery.plan import Plan
from recyclic_backups.storage.local import LocalStore

_UNLOGGED = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.relpersistence OPERATOR(pg_catalog.=) 'u' AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}')
ORDER BY 1, 2
"""
_THERE = "SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) %s)"


@dataclass(frozen=True, slots=True)
class AsBackup:
    """The backup and its storage. ``unlogged`` tables have no rows in it: WAL does not have them."""

    repository: Repository
    backup: Backup
    reached: Reached
    unlogged: tuple[str, ...]
    phases: dict[str, float]


@contextmanager
def database_at(
    source: Source,
    plan: Plan,
    database: str,
    scratch: Path,
    options: DumpOptions,
    calendar: Calendar,
    *,
    actor: Actor,
    now: datetime,
    progress: Progress = SILENT,
) -> Iterator[AsBackup]:
    """The database as the plan's target has it, as a backup, for the length of the block.

    Raises RecoveryError where it was not there at that moment, and as :func:`recovered` and :func:`take`.
    """
    with tempfile.TemporaryDirectory(
        prefix="recyclic-", dir=scratch, ignore_cleanup_errors=True
    ) as directory:
        store = LocalStore.open(Path(directory) / "storage", create=True)
        keyring = Keyring(store, generate_passphrase())
        repository = Repository(store, database, keyring, encrypt=True, actor=actor)
        with recovered(source, plan, options.installations, scratch, progress=progress) as cluster:
            require_there(cluster, database, plan)
            unlogged = unlogged_tables(cluster, database)
            assert cluster.reached is not None
            reached = cluster.reached
            # Not the clock's: it is of the moment that was asked for.
            at = plan.at or reached.last_commit_at or now
            with timed(cluster.phases, "dump"):
                manifest = take(
                    cluster.server,
                    repository,
                    BackupRequest(Tier.DAILY, calendar.partition_of(Tier.DAILY, at), source="reconstructed"),
                    calendar,
                    replace(options, find_replay_point=False, rate_limit_bytes=None),
                    clock=lambda: at,
                    progress=progress,
                )
            phases = dict(cluster.phases)
        backup = load_catalog(repository).find(manifest.backup_id)
        yield AsBackup(repository, backup, reached, unlogged, phases)


def require_there(cluster: RecoveredCluster, database: str, plan: Plan) -> None:
    """Raises RecoveryError where there is no such database."""
    with cluster.connected() as connection:
        if connection.execute(_THERE, (database,)).fetchone() != (True,):
            raise RecoveryError(
                f"there was no database {database!r} at {plan.target.text}",
                "recover --look shows when a database was dropped",
            )


def unlogged_tables(cluster: RecoveredCluster, database: str) -> tuple[str, ...]:
    """Its unlogged tables, by qualified name: WAL does not have their rows."""
    with cluster.server.connect(database) as connection:
        return tuple(qualified_name(*row) for row in connection.execute(_UNLOGGED))


def tables_without_rows(wanted: Sequence[str], unlogged: Sequence[str]) -> list[str]:
    """Which of the tables are unlogged: what a recovery has of them is nothing, and nothing must come of it."""
    return sorted(set(wanted) & set(unlogged))
