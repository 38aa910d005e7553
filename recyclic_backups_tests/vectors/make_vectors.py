"""Write the vectors: ``python -m recyclic_backups_tests.vectors.make_vectors``; the result never varies.

Built from docs/format/ alone, in straight lines, without importing the code that it tests: whoever writes a
reader in another language may read this file as an example. The vectors are committed; a change to any of
them is a change of the format, or a mistake.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

FOLDER = Path(__file__).parent

Json = dict[str, Any]

# Salts, prefixes and keys count upwards here so that they are easy to recognise. Real ones are random.
DATA_KEY = bytes(range(32))
OTHER_KEY = bytes(range(100, 132))
SALT = bytes(range(32, 64))
PREFIX = bytes(range(64, 71))
BACKUP_ID = "20261122T010003Z-K3X7QA"
OBJECT_NAME = "main.dump.zst.sealed"
CHUNK = 16

GOOD, DAMAGED, NO_KEY = "good", "damaged", "no usable key"


def extract(salt: bytes, material: bytes) -> bytes:
    """HKDF-Extract."""
    return hmac.digest(salt, material, "sha256")


def expand(key: bytes, info: str) -> bytes:
    """HKDF-Expand to 32 bytes: one block."""
    return hmac.digest(key, info.encode() + b"\x01", "sha256")


def key_id_of(data_key: bytes) -> str:
    """The id of a data key."""
    return expand(extract(b"", data_key), "recyclic_backups/key/1/id")[:8].hex()


def canonical(document: Json) -> bytes:
    """Canonical JSON."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def text64(data: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(data).decode()


def without(document: Json, *names: str) -> Json:
    """The document without some of its fields."""
    return {name: value for name, value in document.items() if name not in names}


# --- envelope ---


def header_of(data_key: bytes = DATA_KEY, chunk_bytes: int = CHUNK, version: int = 1) -> bytes:
    """The 93 bytes."""
    commitment = expand(extract(SALT, data_key), "recyclic_backups/envelope/1/key-commitment")
    key_id = bytes.fromhex(key_id_of(data_key))
    return b"\x89RBSEAL\n" + struct.pack(">HI", version, chunk_bytes) + key_id + SALT + PREFIX + commitment


def chunk_of(plain: bytes, counter: int, *, final: bool, header: bytes | None = None) -> bytes:
    """One chunk, sealed."""
    header = header_of() if header is None else header
    name, backup_id = OBJECT_NAME.encode(), BACKUP_ID.encode()
    bound = header + struct.pack(">H", len(backup_id)) + backup_id + struct.pack(">H", len(name)) + name
    key = expand(extract(SALT, DATA_KEY), "recyclic_backups/envelope/1/object-key")
    nonce = PREFIX + struct.pack(">I", counter) + (b"\x01" if final else b"\x00")
    return AESGCM(key).encrypt(nonce, plain, bound)


def seal(plain: bytes, header: bytes | None = None) -> bytes:
    """A whole object in chunks of 16 bytes."""
    header = header_of() if header is None else header
    pieces = [plain[start : start + CHUNK] for start in range(0, len(plain), CHUNK)] or [b""]
    chunks = [
        chunk_of(piece, counter, final=counter == len(pieces) - 1, header=header)
        for counter, piece in enumerate(pieces)
    ]
    return header + b"".join(chunks)


def flipped(data: bytes, position: int, bit: int = 0) -> bytes:
    """The same bytes with one bit flipped."""
    changed = bytearray(data)
    changed[position] ^= 1 << bit
    return bytes(changed)


