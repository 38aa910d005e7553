"""Holds and tombstones are read back as they were written, and nonsense is damage and no surprise."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.documents import Hold, Label, Tombstone
from recyclic_backups.errors import DamagedData

MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
LABELS = st.builds(
    Label, st.sampled_from(Tier), TEXTS, TEXTS, MOMENTS, st.booleans(), st.none() | TEXTS, TEXTS
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.builds(Hold, TEXTS, TEXTS, st.none() | MOMENTS, st.none() | MOMENTS))
def test_a_hold_is_read_back(hold: Hold) -> None:
    """Loss prevented: a hold that ends at another time than somebody said."""
    assert Hold.from_json(json.loads(json.dumps(hold.to_json()))) == hold


@given(
    st.builds(
        Tombstone,
        backup_id=TEXTS,
        expired_at=st.none() | MOMENTS,
        as_of=st.none() | MOMENTS,
        stored_bytes=st.integers(0, 2**62),
        reasons=st.lists(TEXTS, max_size=3).map(tuple),
        labels=st.lists(LABELS, max_size=3).map(tuple),
    )
)
def test_a_tombstone_is_read_back(tombstone: Tombstone) -> None:
    """Loss prevented: a partition whose backup expired, forgotten and backed up again as missing."""
    assert Tombstone.from_json(json.loads(json.dumps(tombstone.to_json()))) == tombstone


@pytest.mark.parametrize("kind", [Hold, Tombstone])
@given(
    field=st.sampled_from([*Hold("", "", None, None).to_json(), *Tombstone("", None).to_json()]), value=JSON
)
def test_nonsense_is_damage(kind: type[Hold] | type[Tombstone], field: str, value: object) -> None:
    """Loss prevented: one odd file that ends every `list` with a bug."""
    document = {**Hold("X", "why", None, None).to_json(), **Tombstone("X", None).to_json(), field: value}
    try:
        kind.from_json(document)
    except DamagedData:
        return
