"""The storage's data key, and everything derived from it (``docs/format/keys.md`` and ``envelope.md``)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from functools import lru_cache

KEY_BYTES = 32
KEY_ID_BYTES = 8
SALT_BYTES = 32

_KEY_ID_INFO = b"recyclic_backups/key/1/id"
_MAC_INFO = b"recyclic_backups/document/1/mac"
_OBJECT_KEY_INFO = b"recyclic_backups/envelope/1/object-key"
_OBJECT_COMMITMENT_INFO = b"recyclic_backups/envelope/1/key-commitment"


@dataclass(frozen=True)
class DataKey:
    """A storage's 32 random bytes and their public name; the secret never shows in ``repr``."""

    key_id: str
    secret: bytes = field(repr=False)


def extract(salt: bytes, key_material: bytes) -> bytes:
    """HKDF-Extract with SHA-256: HMAC(salt, key material). RFC 5869, section 2.2."""
    return hmac.digest(salt, key_material, "sha256")


def expand(pseudorandom_key: bytes, info: bytes) -> bytes:
    """HKDF-Expand with SHA-256 to 32 bytes, which is its first block: T(1). RFC 5869, section 2.3."""
    return hmac.digest(pseudorandom_key, info + b"\x01", "sha256")


def key_id_of(secret: bytes) -> str:
    """The public name of a data key: 16 lower-case hex characters."""
    return expand(extract(b"", secret), _KEY_ID_INFO)[:KEY_ID_BYTES].hex()


@lru_cache(maxsize=16)
def mac_key_of(data_key: DataKey) -> bytes:
    """The key of every document's MAC in the storage; a catalog has thousands of documents, so it is kept."""
    return expand(extract(b"", data_key.secret), _MAC_INFO)


def object_key_of(data_key: DataKey, salt: bytes) -> tuple[bytes, bytes]:
    """The key of the one object whose header has this salt, and the commitment that its header shows."""
    pseudorandom_key = extract(salt, data_key.secret)
    return expand(pseudorandom_key, _OBJECT_KEY_INFO), expand(pseudorandom_key, _OBJECT_COMMITMENT_INFO)
