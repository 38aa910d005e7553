"""Which archive an object of WAL was written for: 16 random bytes in front of its zstd frame (docs/format/wal.md).

Two archives of one server have segments of the same names, such as that of production and the one that was moved away
when production was put back to an older state. Sealed, the id of one cannot be given to an object of the other.
"""

from __future__ import annotations

import re
import secrets

from recyclic_backups.compression import Source

ID_BYTES = 16
_ID = re.compile(rf"[0-9a-f]{{{2 * ID_BYTES}}}")
_HEAD = bytes.fromhex("5a2a4d18") + ID_BYTES.to_bytes(4, "little")
"""Of a frame that readers of zstd skip (RFC 8878, section 3.1.2)."""


def new_archive_id() -> str:
    """An id for an archive that begins: 32 hexadecimal digits."""
    return secrets.token_hex(ID_BYTES)


def is_archive_id(text: object) -> bool:
    """Whether it is the id of an archive."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def is_same_archive(one: str, other: str) -> bool:
    """Whether two ids may be of one archive: older releases wrote none, and of none nobody can tell."""
    return not one or not other or one == other


def frame_of(archive_id: str) -> bytes:
    """What stands in front of an object of that archive."""
    return _HEAD + bytes.fromhex(archive_id)


class WithArchiveId:
    """A source that is read as it is; ``archive_id`` is what stands in front of it, empty where nothing does."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._begin = b""
        while len(self._begin) < len(_HEAD) + ID_BYTES:
            piece = source.read(len(_HEAD) + ID_BYTES - len(self._begin))
            if not piece:
                break
            self._begin += piece
        is_there = self._begin.startswith(_HEAD) and len(self._begin) == len(_HEAD) + ID_BYTES
        self.archive_id = self._begin[len(_HEAD) :].hex() if is_there else ""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; ``b""`` at the end."""
        if self._begin:
            piece, self._begin = self._begin[:size], self._begin[size:]
            return piece
        return self._source.read(size)
