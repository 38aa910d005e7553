"""The store at a location. Only here it is known which kinds of storage there are."""

from __future__ import annotations

from recyclic_backups.storage.local import LocalStore
from recyclic_backups.storage.location import StorageLocation, parse_storage_url
from recyclic_backups.storage.store import Store


def open_store(location: StorageLocation | str, *, create: bool = True) -> Store:
    """The store at a location, checked as :meth:`LocalStore.open` does.

    ``create`` when it is going to be written, False to read what is there, be it on a read-only disk.
    Raises ConfigurationError for a bad URL, ObjectMissing or StorageError for a directory that will not do.
    """
    if isinstance(location, str):
        location = parse_storage_url(location)
    return LocalStore.open(location.path, create)
