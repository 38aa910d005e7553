"""Which WAL there is without a hole, by the names of objects alone. Pure.

What a recovery can reach follows from it and from the base backups (:mod:`recyclic_backups.recovery.windows`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from recyclic_backups.archive.listing import Listing
from recyclic_backups.archive.wal import Stretch, start_of


@dataclass(frozen=True, slots=True)
class Hole:
    """WAL that is missing between two stretches of a timeline."""

    timeline: int
    from_lsn: int
    to_lsn: int


def stretches(listing: Listing, segment_bytes: int) -> list[Stretch]:
    """The unbroken parts of every timeline, in order. A segment of which there is only a part ends one."""
    found: list[Stretch] = []
    for timeline in listing.timelines:
        current: Stretch | None = None
        for segment in listing.segments_of(timeline):
            start, filled = start_of(segment, segment_bytes), listing.end_in(segment, segment_bytes)
            if not filled:
                continue
            if current is not None and current.end_lsn == start:
                current = Stretch(timeline, current.start_lsn, start + filled)
            else:
                if current is not None:
                    found.append(current)
                current = Stretch(timeline, start, start + filled)
        if current is not None:
            found.append(current)
    return found


def holes(found: list[Stretch]) -> Iterator[Hole]:
    """Where a timeline goes on after something that is missing. What retention took away lies before, and is none."""
    for one, following in pairwise(found):
        if one.timeline == following.timeline:
            yield Hole(one.timeline, one.end_lsn, following.start_lsn)
