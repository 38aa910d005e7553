"""What documents of encrypted backups say of the content lies sealed in them (docs/format/documents.md, formats 2).

In clear stays what ``list``, retention, metrics and a reader without key need: of checks
:data:`recyclic_backups.catalog.documents.CLEAR_DETAILS` among it. Reasons and details of checks name tables, count
their rows and say what was done to them.

What is sealed is one object of our envelope, in the field ``sealed``, so that an error of the storage, a wrong key and
another backup's text are told apart as they are for dumps.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Mapping
from typing import Any

from recyclic_backups.catalog.documents import CLEAR_DETAILS, SEALED_CHECK_FORMAT, Check
from recyclic_backups.catalog.manifest import (
    CLEAR_SERVER_FIELDS,
    SEALED_FIELDS,
    SEALED_FORMAT,
    SEALED_OBJECT_FIELDS,
    Manifest,
)
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.data_key import DataKey
from recyclic_backups.envelope.document import canonical, decode, key_id_of_mac
from recyclic_backups.envelope.seal import SealedWriter
from recyclic_backups.envelope.unseal import UnsealedReader
from recyclic_backups.errors import DamagedData

_READ_BYTES = 1 << 20

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
    clear["sealed"] = _sealed_part(hidden, data_key, document["backup_id"], OBJECT_NAME)
    return clear


def unseal(document: Mapping[str, Any], open_key: Callable[[str], DataKey]) -> dict[str, Any]:
    """A manifest's document of format 2 with the fields of format 1 in their places, and without ``sealed``.

    Raises DamagedData, NoUsableKey and what ``open_key`` raises. The MAC is the caller's to check.
    """
    of = f"the manifest of {document.get('backup_id')}"
    key_id = document["encryption"]["key_id"]
    hidden = _opened_part(document, open_key, key_id=key_id, object_name=OBJECT_NAME, of=of)
    server, objects = hidden.pop("server", None), hidden.pop("objects", None)
    if not isinstance(server, dict) or not isinstance(objects, dict):
        raise DamagedData(f"what is sealed in {of} lacks the server or the objects")
    whole = {name: value for name, value in document.items() if name not in ("sealed", "mac")}
    _add_fields(whole, hidden, of)
    whole["server"] = dict(document["server"])
    _add_fields(whole["server"], server, of)
    whole["objects"] = [dict(item) for item in document["objects"]]
    for item in whole["objects"]:
        more = objects.get(item["name"], {})
        if not isinstance(more, dict):
            raise DamagedData(f"what is sealed in {of} says nonsense of an object")
        _add_fields(item, more, of)
    return whole


def manifest_of(repository: Repository, document: Mapping[str, Any]) -> Manifest:
    """Read a manifest's document; what is sealed is opened with the repository's keys when somebody asks for it.

    Raises DamagedData for what can be seen without a key.
    """
    return Manifest.from_json(document, lambda: unseal(document, repository.keyring.for_unsealing))


def is_readable_by_all(manifest: Manifest) -> bool:
    """Whether it describes an encrypted backup's content in clear, as releases before format 2 wrote it."""
    return manifest.encryption is not None and "sealed" not in manifest.document


def seal_check(document: Mapping[str, Any], storage_name: str, data_key: DataKey) -> dict[str, Any]:
    """A check's document of format 1, without MAC, as one of format 2 that will lie under ``storage_name``."""
    hidden = {
        "reasons": document["reasons"],
        "details": {name: value for name, value in document["details"].items() if name not in CLEAR_DETAILS},
    }
    clear = {name: value for name, value in document.items() if name != "reasons"}
    clear["format"] = SEALED_CHECK_FORMAT
    clear["details"] = {name: value for name, value in document["details"].items() if name in CLEAR_DETAILS}
    clear["sealed"] = _sealed_part(hidden, data_key, document["backup_id"], _object_name(storage_name))
    return clear


def unseal_check(
    document: Mapping[str, Any], storage_name: str, open_key: Callable[[str], DataKey]
) -> dict[str, Any]:
    """A check's document of format 2 with the fields of format 1 in their places, and without ``sealed``.

    Raises DamagedData, NoUsableKey and what ``open_key`` raises. The MAC is the caller's to check.
    """
    key_id = key_id_of_mac(document, storage_name)
    hidden = _opened_part(
        document, open_key, key_id=key_id, object_name=_object_name(storage_name), of=storage_name
    )
    details = hidden.pop("details", None)
    if not isinstance(details, dict) or not isinstance(hidden.get("reasons"), list):
        raise DamagedData(f"what is sealed in {storage_name} lacks the reasons or the details")
    whole = {name: value for name, value in document.items() if name not in ("sealed", "mac")}
    _add_fields(whole, hidden, storage_name)
    whole["details"] = dict(document["details"])
    _add_fields(whole["details"], details, storage_name)
    return whole


def check_of(repository: Repository, storage_name: str, document: Mapping[str, Any]) -> Check:
    """Read a check's document; what is sealed is opened with the repository's keys when somebody asks for it.

    Raises DamagedData for what can be seen without a key.
    """
    return Check.from_json(
        document, lambda: unseal_check(document, storage_name, repository.keyring.for_unsealing)
    )


def _object_name(storage_name: str) -> str:
    """``checks/<time>.json``: no object of a backup can be called so, and no two checks of a backup are."""
    return "/".join(storage_name.rsplit("/", 2)[-2:])


def _sealed_part(hidden: Mapping[str, Any], data_key: DataKey, backup_id: str, object_name: str) -> str:
    """What is to be hidden, as the text of the field ``sealed``.

    ``object_name`` stands in the associated data: one that no object of a backup can have, so that none can be put in
    its place. Raises ValueError or TypeError for something that is not JSON.
    """
    stored = io.BytesIO()
    with SealedWriter(stored, data_key, backup_id, object_name) as writer:
        writer.write(canonical(hidden))
        writer.finish()
    return base64.b64encode(stored.getvalue()).decode("ascii")


def _opened_part(
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


def _add_fields(target: dict[str, Any], more: Mapping[str, Any], of: str) -> None:
    """Put fields where they belong. One that is in clear too is damage: readers would disagree about it."""
    twice = target.keys() & more.keys()
    if twice:
        raise DamagedData(f"{of} holds {', '.join(sorted(twice))} in clear and sealed")
    target.update(more)
