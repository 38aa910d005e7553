"""What the vectors are made with: fixed keys, and the specification's functions spelled out in a line each."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

Json = dict[str, Any]

# Salts, prefixes and keys count upwards here so that they are easy to recognise. Real ones are random.
DATA_KEY = bytes(range(32))
OTHER_KEY = bytes(range(100, 132))
SALT = bytes(range(32, 64))
PREFIX = bytes(range(64, 71))
BACKUP_ID = "20261122T010003Z-K3X7QA"

GOOD, DAMAGED, NO_KEY = "good", "damaged", "no usable key"


def extract(salt: bytes, material: bytes) -> bytes:
    """HKDF-Extract."""
    return hmac.digest(salt, material, "sha256")


def expand(key: bytes, info: str) -> bytes:
    """HKDF-Expand to 32 bytes: one block."""
    return hmac.digest(key, info.encode() + b"\x01", "sha256")


def key_id_of(data_key: bytes) -> str:
    """The id of a data key."""
    return expand(extract(b"", data_key), "recyclic_backups/key/1/id")[:8].hex()


def canonical(document: Json) -> bytes:
    """Canonical JSON."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def text64(data: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(data).decode()


def without(document: Json, *names: str) -> Json:
    """The document without some of its fields."""
    return {name: value for name, value in document.items() if name not in names}
