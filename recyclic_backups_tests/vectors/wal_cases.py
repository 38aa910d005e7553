"""Segments, tails, histories, positions and base backups of a server (docs/format/wal.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import zstandard

from recyclic_backups_tests.vectors.document_cases import signed
from recyclic_backups_tests.vectors.envelope_cases import header_of, seal
from recyclic_backups_tests.vectors.primitives import (
    BACKUP_ID,
    DAMAGED,
    DATA_KEY,
    GOOD,
    NO_KEY,
    OTHER_KEY,
    Json,
    key_id_of,
    text64,
    without,
)

SYSTEM_IDENTIFIER = "7300000000000000000"
SEGMENT = "00000002000000010000003F"
SEGMENT_BYTES = 64  # real ones have a megabyte at least
BASE_NAME = f"server.{SYSTEM_IDENTIFIER}/base/{BACKUP_ID}/manifest.json"
POSITION_NAME = f"server.{SYSTEM_IDENTIFIER}/wal/position.json"
ARCHIVE_ID = "00112233445566778899aabbccddeeff"
CONTENT = hashlib.sha512(b"a segment").digest()  # 64 bytes that no compressor makes smaller

POSITION: Json = {
    "format": 1,
    "system_identifier": SYSTEM_IDENTIFIER,
    "timeline": 2,
    "lsn": "1/3F000040",
    "server_time": "2026-11-22T14:31:07.250000Z",
    "written_at": "2026-11-22T14:31:07.750000Z",
    "segment_bytes": 16777216,
    "server_version": 150018,
}
_SIZES: Json = {"plain_bytes": 300, "stored_bytes": 200, "stored_sha256": "ab" * 32}
BASE: Json = {
    "format": 1,
    "base_id": BACKUP_ID,
    "system_identifier": SYSTEM_IDENTIFIER,
    "storage_id": None,
    "parent": None,
    "server_version": 150018,
    "segment_bytes": 16777216,
    "timeline": 2,
    "start_lsn": "1/3E000028",
    "stop_lsn": "1/3E000138",
    "as_of": "2026-11-22T01:00:03.250000Z",
    "taken_at": "2026-11-22T01:00:09.000000Z",
    "duration_seconds": 5.75,
    "superuser": "postgres",
    "data_checksums": True,
    "key_id": key_id_of(DATA_KEY),
    "objects": [
        {"name": "16391.tar.zst.sealed", "role": "tablespace", "oid": 16391, "location": "/ssd", **_SIZES},
        {"name": "base.tar.zst.sealed", "role": "data", "oid": None, "location": None, **_SIZES},
        {
            "name": "backup_manifest.zst.sealed",
            "role": "server_manifest",
            "oid": None,
            "location": None,
            **_SIZES,
        },
    ],
}
HISTORY = b"1\t1/3E000000\tno recovery target specified\n"


def frame(plain: bytes) -> bytes:
    """One zstd frame with a checksum and the size of its content."""
    parameters = zstandard.ZstdCompressionParameters.from_level(2, write_checksum=1, write_content_size=1)
    return bytes(zstandard.ZstdCompressor(compression_params=parameters).compress(plain))


def stored(
    name: str,
    plain: bytes,
    *,
    sealed_as: str | None = None,
    server: str = SYSTEM_IDENTIFIER,
    header: bytes | None = None,
    archive_id: str = "",
) -> dict[str, str]:
    """An object of that name, sealed for it, or for ``sealed_as``, of that archive."""
    marked = bytes.fromhex(f"5a2a4d18 10000000 {archive_id}") if archive_id else b""
    data = seal(marked + frame(plain), header, name_of_object=sealed_as or name, of_backup=f"wal/{server}")
    return {name: text64(data)}


def whole(plain: bytes = CONTENT, segment: str = SEGMENT) -> dict[str, str]:
    """A whole segment."""
    return stored(f"{segment}.zst.sealed", plain)


def tail(start: int, end: int, plain: bytes | None = None) -> dict[str, str]:
    """The bytes of the segment from ``start`` up to ``end``, or others that are said to be those."""
    content = CONTENT[start:end] if plain is None else plain
    return stored(f"{SEGMENT}.{start:08x}-{end:08x}.zst.sealed", content)


def segment_cases() -> list[Json]:
    """What there is of a segment, by the objects in its timeline's folder; ``filled`` bytes by their names alone."""
    cases: list[Json] = []

    def case(
        name: str,
        outcome: str,
        filled: int,
        *objects: dict[str, str],
        folder: str = SEGMENT[:8],
        archive_id: str = "",
    ) -> None:
        files = {f"{folder}/{file}": data for each in objects for file, data in each.items()}
        entry: Json = {"name": name, "outcome": outcome, "filled": filled, "objects": files}
        entry |= {"archive_id": archive_id} if archive_id else {}
        if outcome == GOOD:
            entry["content"] = text64(CONTENT[:filled])
        cases.append(entry)

    file = f"{SEGMENT}.zst.sealed"
    case("nothing", GOOD, 0)
    case("whole", GOOD, 64, whole())
    case("whole, and its tails are still there", GOOD, 64, whole(), tail(0, 20), tail(20, 40))
    case("whole, beside a tail that is not as its name says", GOOD, 64, whole(), tail(0, 20, b"x"))
    case("whole, in the folder of another timeline", GOOD, 0, whole(), folder="00000001")
    case("whole, not sealed", GOOD, 0, {f"{SEGMENT}.zst": text64(frame(CONTENT))})
    case(
        "sealed for another segment",
        DAMAGED,
        64,
        stored(file, CONTENT, sealed_as=f"{SEGMENT[:-1]}E.zst.sealed"),
    )
    case("sealed for another server", DAMAGED, 64, stored(file, CONTENT, server="7300000000000000001"))
    case("a tail in the place of the whole", DAMAGED, 64, {file: next(iter(tail(0, 64).values()))})
    case("whole, a byte short", DAMAGED, 64, whole(CONTENT[:-1]))
    case("whole, a byte long", DAMAGED, 64, whole(CONTENT + b"x"))
    case(
        "whole, no frame inside",
        DAMAGED,
        64,
        {file: text64(seal(CONTENT, name_of_object=file, of_backup=f"wal/{SYSTEM_IDENTIFIER}"))},
    )
    case(
        "sealed with a key that is not known", NO_KEY, 64, stored(file, CONTENT, header=header_of(OTHER_KEY))
    )

    marked = stored(file, CONTENT, archive_id=ARCHIVE_ID)
    case("that says its archive, which is this one", GOOD, 64, marked, archive_id=ARCHIVE_ID)
    case("that says its archive, to a reader who does not know which this is", GOOD, 64, marked)
    case("of another archive", DAMAGED, 64, marked, archive_id=ARCHIVE_ID[::-1])
    case("that says no archive, as older releases stored it", GOOD, 64, whole(), archive_id=ARCHIVE_ID)
    other = stored(f"{SEGMENT}.00000014-00000028.zst.sealed", CONTENT[20:40], archive_id=ARCHIVE_ID[::-1])
    case("a tail, and one of another archive", DAMAGED, 40, tail(0, 20), other, archive_id=ARCHIVE_ID)

    _tail_cases(case)
    return cases


