"""Key files and passphrases (docs/format/keys.md)."""

from __future__ import annotations

import base64
import hashlib
import json

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from recyclic_backups_tests.vectors.primitives import (
    DAMAGED,
    DATA_KEY,
    GOOD,
    NO_KEY,
    OTHER_KEY,
    SALT,
    Json,
    canonical,
    expand,
    extract,
    key_id_of,
    text64,
    without,
)

WHITE_SPACE = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
    "\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
TEXT = "correct horse battery staple, généreux"
GENERATED = text64(bytes(range(0xC0, 0xE0)))
URL_SAFE = base64.urlsafe_b64encode(bytes([0xFB, 0xEF, 0xFF] * 10 + [1, 2])).decode()


def root_of(passphrase: str, derivation: Json) -> bytes:
    """The root key."""
    salt = base64.b64decode(derivation["salt"])
    if derivation["name"] == "hkdf-sha256":
        return extract(salt, base64.urlsafe_b64decode(passphrase.replace("+", "-").replace("/", "_")))
    n, r, p = derivation["n"], derivation["r"], derivation["p"]
    return Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(passphrase.encode())


def scrypt_with(n: int, r: int = 8, p: int = 1) -> Json:
    """A description of scrypt."""
    return {"name": "scrypt", "n": n, "r": r, "p": p, "salt": text64(SALT)}


HKDF: Json = {"name": "hkdf-sha256", "salt": text64(SALT)}


def sealed_hash(document: Json) -> Json:
    """The document with its sha256 made right."""
    document = without(document, "sha256")
    return document | {"sha256": hashlib.sha256(canonical(document)).hexdigest()}


def key_file(passphrase: str, derivation: Json, key_id: str = "", claimed: Json | None = None) -> Json:
    """A whole key file; ``claimed`` is the derivation written instead of the one used."""
    root = root_of(passphrase, derivation)
    document: Json = {
        "format": 1,
        "key_id": key_id or key_id_of(DATA_KEY),
        "created_at": "2026-11-22T01:00:03Z",
        "wrapped_at": "2026-11-23T09:30:00.123456Z",
        "derivation": claimed or derivation,
        "commitment": expand(root, "recyclic_backups/key/1/commitment").hex(),
        "nonce": text64(bytes(range(12))),
    }
    wrapped = AESGCM(expand(root, "recyclic_backups/key/1/wrap")).encrypt(
        bytes(range(12)), DATA_KEY, b"recyclic_backups/key/1\x00" + canonical(document)
    )
    return sealed_hash(document | {"wrapped_key": text64(wrapped)})


