"""What a manifest says of the content of an encrypted backup lies sealed in it (docs/format/documents.md, format 2).

In clear stays what ``list``, retention and a reader without key need. Checks are sealed by
:mod:`recyclic_backups.catalog.check_sealing`.
"""

from __future__ import annotations

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
from recyclic_backups.catalog.sealed_part import add_fields, opened_part, sealed_part
from recyclic_backups.envelope.data_key import DataKey
from recyclic_backups.errors import DamagedData

OBJECT_NAME = "manifest.json"
"""The object name in the associated data: no object of a backup can have it, so none can be put in its place."""

READABLE_HINT = "recyclic-backups keys seal-manifests"
"""What to do about a manifest that :func:`is_readable_by_all` finds."""


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
    clear["sealed"] = sealed_part(hidden, data_key, document["backup_id"], OBJECT_NAME)
    return clear


def unseal(document: Mapping[str, Any], open_key: Callable[[str], DataKey]) -> dict[str, Any]:
    """A manifest's document of format 2 with the fields of format 1 in their places, and without ``sealed``.

    Raises DamagedData, NoUsableKey and what ``open_key`` raises. The MAC is the caller's to check.
    """
    of = f"the manifest of {document.get('backup_id')}"
    key_id = document["encryption"]["key_id"]
    hidden = opened_part(document, open_key, key_id=key_id, object_name=OBJECT_NAME, of=of)
    server, objects = hidden.pop("server", None), hidden.pop("objects", None)
    if not isinstance(server, dict) or not isinstance(objects, dict):
        raise DamagedData(f"what is sealed in {of} lacks the server or the objects")
    whole = {name: value for name, value in document.items() if name not in ("sealed", "mac")}
    add_fields(whole, hidden, of)
    whole["server"] = dict(document["server"])
    add_fields(whole["server"], server, of)
    whole["objects"] = [dict(item) for item in document["objects"]]
    for item in whole["objects"]:
        more = objects.get(item["name"], {})
        if not isinstance(more, dict):
            raise DamagedData(f"what is sealed in {of} says nonsense of an object")
        add_fields(item, more, of)
    return whole


def manifest_of(repository: Repository, document: Mapping[str, Any]) -> Manifest:
    """Read a manifest's document; what is sealed is opened with the repository's keys when somebody asks for it.

    Raises DamagedData for what can be seen without a key.
    """
    return Manifest.from_json(document, lambda: unseal(document, repository.keyring.for_unsealing))


def is_readable_by_all(manifest: Manifest) -> bool:
    """Whether it describes an encrypted backup's content in clear, as releases before format 2 wrote it."""
    return manifest.encryption is not None and "sealed" not in manifest.document