def _tail_cases(case: Callable[..., None]) -> None:
    """What there is of a segment in parts."""
    file = f"{SEGMENT}.zst.sealed"
    case("a tail", GOOD, 20, tail(0, 20))
    case("tails one after the other", GOOD, 50, tail(0, 20), tail(20, 21), tail(21, 50))
    case("tails up to the end", GOOD, 64, tail(0, 20), tail(20, 64))
    case("no tail at the beginning", GOOD, 0, tail(20, 40))
    case("a hole between tails", GOOD, 20, tail(0, 20), tail(21, 40))
    case("joined, and one after it", GOOD, 50, tail(0, 40), tail(40, 50))
    case(
        "joined, and those that it is made of are still there",
        GOOD,
        50,
        tail(0, 20),
        tail(20, 40),
        tail(0, 40),
        tail(40, 50),
    )
    case("overlapping", GOOD, 45, tail(0, 20), tail(5, 30), tail(29, 45))
    case("a shorter one inside a longer one", GOOD, 40, tail(0, 40), tail(5, 30))
    case("one that begins where another one does", GOOD, 40, tail(0, 10), tail(0, 40))
    case("one that holds less than its name says", DAMAGED, 40, tail(0, 20), tail(20, 40, b"x" * 19))
    case("one that holds more than its name says", DAMAGED, 40, tail(0, 20), tail(20, 40, b"x" * 21))
    case("one that reaches beyond the segment", DAMAGED, 64, tail(0, 20), tail(20, 65, b"x" * 45))
    case("one behind the hole is not looked at", GOOD, 20, tail(0, 20), tail(30, 40, b"x"))
    case(
        "not sealed, beside one that is",
        GOOD,
        20,
        tail(0, 20),
        {f"{SEGMENT}.00000000-0000003f.zst": text64(frame(b"x" * 63))},
    )
    junk = {file: text64(b"whatever")}
    case(
        "something in the place of the whole, and tails up to the end",
        GOOD,
        64,
        junk,
        tail(0, 20),
        tail(20, 64),
    )
    case("something in the place of the whole, and tails of a part", DAMAGED, 64, junk, tail(0, 20))
    longer = {f"{SEGMENT}.00000000-00000040.zst.sealed": text64(b"whatever")}
    case(
        "something that says it is all, beside tails up to the end",
        GOOD,
        64,
        longer,
        tail(0, 20),
        tail(20, 64),
    )
    case(
        "something that says it is all, beside tails of a part",
        DAMAGED,
        64,
        longer,
        tail(0, 20),
        tail(20, 40),
    )
    renamed = next(iter(tail(0, 20).values()))
    case("renamed to be longer", DAMAGED, 30, {f"{SEGMENT}.00000000-0000001e.zst.sealed": renamed})
    case("a name in upper case", GOOD, 0, {f"{SEGMENT}.00000000-0000001E.zst.sealed": renamed})


