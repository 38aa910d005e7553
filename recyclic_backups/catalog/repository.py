"""Where the backups of one database are, and the keys that open them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from recyclic_backups.catalog.actor import Actor
from recyclic_backups.catalog.layout import Layout
from recyclic_backups.catalog.read_once import Documents
from recyclic_backups.envelope.document import signed, summed
from recyclic_backups.envelope.keyring import DataKey, Keyring
from recyclic_backups.errors import Refused
from recyclic_backups.storage.store import Store


@dataclass(frozen=True, slots=True)
class Repository:
    """One database's part of a storage. ``encrypt`` says whether what is written from now on is sealed.

    The keyring reads what was sealed before even when ``encrypt`` is off. ``actor`` is who opened it
    and ``configuration`` the settings they have, secrets left out: both are for the audit log.
    """

    store: Store
    database: str
    keyring: Keyring
    encrypt: bool
    actor: Actor = field(default_factory=Actor)
    configuration: Mapping[str, str] = field(default_factory=dict, repr=False)
    cache: Path | None = None
    """Where this machine remembers documents (:mod:`recyclic_backups.catalog.read_once`); None for nowhere."""

    @property
    def asks_for_macs(self) -> bool:
        """Whether a document without a MAC does not exist here: it has keys, or will have. Raises StorageError."""
        return self.encrypt or self.keyring.has_keys()

    def storage_id(self) -> str | None:
        """Which storage this is, as its ``storage.json`` says under a key that is at hand; None where nobody can tell.

        Raises StorageError.
        """
        return self.keyring.storage_id()

    def key_for_backups(self, now: datetime) -> DataKey | None:
        """The data key that a new backup is sealed with; None where none is.

        Raises Refused where encryption is off and the storage asks for MACs, since such a backup would not exist there;
        NoUsableKey, DamagedData, StorageError.
        """
        if self.encrypt:
            return self.keyring.for_writing(now)
        if self.keyring.has_keys():
            raise Refused(
                "BACKUP_ENCRYPTION is off, and the backups of this storage are encrypted: "
                "one that is not would not be believed here",
                "set BACKUP_ENCRYPTION=true, or use another BACKUP_STORAGE for backups that are not encrypted",
            )
        return None

    def vouched(self, document: Mapping[str, Any], name: str, now: datetime) -> Mapping[str, Any]:
        """A document of no backup's, for storage under ``name``: with a MAC where one is asked for, else a SHA-256.

        Raises NoUsableKey, DamagedData, ConfigurationError where there is no key to write with, StorageError.
        """
        if self.asks_for_macs:
            return signed(document, name, self.keyring.for_writing(now))
        return summed(document, name)

    def documents(self) -> Documents:
        """Its documents, each of which is read once."""
        return Documents(self.store, self.cache)

    @property
    def layout(self) -> Layout:
        """The names of its objects."""
        return Layout(self.database)
