"""Carry out an expiry plan: announce, delete, prove that nothing is left.

Invariant 1 in this order: tombstone (from then on the backup is not usable), labels, hold, manifest, objects, checks.
Whatever stops a deletion, the tombstone stays, and the next run finishes it. Nothing here needs Dagster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from recyclic_backups import rescue
from recyclic_backups.audit.log import append, prune
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Hold, Label, Tombstone
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.moments import to_text
from recyclic_backups.catalog.record import record_tombstone
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.dump.facts import read_system_identifier
from recyclic_backups.dump.sweep import ORPHAN_AGE, sweep
from recyclic_backups.envelope.document import decode
from recyclic_backups.errors import DamagedData, DatabaseError, ObjectMissing, Refused, StorageError
from recyclic_backups.postgres.lock import exclusive
from recyclic_backups.postgres.server import Server
from recyclic_backups.progress import SILENT, Progress
from recyclic_backups.retention.policy import ExpiryPlan, Retention, plan
from recyclic_backups.retention.trust import trusted
from recyclic_backups.retention.wording import Code, Sentence, say
from recyclic_backups.tiers import Calendar

# An event and a tombstone, each a few blocks of a file system; what is deleted after them frees more than they take.
_ROOM_BYTES = 32 << 10


@dataclass(frozen=True, slots=True)
class Removal:
    """A backup that is gone, as a listing of the storage showed. ``freed_bytes`` is what was listed before."""

    backup_id: str
    reasons: tuple[Sentence, ...]
    freed_bytes: int


@dataclass(frozen=True, slots=True)
class ExpiryReport:
    """What a run did. ``spared`` were held while it ran; ``swept`` are orphans of killed backups and old tombstones."""

    plan: ExpiryPlan
    removed: tuple[Removal, ...]
    spared: tuple[str, ...]
    swept: tuple[str, ...]

    @property
    def freed_bytes(self) -> int:
        """What all removals freed."""
        return sum(removal.freed_bytes for removal in self.removed)

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
    """What :func:`expire` would do now, from documents that can be believed. Changes nothing.

    Raises DamagedData (40), NoUsableKey (41), StorageError (30).
    """
    return plan(trusted(repository, load_catalog(repository)), retention, calendar, now)


def expire_alone(
    server: Server,
    repository: Repository,
    retention: Retention,
    calendar: Calendar,
    *,
    clock: Callable[[], datetime],
    lock_wait_seconds: float,
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
            still_alone=lock.require,
            progress=progress,
        )


def expire(
    repository: Repository,
    retention: Retention,
    calendar: Calendar,
    *,
    now: datetime,
    system_identifier: str | None = None,
    still_alone: Callable[[], None] = lambda: None,
    progress: Progress = SILENT,
) -> ExpiryReport:
    """Finish deletions that had begun, sweep orphans, then delete what the plan of this moment lets go.

    The caller sees to it that no backup runs meanwhile (:func:`expire_alone`); ``still_alone`` raises once that is
    not true any more. ``system_identifier`` is the locked server's, None without one.

    Raises DamagedData (40) or NoUsableKey (41) before anything is deleted when documents cannot be believed;
    StorageError (30) when the storage refuses: what was begun then is finished by the next run.
    """
    catalog = trusted(repository, load_catalog(repository))
    decided = plan(catalog, retention, calendar, now)
    work = _Work(repository, now, still_alone, [], [])
    progress.stage("finishing deletions")
    for backup_id in work.unfinished(catalog):
        work.finish(backup_id, catalog)
    progress.stage("sweeping")
    still_alone()
    # First what is no backup, and needs no announcement.
    swept = list(sweep(repository, system_identifier, now))
    if decided.steady:
        swept += work.sweep_tombstones(catalog, retention)
    for decision in reversed(decided.expiring):  # oldest first
        if decision.backup is not None:
            progress.stage(f"deleting {decision.backup_id}")
            with _room(repository):
                work.remove(decision.backup, decision.reasons)
    if decided.steady:
        prune(repository, now)
    return ExpiryReport(decided, tuple(work.removed), tuple(work.spared), tuple(swept))


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


@dataclass(frozen=True, slots=True)
class _Work:
    """Deletions, one backup after the other, and what came of them."""

    repository: Repository
    now: datetime
    still_alone: Callable[[], None]
    removed: list[Removal]
    spared: list[str]

    def remove(self, backup: Backup, reasons: tuple[Sentence, ...]) -> None:
        """Announce and delete one backup, unless somebody holds it meanwhile."""
        self.still_alone()
        if self.is_held(backup.backup_id):
            self.spared.append(backup.backup_id)
            return
        tombstone = Tombstone(
            backup_id=backup.backup_id,
            expired_at=self.now,
            as_of=backup.as_of,
            stored_bytes=backup.manifest.stored_bytes,
            reasons=tuple(reason.text() for reason in reasons),
            labels=backup.labels,
        )
        details = {"reasons": list(tombstone.reasons), "as_of": to_text(backup.as_of)}
        append(self.repository, "expire", "begun", self.now, backup_id=backup.backup_id, details=details)
        record_tombstone(self.repository, tombstone, backup.manifest)
        # Somebody who held it just before has not seen the tombstone: see holds.hold().
        if self.is_held(backup.backup_id):
            self.repository.store.delete(self.repository.layout.tombstone(backup.backup_id))
            self.spared.append(backup.backup_id)
            return
        self.delete(backup.backup_id, backup.labels, reasons)

    def unfinished(self, catalog: Catalog) -> list[str]:
        """Announced deletions of which anything is left, by three listings however many tombstones there are."""
        layout, store = self.repository.layout, self.repository.store
        folders = {
            item.name.removeprefix(f"{layout.backups}/").split("/")[0]
            for item in store.list(f"{layout.backups}/")
        }
        others = {item.name for folder in (layout.holds, layout.labels) for item in store.list(f"{folder}/")}
        labels = {
            tombstone.backup_id: [layout.label(label.tier, label.partition) for label in tombstone.labels]
            for tombstone in catalog.expired
        }
        return [
            backup_id
            for backup_id in sorted(catalog.tombstones)
            if backup_id in folders
            or not others.isdisjoint([layout.hold(backup_id), *labels.get(backup_id, ())])
        ]

    def finish(self, backup_id: str, catalog: Catalog) -> None:
        """Go on with a deletion that was announced; nothing to do when it was completed."""
        layout, store = self.repository.layout, self.repository.store
        tombstone = next((each for each in catalog.expired if each.backup_id == backup_id), None)
        # Of labels only those that the tombstone remembers: a partition whose backup expired had one.
        labels = tombstone.labels if tombstone is not None else ()
        left = {item.name for item in store.list(f"{layout.backup(backup_id)}/")}
        if layout.manifest(backup_id) in left and self.is_held(backup_id):
            self.still_alone()
            store.delete(
                layout.tombstone(backup_id)
            )  # stopped right after it, while somebody held the backup
            self.spared.append(backup_id)
        elif left or self.is_held(backup_id) or any(self.is_there(label) for label in labels):
            self.still_alone()
            self.delete(backup_id, labels, (say(Code.DELETION_RESUMED),))

    def delete(self, backup_id: str, labels: tuple[Label, ...], reasons: tuple[Sentence, ...]) -> None:
        """Delete what an announced deletion is about, and see that it is gone. Raises StorageError."""
        layout, store = self.repository.layout, self.repository.store
        folder = f"{layout.backup(backup_id)}/"
        listed = list(store.list(folder))
        for label in labels:
            if self.is_there(label):
                store.delete(layout.label(label.tier, label.partition))
        store.delete(layout.hold(backup_id))
        for name in sorted((item.name for item in listed), key=lambda name: (_turn(name, folder), name)):
            store.delete(name)
        left = [item.name for item in store.list(folder)]
        if left:
            raise StorageError(
                f"{left[0]} is still there after it was deleted",
                "something puts it back, or the storage keeps versions; the next run tries again",
            )
        freed_bytes = sum(item.size_bytes for item in listed)
        append(
            self.repository,
            "expire",
            "done",
            self.now,
            backup_id=backup_id,
            details={"freed_bytes": freed_bytes},
        )
        self.removed.append(Removal(backup_id, reasons, freed_bytes))

    def is_there(self, label: Label) -> bool:
        """Whether that partition still points at that backup: another may have taken it since."""
        name = self.repository.layout.label(label.tier, label.partition)
        try:
            document = decode(self.repository.store.get(name), name)
        except ObjectMissing:
            return False
        except DamagedData:
            return False  # not ours to judge: the next run says so
        return document.get("backup_id") == label.backup_id

    def is_held(self, backup_id: str) -> bool:
        """Whether there is a hold at this moment; one that cannot be read holds."""
        name = self.repository.layout.hold(backup_id)
        try:
            return Hold.from_json(decode(self.repository.store.get(name), name)).holds(self.now)
        except ObjectMissing:
            return False
        except DamagedData:
            return True

    def sweep_tombstones(self, catalog: Catalog, retention: Retention) -> Iterator[str]:
        """Remove tombstones that nobody needs any more; their names.

        As long as other backups of their time may be there, they tell that a partition had a backup and why it is
        gone.
        """
        layout, store = self.repository.layout, self.repository.store
        kept_for = timedelta(days=retention.max_days) + ORPHAN_AGE
        for tombstone in catalog.expired:
            if tombstone.expired_at is None or self.now - tombstone.expired_at <= kept_for:
                continue
            backup_id = tombstone.backup_id
            name = layout.tombstone(backup_id)
            pointing = (label for label in catalog.labels.values() if label.backup_id == backup_id)
            is_needed = any(True for _ in store.list(f"{layout.backup(backup_id)}/")) or any(
                self.is_there(label) for label in pointing
            )
            if not is_needed:
                self.still_alone()
                store.delete(name)
                yield name


def _turn(name: str, folder: str) -> int:
    """The manifest goes first, checks last: objects without manifest are damage as long as a check vouches for them."""
    inside = name.removeprefix(folder)
    if inside == "manifest.json":
        return 0
    return 2 if inside.startswith("checks/") else 1
