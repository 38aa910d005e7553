"""What a manifest says of the content of an encrypted backup lies sealed in it (docs/format/documents.md, format 2).

In clear stays what ``list``, retention and a reader without key need. What is sealed is one object of our envelope, so
that an error of the storage, a wrong key and another backup's text are told apart as they are for dumps.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Mapping
from typing import Any

from recyclic_backups.catalog.manifest import (
    CLEAR_SERVER_FIELDS,
    SEALED_FIELDS,
    SEALED_FORMAT,
    SEALED_OBJECT_FIELDS,
    Manifest,
)
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.data_key import DataKey
from recyclic_backups.envelope.document import canonical, decode
from recyclic_backups.envelope.seal import SealedWriter
from recyclic_backups.envelope.unseal import UnsealedReader
from recyclic_backups.errors import DamagedData

OBJECT_NAME = "manifest.json"
"""The object name in the associated data: no object of a backup can have it, so none can be put in its place."""

READABLE_HINT = "recyclic-backups keys seal-manifests"
"""What to do about a manifest that :func:`is_readable_by_all` finds."""

_READ_BYTES = 1 << 20


def seal(document: Mapping[str, Any], data_key: DataKey) -> dict[str, Any]:
    """A manifest's document of format 1, without MAC, as one of format 2: what describes the content is sealed.

    Raises ValueError or TypeError for something that is not JSON.
    """
    server = document["server"]
    hidden: dict[str, Any] = {name: document[name] for name in SEALED_FIELDS if name in document}
    hidden["server"] = {name: value for name, value in server.items() if name not in CLEAR_SERVER_FIELDS}
    hidden["objects"] = {
        item["name"]: {name: item[name] for name in SEALED_OBJECT_FIELDS if name in item}
        for item in document["objects"]
    }
    clear = {name: value for name, value in document.items() if name not in SEALED_FIELDS}
    clear["format"] = SEALED_FORMAT
    clear["server"] = {name: server[name] for name in CLEAR_SERVER_FIELDS if name in server}
    clear["objects"] = [
        {name: value for name, value in item.items() if name not in SEALED_OBJECT_FIELDS}
        for item in document["objects"]
    ]
    stored = io.BytesIO()
    with SealedWriter(stored, data_key, document["backup_id"], OBJECT_NAME) as writer:
        writer.write(canonical(hidden))
        writer.finish()
    clear["sealed"] = base64.b64encode(stored.getvalue()).decode("ascii")
    return clear


def unseal(document: Mapping[str, Any], open_key: Callable[[str], DataKey]) -> dict[str, Any]:
    """A manifest's document of format 2 with the fields of format 1 in their places, and without ``sealed``.

    Raises DamagedData, NoUsableKey and what ``open_key`` raises. The MAC is the caller's to check.
    """
    backup_id = str(document.get("backup_id"))
    try:
        stored = base64.b64decode(str(document["sealed"]).encode("ascii"), validate=True)
    except (KeyError, ValueError, binascii.Error):
        raise DamagedData(f"what is sealed in the manifest of {backup_id} is damaged: no base64") from None

    def key_of_the_backup(key_id: str) -> DataKey:
        if key_id != document["encryption"]["key_id"]:
            raise DamagedData(f"the manifest of {backup_id} is sealed with another key than its backup's")
        return open_key(key_id)

    reader = UnsealedReader(io.BytesIO(stored), key_of_the_backup, backup_id, OBJECT_NAME)
    plain = bytearray()
    while piece := reader.read(_READ_BYTES):
        plain += piece
    hidden = decode(bytes(plain), f"what is sealed in the manifest of {backup_id}")
    server, objects = hidden.pop("server", None), hidden.pop("objects", None)
    if not isinstance(server, dict) or not isinstance(objects, dict):
        raise DamagedData(f"what is sealed in the manifest of {backup_id} lacks the server or the objects")
    whole = {name: value for name, value in document.items() if name not in ("sealed", "mac")}
    _add(whole, hidden, backup_id)
    whole["server"] = dict(document["server"])
    _add(whole["server"], server, backup_id)
    whole["objects"] = [dict(item) for item in document["objects"]]
    for item in whole["objects"]:
        more = objects.get(item["name"], {})
        if not isinstance(more, dict):
            raise DamagedData(f"what is sealed in the manifest of {backup_id} says nonsense of an object")
        _add(item, more, backup_id)
    return whole


def _add(target: dict[str, Any], more: Mapping[str, Any], backup_id: str) -> None:
    """Put fields where they belong. One that is in clear too is damage: readers would disagree about it."""
    twice = target.keys() & more.keys()
    if twice:
        raise DamagedData(f"the manifest of {backup_id} holds {', '.join(sorted(twice))} in clear and sealed")
    target.update(more)


def manifest_of(repository: Repository, document: Mapping[str, Any]) -> Manifest:
    """Read a manifest's document; what is sealed is opened with the repository's keys when somebody asks for it.

    Raises DamagedData for what can be seen without a key.
    """
    return Manifest.from_json(document, lambda: unseal(document, repository.keyring.for_unsealing))


def is_readable_by_all(manifest: Manifest) -> bool:
    """Whether it describes an encrypted backup's content in clear, as releases before format 2 wrote it."""
    return manifest.encryption is not None and "sealed" not in manifest.document
