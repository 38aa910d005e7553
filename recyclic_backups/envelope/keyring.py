"""The data keys of one storage, opened with the operator's passphrases (``docs/format/keys.md``)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from recyclic_backups.envelope import key_file
from recyclic_backups.envelope.data_key import KEY_BYTES, DataKey, key_id_of
from recyclic_backups.envelope.passphrase import (
    MINIMUM_PASSPHRASE_LENGTH,
    generate_passphrase,
    new_derivation,
    normalized,
)
from recyclic_backups.errors import ConfigurationError, DamagedData, NoUsableKey, ObjectMissing

if TYPE_CHECKING:
    from recyclic_backups.storage.store import Store

__all__ = ["MINIMUM_PASSPHRASE_LENGTH", "DataKey", "Keyring", "generate_passphrase"]

_KEY_ID = re.compile(r"[0-9a-f]{16}")
_STORAGE_NAME = re.compile(r"keys/([0-9a-f]{16})\.json")
_OLD_KEYS_HINT = (
    "set BACKUP_ENCRYPTION_KEY to the passphrase the backups were made with, or, if it was changed, "
    "put the former one into BACKUP_ENCRYPTION_OLD_KEYS"
)
_FILE_HINT = (
    "the configured passphrase is the name of a file: put that name into BACKUP_ENCRYPTION_KEY_FILE, "
    "and leave BACKUP_ENCRYPTION_KEY out"
)


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A data key as :meth:`Keyring.inventory` lists it; ``created_at`` is aware UTC."""

    key_id: str
    created_at: datetime
    opens: bool