def envelope_cases() -> list[Json]:
    """Every case of envelope.json."""
    cases: list[Json] = []

    def case(name: str, outcome: str, sealed: bytes, plain: bytes | None = None, **other: str) -> None:
        entry = {"name": name, "outcome": outcome, "sealed": text64(sealed)}
        if plain is not None:
            entry["plain"] = text64(plain)
        cases.append(entry | other)

    text = b"Sealing is committing: the final chunk is written last."  # 3 chunks of 16 and one of 7
    whole = seal(text)
    for name, plain in (
        ("empty", b""),
        ("one byte", b"A"),
        ("one byte less than a chunk", text[:15]),
        ("exactly one chunk", text[:16]),
        ("one chunk and a byte", text[:17]),
        ("exactly two chunks", text[:32]),
        ("several chunks", text),
    ):
        case(name, GOOD, seal(plain), plain)

    edge = 93
    edges = [edge + 32 * count for count in range(4)] + [len(whole)]
    cuts = set(range(94)) | {at + step for at in edges for step in (-1, 0, 1)}
    for length in sorted(cut for cut in cuts if cut < len(whole)):
        case(f"several chunks, cut to {length} bytes", DAMAGED, whole[:length])
    for name, plain in (("empty", b""), ("exactly one chunk", text[:16]), ("exactly two chunks", text[:32])):
        sealed = seal(plain)
        case(f"{name}, the last byte cut", DAMAGED, sealed[:-1])
        case(f"{name}, the last chunk cut", DAMAGED, sealed[: 93 + max(0, len(plain) - 16) * 2])
        case(f"{name}, a byte appended", DAMAGED, sealed + b"\x00")
        case(f"{name}, sealed twice in a row", DAMAGED, sealed + sealed)
    case("several chunks, a byte appended", DAMAGED, whole + b"\x00")
    case("several chunks, a chunk's length of zeros appended", DAMAGED, whole + bytes(32))

    header, first, second, third, last = (
        whole[:93], whole[93:125], whole[125:157], whole[157:189], whole[189:]
    )  # fmt: skip
    for name, parts in (
        ("first two chunks swapped", (second, first, third, last)),
        ("second and third chunk swapped", (first, third, second, last)),
        ("second chunk twice", (first, second, second, third, last)),
        ("final chunk twice", (first, second, third, last, last)),
        ("first chunk missing", (second, third, last)),
        ("second chunk missing", (first, third, last)),
        ("all but the final chunk missing", (last,)),
        ("final chunk first", (last, first, second, third)),
    ):
        case(name, DAMAGED, header + b"".join(parts))
    case("never finished: all chunks with marker 00", DAMAGED, header + b"".join(
        chunk_of(text[16 * i : 16 * i + 16], i, final=False) for i in range(4)
    ))  # fmt: skip
    case("an empty final chunk after a full one", DAMAGED, header + chunk_of(text[:16], 0, final=False)
         + chunk_of(b"", 1, final=True))  # fmt: skip
    case("final marker on a chunk in the middle", DAMAGED, header + chunk_of(text[:16], 0, final=True)
         + chunk_of(text[16:20], 1, final=True))  # fmt: skip

    for name, position, outcome in (
        ("magic", 0, DAMAGED), ("magic's last byte", 7, DAMAGED), ("version", 9, DAMAGED),
        ("chunk size, 16 becomes 17", 13, DAMAGED), ("chunk size, beyond its bound", 10, DAMAGED),
        ("key id", 14, NO_KEY), ("key id's last byte", 21, NO_KEY), ("salt", 22, NO_KEY),
        ("salt's last byte", 53, NO_KEY), ("nonce prefix", 54, DAMAGED),
        ("nonce prefix's last byte", 60, DAMAGED),
        ("commitment", 61, NO_KEY), ("commitment's last byte", 92, NO_KEY),
        ("first chunk's body", 93, DAMAGED),
        ("first chunk's tag", 109, DAMAGED), ("second chunk's tag, last byte", 156, DAMAGED),
        ("final chunk's body", 189, DAMAGED), ("final chunk's tag", 211, DAMAGED),
    ):  # fmt: skip
        case(f"a bit flipped: {name}", outcome, flipped(whole, position, bit=1 if position == 9 else 0))
    case("chunk size 15, otherwise right", DAMAGED, seal(text[:15], header_of(chunk_bytes=15)))
    case("chunk size 0", DAMAGED, header_of(chunk_bytes=0) + whole[93:])
    case("chunk size one above the bound", DAMAGED, seal(b"A", header_of(chunk_bytes=2**24 + 1)))
    case("largest chunk size", GOOD, seal(b"A", header_of(chunk_bytes=2**24)), b"A")
    case("version 2, otherwise right", DAMAGED, seal(b"A", header_of(version=2)))
    case("version 0", DAMAGED, seal(b"A", header_of(version=0)))

    case("another backup's id", DAMAGED, whole, backup_id="20261121T010003Z-K3X7QA")
    case("another object's name", DAMAGED, whole, object_name="globals.sql.zst.sealed")
    case("id and name shifted against each other", DAMAGED, whole,
         backup_id=BACKUP_ID + OBJECT_NAME[0], object_name=OBJECT_NAME[1:])  # fmt: skip
    case("sealed with a key that is not known", NO_KEY, header_of(OTHER_KEY) + whole[93:])
    forged = header_of(OTHER_KEY)[:14] + bytes.fromhex(key_id_of(DATA_KEY)) + header_of(OTHER_KEY)[22:]
    case("another key under a known key id", NO_KEY, forged + whole[93:])
    case("nothing at all", DAMAGED, b"")
    case("a plain dump", DAMAGED, b"PGDMP" + bytes(200))
    return cases


