"""Open an old backup as the archive inside it, whatever it is wrapped in: gzip, ``openssl enc``, or one in the other.

What a layer is is told by its first bytes, never by the file's name. Everything is a stream: memory stays flat and
nothing decrypted touches a disk.
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from recyclic_backups.adopt import openssl
from recyclic_backups.adopt.header import HEADER_BYTES, MAGIC
from recyclic_backups.compression import Source
from recyclic_backups.envelope.passphrase import normalized
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey, StorageError, UsageError

_GZIP = b"\x1f\x8b\x08"
_TAR = (257, b"ustar")  # where and what: POSIX.1-1988, the header of the first member
_LOOK_AHEAD_BYTES = 64 << 10
_MOST_LAYERS = 4
# What a layer may unfold to, in sizes of the file and beyond them. DEFLATE makes nothing more than 1032 times smaller
# (zlib's manual, "Maximum Compression Factor"): only gzip within gzip comes to more, and a small file to terabytes.
_MOST_RATIO = 2000
_SPARE_BYTES = 1 << 30
# How pg_dump and pg_dumpall begin plain SQL, after an empty comment line.
_SQL = (b"PostgreSQL database dump", b"PostgreSQL database cluster dump")


class _Peekable:
    """A source whose beginning can be looked at before it is read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._ahead = b""

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only at the end."""
        pieces = [self._ahead]
        missing = size - len(self._ahead)
        while missing > 0 and (piece := self._source.read(missing)):
            pieces.append(piece)
            missing -= len(piece)
        self._ahead = b"".join(pieces)
        return self._ahead[:size]

    def read(self, size: int, /) -> bytes:
        if not self._ahead:
            return self._source.read(size)
        taken, self._ahead = self._ahead[:size], self._ahead[size:]
        return taken


class _Gunzipped:
    """A gzip stream, of one member or several, read to a checked end, or to more bytes than can be meant."""

    def __init__(self, source: Source, most_bytes: int) -> None:
        self._left_bytes = most_bytes
        # Only read() is ever called on the source, whatever the stub says.
        self._file = gzip.GzipFile(fileobj=cast("IO[bytes]", source), mode="rb")

    def read(self, size: int, /) -> bytes:
        try:
            data = self._file.read1(size)
        except EOFError:
            raise DamagedData("the gzip file is cut short") from None
        except (gzip.BadGzipFile, zlib.error):
            raise DamagedData("the gzip file is damaged") from None
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise DamagedData(
                "it unfolds without end: gzip within gzip, thousands of times the size of the file",
                "no backup is made so; see where the file comes from",
            )
        return data


@dataclass(slots=True)
class _File:
    """The bytes on the disk, which are only ever read."""

    file: IO[bytes]
    on_bytes: Callable[[int], None]

    def read(self, size: int, /) -> bytes:
        try:
            data = self.file.read(size)
        except OSError as error:
            raise StorageError(f"it cannot be read: {os.strerror(error.errno or 0)}") from error
        self.on_bytes(len(data))
        return data


@dataclass(frozen=True, slots=True)
class OpenedArchive:
    """An archive being read. ``header`` are its first bytes; ``wrapped_in`` names the layers, outermost first."""

    source: Source
    header: bytes
    wrapped_in: tuple[str, ...]

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; the end is returned only once every layer was read to its own. Raises DamagedData."""
        return self.source.read(size)


@contextmanager
def open_archive(
    path: Path, passphrases: Sequence[str], on_bytes: Callable[[int], None] = lambda _: None
) -> Iterator[OpenedArchive]:
    """Open the archive in a file; ``on_bytes`` is told of every byte read from the disk.

    Raises UsageError for what is no such file, NoUsableKey when no passphrase opens it, DamagedData when it is
    empty or broken, StorageError when the disk does not give it.
    """
    with _open(path) as file:
        most_bytes = os.fstat(file.fileno()).st_size * _MOST_RATIO + _SPARE_BYTES
        source = _Peekable(_File(file, on_bytes))
        wrapped_in: list[str] = []
        while len(wrapped_in) <= _MOST_LAYERS:
            head = source.peek(_LOOK_AHEAD_BYTES)
            if head.startswith(MAGIC):
                yield OpenedArchive(source, head[:HEADER_BYTES], tuple(wrapped_in))
                return
            if head.startswith(_GZIP):
                source = _Peekable(_Gunzipped(source, most_bytes))
                wrapped_in.append("gzip")
            elif head.startswith(openssl.MAGIC):
                key = _find_key(head, passphrases)
                source.read(openssl.PREAMBLE_BYTES)
                source = _Peekable(openssl.DecryptedReader(source, key))
                wrapped_in.append(f"openssl ({key.derivation})")
            else:
                raise _unrecognized(head)
        raise _unrecognized(b"wrapped too often")


def _open(path: Path) -> IO[bytes]:
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UsageError("there is no such file") from None
    except OSError as error:
        raise StorageError(f"it cannot be read: {os.strerror(error.errno or 0)}") from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb", buffering=0)
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise UsageError(
            "it is a directory", "name the files in it; pg_dump's directory format (-Fd) is not adopted"
        )
    raise UsageError("it is not a regular file")


def _find_key(head: bytes, passphrases: Sequence[str]) -> openssl.OpensslKey:
    """The key under which the beginning makes sense."""
    salt = head[len(openssl.MAGIC) : openssl.PREAMBLE_BYTES]
    ciphertext = head[openssl.PREAMBLE_BYTES :]
    if len(ciphertext) < 16:
        raise DamagedData("the encrypted file is cut short: nothing but its beginning is there")
    for passphrase in passphrases:
        # The old script used it as it was written; ours is normalized. They differ in accents typed on some systems.
        for text in dict.fromkeys((passphrase, normalized(passphrase))):
            for key in openssl.derived_keys(text.encode("utf-8", "surrogateescape"), salt):
                if _makes_sense(key.decryptor().update(ciphertext)):
                    return key
    raise NoUsableKey(
        "no configured key opens it" if passphrases else "it is encrypted, and no key is configured",
        "put the passphrase it was encrypted with into BACKUP_ENCRYPTION_OLD_KEYS (one that used another "
        "cipher, digest or number of iterations than openssl's defaults cannot be opened)",
    )


def _makes_sense(plaintext: bytes) -> bool:
    """Whether a decrypted beginning is what an old backup has inside. Random bytes are, once in 2^40."""
    if plaintext.startswith(_GZIP):
        try:
            plaintext = zlib.decompressobj(wbits=31).decompress(plaintext, 1024)
        except zlib.error:
            return False
    return plaintext.startswith(MAGIC) or _is_sql(plaintext)


def _is_sql(head: bytes) -> bool:
    return any(words in head[:200] for words in _SQL)


def _unrecognized(head: bytes) -> BackupError:
    if not head:
        return DamagedData("it is empty", "a dump that failed leaves such a file")
    if len(head) < len(MAGIC) and MAGIC.startswith(head):
        return DamagedData("it is cut short: nothing but its first bytes are there")
    if _is_sql(head):
        return UsageError(
            "it is plain SQL, which cannot be restored in parts nor checked without running it",
            "load it with psql into a database of its own and back that up",
        )
    if head[_TAR[0] :].startswith(_TAR[1]):
        return UsageError("it is a tar archive", "only pg_dump's custom format (-Fc) is adopted")
    return UsageError(
        "it is not a backup of PostgreSQL's custom format",
        "what pg_dump -Fc writes is adopted, also inside gzip and openssl enc -aes-256-cbc",
    )
