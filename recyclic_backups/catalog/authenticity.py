"""The one judgement on whether a stored document is believed (docs/format/documents.md, decision 12).

Each document is judged once, when the catalog is loaded; everybody works with the judged catalog and asks no more.
What a document that is not believed may still do is the harmless thing: :mod:`recyclic_backups.catalog.load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.envelope.document import check_signature, check_sum, decode, key_id_of_mac
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey


class Judge:
    """Judges the documents of one storage, with the keys that are at hand at this moment.

    ``problems`` are what is wrong with the keys and with ``storage.json``: pairs of a storage name and a sentence.
    ``reasons`` say, by name, what is wrong with what :meth:`verdict` found damaged, foreign or not to be checked.
    Raises StorageError.
    """

    def __init__(self, repository: Repository) -> None:
        self._keyring = repository.keyring
        self._belonging = self._keyring.belonging()
        self.asks_for_macs = repository.asks_for_macs
        self.problems = self._belonging.problems if self.asks_for_macs else ()
        self.knows_keys = self._belonging.is_known
        self.reasons: dict[str, str] = {}

    def standing(self, document: Mapping[str, Any], name: str) -> Standing:
        """What vouches for a document that lies under ``name``.

        Raises DamagedData for one that was edited, moved or spoilt, NoUsableKey for one whose own key does not open
        while another of the storage does, StorageError.
        """
        if document.get("mac") is None:
            return self._without_mac(document, name)
        key_id = key_id_of_mac(document, name)
        if not self.knows_keys:
            return Standing.NOT_CHECKED
        check_signature(document, name, self._keyring.for_unsealing)
        if key_id not in self._belonging.members:
            return Standing.FOREIGN
        storage_id = document.get("storage_id")
        is_ours = storage_id is None or storage_id == self._belonging.storage_id
        return Standing.SIGNED if is_ours else Standing.FOREIGN

    def verdict(self, document: Mapping[str, Any], name: str) -> Standing:
        """The same, where what cannot be believed is an answer and no error. Raises StorageError."""
        try:
            found = self.standing(document, name)
        except DamagedData as damage:
            self.reasons[name] = damage.message
            return Standing.DAMAGED
        except NoUsableKey as unopened:
            self.reasons[name] = f"{name} cannot be checked: {unopened.message}"
            return Standing.NOT_CHECKED
        if found is Standing.FOREIGN:
            self.reasons[name] = f"{name}: {found.problem}"
        return found

    def vouches_for(self, name: str, content: bytes) -> bool:
        """Whether content carries a right MAC, by a key of the storage, for the document of that name."""
        try:
            return self.standing(decode(content, name), name) is Standing.SIGNED
        except BackupError:
            return False

    def _without_mac(self, document: Mapping[str, Any], name: str) -> Standing:
        if document.get("encryption") is not None:
            raise DamagedData(
                f"{name} carries no MAC, and its backup is encrypted: it was edited",
                "do not trust it; use another backup or copy",
            )
        check_sum(document, name)
        return Standing.UNSIGNED if self.asks_for_macs else Standing.CHECKSUM