# --- key files ---

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


# --- documents ---

LABEL_NAME = "shop/tiers/daily/2026-11-22.json"
LABEL: Json = {"format": 1, "tier": "daily", "partition": "2026-11-22", "backup_id": BACKUP_ID, "late": False}
ODD: Json = {
    "z": 1,
    "a": {"é": "déjà vu", "e": [], "🐘": {}, "\uffff": None},
    "numbers": [0, -1, 1.5, 2.0, 1e16, 1e-07, 12345678901234567890, True, False],
    "text": 'quote " backslash \\ slash / newline \n tab \t nul-like \u0001 delete \x7f separator \u2028',
    "Z": "upper case sorts before lower",
}


def signed(document: Json, name: str = LABEL_NAME, data_key: bytes = DATA_KEY) -> Json:
    """The document with its MAC."""
    key = expand(extract(b"", data_key), "recyclic_backups/document/1/mac")
    mac = hmac.digest(key, name.encode() + b"\x00" + canonical(without(document, "mac")), "sha256").hex()
    return document | {"mac": {"key_id": key_id_of(data_key), "hmac_sha256": mac}}


def document_cases() -> list[Json]:
    """Every case of documents.json."""
    cases: list[Json] = []

    def case(name: str, outcome: str, content: Json | str | bytes, stored: str = LABEL_NAME) -> None:
        if isinstance(content, dict):
            content = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        data = content.encode() if isinstance(content, str) else content
        cases.append({"name": name, "outcome": outcome, "storage_name": stored, "content": text64(data)})

    label = signed(LABEL)
    whole = json.dumps(label, indent=2)
    case("a label", GOOD, label)
    case("every kind of JSON value", GOOD, signed(ODD))
    case("the same, escaped to ASCII", GOOD, json.dumps(signed(ODD), ensure_ascii=True))
    case("an empty document", GOOD, signed({}))
    case("spaced and ordered differently", GOOD, json.dumps(label, sort_keys=True, indent=7))
    case(
        "a name with accents",
        GOOD,
        signed(LABEL, "d%C3%A9p%C3%B4t/tiers/é.json"),
        "d%C3%A9p%C3%B4t/tiers/é.json",
    )

    case("moved to another partition", DAMAGED, label, "shop/tiers/daily/2026-11-21.json")
    case("moved to another database", DAMAGED, label, "shop2/tiers/daily/2026-11-22.json")
    case("a value edited", DAMAGED, label | {"late": True})
    case("a value's type edited", DAMAGED, label | {"format": 1.0})
    case("a field added", DAMAGED, label | {"note": "hello"})
    case("a field removed", DAMAGED, without(label, "late"))
    case("no MAC", DAMAGED, LABEL)
    case("MAC null", DAMAGED, LABEL | {"mac": None})
    case("MAC a text", DAMAGED, LABEL | {"mac": label["mac"]["hmac_sha256"]})
    case("MAC without key id", DAMAGED, LABEL | {"mac": without(label["mac"], "key_id")})
    case("MAC without HMAC", DAMAGED, LABEL | {"mac": without(label["mac"], "hmac_sha256")})
    case(
        "MAC cut", DAMAGED, LABEL | {"mac": label["mac"] | {"hmac_sha256": label["mac"]["hmac_sha256"][:-2]}}
    )
    case("MAC in upper case", DAMAGED, LABEL | {"mac": label["mac"] | {"hmac_sha256": "AB" * 32}})
    case("MAC of zeros", DAMAGED, LABEL | {"mac": label["mac"] | {"hmac_sha256": "00" * 32}})
    case("key id that is a path", DAMAGED, LABEL | {"mac": label["mac"] | {"key_id": "../../etc/passwd"}})
    case("key id unknown", NO_KEY, LABEL | {"mac": label["mac"] | {"key_id": "0123456789abcdef"}})
    case("signed with a key that is not known", NO_KEY, signed(LABEL, data_key=OTHER_KEY))
    forged = signed(LABEL, data_key=OTHER_KEY)
    case(
        "another key under a known key id",
        DAMAGED,
        forged | {"mac": forged["mac"] | {"key_id": key_id_of(DATA_KEY)}},
    )

    case("a name twice", DAMAGED, whole.replace("{", '{"late": true,', 1))
    case("not a number", DAMAGED, whole.replace("false", "NaN"))
    case("infinity", DAMAGED, whole.replace("false", "Infinity"))
    case("a number beyond all doubles", DAMAGED, whole.replace("false", "1e999"))
    case("a lone surrogate", DAMAGED, whole.replace("2026-11-22", "\\ud800"))
    case("nested beyond reason", DAMAGED, whole.replace("false", "[" * 3000 + "]" * 3000))
    case("empty", DAMAGED, "")
    case("cut in the middle", DAMAGED, whole[: len(whole) // 2])
    case("a list", DAMAGED, f"[{whole}]")
    case("something after it", DAMAGED, whole + "x")
    case("UTF-16", DAMAGED, whole.encode("utf-16"))
    case("a byte-order mark", DAMAGED, whole.encode("utf-8-sig"))
    case("Latin-1", DAMAGED, whole.replace("daily", "été").encode("latin-1"))
    return cases


def vectors() -> dict[str, str]:
    """Each file's name and content."""
    data_keys = {key_id_of(DATA_KEY): DATA_KEY.hex()}
    files: dict[str, Json] = {
        "envelope.json": {
            "about": "docs/format/envelope.md. `sealed` and `plain` are base64. A case's own backup_id or "
            "object_name is what the reader asks for instead of the one below; these are the keys it has.",
            "data_keys": data_keys,
            "backup_id": BACKUP_ID,
            "object_name": OBJECT_NAME,
            "cases": envelope_cases(),
        },
        "key_files.json": {
            "about": "docs/format/keys.md. `content` is the text of keys/<key_id>.json.",
            "data_key": DATA_KEY.hex(),
            "cases": key_file_cases(),
        },
        "documents.json": {
            "about": "docs/format/documents.md. `content` is base64. The reader has the keys below.",
            "data_keys": data_keys,
            "canonical": [
                {"document": document, "canonical": canonical(document).decode()} for document in (LABEL, ODD)
            ],
            "cases": document_cases(),
        },
    }
    return {name: json.dumps(content, indent=1, ensure_ascii=True) + "\n" for name, content in files.items()}


if __name__ == "__main__":
    for file_name, text in vectors().items():
        (FOLDER / file_name).write_text(text, encoding="utf-8")
