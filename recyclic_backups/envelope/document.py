"""Manifests, labels, holds, checks, tombstones: small JSON documents and their MAC.

Specified in ``docs/format/documents.md``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeGuard

from recyclic_backups.envelope.data_key import DataKey, mac_key_of
from recyclic_backups.errors import BackupError, DamagedData

_KEY_ID = re.compile(r"[0-9a-f]{16}")
# Far above anything that is written (a manifest of 10,000 tables has 150,000 values), and what a reader can hold: a
# few bytes of JSON make objects of hundreds.
_MOST_VALUES = 4_000_000
_DEEPEST = 64
# No number of ours has more: sums of 64-bit hashes have 40. Python would spend long on thousands (int() is quadratic),
# and larger ones do not fit into a float.
_MOST_DIGITS = 64

_CONTAINERS = frozenset({dict, list})  # what json.loads() makes, exactly: `list` looks at a million values

_HMAC_SHA256 = re.compile(r"[0-9a-f]{64}")


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(document: Mapping[str, Any]) -> bytes:
    """The one spelling of a JSON document that MACs and hashes are taken of. Raises ValueError, TypeError."""
    return _CANONICAL.encode(dict(document)).encode("utf-8")


def encode(document: Mapping[str, Any]) -> bytes:
    """What is stored: indented JSON in the given order, and a newline. Raises BackupError otherwise."""
    try:
        text = json.dumps(dict(document), indent=2, ensure_ascii=False, allow_nan=False)
        return f"{text}\n".encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BackupError(f"a document to store is not JSON: {error}") from error


def decode(data: bytes, name: str) -> dict[str, Any]:
    """The document stored under ``name``. Raises DamagedData, naming it, for anything but one JSON object.

    A name given twice, a number that is not finite or a lone surrogate is damage too: readers would disagree
    about what the document says. So is one that would take its reader's time or memory: with millions of values, in
    more than 64 levels, or with a number of more than 64 digits. How many bytes there may be is for the storage to say.
    """
    try:
        containers = data.count(b"[") + data.count(b"{")
        if max(data.count(b","), containers) > _MOST_VALUES:
            raise ValueError("it has too many values")
        text = data.decode("utf-8")
        document = json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=_finite,
            parse_int=_whole,
            parse_constant=_not_finite,
        )
        if containers > _DEEPEST:
            _require_shallow(document)
        if "\\ud" in text or "\\uD" in text:  # an escaped surrogate, perhaps half of a pair
            canonical({"": document})
    except (ValueError, RecursionError):
        raise DamagedData(f"{name} is damaged: it is not a JSON document") from None
    if not isinstance(document, dict):
        raise DamagedData(f"{name} is damaged: it is not a JSON object")
    return document


def signed(document: Mapping[str, Any], name: str, data_key: DataKey) -> dict[str, Any]:
    """A copy of the document, in JSON's own types, with its MAC for storage under ``name``.

    A MAC it already has is replaced. Raises BackupError for something that is not JSON.
    """
    unsigned = {key: value for key, value in document.items() if key != "mac"}
    stored = decode(encode(unsigned), name)
    stored["mac"] = {"key_id": data_key.key_id, "hmac_sha256": _mac(stored, name, data_key)}
    return stored


def summed(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A copy of the document with its SHA-256 for storage under ``name``: it tells damage, not forgery.

    Raises BackupError for something that is not JSON.
    """
    stored = decode(encode({key: value for key, value in document.items() if key != "sha256"}), name)
    stored["sha256"] = _sha256(stored, name)
    return stored


def vouched(document: Mapping[str, Any], name: str, data_key: DataKey | None) -> dict[str, Any]:
    """The document with its MAC, or with its SHA-256 where nothing is encrypted. Raises BackupError as those."""
    return summed(document, name) if data_key is None else signed(document, name, data_key)


def check_sum(document: Mapping[str, Any], name: str) -> None:
    """Return if the document is what :func:`summed` made for ``name``. Raises DamagedData."""
    try:
        whole = document.get("sha256") == _sha256(document, name)
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        raise DamagedData(
            f"{name} was edited, damaged or moved: its SHA-256 is wrong",
            "do not trust it; use another backup or copy",
        )


def check_authentic(
    document: Mapping[str, Any], name: str, open_key: Callable[[str], DataKey], *, signed: bool = False
) -> None:
    """Return if the document is what was written for ``name``: by its MAC where it has or must have one (``signed``).

    Raises as :func:`check_signature` and :func:`check_sum`.
    """
    if signed or "mac" in document:
        check_signature(document, name, open_key)
    else:
        check_sum(document, name)


def check_signature(document: Mapping[str, Any], name: str, open_key: Callable[[str], DataKey]) -> None:
    """Return if the document was signed for ``name`` and not edited since.

    Raises DamagedData if its MAC is missing, malformed or wrong, and what ``open_key`` raises (NoUsableKey).
    """
    key_id, found = _mac_of(document, name)
    try:
        expected = _mac(document, name, open_key(key_id))
    except (ValueError, RecursionError):
        raise DamagedData(f"{name} is damaged: it is not a JSON document") from None
    if not hmac.compare_digest(expected, found):
        raise DamagedData(
            f"{name} was edited, damaged or moved: its MAC is wrong",
            "do not trust it; use another backup or copy",
        )


def key_id_of_mac(document: Mapping[str, Any], name: str) -> str:
    """The key that a document says it is signed with. Raises DamagedData if its MAC is missing or malformed."""
    return _mac_of(document, name)[0]


def _mac_of(document: Mapping[str, Any], name: str) -> tuple[str, str]:
    """The key id and the HMAC that a document carries. Raises DamagedData."""
    mac = document.get("mac")
    if mac is None:
        raise DamagedData(
            f"{name} carries no MAC: it was edited, or written before encryption was turned on",
            "do not trust it unless you know who wrote it",
        )
    key_id = mac.get("key_id") if isinstance(mac, dict) else None
    found = mac.get("hmac_sha256") if isinstance(mac, dict) else None
    # Nothing else may stand inside: the MAC does not cover itself.
    alone = isinstance(mac, dict) and mac.keys() == {"key_id", "hmac_sha256"}
    if not (alone and _is_text(key_id, _KEY_ID) and _is_text(found, _HMAC_SHA256)):
        raise DamagedData(f"{name} is damaged: its MAC is malformed")
    if "sha256" in document:
        raise DamagedData(f"{name} was edited or damaged: it has both a MAC and a SHA-256")
    return key_id, found


def _sha256(document: Mapping[str, Any], name: str) -> str:
    unsummed = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(name.encode("utf-8") + b"\x00" + canonical(unsummed)).hexdigest()


def _mac(document: Mapping[str, Any], name: str, data_key: DataKey) -> str:
    if "\x00" in name:
        raise BackupError("a storage name contains a NUL character")
    unsigned = {key: value for key, value in document.items() if key != "mac"}
    message = name.encode("utf-8") + b"\x00" + canonical(unsigned)
    return hmac.digest(mac_key_of(data_key), message, "sha256").hex()


def _is_text(value: object, pattern: re.Pattern[str]) -> TypeGuard[str]:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name is there twice")
    return result


def _require_shallow(document: Any) -> None:
    """Without recursion: whoever writes the document again, or sums it up, goes as deep as it is."""
    level = [document] if type(document) in _CONTAINERS else []
    for _ in range(_DEEPEST):
        level = [
            value
            for each in level
            for value in (each.values() if type(each) is dict else each)
            if type(value) in _CONTAINERS
        ]
        if not level:
            return
    raise ValueError("it is too deep")


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError("a number has too many digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is out of range")
    return value


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
