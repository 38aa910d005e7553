"""Read the server's own manifest back out of a stored base backup."""

from __future__ import annotations

from collections.abc import Callable

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.base_backup.catalog import folder_of_base
from recyclic_backups.base_backup.manifest import BaseManifest, BaseObject
from recyclic_backups.base_backup.server_manifest import MOST_BYTES
from recyclic_backups.catalog.objects import READ_BYTES, read_from
from recyclic_backups.errors import DamagedData


def server_manifest_of(base: BaseManifest) -> BaseObject:
    """The object that is the server's manifest. Raises DamagedData where there is none."""
    for item in base.objects:
        if item.role == "server_manifest":
            return item
    raise DamagedData(f"the base backup {base.base_id} has no manifest of its server's")


def read_server_manifest(
    archive: WalArchive,
    base: BaseManifest,
    item: BaseObject,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> bytes:
    """What the server sent as its manifest. Raises DamagedData, also for one too large, NoUsableKey, StorageError."""
    found = bytearray()
    folder = folder_of_base(archive, base.base_id)
    with read_from(archive.repository, folder, item, on_bytes, is_sealed=base.key_id is not None) as reader:
        while piece := reader.read(READ_BYTES):
            found += piece
            if len(found) > MOST_BYTES:
                raise DamagedData(f"{item.name} has more than {MOST_BYTES} bytes")
    return bytes(found)
