"""Passphrases, and the derivation that turns one into a wrapping key (``docs/format/keys.md``)."""

from __future__ import annotations

import base64
import binascii
import os
import unicodedata
from dataclasses import dataclass
from threading import Lock
from typing import Any

from recyclic_backups.envelope.data_key import KEY_BYTES, SALT_BYTES, expand, extract
from recyclic_backups.errors import BackupError, ConfigurationError

MINIMUM_PASSPHRASE_LENGTH = 16

_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**17, 8, 1
# A file's parameters are believed within these bounds only: at most 1 GiB (128 * n * r bytes, RFC 7914).
_SCRYPT_N_BOUNDS = (2**14, 2**20)
_SCRYPT_P_BOUNDS = (1, 4)

_WRAP_INFO = b"recyclic_backups/key/1/wrap"
_COMMITMENT_INFO = b"recyclic_backups/key/1/commitment"


@dataclass(frozen=True, slots=True)
class Derivation:
    """How a passphrase becomes a root key: ``scrypt`` for text, ``hkdf-sha256`` for full entropy."""

    name: str
    salt: bytes
    n: int = 0
    r: int = 0
    p: int = 0

    def describe(self) -> dict[str, Any]:
        """As written in a key file."""
        salt = base64.b64encode(self.salt).decode()
        if self.name == "scrypt":
            return {"name": self.name, "n": self.n, "r": self.r, "p": self.p, "salt": salt}
        return {"name": self.name, "salt": salt}


def derivation_from(described: object) -> Derivation:
    """The derivation that a key file describes. Raises ValueError if it is malformed or out of bounds."""
    if not isinstance(described, dict):
        raise ValueError("the derivation is not an object")
    salt = base64_of_length(described.get("salt"), SALT_BYTES)
    if described.get("name") == "hkdf-sha256":
        return Derivation("hkdf-sha256", salt)
    if described.get("name") != "scrypt":
        raise ValueError("the derivation is unknown")
    n, r, p = described.get("n"), described.get("r"), described.get("p")
    if type(n) is not int or type(r) is not int or type(p) is not int:
        raise ValueError("the derivation's parameters are not integers")
    if not _SCRYPT_N_BOUNDS[0] <= n <= _SCRYPT_N_BOUNDS[1] or n & (n - 1):
        raise ValueError("the derivation's n is out of bounds")
    if r != _SCRYPT_R or not _SCRYPT_P_BOUNDS[0] <= p <= _SCRYPT_P_BOUNDS[1]:
        raise ValueError("the derivation's r or p is out of bounds")
    return Derivation("scrypt", salt, n, r, p)


def base64_of_length(value: object, length_bytes: int) -> bytes:
    """Bytes from standard base64, exactly this many. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("not a text")
    try:
        data = base64.b64decode(value.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise ValueError("not base64") from None
    if len(data) != length_bytes or base64.b64encode(data).decode() != value:
        raise ValueError(f"not {length_bytes} bytes")
    return data


def generate_passphrase() -> str:
    """A new full-entropy passphrase: 32 random bytes in base64."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def normalized(passphrase: str) -> str:
    """The text that counts: NFC, without white space at either end. Raises ConfigurationError."""
    text = unicodedata.normalize("NFC", passphrase).strip()
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # how Python shows bytes of an environment variable that are not UTF-8
        raise ConfigurationError("an encryption key is not valid UTF-8 text") from None
    return text


def full_entropy(passphrase: str) -> bytes | None:
    """The 32 bytes whose base64, standard or URL-safe and padded, a normalized passphrase is; else None."""
    if len(passphrase) != 44 or not passphrase.isascii():
        return None
    standard = passphrase.translate(str.maketrans("-_", "+/"))
    mixed = standard != passphrase and ("+" in passphrase or "/" in passphrase)
    try:
        return None if mixed else base64_of_length(standard, KEY_BYTES)
    except ValueError:
        return None


def new_derivation(passphrase: str) -> Derivation:
    """A derivation fit for this normalized passphrase, with a fresh salt."""
    salt = os.urandom(SALT_BYTES)
    if full_entropy(passphrase) is not None:
        return Derivation("hkdf-sha256", salt)
    return Derivation("scrypt", salt, _SCRYPT_N, _SCRYPT_R, _SCRYPT_P)


def is_dear(derivation: Derivation) -> bool:
    """Whether it takes longer than ours do: it is of a later release, or of somebody who wants us busy."""
    return derivation.n * derivation.p > _SCRYPT_N * _SCRYPT_P


_roots: dict[tuple[str, Derivation], bytes] = {}
_one_derivation_at_a_time = Lock()  # each takes 128 MiB, and a second thread may want the same


def wrapping_key(passphrase: str, derivation: Derivation) -> tuple[bytes, bytes] | None:
    """Wrapping key and commitment; None where this kind of passphrase is never derived this way.

    Derived at most once per process for each normalized passphrase and derivation. Raises BackupError when
    there is not enough memory for scrypt.
    """
    key = full_entropy(passphrase)
    if (key is None) != (derivation.name == "scrypt"):
        return None
    with _one_derivation_at_a_time:
        root = _roots.get((passphrase, derivation))
        if root is None:
            root = extract(derivation.salt, key) if key is not None else _scrypt(passphrase, derivation)
            _roots[passphrase, derivation] = root
    return expand(root, _WRAP_INFO), expand(root, _COMMITMENT_INFO)


def _scrypt(passphrase: str, derivation: Derivation) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt  # noqa: PLC0415 - `list` derives nothing

    d = derivation
    try:
        return Scrypt(salt=d.salt, length=KEY_BYTES, n=d.n, r=d.r, p=d.p).derive(passphrase.encode("utf-8"))
    except MemoryError:
        raise BackupError(
            f"there is not enough memory to derive the key ({128 * d.n * d.r // 2**20} MiB)",
            "free some, or use a generated key (`keys generate`), which needs none",
            retryable=True,
        ) from None
