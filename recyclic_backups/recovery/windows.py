"""Which moments can be reached: from each base backup on, as far as the WAL goes without a hole. Pure.

A *line* is a timeline with all its ancestors: recovery follows one line. Where a timeline was left for the next one,
the segment of that place belongs to both, and the descendant's is the one to use: it has what came before the fork too,
while the ancestor's has what was given up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, cast

from recyclic_backups.archive.continuity import Hole
from recyclic_backups.archive.documents import Gap, Position
from recyclic_backups.archive.listing import Listing
from recyclic_backups.archive.wal import (
    lineage,
    parse_history,
    segment_name,
    segment_start,
    start_of,
    timeline_of,
)
from recyclic_backups.base_backup.manifest import BaseManifest
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.errors import DamagedData
from recyclic_backups.postgres.lsn import lsn_text

Ending = Literal["position", "gap", "missing", "archive"]
"""Why a window ends: there the server's WAL ended when it was last received; a loss that was written down; a segment is
missing that nobody wrote down; the archive has no more, such as of a timeline that was left."""


@dataclass(frozen=True, slots=True)
class Part:
    """A timeline of a line: where it begins, and where it was left for the next one (None: it was not)."""

    timeline: int
    begins_lsn: int
    left_lsn: int | None


@dataclass(frozen=True, slots=True)
class Line:
    """A timeline and its ancestors, oldest first."""

    parts: tuple[Part, ...]

    @property
    def timeline(self) -> int:
        """The one that recovery is told to follow."""
        return self.parts[-1].timeline

    def timeline_at(self, lsn: int, segment_bytes: int) -> int:
        """Of which timeline the segment is that holds a position: the newest one that has begun by its end."""
        start = segment_start(lsn, segment_bytes)
        found = self.parts[0].timeline
        for part in self.parts[1:]:
            if segment_start(part.begins_lsn, segment_bytes) <= start:
                found = part.timeline
        return found

    def segment_at(self, lsn: int, segment_bytes: int) -> str:
        """The name of the segment that holds a position."""
        return segment_name(self.timeline_at(lsn, segment_bytes), lsn, segment_bytes)

    def allows(self, base: BaseManifest) -> bool:
        """Whether replay from a base backup can follow this line."""
        for part in self.parts:
            if part.timeline == base.timeline:
                return part.begins_lsn <= base.start_lsn and (
                    part.left_lsn is None or base.stop_lsn <= part.left_lsn
                )
        return False


@dataclass(frozen=True, slots=True)
class Window:
    """What one line reaches without a hole: from its oldest base backup to where the WAL ends.

    ``ends_at`` is None where nothing but the WAL itself tells it: when it ends at a hole, or was left.
    """

    line: Line
    bases: tuple[BaseManifest, ...]
    end_lsn: int
    ends_at: datetime | None
    ending: Ending
    segment_bytes: int
    missing: str = ""
    """The first segment that is missing, where it ends at a hole."""
    position_lsn: int | None = None
    """Up to where the server's WAL went when it was last received, where the window ends there."""

    @property
    def timeline(self) -> int:
        """The timeline that recovery is told to follow."""
        return self.line.timeline

    @property
    def start_lsn(self) -> int:
        """The first position that can be reached."""
        return self.bases[0].stop_lsn

    @property
    def starts_at(self) -> datetime:
        """The first moment that can be reached: the end of the oldest base backup."""
        return self.bases[0].taken_at

    def reaching(self, position: Position) -> Window:
        """The same, up to where the receiver says that it went on since the archive was listed."""
        if self.ends_at is None or position.timeline != self.timeline or position.server_time <= self.ends_at:
            return self
        end_lsn = max(self.end_lsn, position.lsn)
        return replace(self, ends_at=position.server_time, end_lsn=end_lsn, position_lsn=position.lsn)

    def segments(self, from_lsn: int, to_lsn: int) -> list[str]:
        """The names of the segments that hold everything between two positions."""
        start = segment_start(from_lsn, self.segment_bytes)
        return [
            self.line.segment_at(lsn, self.segment_bytes)
            for lsn in range(start, max(to_lsn, from_lsn + 1), self.segment_bytes)
        ]

    def needed_bytes(self, start_lsn: int) -> int | None:
        """How much of the segment that begins at ``start_lsn`` there has to be; None for all that names say.

        Of the last one what was stored when the receiver said so: somebody may have put a whole one beside its tails.
        """
        if self.position_lsn is None or start_lsn + self.segment_bytes < self.end_lsn:
            return None
        return max(1, self.position_lsn - start_lsn)

    def to_json(self) -> dict[str, Any]:
        """As reports have it."""
        return {
            "timeline": self.timeline,
            "start_time": to_text(self.starts_at),
            "start_lsn": lsn_text(self.start_lsn),
            "end_time": None if self.ends_at is None else to_text(self.ends_at),
            "end_lsn": lsn_text(self.end_lsn),
            "ending": self.ending,
            "missing_segment": self.missing or None,
            "bases": [each.base_id for each in self.bases],
        }


