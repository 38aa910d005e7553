"""Whatever tails and segments there are: what is handed out is the server's, and no more is claimed than there is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from recyclic_backups.archive.archive import WalArchive, packed
from recyclic_backups.archive.continuity import holes, stretches
from recyclic_backups.archive.listing import Listing, Tail
from recyclic_backups.archive.wal import segment_name
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.data_key import DataKey
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.errors import DamagedData
from recyclic_backups_tests.memory_store import MemoryStore

SIZE = 96
SEGMENT = segment_name(1, 5 << 20, 1 << 20)
CONTENT = random.Random(20261122).randbytes(SIZE)
DATA_KEY = DataKey("0" * 16, bytes(range(32)))

ranges = st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE)).map(
    lambda pair: (pair[0], min(SIZE, pair[0] + pair[1]))
)


class OneKey:
    """The part of a keyring that reading needs."""

    def has_keys(self) -> bool:
        """There is one."""
        return True

    def for_reading(self, _key_id: str) -> DataKey:
        """That one."""
        return DATA_KEY


def archive_with(tails: Sequence[tuple[int, int]], *, whole: bool) -> tuple[WalArchive, MemoryStore]:
    """An archive in which these parts of the segment were stored, as the receiver stores them."""
    store = MemoryStore()
    archive = WalArchive(Repository(store, "postgres", cast(Keyring, OneKey()), encrypt=True), "73")
    for start, end in dict.fromkeys(tails):
        archive.store_tail(SEGMENT, start, CONTENT[start:end], DATA_KEY)
    if whole:
        archive.store_segment(SEGMENT, packed(CONTENT), DATA_KEY)
    return archive, store


def without_a_hole(parts: Sequence[tuple[int, int]]) -> int:
    """How many bytes there are from the beginning on, counted one by one."""
    there = {position for start, end in parts for position in range(start, end)}
    return next(position for position in range(SIZE + 1) if position not in there)


@settings(deadline=None, max_examples=150)
@given(tails=st.lists(ranges, max_size=8), whole=st.booleans())
def test_any_tails_give_the_bytes_of_the_segment_up_to_the_first_that_is_missing(
    tails: list[tuple[int, int]], whole: bool
) -> None:
    """Loss prevented: rows that were stored and are not handed out; or bytes that the server never wrote."""
    archive, _ = archive_with(tails, whole=whole)
    listing = archive.listing()
    content = archive.read_segment(listing, SEGMENT, SIZE)
    expected = SIZE if whole else without_a_hole(tails)
    assert listing.end_in(SEGMENT, SIZE) == expected
    assert content == CONTENT[:expected]


@settings(deadline=None, max_examples=150)
@given(
    tails=st.lists(ranges, min_size=1, max_size=6),
    whole=st.booleans(),
    which=st.integers(0, 10),
    where=st.integers(0, 10_000),
    harm=st.sampled_from(["flip", "cut", "another's", "longer name"]),
)
def test_harm_to_any_object_is_damage_or_makes_no_difference(
    tails: list[tuple[int, int]], whole: bool, which: int, where: int, harm: str
) -> None:
    """Attack, or a disk: a recovery replays what the server never wrote, or ends early without a word."""
    archive, store = archive_with(tails, whole=whole)
    names = [each.name for each in store.list()]
    name = names[which % len(names)]
    data = store.get(name)
    if harm == "flip":
        at = where % len(data)
        store.replace(name, data[:at] + bytes([data[at] ^ 1 << where % 8]) + data[at + 1 :])
    elif harm == "cut":
        store.replace(name, data[: where % len(data)])
    elif harm == "another's":
        store.replace(name, store.get(names[where % len(names)]))
    else:
        start = int(name.split(".")[2].partition("-")[0], 16) if name.count(".") == 4 else 0
        store.replace(f"{archive.wal}/00000001/{SEGMENT}.{start:08x}-{SIZE + where % 2:08x}.zst.sealed", data)
    listing = archive.listing()
    try:
        content = archive.read_segment(listing, SEGMENT, SIZE)
    except DamagedData:
        return
    # Nothing but the segment's own bytes, and as many as the names say.
    assert content == CONTENT[: listing.end_in(SEGMENT, SIZE)]


numbers = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 12), st.sampled_from(["whole", "tail", "both"])), max_size=25
)


@given(numbers)
def test_what_is_called_unbroken_has_every_byte_and_what_is_called_a_hole_lacks_some(
    parts: list[tuple[int, int, str]],
) -> None:
    """Loss prevented: a window of recovery that has a hole in it; or alarms about holes that are none."""
    size = 1 << 20
    segments: dict[str, str] = {}
    tails: dict[str, list[Tail]] = {}
    for timeline, number, kind in parts:
        name = segment_name(timeline, number * size, size)
        if kind != "tail":
            segments[name] = name
        if kind != "whole":
            tails[name] = [Tail(0, 1000, name)]
    listing = Listing(segments, tails, {})
    found = stretches(listing, size)
    covered = set()
    for each in found:
        for start in range(each.start_lsn, each.end_lsn, size):
            name = segment_name(each.timeline, start, size)
            there = listing.end_in(name, size)
            assert there == min(size, each.end_lsn - start)
            covered.add(name)
    assert covered == {*segments, *tails}
    gaps = list(holes(found))
    for gap in gaps:
        assert gap.from_lsn < gap.to_lsn
        first = segment_name(gap.timeline, gap.from_lsn, size)
        assert listing.end_in(first, size) == gap.from_lsn % size
    for one, other in pairwise(found):
        assert one.timeline != other.timeline or one.end_lsn < other.start_lsn
