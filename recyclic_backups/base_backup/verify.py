"""Verify a base backup: read every object again, and compare every file in it with the server's own manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Literal

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.audit.verification import Verification, verified
from recyclic_backups.base_backup.catalog import BaseBackup, folder_of_base, manifest_name
from recyclic_backups.base_backup.manifest import BaseManifest, BaseObject
from recyclic_backups.base_backup.read_manifest import read_server_manifest
from recyclic_backups.base_backup.server_manifest import differences, parse_server_manifest
from recyclic_backups.base_backup.tar_files import FileDigest, TarFiles
from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.objects import READ_BYTES, read_from, require_stored_in
from recyclic_backups.catalog.record import append_check
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey
from recyclic_backups.progress import SILENT, Progress

BaseVerifyLevel = Literal["stored", "files"]
"""stored: sizes and hashes of the objects, no key needed; files: every file in them compared with the server's
manifest."""


def verify(
    archive: WalArchive,
    base: BaseBackup,
    level: BaseVerifyLevel = "files",
    *,
    clock: Callable[[], datetime],
    progress: Progress = SILENT,
) -> Verification:
    """Read it again from the storage and record the verdict beside it, as :func:`verified`."""
    progress.stage(f"verifying base backup {base.base_id}", base.manifest.plain_bytes)
    return verified(
        archive.repository,
        "base backup",
        base.base_id,
        level,
        examine=lambda: _examine(archive, base, level, progress),
        record=lambda check: record_base_check(archive, check, base.manifest),
        clock=clock,
    )


def record_base_check(archive: WalArchive, check: Check, manifest: BaseManifest) -> None:
    """Append a verdict to a base backup. Raises NoUsableKey, StorageError."""
    append_check(archive.repository, check, folder_of_base(archive, manifest.base_id).path, manifest.key_id)


def _examine(
    archive: WalArchive, base: BaseBackup, level: BaseVerifyLevel, progress: Progress
) -> BackupError | None:
    """What is wrong with it, or what kept us from knowing."""
    manifest = base.manifest
    try:
        if level == "stored":
            _require_stored(archive, manifest)
            return None
        if base.standing is Standing.NOT_CHECKED:
            raise NoUsableKey(
                f"whether base backup {base.base_id} was edited cannot be told: no key of the storage is at hand",
                "set BACKUP_ENCRYPTION_KEY to the passphrase the backups were made with",
            )
        # The listing may know it from a cache: whether it is whole, the storage tells.
        archive.read_document(manifest_name(archive, base.base_id))
        _compare(archive, manifest, progress)
    except NoUsableKey as no_key:
        # Hashes need no key: that the bytes are damaged is worse than that they cannot be read, and said first.
        try:
            _require_stored(archive, manifest)
        except BackupError as damage:
            return damage
        return no_key
    except BackupError as found:
        return found
    return None


def _require_stored(archive: WalArchive, manifest: BaseManifest) -> None:
    """Compare sizes and hashes of what lies there. Raises DamagedData, StorageError."""
    folder = folder_of_base(archive, manifest.base_id)
    for item in manifest.objects:
        require_stored_in(archive.repository.store, folder, item)


def _compare(archive: WalArchive, manifest: BaseManifest, progress: Progress) -> None:
    """Read everything, and compare the files with the server's manifest. Raises as its reader, and DamagedData."""
    files: dict[bytes, FileDigest] = {}
    server_manifest = bytearray()
    for item in manifest.objects:
        if item.role == "server_manifest":
            server_manifest += read_server_manifest(archive, manifest, item, progress.advance)
            continue
        tar = TarFiles(b"" if item.oid is None else f"pg_tblspc/{item.oid}/".encode())
        with _understood(item.name):
            for piece in _pieces(archive, manifest, item, progress):
                tar.write(piece)
            tar.finish()
        files.update(tar.files)
    with _understood("the server's manifest"):
        said = parse_server_manifest(bytes(server_manifest))
    if problem := differences(said.files, files):
        raise DamagedData(f"the files are not what the server's manifest says: {problem}")


def _pieces(
    archive: WalArchive, manifest: BaseManifest, item: BaseObject, progress: Progress
) -> Iterator[bytes]:
    folder = folder_of_base(archive, manifest.base_id)
    is_sealed = manifest.key_id is not None
    with read_from(archive.repository, folder, item, progress.advance, is_sealed=is_sealed) as reader:
        while piece := reader.read(READ_BYTES):
            yield piece


@contextmanager
def _understood(name: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise DamagedData(f"{name} {error}") from None
