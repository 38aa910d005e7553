"""Read the catalog from a storage: the storage is the truth, there is no other list (invariant 3).

Each document is read once, then judged (:mod:`recyclic_backups.catalog.authenticity`), then parsed; at the end all are
put together. What is not believed does the harmless thing only, and is told as damage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Backup, Catalog, Damage
from recyclic_backups.catalog.documents import (
    SEALED_CHECK_FORMAT,
    Check,
    Hold,
    Label,
    Tombstone,
    held_for_ever,
)
from recyclic_backups.catalog.layout import BACKUP_ID
from recyclic_backups.catalog.manifest import SEALED_FORMAT, Manifest
from recyclic_backups.catalog.read_once import unlisted
from recyclic_backups.catalog.reading import DocumentReader, Read
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.sealing import check_of, manifest_of
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.catalog.strangers import objects_and_damage
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey
from recyclic_backups.storage.store import StoredObject

# One that had begun before the deletion may end, and be recorded, after it was announced.
_LONGEST_VERIFICATION = timedelta(days=1)


def load_catalog(repository: Repository) -> Catalog:
    """Everything that is there, newest first, and judged: what is not believed is no backup, label, proof or tombstone.

    It is reported in ``damage``, never skipped in silence. With a key at hand every document is checked; without one
    those that carry a MAC are taken as *not checked*, and ``is_checked`` is false.
    Raises StorageError when the storage does not answer.
    """
    layout = repository.layout
    objects, strange = objects_and_damage(repository.store, layout)
    reading = _Reading(repository)
    reading.reader.damage += strange
    for item in objects:
        reading.take(item)
    reading.reader.save()
    # Something strange in the place of a hold keeps its backup as a hold that is not believed does.
    names = frozenset(item.name for item in objects) | {each.name for each in strange}
    return _Assembly(reading, names).catalog()


def read_hold(repository: Repository, backup_id: str) -> Hold | None:
    """The hold of a backup as it is at this moment; one that is not believed holds for ever. Raises StorageError."""
    name = repository.layout.hold(backup_id)
    reading = _Reading(repository)
    reading.take(unlisted(name))
    if backup_id in reading.holds:
        return _believed_hold(backup_id, reading.holds[backup_id])
    return held_for_ever(backup_id) if reading.reader.damage else None


class _Reading:
    """The documents of a catalog, by kind, as they are read."""

    def __init__(self, repository: Repository) -> None:
        self.repository, self.reader = repository, DocumentReader(repository)
        self.manifests: dict[str, Read[Manifest]] = {}
        self.checks: dict[str, list[Read[Check]]] = defaultdict(list)
        self.labels: list[Read[Label]] = []
        self.holds: dict[str, Read[Hold]] = {}
        self.tombstones: dict[str, Read[Tombstone]] = {}
        self.root = f"{repository.layout.root}/"

    def take(self, item: StoredObject) -> None:
        """Read the document that was listed, if it is one of the catalog's."""
        name, read = item.name, self.reader.read
        match name[len(self.root) :].split("/"):
            case ("backups", backup_id, "manifest.json"):
                self._manifest(item, backup_id)
            case ("backups", backup_id, "checks", _):
                parse = partial(check_of, self.repository, name)
                if check := read(item, parse, newest_format=SEALED_CHECK_FORMAT):
                    self.checks[backup_id].append(check if check.standing.is_believed else _bare(check))
            case ("tiers", tier, file):
                label = read(item, Label.from_json)
                if label is None:
                    return
                if (label.value.tier.value, f"{label.value.partition}.json") != (tier, file):
                    self.reader.tell(name, f"it is the label of {label.value.tier}/{label.value.partition}")
                else:
                    self.labels.append(label)
            case ("holds", file) if held := _id_of(file):
                if hold := read(item, Hold.from_json, filed_under=held):
                    self.holds[held] = hold
            case ("tombstones", file) if buried := _id_of(file):
                if tombstone := read(item, Tombstone.from_json, filed_under=buried):
                    self.tombstones[buried] = tombstone
            case _:
                pass

    def _manifest(self, item: StoredObject, backup_id: str) -> None:
        name = item.name
        found = self.reader.read(item, partial(manifest_of, self.repository), newest_format=SEALED_FORMAT)
        if found is None:
            return
        manifest = found.value
        if manifest.backup_id != backup_id or manifest.database != self.repository.database:
            self.reader.tell(name, f"it describes {manifest.database}/{manifest.backup_id}")
        elif manifest.encryption is not None and manifest.encryption.key_id != found.key_id:
            self.reader.tell(name, "it is not signed with the key of its backup")
        else:
            self.manifests[backup_id] = found


