"""What ``openssl enc -aes-256-cbc`` wrote: ``Salted__``, eight bytes of salt, AES-256-CBC with PKCS#7 padding.

Key and IV come from the passphrase in one of three ways (https://docs.openssl.org/3.0/man1/openssl-enc/): PBKDF2
with SHA-256 and 10 000 iterations (``-pbkdf2``), or ``EVP_BytesToKey`` with one iteration of SHA-256 (the default
since OpenSSL 1.1.0) or of MD5 (the default before). The file does not say which, nor does it authenticate anything:
the right key is the one that makes sense of the first block, and the whole is trusted only once what is inside
has been read to its own end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from recyclic_backups.compression import Source
from recyclic_backups.errors import DamagedData

MAGIC = b"Salted__"
PREAMBLE_BYTES = 16

_BLOCK_BYTES = 16
_KEY_BYTES = 32
_PBKDF2_ITERATIONS = 10_000


@dataclass(frozen=True, slots=True)
class OpensslKey:
    """Key and IV of one file, and how they were derived."""

    derivation: str
    key: bytes
    iv: bytes

    def decryptor(self) -> Any:
        """A fresh AES-256-CBC decryption; padding is not taken off."""
        return Cipher(algorithms.AES(self.key), modes.CBC(self.iv)).decryptor()


def derived_keys(passphrase: bytes, salt: bytes) -> Iterator[OpensslKey]:
    """The keys that a passphrase may stand for, the likeliest first."""
    size = _KEY_BYTES + _BLOCK_BYTES
    derivations: tuple[tuple[str, Callable[[], bytes]], ...] = (
        ("pbkdf2", lambda: hashlib.pbkdf2_hmac("sha256", passphrase, salt, _PBKDF2_ITERATIONS, size)),
        ("sha256", lambda: _bytes_to_key("sha256", passphrase, salt, size)),
        ("md5", lambda: _bytes_to_key("md5", passphrase, salt, size)),
    )
    for name, derive in derivations:
        material = derive()
        yield OpensslKey(name, material[:_KEY_BYTES], material[_KEY_BYTES:])


def _bytes_to_key(digest: str, passphrase: bytes, salt: bytes, size: int) -> bytes:
    """EVP_BytesToKey with a count of 1: each block is the digest of the one before, the passphrase and the salt."""
    material = block = b""
    while len(material) < size:
        # MD5 is what those files were made with; nothing new is ever protected by it.
        block = hashlib.new(digest, block + passphrase + salt, usedforsecurity=False).digest()
        material += block
    return material[:size]


class DecryptedReader:
    """Reads the plaintext behind the preamble; the end is returned only once length and padding were right."""

    def __init__(self, source: Source, key: OpensslKey) -> None:
        self._source = source
        self._decryptor = key.decryptor()
        self._unpadder = PKCS7(8 * _BLOCK_BYTES).unpadder()
        self._ended = False
        self._left = b""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes. Raises DamagedData when the end is missing or makes no sense."""
        while not self._left and not self._ended:
            data = self._source.read(max(size, _BLOCK_BYTES))
            try:
                if data:
                    self._left = self._unpadder.update(self._decryptor.update(data))
                else:
                    self._ended = True
                    # Ciphertext that is no whole number of blocks, or a last block without padding.
                    self._left = self._unpadder.update(self._decryptor.finalize()) + self._unpadder.finalize()
            except ValueError:
                raise DamagedData(
                    "the encrypted file is cut short or damaged: its end makes no sense"
                ) from None
        taken, self._left = self._left[:size], self._left[size:]
        return taken
