"""The files in a tar archive as BASE_BACKUP sends it, each hashed as it passes by. Pure.

PostgreSQL writes plain ustar headers, with names of at most 99 bytes and sizes over 8 GiB in base 256
(``tarCreateHeader`` in src/port/tar.c), and since version 15 ends each archive with two blocks of zeros.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass

_BLOCK_BYTES = 512
_NAME, _SIZE, _CHECKSUM, _TYPE, _MAGIC = slice(0, 100), slice(124, 136), slice(148, 156), 156, slice(257, 262)
_PREFIX = slice(345, 500)  # of names that are longer than PostgreSQL's: whoever unpacks puts it in front
_OCTAL, _BASE_256 = re.compile(rb"[0-7]*"), 0x80
_FILE_TYPES, _DIRECTORY_TYPE = (ord("0"), 0), ord("5")
_MOST_KEPT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileDigest:
    """How long a file is, and the SHA-256 of its content."""

    size_bytes: int
    sha256: bytes


class TarFiles:
    """Takes the archive piece by piece. ``files`` has what was seen so far; ``inside`` stands before each name.

    The contents of the files named in ``keep`` stay in ``kept``: they are small. Methods raise ValueError, with the end
    of a sentence, for what is no such archive.
    """

    def __init__(self, inside: bytes = b"", keep: Collection[bytes] = ()) -> None:
        self.files: dict[bytes, FileDigest] = {}
        self.kept: dict[bytes, bytes] = {}
        self._inside, self._keep = inside, frozenset(keep)
        self._header = bytearray()
        self._name = b""
        self._size_bytes = self._left_bytes = self._padding_bytes = 0
        self._sha256 = hashlib.sha256()
        self._content: bytearray | None = None
        self._zero_blocks = 0

    def write(self, data: bytes | memoryview) -> None:
        """Take the next piece."""
        rest = memoryview(data)
        while rest:
            if self._left_bytes:
                piece, rest = rest[: self._left_bytes], rest[self._left_bytes :]
                self._sha256.update(piece)
                if self._content is not None:
                    self._content += piece
                self._left_bytes -= len(piece)
                if not self._left_bytes:
                    self._file_ends()
            elif self._padding_bytes:
                skipped = min(self._padding_bytes, len(rest))
                self._padding_bytes -= skipped
                rest = rest[skipped:]
            else:
                missing = _BLOCK_BYTES - len(self._header)
                self._header += rest[:missing]
                rest = rest[missing:]
                if len(self._header) == _BLOCK_BYTES:
                    self._take_header(bytes(self._header))
                    self._header.clear()

    def finish(self) -> None:
        """See that the archive came to its end."""
        if self._zero_blocks < 2 or self._header or self._left_bytes:
            raise ValueError("ends in the middle")

    def _take_header(self, header: bytes) -> None:
        if not any(header):
            self._zero_blocks += 1
            return
        if self._zero_blocks:
            raise ValueError("goes on after its end")
        if header[_MAGIC] != b"ustar" or _sum_of(header) != _number(header[_CHECKSUM]):
            raise ValueError("holds something that is no header of a tar archive")
        path = header[_NAME].split(b"\0", 1)[0].rstrip(b"/").removeprefix(b"./")
        # What whoever unpacks it would refuse has to be found out today, and not on the day of the recovery.
        if any(part in (b"", b".", b"..") for part in path.split(b"/")) or any(header[_PREFIX]):
            raise ValueError(f"holds {path!r}, a name that leads elsewhere")
        if header[_TYPE] == _DIRECTORY_TYPE:
            return  # nothing follows it
        if header[_TYPE] not in _FILE_TYPES:
            raise ValueError(f"holds {path!r}, which is neither a file nor a directory")
        self._name = self._inside + path
        if self._name in self.files:
            raise ValueError(f"holds {self._name!r} twice")
        self._size_bytes = self._left_bytes = _number(header[_SIZE])
        self._padding_bytes = -self._size_bytes % _BLOCK_BYTES
        self._sha256 = hashlib.sha256()
        self._content = None
        if self._name in self._keep and self._size_bytes <= _MOST_KEPT_BYTES:
            self._content = bytearray()
        if not self._size_bytes:
            self._file_ends()

    def _file_ends(self) -> None:
        self.files[self._name] = FileDigest(self._size_bytes, self._sha256.digest())
        if self._content is not None:
            self.kept[self._name] = bytes(self._content)


def _sum_of(header: bytes) -> int:
    """The header's checksum: as if its own field were blanks."""
    return sum(header) - sum(header[_CHECKSUM]) + 8 * ord(" ")


def _number(field: bytes) -> int:
    if field[0] == _BASE_256:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not _OCTAL.fullmatch(
        digits
    ):  # int() takes a sign too, and a file that is shorter than nothing never ends
        raise ValueError("holds something that is no header of a tar archive")
    return int(digits, 8) if digits else 0