def history_cases() -> list[Json]:
    """The file ``00000002.history.zst.sealed``; ``line`` is each timeline on the way, and where it was left."""
    cases: list[Json] = []

    def case(name: str, outcome: str, content: bytes, sealed_as: str | None = None) -> None:
        objects = stored("00000002.history.zst.sealed", content, sealed_as=sealed_as)
        entry: Json = {"name": name, "outcome": outcome, "objects": objects}
        cases.append(entry | ({"line": [[1, "1/3E000000"]]} if outcome == GOOD else {}))

    case("of the first timeline's end", GOOD, HISTORY)
    case("with comments and empty lines", GOOD, b"# a comment\n\n" + HISTORY)
    case("sealed for another timeline", DAMAGED, HISTORY, "00000003.history.zst.sealed")
    case("a position that is none", DAMAGED, b"1\tnowhere\treason\n")
    case("a timeline that is none", DAMAGED, b"one\t1/3E000000\treason\n")
    case("no position", DAMAGED, b"1\n")
    case("a timeline twice", DAMAGED, HISTORY + HISTORY)
    case("its own timeline", DAMAGED, b"2\t1/3E000000\treason\n")
    return cases


def document_cases_of_a_server() -> list[Json]:
    """Positions and manifests of base backups; of which kind it is, its storage name says."""
    cases: list[Json] = []

    def case(name: str, outcome: str, document: Json, kind: str = "base", stored_as: str = "") -> None:
        stored_name = stored_as or (BASE_NAME if kind == "base" else POSITION_NAME)
        content = json.dumps(document, indent=2) + "\n"
        entry = {"name": name, "outcome": outcome, "kind": kind, "storage_name": stored_name}
        cases.append(entry | {"content": text64(content.encode())})

    position = signed(POSITION, POSITION_NAME)
    case("a position", GOOD, position, "position")
    proved = POSITION | {"proof": "password", "settled_lsn": "1/3E000000"}
    case("a position of a server that proved itself", GOOD, signed(proved, POSITION_NAME), "position")
    case(
        "a position whose proof was taken away",
        DAMAGED,
        signed(proved, POSITION_NAME) | {"proof": ""},
        "position",
    )
    case(
        "a position of tomorrow",
        DAMAGED,
        position | {"server_time": "2026-11-23T14:31:07.250000Z"},
        "position",
    )
    case("a position without MAC", DAMAGED, POSITION, "position")
    of_another = POSITION_NAME.replace(SYSTEM_IDENTIFIER, "7300000000000000001")
    case("a position moved to another server", DAMAGED, position, "position", of_another)
    case(
        "a position without a time",
        DAMAGED,
        signed(without(POSITION, "server_time"), POSITION_NAME),
        "position",
    )
    case(
        "a position that is no position",
        DAMAGED,
        signed(POSITION | {"lsn": "here"}, POSITION_NAME),
        "position",
    )

    def base(**changes: object) -> Json:
        return signed(BASE | changes, BASE_NAME)

    case("a base backup", GOOD, base())
    case("an incremental one", GOOD, base(parent="20261121T010003Z-AAAAAA"))
    case("without MAC", DAMAGED, BASE)
    case(
        "signed with a key that is not known",
        NO_KEY,
        signed(BASE | {"key_id": key_id_of(OTHER_KEY)}, BASE_NAME, OTHER_KEY),
    )
    case("edited", DAMAGED, base() | {"stop_lsn": "1/3E000028"})
    case(
        "moved to another id",
        DAMAGED,
        base(),
        stored_as=BASE_NAME.replace(BACKUP_ID, "20261123T010003Z-AAAAAA"),
    )
    case("of another format", DAMAGED, base(format=2))
    case("without a field", DAMAGED, signed(without(BASE, "stop_lsn"), BASE_NAME))
    case("a position that is none in it", DAMAGED, base(start_lsn="3E000028"))
    case("a number that is a text", DAMAGED, base(timeline="two"))
    case("an object of an unknown role", DAMAGED, base(objects=[BASE["objects"][1] | {"role": "main"}]))
    return cases
