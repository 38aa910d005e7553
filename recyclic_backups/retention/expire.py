"""Carry out an expiry plan. Nothing here needs Dagster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from recyclic_backups import rescue
from recyclic_backups.audit.log import prune
from recyclic_backups.backup_calendar import Calendar
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.dump.facts import read_system_identifier
from recyclic_backups.dump.sweep import sweep
from recyclic_backups.errors import DatabaseError, Refused, StorageError
from recyclic_backups.postgres.lock import exclusive
from recyclic_backups.postgres.server import Server
from recyclic_backups.progress import SILENT, Progress
from recyclic_backups.retention.authenticity import trusted
from recyclic_backups.retention.deletion import Deletions, Removal
from recyclic_backups.retention.policy import Action, Decision, ExpiryPlan, Retention, plan
from recyclic_backups.retention.wal_expire import ServerExpiry, expire_servers, plan_servers, servers_of
from recyclic_backups.texts.text import say

# An event and a tombstone, each a few blocks of a file system; what is deleted after them frees more than they take.
_ROOM_BYTES = 32 << 10


@dataclass(frozen=True, slots=True)
class ExpiryReport:
    """What a run did. ``spared`` were held while it ran; ``swept`` are orphans of killed backups and old tombstones.

    ``servers`` are the base backups and the WAL of the database's servers.
    """

    plan: ExpiryPlan
    removed: tuple[Removal, ...]
    spared: tuple[str, ...]
    swept: tuple[str, ...]
    servers: tuple[ServerExpiry, ...] = ()

    @property
    def freed_bytes(self) -> int:
        """What all removals freed."""
        of_servers = sum(each.freed_bytes for each in self.servers)
        return of_servers + sum(removal.freed_bytes for removal in self.removed)

    def to_json(self) -> list[dict[str, Any]]:
        """For reports: ``[{backup_id, action, reasons, freed_bytes}]``."""
        freed = {removal.backup_id: removal.freed_bytes for removal in self.removed}
        planned = [
            {**entry, "freed_bytes": freed.get(entry["backup_id"], 0)} for entry in self.plan.to_json()
        ]
        for entry in planned:
            if entry["backup_id"] in self.spared:
                entry |= {"action": "keep", "reasons": ["held while this ran"]}
        known = {entry["backup_id"] for entry in planned}
        resumed = [
            {
                "backup_id": removal.backup_id,
                "action": "expire",
                "reasons": [reason.text() for reason in removal.reasons],
                "freed_bytes": removal.freed_bytes,
            }
            for removal in self.removed
            if removal.backup_id not in known
        ]
        return planned + resumed


def plan_expiry(
    repository: Repository, retention: Retention, calendar: Calendar, now: datetime
) -> ExpiryPlan:
    """What :func:`expire` would do now, deletions that have begun included, from documents that can be believed.

    Changes nothing. Raises DamagedData (40), NoUsableKey (41), StorageError (30).
    """
    return _planned(trusted(load_catalog(repository)), repository, retention, calendar, now)


def plan_with_wal(
    repository: Repository, retention: Retention, calendar: Calendar, now: datetime
) -> tuple[ExpiryPlan, list[ServerExpiry]]:
    """The same, and what :func:`expire` would do to the base backups and the WAL of the database's servers."""
    catalog = trusted(load_catalog(repository))
    servers = plan_servers(repository, servers_of(repository, catalog, None), retention.base, now)
    return _planned(catalog, repository, retention, calendar, now), servers


def _planned(
    catalog: Catalog, repository: Repository, retention: Retention, calendar: Calendar, now: datetime
) -> ExpiryPlan:
    decided = plan(catalog, retention, calendar, now)
    begun = tuple(
        Decision(backup_id, Action.EXPIRE, (say("retention.deletion_resumed"),))
        for backup_id in Deletions(repository, now, lambda: None, [], []).unfinished(catalog)
    )
    return replace(decided, decisions=(*decided.decisions, *begun))


def freed_by(repository: Repository, found: ExpiryPlan) -> int:
    """The bytes that carrying the plan out would free: all that lies there, as a deletion counts it.

    Of a small backup the documents (manifest, checks) are a good part, and no manifest knows their sizes. Raises
    StorageError.
    """
    folders = (repository.layout.backup(each.backup_id) for each in found.expiring)
    return sum(item.size_bytes for folder in folders for item in repository.store.list(f"{folder}/"))


def plan_unsigned(repository: Repository, now: datetime) -> ExpiryPlan:
    """What ``expire`` with ``unsigned`` would do now: let the backups go that carry no MAC where one is asked for.

    No rule ever takes those, so that nothing a stranger wrote decides what is deleted; but a person may, or they could
    never go. Those of another storage are not among them. Changes nothing. Raises StorageError.
    """
    return _unsigned(load_catalog(repository), now)


def _unsigned(catalog: Catalog, now: datetime) -> ExpiryPlan:
    unsigned = [backup for backup in catalog.unvouched if backup.standing is Standing.UNSIGNED]
    return ExpiryPlan(
        tuple(
            Decision(backup.backup_id, Action.KEEP, (say("retention.kept_by_hold"),), backup)
            if backup.is_held(now)
            else Decision(backup.backup_id, Action.EXPIRE, (say("retention.unsigned"),), backup)
            for backup in unsigned
        )
    )


