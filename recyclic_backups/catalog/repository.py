"""Where the backups of one database are, and the keys that open them."""

from __future__ import annotations

from dataclasses import dataclass

from recyclic_backups.catalog.layout import Layout
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.storage.store import Store


@dataclass(frozen=True, slots=True)
class Repository:
    """One database's part of a storage. ``encrypt`` says whether what is written from now on is sealed.

    The keyring reads what was sealed before even when ``encrypt`` is off.
    """

    store: Store
    database: str
    keyring: Keyring
    encrypt: bool

    @property
    def layout(self) -> Layout:
        """The names of its objects."""
        return Layout(self.database)
