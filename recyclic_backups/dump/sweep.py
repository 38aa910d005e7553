"""Remove what killed attempts left in the storage: objects that no manifest promises.

Invariant 1 says what may go: objects without manifest, label and check, whose owner is known dead or which are
older than 48 hours. The owner of an announced attempt on *this* server is dead whenever we hold the server's
backup lock, which it held; that of an unfinished upload, where the storage says so. Objects with a label or check
but without manifest are damage: never touched.

Nor is anything that is not known to be an object of ours: a file with an object's name, directly in the folder of a
backup id. Where something strange lies (a link, a FIFO), a manifest or a label may have lain: all that it may be about
stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from recyclic_backups.catalog.authenticity import Judge
from recyclic_backups.catalog.layout import BACKUP_ID, OBJECT_NAME, Layout
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.document import decode
from recyclic_backups.errors import DamagedData, NoUsableKey, ObjectMissing
from recyclic_backups.storage.store import StoredObject

ORPHAN_AGE = timedelta(hours=48)
"""Longer than any backup takes, and than clocks of two machines differ."""


def sweep(repository: Repository, system_identifier: str | None, now: datetime) -> list[str]:
    """Remove orphans of the repository's database; returns their names. The caller holds the server's backup lock.

    ``system_identifier`` is that server's; None where there is no server, and then age alone decides.

    Raises StorageError; what was removed until then stays removed.
    """
    layout, store = repository.layout, repository.store
    dead, stale = _attempts(repository, system_identifier, now)
    catalog = load_catalog(repository)
    # Named by a label that is not believed, it stays too: what nobody signed deletes nothing.
    labelled = catalog.named | {label.backup_id for label in catalog.labels.values()}
    strange = {each.name for each in store.strange(layout.root)}
    objects: dict[str, list[StoredObject]] = defaultdict(list)
    for item in store.list(f"{layout.backups}/"):
        objects[item.name.removeprefix(f"{layout.backups}/").partition("/")[0]].append(item)

    removed, discarded = [], []
    for backup_id, items in objects.items():
        names = {item.name for item in items}
        exists = layout.manifest(backup_id) in names
        checked = any(name.startswith(f"{layout.backup(backup_id)}/checks/") for name in names)
        if exists or checked or backup_id in labelled or not BACKUP_ID.fullmatch(backup_id):
            continue
        if _hides_something(layout, backup_id, strange):
            continue
        if backup_id in dead or _all_old(items, now):
            folder = f"{layout.backup(backup_id)}/"
            removed += sorted(name for name in names if OBJECT_NAME.fullmatch(name.removeprefix(folder)))
    for item in list(store.partials()):
        inside = item.name.removeprefix(f"{layout.backups}/")
        owner = inside.partition("/")[0] if inside != item.name else ""
        if owner in dead or store.is_abandoned(item.name) or _all_old([item], now):
            store.discard_partial(item.name)
            discarded.append(item.name)
    # Objects first: should we be killed in between, the announcement still tells whose they were.
    removed += sorted(layout.attempt(backup_id) for backup_id in dead | stale)
    for name in removed:
        store.delete(name)
    return [*discarded, *removed]


def _hides_something(layout: Layout, backup_id: str, strange: Iterable[str]) -> bool:
    """Whether the manifest, a check or a label of a backup may be there and not be seen."""
    folder = layout.backup(backup_id)
    return any(
        name == folder or name.startswith((f"{folder}/", layout.labels)) or folder.startswith(f"{name}/")
        for name in strange
    )


def _attempts(
    repository: Repository, system_identifier: str | None, now: datetime
) -> tuple[set[str], set[str]]:
    """Ids of announced attempts whose process is known to be gone, and of announcements that are merely old.

    An announcement that is not believed says nothing: whoever can write one could call dead what another host is
    writing. Nor does an old one make younger objects go; these have an age of their own.
    """
    layout, store, judge = repository.layout, repository.store, Judge(repository)
    dead, stale = set(), set()
    for item in list(store.list(f"{layout.attempts}/")):
        backup_id = item.name.removeprefix(f"{layout.attempts}/").removesuffix(".json")
        if not BACKUP_ID.fullmatch(backup_id):
            continue
        if _all_old([item], now):
            stale.add(backup_id)
        try:
            document = decode(store.get(item.name), item.name)
            believed = judge.standing(document, item.name).is_vouched_for
        except (DamagedData, NoUsableKey, ObjectMissing):
            continue  # age decides
        owner = document.get("system_identifier")
        if believed and owner is not None and owner == system_identifier:
            dead.add(backup_id)
    return dead, stale


def _all_old(items: Iterable[StoredObject], now: datetime) -> bool:
    return all(now - item.modified_at > ORPHAN_AGE for item in items)