def key_file_cases() -> list[Json]:
    """Every case of key_files.json."""
    cases: list[Json] = []
    key_id = key_id_of(DATA_KEY)

    def case(name: str, outcome: str, content: Json | str, *passphrases: str, named: str = key_id) -> None:
        text = content if isinstance(content, str) else json.dumps(content, indent=2) + "\n"
        cases.append(
            {
                "name": name,
                "outcome": outcome,
                "key_id": named,
                "passphrases": list(passphrases),
                "content": text,
            }
        )

    quick, hkdf = key_file(TEXT, scrypt_with(2**14)), key_file(GENERATED, HKDF)
    case("text, scrypt as written", GOOD, key_file(TEXT, scrypt_with(2**17)), TEXT)
    case("text, scrypt at its lowest", GOOD, quick, TEXT)
    case("text, decomposed accents", GOOD, quick, TEXT.replace("é", "e\u0301"))
    case("text, a newline at its end", GOOD, quick, f" {TEXT}\n")
    case("text, every white space at its ends", GOOD, quick, f"{WHITE_SPACE}{TEXT}{WHITE_SPACE}")
    case("text, a zero-width space at its end is part of it", NO_KEY, quick, f"{TEXT}\u200b")
    case("text, a byte-order mark at its beginning is part of it", NO_KEY, quick, f"\ufeff{TEXT}")
    case("text, second of two passphrases", GOOD, quick, "another passphrase, not the one", TEXT)
    case("full entropy, standard base64", GOOD, hkdf, GENERATED)
    case("full entropy, URL-safe base64", GOOD, key_file(URL_SAFE, HKDF), URL_SAFE)
    case("full entropy, the same key in the other alphabet", GOOD, key_file(URL_SAFE, HKDF),
         URL_SAFE.replace("-", "+").replace("_", "/"))  # fmt: skip
    case("full entropy without its padding is text", NO_KEY, hkdf, GENERATED.rstrip("="))
    case("spaced differently", GOOD, json.dumps(quick), TEXT)

    case("wrong text", NO_KEY, quick, TEXT + "x")
    case("wrong case", NO_KEY, quick, TEXT.upper())
    case("a full-entropy key for a text's file", NO_KEY, quick, GENERATED)
    case("a text for a full-entropy key's file", NO_KEY, hkdf, TEXT)
    case("another full-entropy key", NO_KEY, hkdf, URL_SAFE)

    for field in ("key_id", "created_at", "wrapped_at", "commitment", "nonce", "wrapped_key", "sha256"):
        value = str(hkdf[field])
        swapped = ("1" if value[1] == "0" else "0") + value[2:]
        case(f"a character changed: {field}", DAMAGED, hkdf | {field: value[0] + swapped}, GENERATED)
        case(f"missing: {field}", DAMAGED, without(hkdf, field), GENERATED)
    other_salt = HKDF | {"salt": text64(DATA_KEY)}
    case("another salt", DAMAGED, hkdf | {"derivation": other_salt}, GENERATED)

    for name, outcome, change in (
        ("format 2", DAMAGED, {"format": 2}),
        ("created_at later", DAMAGED, {"created_at": "2036-11-22T01:00:03Z"}),
        ("created_at without zone", DAMAGED, {"created_at": "2026-11-22T01:00:03"}),
        ("another salt", NO_KEY, {"derivation": other_salt}),
        ("another commitment", NO_KEY, {"commitment": "00" * 32}),
        ("another nonce", DAMAGED, {"nonce": text64(bytes(12))}),
        ("another wrapped key", DAMAGED, {"wrapped_key": text64(bytes(48))}),
        ("a short nonce", DAMAGED, {"nonce": text64(bytes(11))}),
        ("a short wrapped key", DAMAGED, {"wrapped_key": text64(bytes(47))}),
        ("a commitment in upper case", DAMAGED, {"commitment": str(hkdf["commitment"]).upper()}),
        ("a short commitment", DAMAGED, {"commitment": "00" * 31}),
        ("a field more", DAMAGED, {"note": "added"}),
        ("derivation unknown", DAMAGED, {"derivation": {"name": "pbkdf2", "salt": text64(SALT)}}),
        ("derivation no object", DAMAGED, {"derivation": "scrypt"}),
        ("salt too short", DAMAGED, {"derivation": {"name": "hkdf-sha256", "salt": text64(SALT[:31])}}),
    ):
        case(f"edited, sha256 made right: {name}", outcome, sealed_hash(hkdf | change), GENERATED)
    for n, r, p in ((2**13, 8, 1), (2**21, 8, 1), (2**30, 8, 1), (2**17 + 1, 8, 1), (2**17, 16, 1),
                    (2**17, 8, 5), (2**17, 8, 0), (-(2**17), 8, 1)):  # fmt: skip
        bomb = key_file(TEXT, scrypt_with(2**14), claimed=scrypt_with(n, r, p))
        case(f"scrypt out of bounds: n={n} r={r} p={p}", DAMAGED, bomb, TEXT)
    for odd in (131072.0, "131072", True, None):
        bomb = sealed_hash(quick | {"derivation": scrypt_with(2**14) | {"n": odd}})
        case(f"scrypt with n={odd!r}", DAMAGED, bomb, TEXT)
    case("named for another key", DAMAGED, hkdf, GENERATED, named=key_id_of(OTHER_KEY))
    other_id = key_id_of(OTHER_KEY)
    impostor = key_file(GENERATED, HKDF, key_id=other_id)
    case("holds a key of another id", DAMAGED, impostor, GENERATED, named=other_id)
    whole = json.dumps(hkdf, indent=2) + "\n"
    case("empty", DAMAGED, "", GENERATED)
    case("cut in the middle", DAMAGED, whole[: len(whole) // 2], GENERATED)
    case("a list", DAMAGED, f"[{whole}]", GENERATED)
    return cases
