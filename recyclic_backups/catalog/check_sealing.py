"""Why a check of an encrypted backup failed, and what it found, lies sealed in it (docs/format/documents.md, format 2).

Reasons and details name tables, count their rows and say what was done to them. In clear stays what ``list``, retention
and metrics need: :data:`recyclic_backups.catalog.documents.CLEAR_DETAILS` among it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from recyclic_backups.catalog.documents import CLEAR_DETAILS, SEALED_CHECK_FORMAT, Check
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.sealed_part import add_fields, opened_part, sealed_part
from recyclic_backups.envelope.data_key import DataKey
from recyclic_backups.envelope.document import key_id_of_mac
from recyclic_backups.errors import DamagedData


def seal_check(document: Mapping[str, Any], storage_name: str, data_key: DataKey) -> dict[str, Any]:
    """A check's document of format 1, without MAC, as one of format 2 that will lie under ``storage_name``."""
    hidden = {
        "reasons": document["reasons"],
        "details": {name: value for name, value in document["details"].items() if name not in CLEAR_DETAILS},
    }
    clear = {name: value for name, value in document.items() if name != "reasons"}
    clear["format"] = SEALED_CHECK_FORMAT
    clear["details"] = {name: value for name, value in document["details"].items() if name in CLEAR_DETAILS}
    clear["sealed"] = sealed_part(hidden, data_key, document["backup_id"], _object_name(storage_name))
    return clear


def unseal_check(
    document: Mapping[str, Any], storage_name: str, open_key: Callable[[str], DataKey]
) -> dict[str, Any]:
    """A check's document of format 2 with the fields of format 1 in their places, and without ``sealed``.

    Raises DamagedData, NoUsableKey and what ``open_key`` raises. The MAC is the caller's to check.
    """
    key_id = key_id_of_mac(document, storage_name)
    hidden = opened_part(
        document, open_key, key_id=key_id, object_name=_object_name(storage_name), of=storage_name
    )
    details = hidden.pop("details", None)
    if not isinstance(details, dict) or not isinstance(hidden.get("reasons"), list):
        raise DamagedData(f"what is sealed in {storage_name} lacks the reasons or the details")
    whole = {name: value for name, value in document.items() if name not in ("sealed", "mac")}
    add_fields(whole, hidden, storage_name)
    whole["details"] = dict(document["details"])
    add_fields(whole["details"], details, storage_name)
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
