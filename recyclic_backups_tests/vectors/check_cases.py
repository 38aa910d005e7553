"""Checks of format 1 and 2, and what is sealed in them (docs/format/documents.md)."""

from __future__ import annotations

import json

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
    canonical,
    text64,
    without,
)

_FILE = "checks/20261123T030000.000000Z.json"
CHECK_NAME = f"shop/backups/{BACKUP_ID}/{_FILE}"
CLEAR_CHECK: Json = {
    "format": 2,
    "check": "drill",
    "backup_id": BACKUP_ID,
    "checked_at": "2026-11-23T03:00:00.000000Z",
    "passed": False,
    "proves": False,
    "duration_seconds": 12.5,
    "details": {
        "scenario": "simple",
        "started_at": "2026-11-23T02:59:00.000000Z",
        "leading": True,
        "restore_seconds": 12.5,
        "data_loss_seconds": 3600.0,
        "objective": {"restore_seconds": 1800.0, "data_loss_seconds": 3600.0},
    },
}
SEALED_CHECK: Json = {
    "reasons": ["public.ventes: 12 rows, the backup has 13"],
    "details": {"tables": [{"name": "public.ventes", "rows": 12}], "ground": "a server of its own"},
}


def whole_check() -> Json:
    """What a reader with the key knows: every field where format 1 has it."""
    details = CLEAR_CHECK["details"] | SEALED_CHECK["details"]
    return CLEAR_CHECK | {"reasons": SEALED_CHECK["reasons"], "details": details}


def check_cases() -> list[Json]:
    """Every case of checks.json."""
    cases: list[Json] = []

    def case(
        name: str, outcome: str, document: Json, *, data_key: bytes = DATA_KEY, has_mac: bool = True
    ) -> None:
        stored = signed(document, CHECK_NAME, data_key)
        content = json.dumps(stored if has_mac else document, indent=2, ensure_ascii=False) + "\n"
        entry: Json = {"name": name, "outcome": outcome, "content": text64(content.encode())}
        if outcome == GOOD:
            entry["whole"] = whole_check() | {"format": document["format"]}
        cases.append(entry)

    def holding(stored: bytes) -> Json:
        return CLEAR_CHECK | {"sealed": text64(stored)}

    def here(
        plain: bytes, header: bytes | None = None, of_backup: str = BACKUP_ID, of_file: str = _FILE
    ) -> bytes:
        return seal(plain, header, name_of_object=of_file, of_backup=of_backup)

    plain = canonical(SEALED_CHECK)
    stored = here(plain)
    case("format 2", GOOD, holding(stored))
    case("format 1", GOOD, whole_check() | {"format": 1})

    case("nothing sealed", DAMAGED, CLEAR_CHECK)
    case("no MAC", DAMAGED, holding(stored), has_mac=False)
    case("no details in clear", DAMAGED, without(holding(stored), "details"))
    case("sealed is no text", DAMAGED, CLEAR_CHECK | {"sealed": {"reasons": []}})
    case("sealed is no base64", DAMAGED, CLEAR_CHECK | {"sealed": text64(stored) + "!"})
    case("sealed is the text in clear", DAMAGED, CLEAR_CHECK | {"sealed": text64(plain)})
    case("a bit flipped", DAMAGED, holding(stored[:120] + bytes([stored[120] ^ 1]) + stored[121:]))
    case("of another backup", DAMAGED, holding(here(plain, of_backup="20261123T010003Z-AAAAAA")))
    other = "checks/20261124T030000.000000Z.json"
    case("of another check of the backup", DAMAGED, holding(here(plain, of_file=other)))
    case("what is sealed in its manifest", DAMAGED, holding(here(plain, of_file="manifest.json")))
    case("an object of the backup in its place", DAMAGED, holding(seal(plain)))
    case("sealed with another key", DAMAGED, holding(here(plain, header_of(OTHER_KEY))))
    case("signed with a key that is not known", NO_KEY, holding(stored), data_key=OTHER_KEY)
    case("no JSON inside", DAMAGED, holding(here(b"hello")))
    case("no reasons inside", DAMAGED, holding(here(canonical(without(SEALED_CHECK, "reasons")))))
    case("no details inside", DAMAGED, holding(here(canonical(without(SEALED_CHECK, "details")))))
    case("a field too many inside", DAMAGED, holding(here(canonical(SEALED_CHECK | {"passed": True}))))
    case("reasons in clear and sealed", DAMAGED, holding(stored) | {"reasons": []})
    case(
        "a detail in clear that belongs sealed",
        DAMAGED,
        holding(stored) | {"details": CLEAR_CHECK["details"] | {"tables": []}},
    )
    twice = SEALED_CHECK | {"details": SEALED_CHECK["details"] | {"scenario": "partial"}}
    case("a detail in clear and sealed", DAMAGED, holding(here(canonical(twice))))
    return cases
