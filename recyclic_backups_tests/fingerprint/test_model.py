"""The fingerprint as a document survives being written and read, and nonsense is never believed."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recyclic_backups.errors import DamagedData
from recyclic_backups.fingerprint.compare import compare
from recyclic_backups.fingerprint.model import (
    Fingerprint,
    LargeObjectsFingerprint,
    MaterializedViewFingerprint,
    RoleFingerprint,
    SequenceFingerprint,
    SequenceReading,
    TableFingerprint,
)
from recyclic_backups.fingerprint.sketch import sketch_of
from recyclic_backups.postgres.names import qualified_name, split_qualified_name

names = st.text(min_size=1, max_size=8)
counts = st.integers(0, 2**53)
longs = st.integers(-(2**63), 2**63 - 1)
sums = st.integers(-(2**100), 2**100).map(str)
texts = st.lists(names, max_size=3).map(tuple)
tables = st.builds(
    TableFingerprint,
    rows=counts,
    non_null=st.dictionaries(names, counts, max_size=3),
    content=st.none() | sums,
    references=texts,
    partitions=texts,
    sketch=st.none()
    | st.dictionaries(st.integers(0, 31), st.integers(0, 255)).map(dict.items).map(sketch_of),
)
readings = st.builds(
    SequenceReading,
    last_value=longs,
    is_called=st.booleans(),
    increment=longs,
    minimum=st.none() | longs,
    maximum=st.none() | longs,
    owned_by=st.none() | names,
)
large_objects = st.builds(
    LargeObjectsFingerprint,
    count=counts,
    total_bytes=counts,
    content=st.none() | sums,
    ownership=st.none() | sums,
)
entries = st.dictionaries(names, names, max_size=3)
fingerprints = st.builds(
    Fingerprint,
    level=st.sampled_from(["content", "counts"]),
    tables=st.dictionaries(names, tables, max_size=3),
    sequences=st.dictionaries(
        names, st.builds(SequenceFingerprint, st.none() | readings, st.none() | readings), max_size=3
    ),
    materialized_views=st.dictionaries(
        names, st.builds(MaterializedViewFingerprint, st.booleans(), st.none() | counts), max_size=2
    ),
    large_objects=large_objects,
    roles=st.dictionaries(names, st.builds(RoleFingerprint, texts, texts, entries), max_size=2),
    extensions=entries,
    schema=st.none() | entries,
    listing=entries,
)


@given(fingerprints)
def test_a_fingerprint_survives_its_manifest(fingerprint: Fingerprint) -> None:
    """What is read back years later is what was written, to the last digit."""
    assert Fingerprint.from_json(json.loads(json.dumps(fingerprint.to_json()))) == fingerprint


@given(fingerprints, st.booleans(), st.booleans())
def test_a_fingerprint_equals_itself(fingerprint: Fingerprint, same_major: bool, owners: bool) -> None:
    """A comparison of a thing with itself that finds a difference is a false alarm by design."""
    settled = fingerprint.with_sequences_after(
        {name: each.before for name, each in fingerprint.sequences.items() if each.before}
    )
    known = {name: each for name, each in settled.sequences.items() if each.after}
    fingerprint = Fingerprint.from_json({**settled.to_json(), "sequences": {}})
    fingerprint = _with_sequences(fingerprint, known)
    comparison = compare(fingerprint, fingerprint, same_major=same_major, owners=owners)
    assert comparison.differences == ()
    assert comparison.equal
    assert json.loads(json.dumps(comparison.to_json()))["equal"] is True


def _with_sequences(fingerprint: Fingerprint, sequences: dict[str, SequenceFingerprint]) -> Fingerprint:
    written = {name: each.to_json() for name, each in sequences.items()}
    return Fingerprint.from_json({**fingerprint.to_json(), "sequences": written})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)


@given(fingerprints, st.data())
@settings(max_examples=200)
def test_a_changed_document_is_understood_or_refused(fingerprint: Fingerprint, data: st.DataObject) -> None:
    """Damage ends as DamagedData, never as a crash that looks like a bug of ours."""
    document: dict[str, Any] = fingerprint.to_json()
    place: dict[str, Any] = document
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        deeper = place[key]
        if not (isinstance(deeper, dict) and deeper and data.draw(st.booleans())):
            break
        place = deeper
    place[key] = data.draw(json_values)
    with suppress(DamagedData):
        understood = Fingerprint.from_json(document)
        assert Fingerprint.from_json(understood.to_json()) == understood


@pytest.mark.parametrize(
    "document",
    [None, [], "content", {}, {"level": "all"}, {"level": "content"}, {"level": ["content"]}],
)
def test_nonsense_is_damaged_data(document: object) -> None:
    """A manifest that lost its fingerprint must not pass for one of an empty database."""
    with pytest.raises(DamagedData):
        Fingerprint.from_json(document)


def test_what_is_off_stays_off_and_cannot_be_compared() -> None:
    """No fingerprint must never read as "everything equal"."""
    off = Fingerprint.from_json(json.loads(json.dumps(Fingerprint("off").to_json())))
    for expected in (off, None):
        comparison = compare(expected, Fingerprint("content"), same_major=True)
        assert comparison.equal is None
        assert not comparison.comparable
        assert comparison.notes


def test_an_older_program_passes_over_what_it_does_not_know() -> None:
    """A backup made by a newer version must still restore with the older one at hand."""
    document = {**Fingerprint("content").to_json(), "weather": "fine"}
    assert Fingerprint.from_json(document) == Fingerprint("content")


@given(st.text(), st.text())
def test_qualified_names_are_never_ambiguous(schema: str, name: str) -> None:
    """Two tables under one name would be one table in the fingerprint, and the other lost."""
    assert split_qualified_name(qualified_name(schema, name)) == (schema, name)


@pytest.mark.parametrize("text", ["", "sales", "a.b.c", ".a", "a.", 'a."b', "a..b"])
def test_what_is_no_qualified_name_is_refused(text: str) -> None:
    """`--table sales` must not be taken for some table in some schema."""
    with pytest.raises(ValueError, match="schema and a name"):
        split_qualified_name(text)
