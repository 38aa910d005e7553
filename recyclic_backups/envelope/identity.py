"""``storage.json``: which storage this is, and which keys are its own (``docs/format/keys.md``). No I/O here.

One passphrase may open the keys of two storages, and a former one those that somebody planted. What is signed with a
key that the storage does not list is not of this storage.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from recyclic_backups.envelope.data_key import DataKey
from recyclic_backups.envelope.document import check_signature, decode, encode, signed
from recyclic_backups.envelope.key_file import text_of, time_of
from recyclic_backups.errors import DamagedData, NoUsableKey

FORMAT = 1
NAME = "storage.json"
"""Its storage name, at the root."""

STORAGE_ID = re.compile(r"[0-9a-f]{32}")
_KEY_ID = re.compile(r"[0-9a-f]{16}")


class NewerIdentity(DamagedData):
    """A newer release wrote ``storage.json``: it must not be replaced by one of this format."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What ``storage.json`` says. ``signer`` is the id of the key that its MAC is by; nothing was checked yet."""

    storage_id: str
    created_at: datetime
    keys: frozenset[str]
    signer: str
    document: Mapping[str, Any]

    def require_signed_by(self, data_key: DataKey) -> None:
        """Return if its MAC is right under that key. Raises DamagedData."""

        def only(key_id: str) -> DataKey:
            if key_id != data_key.key_id:
                raise NoUsableKey(f"{NAME} is signed with key {key_id}")
            return data_key

        check_signature(self.document, NAME, only)


def new_storage_id() -> str:
    """32 hex characters at random."""
    return secrets.token_hex(16)


def content_of(storage_id: str, keys: Iterable[str], created_at: datetime, signer: DataKey) -> bytes:
    """What is stored: the storage's id and its keys, signed with one of them. Raises BackupError."""
    document = {
        "format": FORMAT,
        "storage_id": storage_id,
        "created_at": text_of(created_at),
        "keys": sorted({*keys, signer.key_id}),
    }
    return encode(signed(document, NAME, signer))


def parse(data: bytes) -> Identity:
    """Read ``storage.json``. Raises DamagedData, or its subclass NewerIdentity."""
    document = decode(data, NAME)
    version = document.get("format")
    if type(version) is int and version > FORMAT:
        raise NewerIdentity(
            f"{NAME} has format {version}, this version reads up to {FORMAT}: a newer release wrote it",
            "use a newer recyclic-backups",
        )
    mac, keys, storage_id = document.get("mac"), document.get("keys"), document.get("storage_id")
    signer = mac.get("key_id") if isinstance(mac, dict) else None
    try:
        if version != FORMAT:
            raise ValueError("it does not say its format")
        if not isinstance(storage_id, str) or not STORAGE_ID.fullmatch(storage_id):
            raise ValueError("its storage_id is none")
        if not isinstance(keys, list) or not all(
            isinstance(key, str) and _KEY_ID.fullmatch(key) for key in keys
        ):
            raise ValueError("its keys are none")
        if keys != sorted(set(keys)):
            raise ValueError("its keys are not in order")
        if not isinstance(signer, str) or signer not in keys:
            raise ValueError("it is not signed with a key that it lists")
        created_at = time_of(document.get("created_at"))
    except ValueError as error:
        raise DamagedData(f"{NAME} is damaged: {error}") from None
    return Identity(storage_id, created_at, frozenset(keys), signer, document)
