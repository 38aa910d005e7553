"""Unseal a stream: one sealed object in, authenticated plaintext out (``docs/format/envelope.md``)."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING

from recyclic_backups.envelope import header as headers
from recyclic_backups.envelope.chunk_layout import (
    LAST_COUNTER,
    TAG_BYTES,
    associated_data,
    nonce,
    sealed_size,
)
from recyclic_backups.envelope.data_key import DataKey, object_key_of
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from recyclic_backups.storage.store import ObjectReader

__all__ = ["UnsealedReader", "sealed_size"]

_DAMAGE_HINT = "restore another backup, or this one from a copy of the storage"


class UnsealedReader:
    """Plaintext of a sealed object, chunk by chunk; what ``read`` returns has been authenticated.

    Only ``b""`` says that the object is whole: until then, treat what was read as provisional. After an
    error every further ``read`` raises it again.
    """

    def __init__(
        self,
        source: ObjectReader,
        open_key: Callable[[str], DataKey],
        backup_id: str,
        object_name: str,
    ) -> None:
        self._source = source
        self._open_key = open_key
        self._backup_id = backup_id
        self._object_name = object_name
        self._cipher: AESGCM | None = None
        self._associated_data = b""
        self._nonce_prefix = b""
        self._sealed_chunk_bytes = 0
        self._ahead = b""
        self._plain = b""
        self._position = 0
        self._counter = 0
        self._ended = False
        self._failure: BackupError | None = None

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes of plaintext; ``b""`` only after the final chunk and the object's end.

        Raises DamagedData, NoUsableKey, and what the source raises.
        """
        if size < 0:
            raise BackupError("a sealed object is read piece by piece: ask for a number of bytes")
        if self._failure is not None:
            raise self._failure
        try:
            while self._position == len(self._plain) and not self._ended and size:
                if self._cipher is None:
                    self._open()
                self._unseal_chunk()
        except BackupError as error:
            self._failure = error
            raise
        piece = self._plain[self._position : self._position + size]
        self._position += len(piece)
        return piece

    def _open(self) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - not for `list`

        packed = self._read_fully(headers.HEADER_BYTES)
        header = headers.parse(packed, self._object_name)
        object_key, commitment = object_key_of(self._open_key(header.key_id), header.salt)
        if not hmac.compare_digest(commitment, header.commitment):
            raise NoUsableKey(
                f"key {header.key_id} does not open {self._object_name}: another key, or a damaged header",
                "if the object's SHA-256 is the manifest's, the object is whole and the key is wrong",
            )
        self._associated_data = associated_data(packed, self._backup_id, self._object_name)
        self._nonce_prefix = header.nonce_prefix
        self._sealed_chunk_bytes = header.chunk_bytes + TAG_BYTES
        self._ahead = self._read_fully(self._sealed_chunk_bytes)
        self._cipher = AESGCM(object_key)

    def _unseal_chunk(self) -> None:
        # What follows a chunk tells whether it is the final one, so reading is one chunk ahead.
        chunk, self._ahead = self._ahead, self._read_fully(self._sealed_chunk_bytes)
        final = not self._ahead
        if len(chunk) < TAG_BYTES or self._counter > LAST_COUNTER:
            raise DamagedData(f"{self._object_name} is cut: it ends without its final chunk", _DAMAGE_HINT)
        plain = self._decrypt(chunk, final=final)
        if plain is None:
            raise self._damage(chunk, final=final)
        if not plain and self._counter > 0:  # only an empty plaintext has an empty chunk
            raise DamagedData(
                f"{self._object_name} ends with an empty chunk, which is not allowed", _DAMAGE_HINT
            )
        self._plain, self._position = plain, 0
        self._counter += 1
        self._ended = final

    def _decrypt(self, chunk: bytes, *, final: bool) -> bytes | None:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - loaded with the cipher anyway

        assert self._cipher is not None
        try:
            return self._cipher.decrypt(
                nonce(self._nonce_prefix, self._counter, final=final), chunk, self._associated_data
            )
        except InvalidTag:
            return None

    def _damage(self, chunk: bytes, *, final: bool) -> DamagedData:
        """Say more exactly what is wrong where that can be known."""
        if final and self._decrypt(chunk, final=False) is not None:
            message = f"{self._object_name} was cut, or never finished: its final chunk is missing"
        elif not final and self._decrypt(chunk, final=True) is not None:
            message = f"{self._object_name} goes on after its final chunk"
        elif self._counter == 0:
            message = (
                f"{self._object_name} is damaged in its first chunk, or belongs to another backup or name"
            )
        else:
            message = f"{self._object_name} is damaged, cut or out of order in chunk {self._counter}"
        return DamagedData(message, _DAMAGE_HINT)

    def _read_fully(self, size_bytes: int) -> bytes:
        """This many bytes, fewer only where the source ends. Copies nothing if the source gives them at once."""
        data = self._source.read(size_bytes)
        if not data or len(data) == size_bytes:
            return data
        pieces = [data]
        missing_bytes = size_bytes - len(data)
        while missing_bytes and (data := self._source.read(missing_bytes)):
            pieces.append(data)
            missing_bytes -= len(data)
        return b"".join(pieces)
