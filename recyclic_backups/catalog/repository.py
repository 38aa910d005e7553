"""Where the backups of one database are, and the keys that open them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recyclic_backups.catalog.actor import Actor
from recyclic_backups.catalog.layout import Layout
from recyclic_backups.envelope.keyring import Keyring
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

    @property
    def layout(self) -> Layout:
        """The names of its objects."""
        return Layout(self.database)