class _Assembly:
    """Puts together what was read: which backups there are, and what each document may say of them."""

    def __init__(self, reading: _Reading, names: frozenset[str]) -> None:
        self.reading, self.layout = reading, reading.repository.layout
        self.names = names
        locked = {damage.name for damage in reading.reader.damage if damage.lacks_key}
        self.damage = [
            damage for damage in reading.reader.damage if not _is_told_with_its_manifest(damage, locked)
        ]
        self.spoilt = {damage.name for damage in self.damage}
        self.not_checked = False
        self.claims: dict[str, list[Label]] = defaultdict(list)
        """What unsigned labels of unsigned backups say: shown beside those, and believed by nobody."""
        buried = {
            backup_id: each
            for backup_id, each in reading.tombstones.items()
            if self.believes(each) and not self.was_withdrawn(each.value)
        }
        self.tombstones = frozenset(buried)
        self.expired = [each.value for _, each in sorted(buried.items())]
        self.manifests = {
            backup_id: each for backup_id, each in reading.manifests.items() if backup_id not in buried
        }
        self.believed = {
            backup_id: each.value for backup_id, each in self.manifests.items() if self.believes(each)
        }

    def believes(self, document: Read[Any]) -> bool:
        """Whether it exists for everybody; notes that one could not be checked."""
        self.not_checked |= document.standing is Standing.NOT_CHECKED
        return document.standing.is_believed

    def catalog(self) -> Catalog:
        """All of it."""
        for read in self.manifests.values():
            if not read.standing.is_believed:
                self.tell(read.name, read.standing.problem)
        self.judge_tombstones()
        labels = self.labels()
        holds = self.holds()
        checks = {
            backup_id: self.checks(backup_id, found) for backup_id, found in self.reading.checks.items()
        }
        labels_of = self.claims
        for label in labels.values():
            if label.backup_id not in self.tombstones:
                labels_of[label.backup_id].append(label)
        closed = {
            read.key_id: _why_closed(self.reading.repository, read.key_id)
            for read in self.manifests.values()
            if read.standing is Standing.NOT_CHECKED and read.key_id is not None
        }
        backups = [
            Backup(
                manifest=read.value,
                labels=tuple(labels_of[backup_id]),
                checks=tuple(sorted(checks.get(backup_id, ()), key=lambda check: check.checked_at)),
                hold=holds.get(backup_id),
                standing=read.standing,
                closed=closed.get(read.key_id or "") if read.standing is Standing.NOT_CHECKED else None,
            )
            for backup_id, read in self.manifests.items()
        ]
        newest_first = sorted(backups, key=lambda backup: (backup.as_of, backup.backup_id), reverse=True)
        self.damage += [Damage(name, problem) for name, problem in self.reading.reader.judge.problems]
        return Catalog(
            backups=tuple(each for each in newest_first if each.standing.is_believed),
            labels=labels,
            damage=tuple(self.damage),
            tombstones=self.tombstones,
            expired=tuple(self.expired),
            unvouched=tuple(each for each in newest_first if not each.standing.is_believed),
            named=frozenset(read.value.backup_id for read in self.reading.labels),
            is_checked=not self.not_checked,
            place=self.reading.repository.store.url,
        )

    def labels(self) -> dict[tuple[Tier, str], Label]:
        """Labels that are believed; those of expired backups too, as their tombstones remember them."""
        labels: dict[tuple[Tier, str], Label] = {}
        for read in self.reading.labels:
            if self.is_of_its_backup(read, read.value.backup_id):
                labels[(read.value.tier, read.value.partition)] = read.value
            elif read.value.backup_id in self.manifests and read.value.backup_id not in self.believed:
                self.claims[read.value.backup_id].append(read.value)
        for (tier, partition), label in sorted(labels.items()):
            if label.backup_id not in self.believed and label.backup_id not in self.tombstones:
                name = self.layout.label(tier, partition)
                problem = "is missing" if label.backup_id not in self.manifests else "is not believed"
                self.tell(name, f"it points at {label.backup_id}, whose manifest {problem}")
        for tombstone in self.expired:
            for label in tombstone.labels:
                if label.backup_id in self.tombstones:
                    labels.setdefault((label.tier, label.partition), label)
        return dict(sorted(labels.items()))

    def holds(self) -> dict[str, Hold]:
        """Each hold keeps its backup; one that is not believed does so for ever."""
        holds = {}
        for name in self.names:
            if name.startswith(f"{self.layout.holds}/") and (backup_id := _id_of(name.rpartition("/")[2])):
                read = self.reading.holds.get(backup_id)
                is_believed = read is not None and self.is_of_its_backup(read, backup_id)
                holds[backup_id] = (
                    read.value if read is not None and is_believed else held_for_ever(backup_id)
                )
        return holds

    def checks(self, backup_id: str, found: Iterable[Read[Check]]) -> list[Check]:
        """The checks of a backup that are believed; they say that there was one where its manifest is missing."""
        if backup_id in self.tombstones:
            return []
        checks = [read.value for read in found if self.is_of_its_backup(read, backup_id)]
        name = self.layout.manifest(backup_id)
        if checks and backup_id not in self.manifests and name not in self.spoilt:
            self.tell(name, "it is missing, but the backup was checked once")
        return checks if backup_id in self.believed else []

    def was_withdrawn(self, tombstone: Tombstone) -> bool:
        """Whether a backup was verified long after its deletion had been announced: somebody laid the tombstone back.

        A deletion that was begun is finished by the next run, and nobody verifies the backup before.
        """
        return tombstone.expired_at is not None and any(
            read.standing.is_vouched_for
            and read.value.kind == "verify"
            and read.value.checked_at > tombstone.expired_at + _LONGEST_VERIFICATION
            for read in self.reading.checks.get(tombstone.backup_id, ())
        )

    def judge_tombstones(self) -> None:
        """Tell those that are not believed, unless nothing is left of what they would hide."""
        named = {read.value.backup_id for read in self.reading.labels}
        for backup_id, read in self.reading.tombstones.items():
            if read.standing.is_believed and backup_id not in self.tombstones:
                self.tell(
                    read.name, "it was taken back: the backup was verified after its deletion was announced"
                )
            is_harmless = read.standing is Standing.UNSIGNED and backup_id not in named
            left = f"{self.layout.backup(backup_id)}/"
            if not read.standing.is_believed and not (
                is_harmless and not any(name.startswith(left) for name in self.names)
            ):
                self.tell(read.name, read.standing.problem)

    def is_of_its_backup(self, read: Read[Any], backup_id: str) -> bool:
        """Whether a document beside a backup is believed; tells it if not.

        One without a MAC whose backup has none either is told with the backup.
        """
        manifest = self.manifests.get(backup_id)
        if not self.believes(read):
            shares_its_fate = manifest is not None and manifest.standing is read.standing
            if not shares_its_fate:
                self.tell(read.name, read.standing.problem)
            return False
        if manifest is not None and manifest.key_id is not None and manifest.key_id != read.key_id:
            self.tell(read.name, "it is not signed with the key of its backup")
            return False
        return True

    def tell(self, name: str, problem: str) -> None:
        """Note damage."""
        self.damage.append(Damage(name, problem))
        self.spoilt.add(name)


