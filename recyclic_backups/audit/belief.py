"""Which events of the audit log are believed: whoever can write to a storage can write an event in anybody's name.

In a storage that asks for MACs an event without a valid one is shown with a mark and told by ``audit verify``. It is
never the head of the log, no later event follows it, its moment and number move those of no other, and it makes no
other event leave for its age.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from recyclic_backups.catalog import authenticity
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.errors import DamagedData, NoUsableKey


class Belief(StrEnum):
    """What is known of who wrote an event."""

    BELIEVED = "believed"
    UNSIGNED = "unsigned"
    FOREIGN = "of another storage"
    WRONG = "damaged"
    UNCHECKED = "not checked"


_BELIEFS = {
    Standing.SIGNED: Belief.BELIEVED,
    Standing.CHECKSUM: Belief.BELIEVED,
    Standing.UNSIGNED: Belief.UNSIGNED,
    Standing.FOREIGN: Belief.FOREIGN,
    Standing.NOT_CHECKED: Belief.UNCHECKED,
}


class Judge:
    """Judges the events of one log. ``reasons`` say what is wrong with those that are damaged, foreign or not checked.

    Making one raises StorageError.
    """

    def __init__(self, repository: Repository) -> None:
        self._judge = authenticity.Judge(repository)
        self.knows_keys = repository.keyring.belonging().is_known
        self.reasons: dict[str, str] = {}

    def vouches_for(self, name: str, content: bytes) -> bool:
        """Whether content carries a right MAC for the document of that name."""
        return self._judge.vouches_for(name, content)

    def of(self, document: Mapping[str, Any], name: str) -> Belief:
        """What is known of the event stored under that name. Raises StorageError."""
        try:
            found = self._judge.standing(document, name)
        except DamagedData as damage:
            self.reasons[name] = damage.message
            return Belief.WRONG
        except NoUsableKey as unopened:
            self.reasons[name] = f"{name} cannot be checked: {unopened.message}"
            return Belief.UNCHECKED
        if found is Standing.FOREIGN:
            self.reasons[name] = f"{name}: {found.problem}"
        return _BELIEFS[found]
