"""Which events of the audit log are believed: whoever can write to a storage can write an event in anybody's name.

In a storage that asks for MACs an event without a valid one is shown with a mark and told by ``audit verify``. It is
never the head of the log, no later event follows it, its moment and number move those of no other, and it makes no
other event leave for its age.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from recyclic_backups.catalog.authenticity import asks_for_macs
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.data_key import DataKey
from recyclic_backups.envelope.document import check_signature, check_sum
from recyclic_backups.errors import DamagedData, NoUsableKey


class Belief(StrEnum):
    """What is known of who wrote an event."""

    BELIEVED = "believed"
    UNSIGNED = "no MAC"
    WRONG = "wrong MAC"
    UNCHECKED = "not checked"


class Judge:
    """Judges the events of one log. ``reasons`` are why those of the last two kinds are so, by their names.

    ``opens`` turns true with the first key that could be opened. Making one raises StorageError.
    """

    def __init__(self, repository: Repository) -> None:
        self._keyring = repository.keyring
        self._asks = asks_for_macs(repository)
        self._keys: dict[str, DataKey | NoUsableKey | DamagedData] = {}
        self.reasons: dict[str, str] = {}
        self.unopened: NoUsableKey | DamagedData | None = None

    @property
    def opens(self) -> bool:
        """Whether any key was opened until now."""
        return any(isinstance(key, DataKey) for key in self._keys.values())

    def of(self, document: Mapping[str, Any], name: str) -> Belief:
        """What is known of the event stored under that name. Raises StorageError."""
        try:
            if "mac" not in document:
                check_sum(document, name)
                return Belief.UNSIGNED if self._asks else Belief.BELIEVED
            mac = document["mac"]
            key = self._open(mac.get("key_id")) if isinstance(mac, Mapping) else None
            if isinstance(key, NoUsableKey | DamagedData):
                self.unopened = key
                self.reasons[name] = f"{name} cannot be checked: {key.message}"
                return Belief.UNCHECKED
            check_signature(document, name, lambda _key_id: key)  # type: ignore[arg-type, return-value]
        except DamagedData as damage:
            self.reasons[name] = damage.message
            return Belief.WRONG
        return Belief.BELIEVED

    def _open(self, key_id: object) -> DataKey | NoUsableKey | DamagedData | None:
        """The key, or why it cannot be opened; None for what names none, which is the MAC's own damage."""
        if not isinstance(key_id, str):
            return None
        if key_id not in self._keys:
            try:
                self._keys[key_id] = self._keyring.for_reading(key_id)
            except (NoUsableKey, DamagedData) as unopened:
                self._keys[key_id] = unopened
        return self._keys[key_id]