class Keyring:
    """Passphrases on one side, the storage's key files on the other.

    Making one reads and derives nothing. A key is opened once and kept; a passphrase is derived once per
    process. An empty passphrase is none: such a keyring reads with the old ones, if there are any, and
    makes no key. Raises ConfigurationError for another one under 16 characters.
    """

    def __init__(self, store: Store, passphrase: str, old_passphrases: Sequence[str] = ()) -> None:
        self._store = store
        self._current = _long_enough(passphrase) if passphrase else ""
        texts = [self._current, *(normalized(text) for text in old_passphrases)]
        self._passphrases = [text for text in dict.fromkeys(texts) if text]
        self._opened: dict[str, tuple[datetime, DataKey]] = {}

    def for_writing(self, now: datetime) -> DataKey:
        """The newest data key that a passphrase opens; on a storage without any, a new one.

        Raises NoUsableKey when there are keys and none opens (a new one would hide the mistake),
        DamagedData naming a damaged key file, and StorageError.
        """
        key_ids = self._stored_key_ids()
        if not key_ids:
            self._require_no_strange()
            return self._create(now)
        opened = [found for key_id in key_ids if (found := self._open(key_id)) is not None]
        if not opened:
            raise NoUsableKey(f"no configured passphrase opens a key of {self._store.url}", self._hint())
        return max(opened, key=lambda found: (found[0], found[1].key_id))[1]

    def for_reading(self, key_id: str) -> DataKey:
        """The data key of this id. Raises NoUsableKey, DamagedData, StorageError."""
        if not _KEY_ID.fullmatch(key_id):
            raise DamagedData(f"{key_id!r} cannot be the id of a key")
        try:
            opened = self._open(key_id)
        except ObjectMissing:
            raise NoUsableKey(
                f"the key file {key_file.storage_name(key_id)} is missing from {self._store.url}",
                "put back a copy of the storage's keys folder: without that file no passphrase helps",
            ) from None
        if opened is None:
            raise NoUsableKey(f"no configured passphrase opens key {key_id}", self._hint())
        return opened[1]

    def rotate(self, new_passphrase: str, now: datetime) -> list[str]:
        """Wrap every key that this keyring opens under a new passphrase; returns their ids, sorted.

        Nothing is replaced before all were opened; each file is then replaced atomically, so that one
        interrupted midway can be run again with both passphrases configured. Keys that do not open are left
        as they are. Raises NoUsableKey when there are keys and none opens, ConfigurationError,
        DamagedData, StorageError.
        """
        passphrase = _long_enough(new_passphrase)
        key_ids = self._stored_key_ids()
        opened = [found for key_id in key_ids if (found := self._open(key_id)) is not None]
        if key_ids and not opened:
            raise NoUsableKey(f"no configured passphrase opens a key of {self._store.url}", self._hint())
        derivation = new_derivation(passphrase)
        for created_at, data_key in opened:
            content = key_file.wrap(data_key, passphrase, derivation, created_at, now)
            self._store.replace(key_file.storage_name(data_key.key_id), content)
        return [data_key.key_id for _, data_key in opened]

    def inventory(self) -> list[KeyEntry]:
        """Every data key of the storage and whether a configured passphrase opens it. Raises DamagedData."""
        entries = []
        for key_id in self._stored_key_ids():
            created_at = key_file.parse(self._store.get(key_file.storage_name(key_id)), key_id).created_at
            entries.append(KeyEntry(key_id, created_at, opens=self._open(key_id) is not None))
        return entries

    def _stored_key_ids(self) -> list[str]:
        matches = (_STORAGE_NAME.fullmatch(entry.name) for entry in self._store.list("keys/"))
        return sorted(match[1] for match in matches if match)

    def _require_no_strange(self) -> None:
        """Where something that is no file took the place of a key, a new key would hide it. Raises DamagedData."""
        for each in self._store.strange("keys"):
            raise DamagedData(
                f"{each.name} is damaged: {each.problem}", "put back a copy of the storage's keys folder"
            )

    def _open(self, key_id: str) -> tuple[datetime, DataKey] | None:
        """The key and when it was made; None if no passphrase opens it. Raises ObjectMissing, DamagedData."""
        if key_id not in self._opened:
            found = key_file.parse(self._store.get(key_file.storage_name(key_id)), key_id)
            for passphrase in self._passphrases:
                data_key = found.open(passphrase)
                if data_key is not None:
                    self._opened[key_id] = (found.created_at, data_key)
                    break
        return self._opened.get(key_id)

    def _hint(self) -> str:
        """What to do about passphrases that open nothing."""
        return _FILE_HINT if any(map(_is_file_name, self._passphrases)) else _OLD_KEYS_HINT

    def _create(self, now: datetime) -> DataKey:
        if not self._current:
            raise ConfigurationError("there is no passphrase to make a key with", "set BACKUP_ENCRYPTION_KEY")
        secret = os.urandom(KEY_BYTES)
        data_key = DataKey(key_id_of(secret), secret)
        name = key_file.storage_name(data_key.key_id)
        content = key_file.wrap(data_key, self._current, new_derivation(self._current), now, now)
        self._store.create(name, content)
        # Everything to come hangs on these few bytes: read them back before trusting them.
        if self._store.get(name) != content:
            raise DamagedData(f"the storage did not keep the new key file {name} as it was written")
        self._opened[data_key.key_id] = (now, data_key)
        return data_key


def _long_enough(passphrase: str) -> str:
    text = normalized(passphrase)
    if len(text) < MINIMUM_PASSPHRASE_LENGTH:
        raise ConfigurationError(
            f"the encryption key is too short: at least {MINIMUM_PASSPHRASE_LENGTH} characters are needed",
            _FILE_HINT
            if _is_file_name(text)
            else "`recyclic-backups keys generate` prints one that cannot be guessed",
        )
    return text


def _is_file_name(text: str) -> bool:
    """Whether a passphrase is a path to a file that is there: BACKUP_ENCRYPTION_KEY was meant as its ``_FILE``."""
    try:
        return Path(text).is_absolute() and Path(text).is_file()
    except (OSError, ValueError):  # too long, or with a NUL in it: no path
        return False
