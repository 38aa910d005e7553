"""Delete backups one after the other: announce it, delete, prove that nothing is left.

Invariant 1 in this order: tombstone (from then on the backup is not usable), labels, hold, manifest, objects, checks.
Whatever stops a deletion, the tombstone stays, and the next run finishes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from recyclic_backups.audit.log import append
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Label, Tombstone
from recyclic_backups.catalog.load import read_hold
from recyclic_backups.catalog.record import record_tombstone
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.dump.sweep import ORPHAN_AGE
from recyclic_backups.envelope.document import decode
from recyclic_backups.errors import DamagedData, ObjectMissing, StorageError
from recyclic_backups.retention.policy import Retention
from recyclic_backups.storage.store import Store
from recyclic_backups.texts.text import Text, say


@dataclass(frozen=True, slots=True)
class Removal:
    """A backup that is gone, as a listing of the storage showed. ``freed_bytes`` is what was listed before."""

    backup_id: str
    reasons: tuple[Text, ...]
    freed_bytes: int


@dataclass(frozen=True, slots=True)
class Deletions:
    """Deletions, one backup after the other, and what came of them."""

    repository: Repository
    now: datetime
    check_lock: Callable[[], None]
    removed: list[Removal]
    spared: list[str]

    def remove(self, backup: Backup, reasons: tuple[Text, ...]) -> None:
        """Announce and delete one backup, unless somebody holds it meanwhile."""
        self.check_lock()
        if self.is_held(backup.backup_id):
            self.spared.append(backup.backup_id)
            return
        is_believed = backup.standing.is_believed
        tombstone = Tombstone(
            backup_id=backup.backup_id,
            expired_at=self.now,
            as_of=backup.as_of,
            stored_bytes=backup.manifest.stored_bytes,
            reasons=tuple(reason.text() for reason in reasons),
            # That a partition had a backup is said by labels that somebody signed.
            labels=backup.labels if is_believed else (),
        )
        details = {"reasons": list(tombstone.reasons), "as_of": to_text(backup.as_of)}
        append(self.repository, "expire", "begun", self.now, backup_id=backup.backup_id, details=details)
        if not is_believed:
            self.delete_labels(backup.labels)  # which the tombstone does not remember
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
            self.check_lock()
            store.delete(
                layout.tombstone(backup_id)
            )  # stopped right after it, while somebody held the backup
            self.spared.append(backup_id)
        elif left or self.is_held(backup_id) or any(self.is_there(label) for label in labels):
            self.check_lock()
            self.delete(backup_id, labels, (say("retention.deletion_resumed"),))

    def delete(self, backup_id: str, labels: tuple[Label, ...], reasons: tuple[Text, ...]) -> None:
        """Delete what an announced deletion is about, and see that it is gone. Raises StorageError."""
        layout, store = self.repository.layout, self.repository.store
        folder = f"{layout.backup(backup_id)}/"
        listed = list(store.list(folder))
        self.delete_labels(labels)
        store.delete(layout.hold(backup_id))
        for name in sorted((item.name for item in listed), key=lambda name: (_turn(name, folder), name)):
            store.delete(name)
        require_gone(store, folder)
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

    def delete_labels(self, labels: Iterable[Label]) -> None:
        """Those that still point at their backup. Raises StorageError."""
        for label in labels:
            if self.is_there(label):
                self.repository.store.delete(self.repository.layout.label(label.tier, label.partition))

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
        """Whether there is a hold at this moment; one that cannot be believed holds."""
        hold = read_hold(self.repository, backup_id)
        return hold is not None and hold.holds(self.now)

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
                self.check_lock()
                store.delete(name)
                yield name


def require_gone(store: Store, folder: str) -> None:
    """See that nothing is left in the folder of what was deleted. Raises StorageError."""
    left = [item.name for item in store.list(folder)]
    if left:
        raise StorageError(
            f"{left[0]} is still there after it was deleted",
            "something puts it back, or the storage keeps versions; the next run tries again",
        )


def _turn(name: str, folder: str) -> int:
    """The manifest goes first, checks last: objects without manifest are damage as long as a check vouches for them."""
    inside = name.removeprefix(folder)
    if inside == "manifest.json":
        return 0
    return 2 if inside.startswith("checks/") else 1
