"""What lies in a storage and is not ours: told as damage, or as a stranger in its top directory, and left alone.

Whoever may write to the storage may put anything there. Links, FIFOs and the like (:meth:`Store.strange`) below the
folder of a database, and among the keys, are damage: they stand where a document should. A file of nobody's beside
``recover.py`` is no damage of any backup, but the script would load a module of that name, with the key in its hands.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import chain, islice

from recyclic_backups.catalog.catalog import Damage
from recyclic_backups.catalog.layout import (
    DATABASE_FILES,
    DATABASE_FOLDERS,
    TOP_FILES,
    TOP_FOLDERS,
    Layout,
    database_of,
)
from recyclic_backups.errors import DamagedData
from recyclic_backups.storage.names import PARTIAL_PREFIX
from recyclic_backups.storage.store import Child, Store

MOST_TOLD = 100
"""No more than that many are named: who makes a million links must not have a mail of a million lines sent."""

HINT = "see what it is, then move it away: recover.py, run beside it, might load it with the key at hand"

_SERVER = re.compile(r"server\..+")


def strange_damage(store: Store, layout: Layout) -> Iterator[Damage]:
    """What stands where documents of one database, or keys, should be. Raises StorageError."""
    found = chain(store.strange("keys"), store.strange(layout.root))
    yield from (Damage(each.name, each.problem) for each in islice(found, MOST_TOLD))
    if next(found, None) is not None:
        yield Damage(layout.root, f"there are more than {MOST_TOLD} entries that nobody of us made")


def find_strangers(store: Store) -> list[str]:
    """What lies in the storage's top directory, or directly in a database's folder, and is not of this software.

    A sentence each, naming it; at most :data:`MOST_TOLD`. Raises StorageError.
    """
    found = list(islice(_strangers(store), MOST_TOLD + 1))
    if len(found) > MOST_TOLD:
        found[MOST_TOLD] = "there are more of them in the storage"
    return found


def _strangers(store: Store) -> Iterator[str]:
    for child in store.children():
        if child.kind not in ("file", "directory"):
            yield f"{child.name} in the storage's top directory is a {child.kind}: it is not followed"
        elif child.kind == "file" and not _is_ours(child, TOP_FILES):
            yield f"the file {child.name} in the storage's top directory is not of this software"
        elif (
            child.kind == "directory" and child.name not in TOP_FOLDERS and not _SERVER.fullmatch(child.name)
        ):
            yield from _in_folder(store, child.name)


def _in_folder(store: Store, folder: str) -> Iterator[str]:
    """What is not ours in a folder of the top directory, which should be a database's."""
    inside = store.children(folder)
    if not _is_of_a_database(folder) or not any(child.name in DATABASE_FOLDERS for child in inside):
        if inside:  # an empty one is what a deletion leaves that was killed
            yield f"the directory {folder} in the storage's top directory is no database's"
        return
    for child in inside:
        ours = (
            child.name in DATABASE_FOLDERS if child.kind == "directory" else _is_ours(child, DATABASE_FILES)
        )
        # What is neither is damage already.
        if not ours and child.kind in ("file", "directory"):
            yield f"the {child.kind} {folder}/{child.name} in the storage is not of this software"


def _is_ours(child: Child, names: Collection[str]) -> bool:
    return child.name in names or child.name.startswith(PARTIAL_PREFIX)


def _is_of_a_database(folder: str) -> bool:
    try:
        database_of(folder)
    except (DamagedData, UnicodeError):
        return False
    return True
