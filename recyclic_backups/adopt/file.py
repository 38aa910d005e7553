"""Adopt one file: examine it, store the archive inside it as a backup, verify that, and label it.

The file itself is never changed. The server is not asked anything: this works while the database is down. Nothing
is locked either, because ids are unique and manifests are create-only; a label is read again right before it is
written.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from recyclic_backups import rescue
from recyclic_backups.adopt.examine import Examined, examine
from recyclic_backups.adopt.naming import Place
from recyclic_backups.adopt.unwrap import open_archive
from recyclic_backups.audit.log import append
from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Check, Label
from recyclic_backups.catalog.layout import new_backup_id
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.manifest import Adopted, BackupObject, Encryption, Manifest
from recyclic_backups.catalog.objects import READ_BYTES, write_object
from recyclic_backups.catalog.record import record_label, record_manifest
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.compression import Compression
from recyclic_backups.dump.rescue_files import renew_rescue
from recyclic_backups.dump.verify import verify
from recyclic_backups.envelope.header import VERSION as ENVELOPE_VERSION
from recyclic_backups.envelope.keyring import DataKey
from recyclic_backups.errors import BackupError, DamagedData, ObjectMissing
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.progress import SILENT, Progress

Action = Literal["adopted", "would adopt", "already adopted", "refused"]

_NO_ROLES = "the file brings no roles: create those that own its objects before a restore, or use --no-owner"


@dataclass(frozen=True, slots=True)
class AdoptOptions:
    """How files are adopted. ``passphrases`` are tried on encrypted ones; ``timeout_seconds`` bounds one reading."""

    installations: Sequence[Installation]
    calendar: Calendar
    compression: Compression
    timeout_seconds: float
    passphrases: Sequence[str] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file; ``error`` is why it was refused, with its exit code."""

    file: Path
    action: Action
    place: Place | None = None
    backup_id: str | None = None
    reasons: tuple[str, ...] = ()
    error: BackupError | None = None

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "file": readable(str(self.file)),
            "action": self.action,
            "backup_id": self.backup_id,
            "tier": None if self.place is None else self.place.tier.value,
            "partition": None if self.place is None else self.place.partition,
            "as_of": None if self.place is None else to_text(self.place.as_of),
            "reasons": list(self.reasons),
        }


def readable(name: str) -> str:
    """A file's name as text that can be stored and printed: names of another encoding cannot be as they are."""
    return os.fsencode(name).decode("utf-8", "replace")


