"""Verify a backup: the stored bytes are whole, open with the key, and parse as an archive.

This says nothing about what a restore would contain: that is a drill's to prove.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal

from recyclic_backups.audit.verification import Verification, verified
from recyclic_backups.catalog.catalog import Backup, is_of_the_future
from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.catalog.objects import READ_BYTES, read_object, require_stored
from recyclic_backups.catalog.record import record_check
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.document import check_authentic, decode
from recyclic_backups.errors import (
    BackupError,
    DamagedData,
    NoUsableKey,
    ObjectMissing,
    ProgramFailed,
)
from recyclic_backups.postgres.process import PipedProcess
from recyclic_backups.postgres.programs import Installation, choose, restore_argv
from recyclic_backups.progress import SILENT, Progress

VerifyLevel = Literal["stored", "readable", "parsed"]
"""stored: sizes and hashes, no key needed; readable: unsealed and decompressed to the last byte; parsed: read
by pg_restore from beginning to end as well."""

VERIFY_LEVELS: tuple[VerifyLevel, ...] = ("stored", "readable", "parsed")


def verify(
    repository: Repository,
    backup: Backup,
    level: VerifyLevel,
    installations: Sequence[Installation],
    *,
    clock: Callable[[], datetime],
    timeout_seconds: float,
    progress: Progress = SILENT,
) -> Verification:
    """Re-read a backup from the storage and record the verdict beside it, as :func:`verified`."""
    progress.stage(f"verifying {backup.backup_id}", backup.manifest.plain_bytes)
    return verified(
        repository,
        "backup",
        backup.backup_id,
        level,
        examine=lambda: _examine(repository, backup, level, installations, timeout_seconds, progress),
        record=lambda check: record_check(repository, check, backup.manifest),
        clock=clock,
    )


def recent_verification(
    repository: Repository, backup: Backup, level: VerifyLevel, now: datetime, *, within_seconds: float
) -> Check | None:
    """A recorded verification that stands for reading the backup now; None if it has to be read.

    It counts if it is believed, passed at that level or a higher one, is younger than ``within_seconds`` and not of the
    future, no later one failed, and the storage lists the objects with their sizes, none written since. Raises
    StorageError.
    """
    if not backup.standing.is_vouched_for:
        return None
    found = None
    for check in reversed(backup.checks):
        if check.kind != "verify" or is_of_the_future(check.checked_at, now):
            continue
        reached = check.figures.get("level")
        if not check.passed or now - check.checked_at >= timedelta(seconds=within_seconds):
            return None
        if reached in VERIFY_LEVELS[VERIFY_LEVELS.index(level) :]:
            found = check
            break
    if found is None:
        return None
    layout = repository.layout
    listed = {item.name: item for item in repository.store.list(f"{layout.backup(backup.backup_id)}/")}
    for item in backup.manifest.objects:
        there = listed.get(layout.object(backup.backup_id, item.name))
        if (
            there is None
            or there.size_bytes != item.stored_bytes
            or is_of_the_future(there.modified_at, found.checked_at)
        ):
            return None
    return found


def record_damage(
    repository: Repository, backup: Backup, damage: DamagedData, found_by: str, now: datetime
) -> None:
    """Note beside a backup that a restore or a drill met damaged bytes, as a verification would have done.

    From then on ``latest`` is another one. Nothing is written of one whose manifest is gone (it expires), or that
    nobody vouches for; nor where the storage or the key does not let us, which the damage itself is worse than.
    """
    if not backup.standing.is_believed:
        return
    check = Check(
        kind="verify",
        backup_id=backup.backup_id,
        checked_at=now,
        passed=False,
        reasons=(damage.message,),
        details={"found_by": found_by},
    )
    try:
        repository.store.get(repository.layout.manifest(backup.backup_id))
        record_check(repository, check, backup.manifest)
    except ObjectMissing:
        return
    except BackupError as error:
        damage.add_note(f"that it is damaged could not be recorded beside the backup: {error.message}")


def _examine(
    repository: Repository,
    backup: Backup,
    level: VerifyLevel,
    installations: Sequence[Installation],
    timeout_seconds: float,
    progress: Progress,
) -> BackupError | None:
    """What is wrong with the backup, or what kept us from knowing."""
    manifest = backup.manifest
    try:
        if level != "stored":
            backup.require_vouched()
            _read_manifest_again(repository, backup)
        for item in manifest.objects:
            if level == "stored":
                require_stored(repository, manifest, item)
            elif level == "parsed" and item.role != "globals":
                _parse(repository, manifest, item.name, installations, timeout_seconds, progress)
            else:
                with read_object(repository, manifest, item, progress.advance) as reader:
                    while reader.read(READ_BYTES):
                        pass
    except NoUsableKey as no_key:
        # Hashes need no key: that the bytes are damaged is worse than that they cannot be read, and said first.
        try:
            for item in manifest.objects:
                require_stored(repository, manifest, item)
        except DamagedData as damage:
            return damage
        return no_key
    except BackupError as found:
        return found
    return None


def _read_manifest_again(repository: Repository, backup: Backup) -> None:
    """The catalog may know the manifest from a cache: whether it is whole, the storage tells. Raises as its reader."""
    name = repository.layout.manifest(backup.backup_id)
    try:
        document = decode(repository.store.get(name), name)
    except ObjectMissing:
        return  # it expires; the objects tell
    is_signed = backup.manifest.encryption is not None
    check_authentic(document, name, repository.keyring.for_reading, signed=is_signed)


def _parse(
    repository: Repository,
    manifest: Manifest,
    name: str,
    installations: Sequence[Installation],
    timeout_seconds: float,
    progress: Progress,
) -> None:
    """Let pg_restore read the whole archive, writing its SQL to nowhere.

    Raises DamagedData, ProgramMissing, and ProgramFailed when pg_restore was killed or took too long: that says
    nothing about the backup.
    """
    item = next(each for each in manifest.objects if each.name == name)
    installation = choose(installations, manifest.archive_major, {"pg_restore"})
    argv = restore_argv(installation, database=None)
    with (
        read_object(repository, manifest, item, progress.advance) as reader,
        PipedProcess(
            argv, {}, stdin=True, stdout=False, timeout_seconds=timeout_seconds, nice=True
        ) as process,
    ):
        try:
            while data := reader.read(READ_BYTES):
                process.write(data)
            process.wait_ok()
        except ProgramFailed as failure:
            while reader.read(READ_BYTES):
                pass  # if the stored bytes are damaged, that is the better sentence
            if failure.retryable:
                raise
            raise DamagedData(
                f"pg_restore cannot read {item.name}: {failure.message}", failure.hint
            ) from None
