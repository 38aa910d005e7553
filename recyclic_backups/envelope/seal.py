"""Seal a stream: plaintext in, one sealed object out, with flat memory (``docs/format/envelope.md``)."""

from __future__ import annotations

import os
from enum import Enum, auto
from types import TracebackType
from typing import Protocol

from recyclic_backups.envelope.chunk_layout import (
    DEFAULT_CHUNK_BYTES,
    LAST_COUNTER,
    TAG_BYTES,
    associated_data,
    nonce,
)
from recyclic_backups.envelope.data_key import SALT_BYTES, DataKey, object_key_of
from recyclic_backups.envelope.header import (
    LARGEST_CHUNK_BYTES,
    NONCE_PREFIX_BYTES,
    SMALLEST_CHUNK_BYTES,
    Header,
)
from recyclic_backups.errors import BackupError


class Sink(Protocol):
    """Where sealed bytes go, an ObjectWriter for one.

    The buffer handed to ``write`` is reused: it must have been consumed when ``write`` returns.
    """

    def write(self, data: bytes | bytearray | memoryview, /) -> object:
        """Append bytes. Raises StorageError."""


class _State(Enum):
    OPEN = auto()
    BUSY = auto()  # also what is left when the sink raised: a chunk may be half written
    FINISHED = auto()
    ABANDONED = auto()


class SealedWriter:
    """One object being sealed. Sealing is committing: only :meth:`finish` writes the final chunk.

    A ``with`` block left without ``finish()`` leaves a stream that never authenticates, whatever becomes of
    the bytes. After an error, of the sink or of the caller, the writer refuses to go on: a nonce is never
    used twice. Call ``finish()`` only when the source is known to have ended well.
    """

    def __init__(
        self,
        sink: Sink,
        data_key: DataKey,
        backup_id: str,
        object_name: str,
        *,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
    ) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - not for `list`

        if not SMALLEST_CHUNK_BYTES <= chunk_bytes <= LARGEST_CHUNK_BYTES:
            raise BackupError(f"chunks of {chunk_bytes} bytes are not allowed by the envelope")
        salt, self._nonce_prefix = os.urandom(SALT_BYTES), os.urandom(NONCE_PREFIX_BYTES)
        object_key, commitment = object_key_of(data_key, salt)
        self._header = Header(chunk_bytes, data_key.key_id, salt, self._nonce_prefix, commitment).pack()
        self._associated_data = associated_data(self._header, backup_id, object_name)
        self._cipher = AESGCM(object_key)
        self._sink = sink
        self._object_name = object_name
        self._plain = memoryview(bytearray(chunk_bytes))
        self._sealed = memoryview(bytearray(chunk_bytes + TAG_BYTES))
        self._filled_bytes = 0
        self._counter = 0
        self._state = _State.OPEN

    def __enter__(self) -> SealedWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._state is not _State.FINISHED:
            self._state = _State.ABANDONED

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append plaintext. Raises what the sink raises, and BackupError once the writer is closed."""
        self._require_open()
        if len(data) == 0:
            return
        rest = memoryview(data).cast("B")
        chunk_bytes = len(self._plain)
        while rest:
            # A full chunk waits until more comes: the final one carries another marker.
            if self._filled_bytes == chunk_bytes:
                self._seal_chunk(final=False)
            taken = min(len(rest), chunk_bytes - self._filled_bytes)
            self._plain[self._filled_bytes : self._filled_bytes + taken] = rest[:taken]
            self._filled_bytes += taken
            rest = rest[taken:]

    def finish(self) -> None:
        """Write the final chunk: the plaintext ended, and all of it is there. Exactly once."""
        self._require_open()
        self._seal_chunk(final=True)
        self._state = _State.FINISHED

    def _require_open(self) -> None:
        if self._state is not _State.OPEN:
            raise BackupError(f"sealing {self._object_name} is over: finished, abandoned, or failed before")

    def _seal_chunk(self, *, final: bool) -> None:
        if self._counter > LAST_COUNTER:
            raise BackupError(
                f"{self._object_name} is larger than the envelope allows",
                "use larger chunks, or split the dump",
            )
        self._state = _State.BUSY
        if self._counter == 0:
            self._sink.write(self._header)
        plain = self._plain[: self._filled_bytes]
        chunk_nonce = nonce(self._nonce_prefix, self._counter, final=final)
        self._counter += 1
        if hasattr(self._cipher, "encrypt_into"):
            sealed = self._sealed[: self._filled_bytes + TAG_BYTES]
            self._cipher.encrypt_into(chunk_nonce, plain, self._associated_data, sealed)
            self._sink.write(sealed)
        else:  # older cryptography: the same bytes, one allocation per chunk more
            self._sink.write(self._cipher.encrypt(chunk_nonce, plain, self._associated_data))
        self._filled_bytes = 0
        self._state = _State.OPEN
