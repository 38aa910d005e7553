"""One ``keys/<key_id>.json``: a data key wrapped by a passphrase (``docs/format/keys.md``). No I/O here."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from recyclic_backups.envelope.data_key import DataKey, key_id_of
from recyclic_backups.envelope.document import canonical, decode, encode
from recyclic_backups.envelope.passphrase import Derivation, base64_of_length, derivation_from, wrapping_key
from recyclic_backups.errors import BackupError, DamagedData

FORMAT = 1
_NONCE_BYTES = 12
_WRAPPED_BYTES = 48
_STORAGE_ID = re.compile(r"[0-9a-f]{32}")
_ASSOCIATED_DATA_PREFIX = b"recyclic_backups/key/1\x00"


def storage_name(key_id: str) -> str:
    """Where the key file of this id lies in the storage."""
    return f"keys/{key_id}.json"


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key file that was found whole, not yet opened."""

    key_id: str
    created_at: datetime
    storage_id: str | None
    document: Mapping[str, Any]
    derivation: Derivation
    commitment: bytes
    nonce: bytes
    wrapped_key: bytes

    def open(self, passphrase: str) -> DataKey | None:
        """The data key, or None if this normalized passphrase is not the one. Raises DamagedData."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - `list` opens no key
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - the same

        derived = wrapping_key(passphrase, self.derivation)
        if derived is None or not hmac.compare_digest(derived[1], self.commitment):
            return None
        try:
            secret = AESGCM(derived[0]).decrypt(self.nonce, self.wrapped_key, _associated_data(self.document))
        except InvalidTag:
            raise damaged(self.key_id, "the passphrase is right, but the file was edited") from None
        if key_id_of(secret) != self.key_id:
            raise damaged(self.key_id, "it holds another key")
        return DataKey(self.key_id, secret)


def wrap(
    data_key: DataKey,
    passphrase: str,
    derivation: Derivation,
    created_at: datetime,
    wrapped_at: datetime,
    storage_id: str | None = None,
) -> bytes:
    """The content of the file that holds this key under this normalized passphrase. Raises BackupError.

    Without ``storage_id`` it is as they were before storages had ids.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - `list` wraps no key

    derived = wrapping_key(passphrase, derivation)
    if derived is None:
        raise BackupError("this derivation does not fit the passphrase")
    nonce = os.urandom(_NONCE_BYTES)
    document: dict[str, Any] = {
        "format": FORMAT,
        "key_id": data_key.key_id,
        **({} if storage_id is None else {"storage_id": storage_id}),
        "created_at": text_of(created_at),
        "wrapped_at": text_of(wrapped_at),
        "derivation": derivation.describe(),
        "commitment": derived[1].hex(),
        "nonce": base64.b64encode(nonce).decode(),
    }
    wrapped_key = AESGCM(derived[0]).encrypt(nonce, data_key.secret, _associated_data(document))
    document["wrapped_key"] = base64.b64encode(wrapped_key).decode()
    document["sha256"] = _sha256(document)
    return encode(document)


def parse(data: bytes, key_id: str) -> KeyFile:
    """The key file stored for ``key_id``. Raises DamagedData, naming the file."""
    document = decode(data, storage_name(key_id))
    try:
        if document.get("sha256") != _sha256(document):
            raise ValueError("its SHA-256 is wrong")
        if isinstance(version := document.get("format"), int) and version > FORMAT:
            raise DamagedData(
                f"the key file {storage_name(key_id)} has format {version}, this version reads up to {FORMAT}: "
                "a newer release wrote it",
                "use a newer recyclic-backups",
            )
        if document.get("format") != FORMAT:
            raise ValueError(f"format {document.get('format')!r} is unknown here")
        if document.get("key_id") != key_id:
            raise ValueError("it is named for another key")
        time_of(document.get("wrapped_at"))
        storage_id = document.get("storage_id")
        if storage_id is not None and not (isinstance(storage_id, str) and _STORAGE_ID.fullmatch(storage_id)):
            raise ValueError("its storage_id is none")
        return KeyFile(
            key_id=key_id,
            created_at=time_of(document.get("created_at")),
            storage_id=storage_id,
            document=document,
            derivation=derivation_from(document.get("derivation")),
            commitment=_hex_of_32(document.get("commitment")),
            nonce=base64_of_length(document.get("nonce"), _NONCE_BYTES),
            wrapped_key=base64_of_length(document.get("wrapped_key"), _WRAPPED_BYTES),
        )
    except (ValueError, RecursionError) as error:
        raise damaged(key_id, str(error)) from None


def what_is_wrong(damage: DamagedData, key_id: str) -> str:
    """The sentence of :func:`damaged` without its beginning, for a place that names the file already."""
    return damage.message.removeprefix(f"the key file {storage_name(key_id)} is damaged: ")


def damaged(key_id: str, what: str) -> DamagedData:
    """The error that a key file is."""
    return DamagedData(
        f"the key file {storage_name(key_id)} is damaged: {what}",
        "put back a copy of the storage's keys folder",
    )


def _associated_data(document: Mapping[str, Any]) -> bytes:
    bound = {key: value for key, value in document.items() if key not in ("wrapped_key", "sha256")}
    return _ASSOCIATED_DATA_PREFIX + canonical(bound)


def _sha256(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical({k: v for k, v in document.items() if k != "sha256"})).hexdigest()


def text_of(moment: datetime) -> str:
    """A moment as key files write it. Raises BackupError for one without zone: it would be a bug."""
    if moment.tzinfo is None:
        raise BackupError("a time without zone was given for a key")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def time_of(value: object) -> datetime:
    """The moment that a key file tells. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("a time is missing")
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("a time has no zone")
    if (
        not 1 < moment.year < 9999
    ):  # said in UTC, or in the operator's time zone, it would be beyond the calendar
        raise ValueError("a time is beyond the calendar")
    return moment


def _hex_of_32(value: object) -> bytes:
    data = bytes.fromhex(value) if isinstance(value, str) else b""
    if len(data) != 32 or data.hex() != value:
        raise ValueError("the commitment is malformed")
    return data