@dataclass
class Adoption:
    """Adopts files into a repository, one after the other. ``catalog`` is what is there, kept up to date."""

    repository: Repository
    catalog: Catalog
    options: AdoptOptions
    clock: Callable[[], datetime]
    dry_run: bool = False
    progress: Progress = SILENT

    def adopt(self, file: Path) -> Outcome:
        """What becomes of one file. Never raises BackupError: what is wrong with a file is its outcome."""
        try:
            return self._adopt(file)
        except BackupError as error:
            return Outcome(file, "refused", reasons=(error.message,), error=error)

    def _adopt(self, file: Path) -> Outcome:
        self._stage("reading", file)
        examined = examine(
            file,
            self.options.passphrases,
            self.options.installations,
            self.options.calendar,
            now=self.clock(),
            timeout_seconds=self.options.timeout_seconds,
            progress=self.progress,
        )
        known = self._known(examined)
        reasons = () if known is not None else self._remarks(examined)
        if self.dry_run:
            action: Action = "would adopt" if known is None else "already adopted"
            backup_id = None if known is None else known.backup_id
            return Outcome(file, action, examined.place, backup_id, reasons)
        backup = known if known is not None else self._store(file, examined)
        # One that was adopted and not verified or labelled, because the run was ended, is finished now.
        backup = self._verified(backup)
        why_not = self._label(backup, examined.place)
        action = "adopted" if known is None else "already adopted"
        if why_not and known is None:
            reasons = (*reasons, why_not)
        return Outcome(file, action, examined.place, backup.backup_id, reasons)

    def _stage(self, verb: str, file: Path) -> None:
        size_bytes = None
        with suppress(OSError):  # told by whoever reads it
            size_bytes = file.stat().st_size
        self.progress.stage(f"{verb} {readable(file.name)}", size_bytes)

    def _known(self, examined: Examined) -> Backup | None:
        """The backup that this content already is in its tier and partition; one known to be damaged does not count.

        Raises NoUsableKey when what an adopted backup was is sealed and no key opens it: it might be the same.
        """
        where = examined.place.tier, examined.place.partition
        for backup in self.catalog:
            manifest = backup.manifest
            if (manifest.tier, manifest.partition) != where or manifest.source != "adopted":
                continue
            same = manifest.adopted is not None and manifest.adopted.sha256 == examined.sha256
            if same and not backup.known_damaged:
                return backup
        return None

    def _remarks(self, examined: Examined) -> tuple[str, ...]:
        """What somebody should know who relies on this backup."""
        remarks = list(examined.place.notes)
        if examined.header.database != self.repository.database:
            remarks.append(
                f"the archive is of a database {examined.header.database!r}, adopted for {self.repository.database!r}"
            )
        return tuple(remarks)

    def _store(self, file: Path, examined: Examined) -> Backup:
        """Make the backup exist: the archive byte for byte, then its manifest."""
        started_at = self.clock()
        renew_rescue(self.repository, lambda: self.catalog)
        data_key = self.repository.key_for_backups(started_at)
        backup_id = new_backup_id(examined.place.as_of, secrets.token_bytes(4))
        main = self._copy(file, examined, backup_id, data_key)
        finished_at = self.clock()
        belongs = examined.place
        manifest = Manifest(
            backup_id=backup_id,
            database=self.repository.database,
            tier=belongs.tier,
            partition=belongs.partition,
            source="adopted",
            scheduled_for=self.options.calendar.scheduled_for(belongs.tier, belongs.partition),
            as_of=belongs.as_of,
            taken_at=finished_at,
            duration_seconds=round((finished_at - started_at).total_seconds(), 3),
            late=False,
            server=examined.facts,
            programs={"pg_dump": examined.header.pg_dump_version},
            objects=(main,),
            compression=str(self.options.compression),
            encryption=Encryption(ENVELOPE_VERSION, data_key.key_id) if data_key else None,
            fingerprint=None,
            notes=(*self._remarks(examined), _NO_ROLES),
            adopted=Adopted(readable(file.name), examined.sha256),
            recover_sha256=rescue.shipped_sha256(rescue.SCRIPT),
            instructions_sha256=rescue.shipped_sha256(rescue.INSTRUCTIONS),
        )
        details = {"file": readable(file.name), "tier": str(belongs.tier), "partition": belongs.partition}
        try:
            append(self.repository, "adopt", "done", finished_at, backup_id=backup_id, details=details)
            manifest = record_manifest(self.repository, manifest)
        except BaseException as error:
            self._remove(main, backup_id, error)
            raise
        backup = Backup(manifest)
        self.catalog = replace(self.catalog, backups=(backup, *self.catalog.backups))
        return backup

    def _copy(self, file: Path, examined: Examined, backup_id: str, data_key: DataKey | None) -> BackupObject:
        self._stage("storing", file)
        sha256 = hashlib.sha256()
        with (
            open_archive(file, self.options.passphrases, self.progress.advance) as archive,
            write_object(
                self.repository, backup_id, "main.dump", "main", self.options.compression, data_key
            ) as stream,
        ):
            while data := archive.read(READ_BYTES):
                sha256.update(data)
                stream.write(data)
            if sha256.hexdigest() != examined.sha256:
                raise DamagedData(
                    "it changed while it was read", "adopt it once nobody writes to it any more"
                )
            return stream.finish()

    def _remove(self, item: BackupObject, backup_id: str, error: BaseException) -> None:
        """Take back an object whose manifest could not be written; what remains is an orphan for the next sweep."""
        layout, store = self.repository.layout, self.repository.store
        try:
            if not any(True for _ in store.list(layout.manifest(backup_id))):
                store.delete(layout.object(backup_id, item.name))
        except BackupError as second:
            error.add_note(f"objects of {backup_id} remain: {second}")

    def _verified(self, backup: Backup) -> Backup:
        """Read it back from the storage unless that was done. Raises DamagedData when it is not what was stored."""
        if backup.good:
            return backup
        verification = verify(
            self.repository,
            backup,
            "parsed",
            self.options.installations,
            clock=self.clock,
            timeout_seconds=self.options.timeout_seconds,
            progress=self.progress,
        )
        error = verification.error
        if isinstance(error, DamagedData):
            raise DamagedData(
                f"it was stored as {backup.backup_id}, which does not verify: {error.message}",
                "that backup keeps no partition; check the storage and adopt the file again",
            )
        if error is not None:
            raise error
        check = Check("verify", backup.backup_id, verification.checked_at, passed=True)
        return self._replaced(backup, replace(backup, checks=(*backup.checks, check)))

    def _label(self, backup: Backup, belongs: Place) -> str:
        """Give it its partition's label, unless a good backup has that. Returns why it was not given."""
        where = belongs.tier, belongs.partition
        holder = self.catalog.labelled(*where)
        if holder is not None and holder.backup_id == backup.backup_id:
            return ""
        if self._is_taken(*where):
            # Perhaps since the catalog was read, which may have been hours ago.
            self.catalog = load_catalog(self.repository)
            holder = self.catalog.labelled(*where)
        if holder is not None and holder.good:
            return (
                f"{belongs.tier.value} {belongs.partition} keeps the good backup it has, {holder.backup_id}"
            )
        reason = "adopted"
        # Labels are not sealed: what the file of an encrypted backup was called stays in its manifest.
        if backup.manifest.adopted and backup.manifest.encryption is None:
            reason = f"adopted from {backup.manifest.adopted.file_name}"
        label = Label(*where, backup.backup_id, self.clock(), late=False, reason=reason)
        record_label(self.repository, label, backup.manifest)
        self.catalog = replace(self.catalog, labels={**self.catalog.labels, where: label})
        return ""

    def _is_taken(self, tier: Tier, partition: str) -> bool:
        try:
            self.repository.store.get(self.repository.layout.label(tier, partition))
        except ObjectMissing:
            return False
        return True

    def _replaced(self, old: Backup, new: Backup) -> Backup:
        backups = tuple(new if each.backup_id == old.backup_id else each for each in self.catalog.backups)
        self.catalog = replace(self.catalog, backups=backups)
        return new
