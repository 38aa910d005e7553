"""Manifests of format 1 and 2, and what is sealed in them (docs/format/documents.md)."""

from __future__ import annotations

import json

from recyclic_backups_tests.vectors.document_cases import signed
from recyclic_backups_tests.vectors.envelope_cases import CHUNK, header_of, seal
from recyclic_backups_tests.vectors.primitives import (
    BACKUP_ID,
    DAMAGED,
    DATA_KEY,
    GOOD,
    NO_KEY,
    OTHER_KEY,
    Json,
    canonical,
    key_id_of,
    text64,
    without,
)

NAME = f"shop/backups/{BACKUP_ID}/manifest.json"
_MAIN, _TABLE = "main.dump.zst.sealed", "table-0001.dump.zst.sealed"
_SIZES: Json = {"plain_bytes": 300, "stored_bytes": 200, "stored_sha256": "ab" * 32}
CLEAR: Json = {
    "format": 2,
    "backup_id": BACKUP_ID,
    "database": "shop",
    "kind": "dump",
    "tier": "daily",
    "partition": "2026-11-22",
    "source": "scheduled",
    "scheduled_for": "2026-11-22T01:00:00.000000Z",
    "as_of": "2026-11-22T01:00:03.250000Z",
    "taken_at": "2026-11-22T01:00:09.000000Z",
    "duration_seconds": 5.75,
    "late": False,
    "server": {
        "system_identifier": "7300000000000000000",
        "version": "15.18",
        "lsn": "0/1A2B3C",
        "encoding": "UTF8",
    },
    "programs": {"pg_dump": "15.18"},
    "objects": [{"name": _MAIN, "role": "main", **_SIZES}, {"name": _TABLE, "role": "table", **_SIZES}],
    "plain_bytes": 600,
    "stored_bytes": 400,
    "compression": "zstd:3",
    "encryption": {"envelope": 1, "key_id": key_id_of(DATA_KEY)},
}
SEALED: Json = {
    "server": {
        "locale": {"provider": "libc", "collate": "fr_FR.UTF-8", "ctype": "fr_FR.UTF-8", "locale": None},
        "owner": "propriétaire",
        "settings": [{"name": "app.secret", "value": "hush"}],
        "acl": [{"grantee": None, "privilege": "CONNECT", "grantable": False}],
        "comment": "l'été",
    },
    "objects": {_MAIN: {"relation": None}, _TABLE: {"relation": "public.ventes"}},
    "fingerprint": {"level": "off"},
    "notes": ["a note"],
}


def whole() -> Json:
    """What a reader with the key knows: every field where format 1 has it."""
    objects = [item | SEALED["objects"][item["name"]] for item in CLEAR["objects"]]
    more = without(SEALED, "server", "objects")
    return CLEAR | more | {"server": CLEAR["server"] | SEALED["server"], "objects": objects}


def manifest_cases() -> list[Json]:
    """Every case of manifests.json."""
    cases: list[Json] = []

    def case(name: str, outcome: str, document: Json, *, data_key: bytes = DATA_KEY) -> None:
        content = json.dumps(signed(document, NAME, data_key), indent=2, ensure_ascii=False) + "\n"
        entry: Json = {"name": name, "outcome": outcome, "content": text64(content.encode())}
        if outcome == GOOD:
            entry["whole"] = whole() | {"format": document["format"]}
        cases.append(entry)

    def holding(stored: bytes) -> Json:
        return CLEAR | {"sealed": text64(stored)}

    def here(plain: bytes, header: bytes | None = None, of_backup: str = BACKUP_ID) -> bytes:
        return seal(plain, header, name_of_object="manifest.json", of_backup=of_backup)

    plain = canonical(SEALED)
    stored = here(plain)
    case("format 2", GOOD, holding(stored))
    case("format 1", GOOD, whole() | {"format": 1})

    case("nothing sealed", DAMAGED, CLEAR)
    case("sealed is no text", DAMAGED, CLEAR | {"sealed": {"server": {}}})
    case("sealed is no base64", DAMAGED, CLEAR | {"sealed": text64(stored) + "!"})
    case("sealed is empty", DAMAGED, CLEAR | {"sealed": ""})
    case("sealed is the text in clear", DAMAGED, CLEAR | {"sealed": text64(plain)})
    case("a bit flipped", DAMAGED, holding(stored[:200] + bytes([stored[200] ^ 1]) + stored[201:]))
    case("the final chunk is missing", DAMAGED, holding(stored[: 93 + 5 * (CHUNK + 16)]))
    case("of another backup", DAMAGED, holding(here(plain, of_backup="20261123T010003Z-AAAAAA")))
    case("an object of the backup in its place", DAMAGED, holding(seal(plain)))
    case("sealed with another key", DAMAGED, holding(here(plain, header_of(OTHER_KEY))))
    case("signed with a key that is not known", NO_KEY, holding(stored), data_key=OTHER_KEY)
    case("says that it is not encrypted", DAMAGED, holding(stored) | {"encryption": None})
    case("no JSON inside", DAMAGED, holding(here(b"hello")))
    case("a list inside", DAMAGED, holding(here(b"[]")))
    case("a name twice inside", DAMAGED, holding(here(b'{"notes":[],' + plain[1:])))
    case("no server inside", DAMAGED, holding(here(canonical(without(SEALED, "server")))))
    case("no objects inside", DAMAGED, holding(here(canonical(without(SEALED, "objects")))))
    case("a field in clear and sealed", DAMAGED, holding(stored) | {"notes": ["another"]})
    case(
        "a field of the server in clear and sealed",
        DAMAGED,
        holding(stored) | {"server": CLEAR["server"] | {"owner": "somebody else"}},
    )
    case(
        "a field of an object in clear and sealed",
        DAMAGED,
        holding(stored) | {"objects": [item | {"relation": "public.x"} for item in CLEAR["objects"]]},
    )
    return cases
