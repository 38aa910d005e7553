"""Documents and their MAC: any change of meaning is noticed, no change of spelling is."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.envelope.data_key import DataKey, key_id_of
from recyclic_backups.envelope.document import check_signature, decode, encode, signed
from recyclic_backups.errors import BackupError, DamagedData

SECRET = bytes(range(32))
KEY = DataKey(key_id_of(SECRET), SECRET)
NAME = "shop/holds/20261122T010003Z-K3X7QA.json"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(texts.filter(lambda name: name != "mac"), values, max_size=4)


def check(document: dict[str, Any], name: str = NAME) -> None:
    """Check with the one key."""
    check_signature(document, name, lambda _key_id: KEY)


@given(document=documents)
def test_what_was_signed_and_stored_is_accepted_however_it_is_spelled(document: dict[str, Any]) -> None:
    """A manifest that went through a JSON formatter is still the manifest of a good backup."""
    stored = encode(signed(document, NAME, KEY))
    assert stored.endswith(b"\n")
    check(decode(stored, NAME))
    check(json.loads(json.dumps(decode(stored, NAME), sort_keys=True, indent=3)))
    read = decode(stored, NAME)
    assert {name: value for name, value in read.items() if name != "mac"} == document


@given(document=documents, name=texts.filter(lambda name: name != "mac"), value=values)
def test_any_change_of_meaning_is_noticed(document: dict[str, Any], name: str, value: object) -> None:
    """Whoever can write to the storage must not be able to say something else in our name."""
    altered = signed(document, NAME, KEY)
    same = name in altered and json.dumps(altered[name], sort_keys=True) == json.dumps(value, sort_keys=True)
    altered[name] = value
    if same:
        check(altered)
        return
    with pytest.raises(DamagedData):
        check(altered)


@given(document=documents, name=texts.filter(lambda name: "\x00" not in name))
def test_a_document_is_good_in_its_place_only(document: dict[str, Any], name: str) -> None:
    """A tombstone or label copied to another name would remove or replace another backup."""
    with pytest.raises(DamagedData):
        check(signed(document, NAME, KEY), "shop/" + name)


def test_signing_again_replaces_the_mac_and_leaves_the_original_alone() -> None:
    """A document read, changed and written again must not carry two MACs or a stale one."""
    original = {"a": 1, "mac": {"key_id": "old"}}
    again = signed(original, NAME, KEY)
    check(again)
    assert original["mac"] == {"key_id": "old"}
    assert list(again) == ["a", "mac"]


def test_signing_takes_what_json_makes_of_a_document() -> None:
    """A MAC over tuples or integer names would not fit what is read back."""
    check(decode(encode(signed({"pair": (1, 2), "by_number": {7: "x"}}, NAME, KEY)), NAME))


@pytest.mark.parametrize("value", [datetime(2026, 1, 1), b"bytes", float("nan"), "\ud800"])  # noqa: DTZ001
def test_what_is_not_json_is_an_error_of_ours(value: object) -> None:
    """It must fail while the backup is made, not leave a document that nobody can read."""
    with pytest.raises(BackupError):
        signed({"value": value}, NAME, KEY)
    with pytest.raises(BackupError):
        encode({"value": value})


def test_a_name_with_nul_is_refused() -> None:
    """The MAC separates name and document by NUL: with one in the name two inputs could be the same."""
    with pytest.raises(BackupError):
        signed({}, "a\x00b", KEY)


def test_documents_are_readable_by_people() -> None:
    """In a disaster somebody will read them with `less`."""
    assert encode({"database": "dépôt"}) == '{\n  "database": "dépôt"\n}\n'.encode()


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' * 65 + "1" + "}" * 65,
        '{"a":' + "[" * 64 + "]" * 64 + "}",
        '{"a":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"a":' + "[" * 3_000_000,
        '{"a":[' + "[]," * 4_000_001 + "[]]}",
        '{"a":[' + "1," * 4_000_001 + "1]}",
        '{"a":' + "9" * 65 + "}",
        '{"a":-' + "9" * 5000 + "}",
        '{"a":1' + "0" * 400 + "}",
    ],
    ids=[
        "objects",
        "lists",
        "very deep",
        "unclosed",
        "many lists",
        "many values",
        "65 digits",
        "5000",
        "no float",
    ],
)
def test_json_that_takes_its_readers_time_or_memory_is_damage(text: str) -> None:
    """Attack: a document of some megabytes that takes gigabytes to read, or ends the reader by its depth."""
    with pytest.raises(DamagedData, match=f"^{NAME} is damaged"):
        decode(text.encode(), NAME)


def test_json_within_the_bounds_is_read() -> None:
    """Loss prevented: a bound that refuses what was written in good faith."""
    deep = json.loads('{"a":' * 64 + "1" + "}" * 64)
    assert decode(encode(deep), NAME) == deep
    many = {"a": [[number] for number in range(100_000)], "b": 10**63, "c": -(10**62)}
    assert decode(encode(many), NAME) == many
