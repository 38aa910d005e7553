"""Take a base backup of the server and verify it: what the schedule and the command line both ask for.

Full once a week, incremental in between where the server can (PostgreSQL 17 with ``summarize_wal``). The lock of the
server makes it one at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.documents import believed_gaps, believed_position
from recyclic_backups.archive.proof import asking_for, opened_with_proof, require_proof
from recyclic_backups.audit.log import Entry, audited
from recyclic_backups.base_backup.catalog import BaseBackup, BaseBackups, load_base_backups
from recyclic_backups.base_backup.chain import chain_of
from recyclic_backups.base_backup.due import why_due
from recyclic_backups.base_backup.manifest import BaseManifest
from recyclic_backups.base_backup.sweep import sweep
from recyclic_backups.base_backup.take import BaseBackupTerms, IncrementalImpossible, ServerFacts, take
from recyclic_backups.base_backup.verify import verify
from recyclic_backups.base_backup.wal_reach import wait_for_wal
from recyclic_backups.catalog.catalog import is_of_the_future, newest_good
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.errors import DamagedData, DatabaseError, Refused
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.lock import HeldLock, exclusive
from recyclic_backups.postgres.opening import NEUTRAL_DATABASE
from recyclic_backups.postgres.replication import Identity, Replication
from recyclic_backups.postgres.server import Server, translated
from recyclic_backups.postgres.slots import commit_something
from recyclic_backups.progress import SILENT, Progress
from recyclic_backups.storage.room import require_room

Wish = Literal["full", "incremental"]

APPLICATION_NAME = "recyclic_backups_base"

FULL_AFTER = timedelta(days=6, hours=12)
"""A full base backup is due when the newest is older than this: once a week, a little early or late."""

_FIRST_INCREMENTAL = 170000


@dataclass(frozen=True, slots=True)
class BasedUp:
    """A verified base backup; ``notes`` are sentences about it. ``fresh`` is False where one was there already."""

    base: BaseBackup
    notes: tuple[str, ...] = ()
    fresh: bool = True


def back_up_server(
    server: Server,
    repository: Repository,
    wish: Wish | None,
    terms: BaseBackupTerms,
    *,
    clock: Callable[[], datetime],
    progress: Progress = SILENT,
    enough_since: datetime | None = None,
) -> BasedUp:
    """Take a base backup of the whole server, and verify it.

    Without a ``wish`` it is full where none is younger than a week, else incremental if that is possible. A verified
    one that was begun after ``enough_since``, by another run that we waited for, is enough.

    Raises Refused where an incremental one was wished for and is not possible, where the lock is busy, there is no
    space, or the archive's WAL is another server's; ArchiveError where the WAL does not come; DatabaseError,
    DamagedData, NoUsableKey, StorageError.
    """
    progress.stage("waiting for other base backups")
    with (
        audited(repository, "base backup", clock) as entry,
        exclusive(server, NEUTRAL_DATABASE, "base backup", wait_seconds=terms.lock_wait_seconds) as lock,
    ):
        # What is waited for has to come after the slot's beginning, and on an idle server nothing comes.
        with translated(lock.subject):
            commit_something(lock.connection)
        with opened_with_proof(server, APPLICATION_NAME) as (replication, proof):
            identity = replication.identify()
            archive = WalArchive(repository, identity.system_identifier)
            # Its WAL is compared with the archive's, and where a checkpoint lies is no secret.
            position = believed_position(archive)
            require_proof(position, proof, server)
            archive = archive.of("" if position is None else position.archive_id)
            facts = _facts(lock.connection, identity, replication)
        run = _Run(asking_for(server, proof), archive, facts, terms, clock, progress, lock, entry)
        there = run.enough(enough_since)
        if there is not None:
            entry.backup_id = there.base_id
            entry.outcome = "kept"
            return BasedUp(there, fresh=False)
        run.require_receiver(identity)
        sweep(archive, clock())
        return run.based_up(wish)


@dataclass(frozen=True, slots=True)
class _Run:
    """One base backup, under the lock."""

    server: Server
    archive: WalArchive
    facts: ServerFacts
    terms: BaseBackupTerms
    clock: Callable[[], datetime]
    progress: Progress
    lock: HeldLock
    entry: Entry

    def enough(self, since: datetime | None) -> BaseBackup | None:
        """The newest verified one, if it was begun since then, and no WAL was lost after it."""
        if since is None:
            return None
        bases, now = load_base_backups(self.archive).bases, self.clock()
        newest = newest_good(bases, now)
        is_enough = (
            newest is not None
            and newest.as_of >= since
            and not why_due(bases, believed_gaps(self.archive), now)
        )
        return newest if is_enough else None

    def require_receiver(self, identity: Identity) -> None:
        """Nothing is copied while the WAL of now does not come into the archive. Raises ArchiveError, StorageError."""
        self.progress.stage("waiting for the WAL of now in the archive")
        wait_for_wal(
            self.archive,
            identity.timeline,
            max(0, identity.flushed_lsn - 1),
            identity.flushed_lsn,
            self.facts.segment_bytes,
            patience_seconds=self.terms.wal_patience_seconds,
            check=self.lock.require,
        )

    def based_up(self, wish: Wish | None) -> BasedUp:
        """Take, verify."""
        found = load_base_backups(self.archive)
        newest = next((each.manifest for each in found.bases if not each.manifest.is_incremental), None)
        require_room(
            self.archive.repository.store,
            None if newest is None else newest.stored_bytes,
            what="a base backup",
            settings="RETENTION_BASE",
        )
        manifest, notes = self.taken(found, wish)
        self.entry.backup_id = manifest.base_id
        # As the storage gives it back: what was stored wrong must not be found out in the night it is needed.
        verification = verify(
            self.archive,
            load_base_backups(self.archive).find(manifest.base_id, self.clock()),
            clock=self.clock,
            progress=self.progress,
        )
        if isinstance(verification.error, DamagedData):
            raise DamagedData(
                f"the base backup {manifest.base_id} was stored but does not verify: {verification.error.message}",
                "no recovery starts from it; check the storage and take another",
            )
        if verification.error is not None:
            raise verification.error
        if not manifest.data_checksums:
            notes.append("the server has no data checksums: damaged pages are copied as they are")
        base = load_base_backups(self.archive).find(manifest.base_id, self.clock())
        return BasedUp(base, tuple(notes))

    def taken(self, found: BaseBackups, wish: Wish | None) -> tuple[BaseManifest, list[str]]:
        """Take one, incremental if wished for or due, and possible; sentences say why it is not."""
        parent, why_not = self.parent(found, wish)
        if parent is not None:
            try:
                return self.take(parent), []
            except IncrementalImpossible as error:
                why_not = error.message
        if wish == "incremental":
            raise Refused(
                f"no incremental base backup can be taken: {why_not}",
                "take a full one: recyclic-backups base-backup --full",
            )
        return self.take(None), [f"a full one: {why_not}"] if why_not else []

    def take(self, parent: BaseManifest | None) -> BaseManifest:
        """Take one over a session of its own."""
        # One that was refused an incremental one has no way back.
        with Replication.open(self.server, APPLICATION_NAME) as replication:
            self.require_same_server(replication)
            return take(
                replication,
                self.archive,
                self.facts,
                parent,
                self.terms,
                self.archive.repository.key_for_backups(self.clock()),
                clock=self.clock,
                progress=self.progress,
                check_lock=self.lock.require,
            )

    def require_same_server(self, replication: Replication) -> None:
        """Somebody may have put another server behind the same address since. Raises Refused."""
        now = replication.identify().system_identifier
        if now != self.facts.system_identifier:
            raise Refused(
                f"server {self.facts.system_identifier} answered a moment ago, and {now} does now",
                "see who listens at that address",
            )

    def parent(self, found: BaseBackups, wish: Wish | None) -> tuple[BaseManifest | None, str]:
        """What an incremental base backup can build on; or None, and why not, empty where a full one is due."""
        if wish == "full":
            return None, ""
        if self.facts.server_version < _FIRST_INCREMENTAL:
            # Nothing to say where nobody asked: that is how it is.
            return None, "" if wish is None else "PostgreSQL 17 is the first version that can"
        if not _summarizes(self.lock.connection):
            hint = "ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf();"
            return None, f"summarize_wal is off on the server; to have incremental ones: {hint}"
        manifests = found.by_id
        good = {each.base_id for each in found.bases if each.good}
        for base in found.bases:
            if not base.good:
                continue
            try:
                chain = chain_of(manifests, base.base_id)
            except DamagedData:
                continue
            if not good.issuperset(each.base_id for each in chain):
                continue
            if wish is None and not _is_young(chain[0].as_of, self.clock()):
                return None, ""
            return base.manifest, ""
        return (
            None,
            "" if wish is None and not found.bases else "there is no verified base backup to build on",
        )


def _is_young(root_at: datetime, now: datetime) -> bool:
    return not is_of_the_future(root_at, now) and now - root_at <= FULL_AFTER


def _facts(connection: Connection, identity: Identity, replication: Replication) -> ServerFacts:
    """What the manifest says of the server. Raises DatabaseError."""
    row = connection.execute(
        # 10 is BOOTSTRAP_SUPERUSERID (src/include/catalog/pg_authid.dat)
        "SELECT pg_catalog.current_setting('server_version_num')::int, "
        "pg_catalog.current_setting('data_checksums')::bool, "
        "(SELECT rolname FROM pg_catalog.pg_roles WHERE oid = 10)"
    ).fetchone()
    if row is None:
        raise DatabaseError("the server answers a question about itself with nothing")
    version, data_checksums, superuser = row
    return ServerFacts(
        identity.system_identifier, version, replication.segment_bytes(), superuser, data_checksums
    )


def _summarizes(connection: Connection) -> bool:
    row = connection.execute("SELECT pg_catalog.current_setting('summarize_wal', true)").fetchone()
    return row is not None and row[0] == "on"