def _expire_unsigned(repository: Repository, work: Deletions, progress: Progress) -> ExpiryReport:
    catalog = load_catalog(repository)
    if not catalog.is_checked or catalog.newest_good() is None:
        raise Refused(
            "nothing that is not signed is deleted while there is no verified backup that is signed",
            "take one first: recyclic-backups backup",
        )
    decided = _unsigned(catalog, work.now)
    for decision in reversed(decided.expiring):
        if decision.backup is not None:
            progress.stage(f"deleting {decision.backup_id}")
            with _room(repository):
                work.remove(decision.backup, decision.reasons)
    return ExpiryReport(decided, tuple(work.removed), tuple(work.spared), ())


def expire_under_lock(
    server: Server,
    repository: Repository,
    retention: Retention,
    calendar: Calendar,
    *,
    clock: Callable[[], datetime],
    lock_wait_seconds: float,
    unsigned: bool = False,
    progress: Progress = SILENT,
) -> ExpiryReport:
    """:func:`expire` under the lock of the server that backups hold too: none is being promoted meanwhile.

    Raises Refused (70) when the server does not answer, since somebody else may be backing it up or restoring it at
    this moment and old backups are worth most then; and when the lock stays busy. Otherwise as :func:`expire`.
    """
    with ExitStack() as stack:
        progress.stage("waiting for backups")
        try:
            lock = stack.enter_context(
                exclusive(server, repository.database, "backup", wait_seconds=lock_wait_seconds)
            )
            connection = stack.enter_context(server.connect(repository.database))
            system_identifier = read_system_identifier(connection)
        except DatabaseError as error:
            raise Refused(
                f"nothing expires while the database cannot be reached: {error.message}",
                "once it is gone for good: recyclic-backups expire --yes --without-database",
                retryable=error.retryable,
            ) from None
        return expire(
            repository,
            retention,
            calendar,
            now=clock(),
            system_identifier=system_identifier,
            unsigned=unsigned,
            check_lock=lock.require,
            progress=progress,
        )


def expire(
    repository: Repository,
    retention: Retention,
    calendar: Calendar,
    *,
    now: datetime,
    system_identifier: str | None = None,
    unsigned: bool = False,
    check_lock: Callable[[], None] = lambda: None,
    progress: Progress = SILENT,
) -> ExpiryReport:
    """Finish deletions that had begun, sweep orphans, then delete what the plan of this moment lets go.

    Base backups and WAL of the database's servers are the last (:mod:`recyclic_backups.retention.wal_expire`).

    The caller sees to it that no backup runs meanwhile (:func:`expire_under_lock`); ``check_lock`` raises once that is
    not true any more. ``system_identifier`` is the locked server's, None without one.

    Raises DamagedData (40) or NoUsableKey (41) before anything is deleted when documents cannot be believed;
    StorageError (30) when the storage refuses: what was begun then is finished by the next run.

    With ``unsigned`` what :func:`plan_unsigned` says is done, and nothing else.
    """
    if unsigned:
        return _expire_unsigned(repository, Deletions(repository, now, check_lock, [], []), progress)
    catalog = trusted(load_catalog(repository))
    decided = plan(catalog, retention, calendar, now)
    work = Deletions(repository, now, check_lock, [], [])
    progress.stage("finishing deletions")
    for backup_id in work.unfinished(catalog):
        work.finish(backup_id, catalog)
    progress.stage("sweeping")
    check_lock()
    # First what is no backup, and needs no announcement.
    swept = list(sweep(repository, system_identifier, now))
    if decided.steady:
        swept += work.sweep_tombstones(catalog, retention)
    for decision in reversed(decided.expiring):  # oldest first
        if decision.backup is not None:
            progress.stage(f"deleting {decision.backup_id}")
            with _room(repository):
                work.remove(decision.backup, decision.reasons)
    servers = expire_servers(
        repository,
        servers_of(repository, catalog, system_identifier),
        retention.base,
        now=now,
        check_lock=check_lock,
        progress=progress,
    )
    if decided.steady:
        prune(repository, now)
    return ExpiryReport(decided, tuple(work.removed), tuple(work.spared), tuple(swept), tuple(servers))


@contextmanager
def _room(repository: Repository) -> Iterator[None]:
    """On a full disk, room for announcing one deletion: what can be made anew at any time goes before it.

    The page, which is written every hour; if that is not enough the script of the rescue, which is put back after it.
    """
    store = repository.store

    def is_full() -> bool:
        free_bytes = store.free_bytes()
        return free_bytes is not None and free_bytes < _ROOM_BYTES

    if is_full():
        store.delete(repository.layout.report)
    if not is_full():
        yield
        return
    store.delete(rescue.SCRIPT)
    try:
        yield
    except BaseException as error:
        try:
            rescue.install(store)
        except StorageError as unwritten:
            error.add_note(f"{rescue.SCRIPT} could not be put back: {unwritten.message}")
        raise
    rescue.install(store)
