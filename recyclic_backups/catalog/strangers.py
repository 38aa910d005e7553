"""What lies in a storage and is not ours: told as damage, or as a stranger in its top directory, and left alone.

Whoever may write to the storage may put anything there. Links, FIFOs and the like (:meth:`Store.strange`) below the
folder of a database, and among the keys, are damage: they stand where a document should. A file of nobody's beside
``recover.py`` is no damage of any backup, but the script would load a module of that name, with the key in its hands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from itertools import islice

from recyclic_backups.catalog.catalog import Damage
from recyclic_backups.catalog.layout import (
    DATABASE_FILES,
    DATABASE_FOLDERS,
    TOP_FILES,
    TOP_FOLDERS,
    Layout,
    database_of,
)
from recyclic_backups.errors import DamagedData, StorageError
from recyclic_backups.storage.names import PARTIAL_NAME
from recyclic_backups.storage.store import Child, Store, StoredObject

MOST_TOLD = 100
"""No more than that many are named: who makes a million links must not have a mail of a million lines sent."""

HINT = "see what it is, then move it away: recover.py, run beside it, might load it with the key at hand"

_SERVER = re.compile(r"server\..+")


def objects_and_damage(store: Store, layout: Layout) -> tuple[list[StoredObject], list[Damage]]:
    """The catalog's objects of one database, and what stands where its documents, or keys, should be.

    The audit log is not listed: it is no part of the catalog, and grows for years. Raises StorageError.
    """
    objects: list[StoredObject] = []
    strange = list(islice(store.strange("keys"), MOST_TOLD + 1))
    for item in store.everything(layout.root, after=layout.end_of_audit):
        if isinstance(item, StoredObject):
            objects.append(item)
        elif len(strange) <= MOST_TOLD:
            strange.append(item)
    damage = [Damage(each.name, each.problem) for each in strange[:MOST_TOLD]]
    if len(strange) > MOST_TOLD:
        damage.append(Damage(layout.root, f"more than {MOST_TOLD} of its entries were made by nobody of us"))
    return objects, damage


def find_strangers(store: Store) -> list[str]:
    """What lies in the storage's top directory, or directly in a database's folder, and is not of this software.

    A sentence each, naming it; at most :data:`MOST_TOLD`. Raises StorageError.
    """
    found = list(islice(_strangers(store), MOST_TOLD + 1))
    if len(found) > MOST_TOLD:
        found[MOST_TOLD] = "there are more of them in the storage"
    return found


def tell_strangers(store: Store, say: Callable[[str], object]) -> None:
    """Say what :func:`find_strangers` finds, and what to do about it. Raises StorageError."""
    found = find_strangers(store)
    for sentence in found:
        say(f"warning: {sentence}")
    if found:
        say(f"hint: {HINT}")


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
    try:
        inside = store.children(folder)
    except StorageError as error:  # of another user, perhaps: that must keep no backup from being taken
        yield f"the directory {folder} in the storage's top directory cannot be looked into: {error.message}"
        return
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
    return child.name in names or PARTIAL_NAME.fullmatch(child.name) is not None


def _is_of_a_database(folder: str) -> bool:
    try:
        database_of(folder)
    except (DamagedData, UnicodeError):
        return False
    return True
