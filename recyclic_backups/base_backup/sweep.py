"""Remove what killed base backups left in the storage: objects that no manifest lists.

The caller holds the lock of the server, so whoever wrote them on that server is dead. A standby has a lock of its own,
and so has a clone: an upload that is still open there keeps its base backup's objects, and none is committed without
looking whether its objects are there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import datetime, timedelta

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.base_backup.catalog import bases_folder
from recyclic_backups.catalog.layout import BACKUP_ID

ORPHAN_AGE = timedelta(hours=48)
"""Longer than an upload of one archive takes: an open one that is older has nobody who writes to it."""

_OBJECT_NAME = re.compile(r"(?:base\.tar|[0-9]{1,10}\.tar|backup_manifest)(?:\.zst)?(?:\.sealed)?")


def sweep(archive: WalArchive, now: datetime) -> list[str]:
    """Remove orphans; returns their names. Raises StorageError; what was removed until then stays removed.

    What has a check and no manifest is damage, and stays; so does what is beside something strange.
    """
    store, root = archive.repository.store, f"{bases_folder(archive)}/"
    at_work, partials = set(), defaultdict(list)
    for item in list(store.partials()):
        if not item.name.startswith(root):
            continue
        base_id = item.name.removeprefix(root).partition("/")[0]
        if store.is_abandoned(item.name) or now - item.modified_at > ORPHAN_AGE:
            partials[base_id].append(item.name)
        else:
            at_work.add(base_id)
    strange = {each.name for each in store.strange(bases_folder(archive))}
    objects: dict[str, set[str]] = defaultdict(set)
    for stored in store.list(root):
        base_id, _, name = stored.name.removeprefix(root).partition("/")
        objects[base_id].add(name)
    removed = []
    for base_id in sorted({*objects, *partials}):
        inside = objects[base_id]
        is_one = "manifest.json" in inside or any(name.startswith("checks/") for name in inside)
        doubtful = any(
            name.startswith(f"{root}{base_id}") or f"{root}{base_id}".startswith(name) for name in strange
        )
        if is_one or doubtful or base_id in at_work or not BACKUP_ID.fullmatch(base_id):
            continue
        for name in partials[base_id]:
            store.discard_partial(name)
            removed.append(name)
        for name in sorted(inside):
            if _OBJECT_NAME.fullmatch(name):
                store.delete(f"{root}{base_id}/{name}")
                removed.append(f"{root}{base_id}/{name}")
    return removed