def _bare(check: Read[Check]) -> Read[Check]:
    """A check that is not believed, without what it says at length: nobody reads that, and it may be large."""
    said = check.value
    return replace(
        check,
        value=Check(
            said.kind,
            said.backup_id,
            said.checked_at,
            said.passed,
            proves=said.proves,
            duration_seconds=said.duration_seconds,
        ),
    )


def _why_closed(repository: Repository, key_id: str) -> BackupError | None:
    """Why a key is not open: its file is missing or damaged, or no passphrase opens it."""
    try:
        repository.keyring.for_unsealing(key_id)
    except (DamagedData, NoUsableKey) as error:
        return error
    return None


def _id_of(file: str) -> str | None:
    """The backup that a hold or a tombstone is filed under; None for a file that is none."""
    stem = file.removesuffix(".json")
    return stem if stem != file and BACKUP_ID.fullmatch(stem) else None


def _is_told_with_its_manifest(damage: Damage, locked: Collection[str]) -> bool:
    """Whether it is a check whose key is missing, as that of its manifest is: one sentence says it all."""
    folder, checks, _ = damage.name.partition("/checks/")
    return bool(checks) and damage.lacks_key and f"{folder}/manifest.json" in locked


def _believed_hold(backup_id: str, read: Read[Hold]) -> Hold:
    return read.value if read.standing.is_believed else held_for_ever(backup_id)