def line_of(timeline: int, history: Callable[[int], bytes]) -> Line:
    """A timeline with its ancestors. ``history`` tells the content of a history file.

    Raises DamagedData where that is missing or damaged.
    """
    ancestors = [] if timeline == 1 else parse_history(history(timeline), timeline)
    return Line(tuple(Part(*part) for part in lineage(ancestors, timeline)))


def timelines_of(listing: Listing) -> list[int]:
    """Every timeline that the archive has WAL of. The server was on the last of them last: none ever goes back.

    ``position.json`` has no say in that: whoever writes to the storage can lay one down from before a failover, and
    a recovery would follow what was given up there.
    """
    return sorted({*map(timeline_of, listing.segments), *map(timeline_of, listing.tails)})


def windows_of(
    line: Line,
    bases: Iterable[BaseManifest],
    listing: Listing,
    position: Position | None,
    gaps: Iterable[Gap],
    segment_bytes: int,
) -> list[Window]:
    """What one line reaches, oldest first. Raises DamagedData for segments of another size than the bases say."""
    usable = sorted((each for each in bases if line.allows(each)), key=lambda each: each.stop_lsn)
    for each in usable:
        if each.segment_bytes != segment_bytes:
            raise DamagedData(
                f"the base backup {each.base_id} has WAL segments of {each.segment_bytes} bytes, the archive has "
                f"some of {segment_bytes}"
            )
    stretches = _stretches(line, listing, segment_bytes)
    holes = [(gap.from_lsn, gap.to_lsn) for gap in gaps]
    found = []
    for number, (start, end) in enumerate(stretches):
        inside = tuple(each for each in usable if start <= each.start_lsn and each.stop_lsn <= end)
        if not inside:
            continue
        here = position if position is not None and position.timeline == line.timeline else None
        ends_at, ending, missing, position_lsn = None, "archive", "", None
        if number + 1 < len(stretches) or (here is not None and here.lsn > end):
            missing = line.segment_at(end, segment_bytes)
            written_down = any(low <= end < high for low, high in holes)
            ending = "gap" if written_down else "missing"
        elif here is not None and here.lsn >= inside[0].start_lsn:
            ends_at, ending, position_lsn = here.server_time, "position", here.lsn
        found.append(
            Window(line, inside, end, ends_at, cast("Ending", ending), segment_bytes, missing, position_lsn)
        )
    return found


def hole_after(base: BaseManifest, windows: Iterable[Window], position: Position) -> Hole | None:
    """The WAL that is missing between a base backup and the end of the server's WAL, on the line of ``windows``.

    Also where the names of what is left show none: what a base backup begins with, or the end of a timeline that was
    left later, can go without leaving a hole between two segments.
    """
    for window in windows:
        if any(each.base_id == base.base_id for each in window.bases):
            if window.ending not in ("missing", "gap"):
                return None
            return Hole(window.timeline, window.end_lsn, max(window.end_lsn, position.lsn))
    return Hole(base.timeline, base.start_lsn, base.stop_lsn)


def _stretches(line: Line, listing: Listing, segment_bytes: int) -> list[tuple[int, int]]:
    """Where the line has WAL without a hole, by segments of the archive, in order."""
    own: list[tuple[int, str]] = []
    for name in {*listing.segments, *listing.tails}:
        start = start_of(name, segment_bytes)
        if line.timeline_at(start, segment_bytes) == timeline_of(name):
            own.append((start, name))
    found: list[tuple[int, int]] = []
    for start, name in sorted(own):
        end = start + listing.end_in(name, segment_bytes)
        if found and found[-1][1] == start:
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
    return found
