"""Manifests as releases before format 2 wrote them: in clear, with a valid MAC."""

from __future__ import annotations

from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.sealing import unseal
from recyclic_backups.envelope.document import decode, encode, signed


def as_an_older_release_wrote_it(repository: Repository, backup_id: str) -> str:
    """Replace a backup's sealed manifest by the one of format 1 that says the same. Returns its storage name."""
    name = repository.layout.manifest(backup_id)
    document = decode(repository.store.get(name), name)
    key_of = repository.keyring.for_reading
    clear = unseal(document, key_of) | {"format": 1}
    repository.store.replace(name, encode(signed(clear, name, key_of(document["encryption"]["key_id"]))))
    return name
