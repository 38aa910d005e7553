"""Where a storage asks for MACs: there a document without a valid one proves, hides and deletes nothing.

What each kind of document may do without is a table in docs/format/documents.md.
"""

from __future__ import annotations

from recyclic_backups.catalog.repository import Repository


def asks_for_macs(repository: Repository) -> bool:
    """Whether whoever has no key could not have written here: encryption is on, or the storage has keys.

    Raises StorageError.
    """
    return repository.encrypt or has_keys(repository)


def has_keys(repository: Repository) -> bool:
    """Whether there is any key file. Raises StorageError."""
    return any(item.name.endswith(".json") for item in repository.store.list("keys/"))
