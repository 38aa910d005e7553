"""The way back without this software: a script and its instructions, kept beside the backups.

``recover.py`` imports nothing of this package: it is a second reader of the format in ``docs/format/``.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from recyclic_backups.errors import DamagedData, ObjectMissing

if TYPE_CHECKING:
    from recyclic_backups.storage.store import Store

SCRIPT = "recover.py"
NAMES = (SCRIPT, "RECOVERY.md")


def install(store: Store) -> None:
    """Put the script and its instructions into the storage, where missing or different. Raises StorageError."""
    for name in NAMES:
        content = files(__package__).joinpath(name).read_bytes()
        try:
            present = store.get(name)
        except (ObjectMissing, DamagedData):
            present = (
                None  # not there, or something that is not followed: replacing it touches nothing behind it
            )
        if present != content:
            store.replace(name, content)
