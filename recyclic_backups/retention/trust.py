"""Which documents retention may believe: nobody who can only write files decides what is deleted.

A backup whose manifest or checks are damaged or forged is set aside: it is never deleted and takes no place from
another. A label, hold or tombstone that is damaged or forged stops everything, because nobody can tell whose place or
protection it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from recyclic_backups.catalog.catalog import Catalog, Damage
from recyclic_backups.catalog.documents import Label
from recyclic_backups.catalog.layout import BACKUP_ID, backup_id_of_manifest
from recyclic_backups.catalog.load import find_forged, require_authentic_content, require_authentic_labels
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.document import check_authentic, decode
from recyclic_backups.errors import DamagedData, ObjectMissing


def trusted(repository: Repository, catalog: Catalog) -> Catalog:
    """The catalog without the backups whose documents cannot be believed; those are in ``damage`` as manifests.

    Raises DamagedData (40) when a label, hold or tombstone cannot be believed, NoUsableKey (41) when a key that
    would tell is missing, StorageError.
    """
    return _Examination(repository, catalog).catalog()


# Folders of a database, and its page, whose content never decides what expires.
_SAY_NOTHING = [("alerts",), ("attempts",), ("audit",), ("flags",), ("report.html",)]


class _Examination:
    """Reads every document again and sorts what is wrong with it."""

    def __init__(self, repository: Repository, catalog: Catalog) -> None:
        self.repository, self.loaded = repository, catalog
        self.aside: dict[str, Damage] = {}
        self.doubts: list[Damage] = []

    def catalog(self) -> Catalog:
        """What can be believed. Raises DamagedData."""
        for damage in (*self.loaded.damage, *find_forged(self.repository, self.loaded)):
            self.sort(damage)
        for backup in self.loaded:
            name = self.repository.layout.manifest(backup.backup_id)
            try:
                require_authentic_content(self.repository, backup)
            except DamagedData as error:
                self.aside.setdefault(backup.backup_id, Damage(name, error.message))
            except ObjectMissing as error:
                self.aside.setdefault(
                    backup.backup_id, Damage(name, f"it changes meanwhile: {error.message}")
                )
        for backup in self.loaded:
            if backup.backup_id in self.aside:
                continue
            try:
                require_authentic_labels(self.repository, backup)
            except DamagedData as error:
                self.doubts.append(Damage(error.message.split(" ", 1)[0], error.message))
            except ObjectMissing:
                continue  # given up meanwhile by another run: whoever deletes holds the lock, and reads anew
        known = {backup.backup_id for backup in self.loaded} - self.aside.keys()
        for label in self.loaded.labels.values():
            if label.backup_id not in known and label.backup_id not in self.loaded.tombstones:
                self.require_signed(label)
        if self.doubts:
            more = f" (and {len(self.doubts) - 1} more)" if len(self.doubts) > 1 else ""
            raise DamagedData(
                f"nothing expires while this cannot be trusted: {_sentence(self.doubts[0])}{more}",
                "see: recyclic-backups verify --all; remove what nobody of you wrote",
            )
        kept = tuple(backup for backup in self.loaded if backup.backup_id in known)
        return replace(self.loaded, backups=kept, damage=tuple(self.aside.values()))

    def sort(self, damage: Damage) -> None:
        """Whose problem is it: one backup's own, or everybody's?"""
        inside = PurePosixPath(damage.name).parts
        own = backup_id_of_manifest(damage.name)
        if own is None and inside[1:2] == ("backups",) and BACKUP_ID.fullmatch("".join(inside[2:3])):
            own = inside[2]
        if own is None and self.decides_nothing(inside):
            return  # told elsewhere
        if own is not None:
            problem = damage.problem if backup_id_of_manifest(damage.name) else _sentence(damage)
            self.aside.setdefault(own, Damage(self.repository.layout.manifest(own), problem))
        elif not any(self.is_label_of_nothing(damage, label) for label in self.loaded.labels.values()):
            self.doubts.append(damage)

    def decides_nothing(self, inside: Sequence[str]) -> bool:
        """Whether what expires does not hang on what lies there: keys, the log, a folder that is no backup's."""
        of_no_backup = len(inside) > 2 and inside[1] == "backups"
        return inside[0] != self.repository.layout.root or inside[1:2] in _SAY_NOTHING or of_no_backup

    def is_label_of_nothing(self, damage: Damage, label: Label) -> bool:
        """Whether it is a readable label whose backup is not there: :meth:`require_signed` judges that one."""
        is_its = damage.name == self.repository.layout.label(label.tier, label.partition)
        return is_its and label.backup_id not in self.loaded.tombstones

    def require_signed(self, label: Label) -> None:
        """A label of a backup that cannot be read or believed: the label's own signature has to do."""
        name = self.repository.layout.label(label.tier, label.partition)
        try:
            document = decode(self.repository.store.get(name), name)
            check_authentic(document, name, self.repository.keyring.for_reading, signed=self.is_encrypted())
        except DamagedData as error:
            self.doubts.append(Damage(name, error.message))
        except ObjectMissing:
            return

    def is_encrypted(self) -> bool:
        """Whether somebody who has no key could not have written here."""
        backups: Iterable[bool] = (backup.manifest.encryption is not None for backup in self.loaded)
        return self.repository.encrypt or any(backups)


def _sentence(damage: Damage) -> str:
    return damage.problem if damage.name in damage.problem else f"{damage.name}: {damage.problem}"
