"""What lies in an archive of WAL, by names alone (docs/format/wal.md). Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from recyclic_backups.archive.wal import timeline_of

if TYPE_CHECKING:
    from recyclic_backups.storage.store import StoredObject

_FILE = re.compile(
    r"(?P<segment>[0-9A-F]{24})(?:\.(?P<start>[0-9a-f]{8})-(?P<end>[0-9a-f]{8}))?\.zst(?:\.sealed)?"
)
_HISTORY = re.compile(r"([0-9A-F]{8})\.history\.zst(?:\.sealed)?")


@dataclass(frozen=True, slots=True, order=True)
class Tail:
    """A part of an unfinished segment: its bytes from ``start`` up to ``end``."""

    start: int
    end: int
    name: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Listing:
    """What there is, by name alone. A segment exists when its object does."""

    segments: dict[str, str]
    """Storage names of whole segments, by segment."""
    tails: dict[str, list[Tail]]
    """Tails of segments, in order."""
    histories: dict[int, str]
    """Storage names of history files, by timeline."""
    stored_bytes: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    """How many bytes each segment and tail takes, by storage name."""

    def end_in(self, segment: str, segment_bytes: int) -> int:
        """How many bytes of a segment there are from its beginning on, without a hole."""
        if segment in self.segments:
            return segment_bytes
        filled = 0
        for tail in self.tails.get(segment, ()):
            if tail.start > filled:
                break
            filled = max(filled, tail.end)
        return min(filled, segment_bytes)

    def segments_of(self, timeline: int) -> list[str]:
        """The segments of a timeline, whole or in part, in order."""
        return sorted({each for each in (*self.segments, *self.tails) if timeline_of(each) == timeline})

    def without(self, names: Iterable[str]) -> Listing:
        """The same without objects of these storage names: those that are not authentic do not exist for a receiver."""
        gone = frozenset(names)
        tails = {
            segment: [each for each in found if each.name not in gone]
            for segment, found in self.tails.items()
        }
        return replace(
            self,
            segments={segment: name for segment, name in self.segments.items() if name not in gone},
            tails={segment: found for segment, found in tails.items() if found},
        )

    def names_of(self, segment: str) -> list[str]:
        """The storage names of what there is of a segment: of the whole one, and of tails."""
        whole = [self.segments[segment]] if segment in self.segments else []
        return [*whole, *(tail.name for tail in self.tails.get(segment, ()))]

    @property
    def timelines(self) -> list[int]:
        """Every timeline of which there is WAL or a history."""
        return sorted({*map(timeline_of, self.segments), *map(timeline_of, self.tails), *self.histories})


def name_in_timeline(wal_folder: str, file: str) -> str:
    """The storage name of the file of a segment or tail: those of a timeline lie in a folder."""
    return f"{wal_folder}/{file[:8]}/{file}"


def listing_of(items: Iterable[StoredObject], wal_folder: str, *, sealed_only: bool) -> Listing:
    """What the objects are by their names. With ``sealed_only`` others do not exist."""
    segments: dict[str, str] = {}
    tails: dict[str, list[Tail]] = defaultdict(list)
    histories: dict[int, str] = {}
    sizes: dict[str, int] = {}
    stored_bytes = 0
    for each in items:
        stored_bytes += each.size_bytes
        file = each.name.rpartition("/")[2]
        if sealed_only and not file.endswith(".sealed"):
            continue  # it proves nothing, and must not stand in the way of what does
        if match := _FILE.fullmatch(file):
            if each.name != name_in_timeline(wal_folder, file):
                continue  # moved into the folder of another timeline
            sizes[each.name] = each.size_bytes
            if match["start"] is None:
                segments[match["segment"]] = each.name
            else:
                tail = Tail(int(match["start"], 16), int(match["end"], 16), each.name)
                tails[match["segment"]].append(tail)
        elif match := _HISTORY.fullmatch(file):
            histories[int(match[1], 16)] = each.name
    in_order = {name: sorted(found) for name, found in tails.items()}
    return Listing(segments, in_order, histories, stored_bytes, sizes)
