"""Hold a backup back from expiring, and let go of it."""

from __future__ import annotations

from datetime import datetime

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.audit.log import append, audited
from recyclic_backups.base_backup.catalog import BaseBackup, hold_name, manifest_name
from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.documents import Hold
from recyclic_backups.catalog.record import record_hold
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.errors import DamagedData, Refused, UsageError


def hold(repository: Repository, backup: Backup, reason: str, until: datetime, now: datetime) -> Hold:
    """Keep a backup from expiring before ``until``; holding it again extends the hold.

    No lock is taken, so that a backup can be held at any time: `expire` looks for a hold again after it announced
    a deletion and before it deletes, and this looks for that announcement after it wrote the hold. One of the two
    sees the other.

    Raises UsageError for an ``until`` that is over or an empty reason, Refused when the present hold is longer or the
    backup is expiring at this moment, NoUsableKey, StorageError.
    """
    made = _made(backup.backup_id, f"backup {backup.backup_id}", backup.hold, reason, until, now)
    details = {"until": to_text(until), "reason": made.reason}
    with audited(repository, "hold", lambda: now, backup_id=backup.backup_id, details=details):
        record_hold(repository, made, backup.manifest)
        if any(True for _ in repository.store.list(repository.layout.tombstone(backup.backup_id))):
            repository.store.delete(repository.layout.hold(backup.backup_id))
            raise Refused(
                f"backup {backup.backup_id} is expiring at this moment",
                "see what is left: recyclic-backups list",
            )
    return made


def _made(
    held_id: str, called: str, present: Hold | None, reason: str, until: datetime, now: datetime
) -> Hold:
    """The hold that somebody asks for. Raises UsageError, Refused."""
    if not reason.strip():
        raise UsageError("a hold needs a reason", "somebody will ask one day why it is there")
    if until <= now:
        raise UsageError("the end of the hold is over already", "--until is the last day of the hold")
    if present is not None and (present.until is None or present.until > until):
        raise Refused(
            f"{called} is held for longer than that already",
            f"see: recyclic-backups expire; to shorten the hold, first: recyclic-backups release {held_id}",
        )
    return Hold(held_id, reason.strip(), held_at=now, until=until)


def hold_base(archive: WalArchive, base: BaseBackup, reason: str, until: datetime, now: datetime) -> Hold:
    """Keep a base backup, what it builds on, and the WAL that makes it consistent, from expiring before ``until``.

    No lock is taken: the one who deletes looks for a hold once the manifest is gone, and puts it back; this looks
    whether the manifest is there once the hold is. Raises as :func:`hold`.
    """
    made = _made(base.base_id, f"base backup {base.base_id}", base.hold, reason, until, now)
    repository, name = archive.repository, hold_name(archive, base.base_id)
    details = {"until": to_text(until), "reason": made.reason, "kind": "base backup"}
    with audited(repository, "hold", lambda: now, backup_id=base.base_id, details=details):
        key_id = base.manifest.key_id
        key = None if key_id is None else repository.keyring.for_reading(key_id)
        repository.store.replace(name, archive.encode_document(name, made.to_json(), key))
        if not any(True for _ in repository.store.list(manifest_name(archive, base.base_id))):
            repository.store.delete(name)
            raise Refused(
                f"base backup {base.base_id} is expiring at this moment",
                "see what is left: recyclic-backups base-backup --list",
            )
    return made


def release_base(archive: WalArchive, base: BaseBackup, now: datetime) -> bool:
    """Let a base backup expire again when its time comes. Returns whether it was held. Raises as :func:`release`."""
    return _released(archive.repository, base.base_id, hold_name(archive, base.base_id), base.hold, now)


def release(repository: Repository, backup: Backup, now: datetime) -> bool:
    """Let a backup expire again when its time comes. Returns whether it was held.

    Raises DamagedData where something that is no hold stands in its place, StorageError.

    Recorded before it is done as well: what takes protection away must not happen unseen.
    """
    name = repository.layout.hold(backup.backup_id)
    return _released(repository, backup.backup_id, name, backup.hold, now)


def _released(repository: Repository, held_id: str, name: str, present: Hold | None, now: datetime) -> bool:
    was_held = present is not None
    append(repository, "release", "begun", now, backup_id=held_id, details={"held": was_held})
    with audited(repository, "release", lambda: now, backup_id=held_id, details={"held": was_held}):
        repository.store.delete(name)
        for left in repository.store.strange(name):
            # No deletion of ours removes it, and as long as it is there it holds.
            raise DamagedData(f"{left.name} is still there: {left.problem}", "remove it by hand")
    return was_held
