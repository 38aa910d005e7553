"""Sealed objects, good and harmed in every way we could think of (docs/format/envelope.md)."""

from __future__ import annotations

import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from recyclic_backups_tests.vectors.primitives import (
    BACKUP_ID,
    DAMAGED,
    DATA_KEY,
    GOOD,
    NO_KEY,
    OTHER_KEY,
    PREFIX,
    SALT,
    Json,
    expand,
    extract,
    key_id_of,
    text64,
)

OBJECT_NAME = "main.dump.zst.sealed"
CHUNK = 16


def header_of(data_key: bytes = DATA_KEY, chunk_bytes: int = CHUNK, version: int = 1) -> bytes:
    """The 93 bytes."""
    commitment = expand(extract(SALT, data_key), "recyclic_backups/envelope/1/key-commitment")
    key_id = bytes.fromhex(key_id_of(data_key))
    return b"\x89RBSEAL\n" + struct.pack(">HI", version, chunk_bytes) + key_id + SALT + PREFIX + commitment


def chunk_of(
    plain: bytes,
    counter: int,
    *,
    final: bool,
    header: bytes | None = None,
    name_of_object: str = OBJECT_NAME,
    of_backup: str = BACKUP_ID,
) -> bytes:
    """One chunk, sealed."""
    header = header_of() if header is None else header
    name, backup_id = name_of_object.encode(), of_backup.encode()
    bound = header + struct.pack(">H", len(backup_id)) + backup_id + struct.pack(">H", len(name)) + name
    key = expand(extract(SALT, DATA_KEY), "recyclic_backups/envelope/1/object-key")
    nonce = PREFIX + struct.pack(">I", counter) + (b"\x01" if final else b"\x00")
    return AESGCM(key).encrypt(nonce, plain, bound)


def seal(
    plain: bytes,
    header: bytes | None = None,
    *,
    name_of_object: str = OBJECT_NAME,
    of_backup: str = BACKUP_ID,
) -> bytes:
    """A whole object in chunks of 16 bytes."""
    header = header_of() if header is None else header
    pieces = [plain[start : start + CHUNK] for start in range(0, len(plain), CHUNK)] or [b""]
    chunks = [
        chunk_of(
            piece,
            counter,
            final=counter == len(pieces) - 1,
            header=header,
            name_of_object=name_of_object,
            of_backup=of_backup,
        )
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
