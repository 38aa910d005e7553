"""The way back without this software: a script and its instructions, kept beside the backups.

``recover.py`` imports nothing of this package: it is a second reader of the format in ``docs/format/``. The copy in a
storage is for people. It is compared with the one that is shipped here and rewritten where it differs, never run.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING

from recyclic_backups.errors import DamagedData, ObjectMissing, StorageError

if TYPE_CHECKING:
    from recyclic_backups.storage.store import Store

SCRIPT = "recover.py"
INSTRUCTIONS = "RECOVERY.md"
NAMES = (SCRIPT, INSTRUCTIONS)


def shipped(name: str) -> bytes:
    """What this release puts into storages under that name, one of :data:`NAMES`."""
    return files(__package__).joinpath(name).read_bytes()


def shipped_sha256(name: str) -> str:
    """The SHA-256 of :func:`shipped` in hex: it stands in every manifest and on the key sheet."""
    return hashlib.sha256(shipped(name)).hexdigest()


def stored(store: Store, name: str) -> bytes | None:
    """What lies in the storage under that name, None if nothing does.

    Raises DamagedData for what cannot be a release's file: too large, a link or a device; StorageError.
    """
    try:
        return store.get(name)
    except ObjectMissing:
        return None


def install(store: Store) -> None:
    """Put the script and its instructions into the storage, where missing or different. Raises StorageError.

    One that cannot be written does not keep the other away.
    """
    failed: StorageError | None = None
    for name in NAMES:
        content = shipped(name)
        try:
            present = stored(store, name)
        except DamagedData:
            present = None
        if present != content:
            try:
                store.replace(name, content)
            except StorageError as error:
                failed = failed or error
    if failed is not None:
        raise failed
