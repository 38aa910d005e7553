"""The 93 bytes in front of every sealed object (``docs/format/envelope.md``, "Header")."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from recyclic_backups.errors import DamagedData

MAGIC = b"\x89RBSEAL\n"
VERSION = 1
SMALLEST_CHUNK_BYTES = 16
LARGEST_CHUNK_BYTES = 16 * 1024 * 1024
NONCE_PREFIX_BYTES = 7

_LAYOUT = struct.Struct(">8s H I 8s 32s 7s 32s")
HEADER_BYTES = _LAYOUT.size


@dataclass(frozen=True, slots=True)
class Header:
    """What a reader must know before the first chunk. ``chunk_bytes`` counts plaintext."""

    chunk_bytes: int
    key_id: str
    salt: bytes
    nonce_prefix: bytes
    commitment: bytes

    def pack(self) -> bytes:
        """The header as it is stored."""
        key_id = bytes.fromhex(self.key_id)
        return _LAYOUT.pack(
            MAGIC, VERSION, self.chunk_bytes, key_id, self.salt, self.nonce_prefix, self.commitment
        )


def parse(data: bytes, object_name: str) -> Header:
    """The header in ``data``. Raises DamagedData, naming the object and what is wrong with it."""
    if len(data) < HEADER_BYTES:
        raise DamagedData(f"{object_name} is cut: it ends within its header, after {len(data)} bytes")
    magic, version, chunk_bytes, key_id, salt, nonce_prefix, commitment = _LAYOUT.unpack(data[:HEADER_BYTES])
    if magic != MAGIC:
        raise DamagedData(f"{object_name} is not a sealed object, or its first bytes are damaged")
    if version != VERSION:
        raise DamagedData(
            f"{object_name} says envelope version {version}, which is unknown here",
            "its header is damaged, or it was written by a newer release: read it with that one",
        )
    if not SMALLEST_CHUNK_BYTES <= chunk_bytes <= LARGEST_CHUNK_BYTES:
        raise DamagedData(
            f"the header of {object_name} is damaged: chunks of {chunk_bytes} bytes are not allowed"
        )
    return Header(chunk_bytes, key_id.hex(), salt, nonce_prefix, commitment)
