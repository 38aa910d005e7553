"""The field ``sealed`` of documents of encrypted backups (docs/format/documents.md, formats 2).

It is one object of our envelope, so that an error of the storage, a wrong key and another backup's text are told apart
as they are for dumps.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Mapping
from typing import Any

from recyclic_backups.envelope.data_key import DataKey
from recyclic_backups.envelope.document import canonical, decode
from recyclic_backups.envelope.seal import SealedWriter
from recyclic_backups.envelope.unseal import UnsealedReader
from recyclic_backups.errors import DamagedData

_READ_BYTES = 1 << 20


def sealed_part(hidden: Mapping[str, Any], data_key: DataKey, backup_id: str, object_name: str) -> str:
    """What is to be hidden, as the text of the field ``sealed``.

    ``object_name`` stands in the associated data: one that no object of a backup can have, so that none can be put in
    its place. Raises ValueError or TypeError for something that is not JSON.
    """
    stored = io.BytesIO()
    with SealedWriter(stored, data_key, backup_id, object_name) as writer:
        writer.write(canonical(hidden))
        writer.finish()
    return base64.b64encode(stored.getvalue()).decode("ascii")


def opened_part(
    document: Mapping[str, Any],
    open_key: Callable[[str], DataKey],
    *,
    key_id: str,
    object_name: str,
    of: str,
) -> dict[str, Any]:
    """What is hidden in a document's ``sealed``; ``of`` names the document in messages: "the manifest of …".

    ``key_id`` is the only key that it may be sealed with. Raises DamagedData, NoUsableKey and what ``open_key`` raises.
    """
    try:
        stored = base64.b64decode(str(document["sealed"]).encode("ascii"), validate=True)
    except (KeyError, ValueError, binascii.Error):
        raise DamagedData(f"what is sealed in {of} is damaged: no base64") from None

    def key_of_the_backup(sealed_with: str) -> DataKey:
        if sealed_with != key_id:
            raise DamagedData(f"{of} is sealed with another key than its backup's")
        return open_key(sealed_with)

    reader = UnsealedReader(
        io.BytesIO(stored), key_of_the_backup, str(document.get("backup_id")), object_name
    )
    plain = bytearray()
    while piece := reader.read(_READ_BYTES):
        plain += piece
    return decode(bytes(plain), f"what is sealed in {of}")


def add_fields(target: dict[str, Any], more: Mapping[str, Any], of: str) -> None:
    """Put fields where they belong. One that is in clear too is damage: readers would disagree about it."""
    twice = target.keys() & more.keys()
    if twice:
        raise DamagedData(f"{of} holds {', '.join(sorted(twice))} in clear and sealed")
    target.update(more)
