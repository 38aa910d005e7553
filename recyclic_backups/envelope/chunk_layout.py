"""Nonces, associated data and sizes of the chunks of a sealed object (``docs/format/envelope.md``)."""

from __future__ import annotations

from recyclic_backups.envelope.header import HEADER_BYTES
from recyclic_backups.errors import BackupError

DEFAULT_CHUNK_BYTES = 1024 * 1024
TAG_BYTES = 16
LAST_COUNTER = 2**32 - 2  # 2^32 - 1 chunks at most, counted from 0


def nonce(prefix: bytes, counter: int, *, final: bool) -> bytes:
    """The 12-byte nonce of one chunk: prefix, counter, final marker."""
    return prefix + counter.to_bytes(4, "big") + (b"\x01" if final else b"\x00")


def associated_data(header: bytes, backup_id: str, object_name: str) -> bytes:
    """What every chunk of the object is bound to. Raises BackupError for a name beyond 65 535 bytes."""
    parts = [header]
    for text in (backup_id, object_name):
        encoded = text.encode("utf-8")
        if len(encoded) > 0xFFFF:
            raise BackupError("a backup id or object name is too long for the envelope")
        parts += [len(encoded).to_bytes(2, "big"), encoded]
    return b"".join(parts)


def sealed_size(plain_bytes: int, chunk_bytes: int = DEFAULT_CHUNK_BYTES) -> int:
    """Bytes of the sealed object that holds this many plaintext bytes."""
    chunk_count = max(1, -(-plain_bytes // chunk_bytes))
    return HEADER_BYTES + plain_bytes + TAG_BYTES * chunk_count
