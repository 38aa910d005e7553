"""Documents and their MACs (docs/format/documents.md)."""

from __future__ import annotations

import hmac
import json

from recyclic_backups_tests.vectors.primitives import (
    BACKUP_ID,
    DAMAGED,
    DATA_KEY,
    GOOD,
    NO_KEY,
    OTHER_KEY,
    Json,
    canonical,
    expand,
    extract,
    key_id_of,
    text64,
    without,
)

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


def nested(levels: int) -> list[object]:
    """Arrays within each other, this many."""
    inner: list[object] = []
    for _ in range(levels - 1):
        inner = [inner]
    return inner


def numbers_spelled_otherwise() -> str:
    """A signed document whose floats are not in the spelling that the MAC is of."""
    numbers = [-0.0, 0, 100000.0, 1e22, 1e-05, 0.0001, 5e-324, 123456789012345.6]
    text = json.dumps(signed(LABEL | {"numbers": numbers}))
    others = {"100000.0": "100000.00", "1e+22": "10000000000000000000000.0", "1e-05": "0.00001E0"}
    for ours, theirs in others.items():
        text = text.replace(ours, theirs)
    return text


def limit_cases() -> list[tuple[str, str, Json | str]]:
    """Where two readers could differ: how deep, how long, how numbers are spelled, what vouches for it."""
    others = numbers_spelled_otherwise()
    return [
        ("both a MAC and a SHA-256", DAMAGED, signed(LABEL | {"sha256": "0" * 64})),
        ("64 levels", GOOD, signed(LABEL | {"deep": nested(63)})),
        ("65 levels", DAMAGED, signed(LABEL | {"deep": nested(64)})),
        ("an integer of 64 digits", GOOD, signed(LABEL | {"long": 10**63})),
        ("an integer of 65 digits", DAMAGED, signed(LABEL | {"long": 10**64})),
        ("numbers spelled otherwise", GOOD, others),
        ("a minus zero that lost its sign", DAMAGED, others.replace("-0.0", "0.0")),
        ("a float turned into an integer", DAMAGED, others.replace("100000.00", "100000")),
    ]


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
    for name, outcome, content in limit_cases():
        case(name, outcome, content)
    return cases
