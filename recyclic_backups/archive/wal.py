"""Segments of the WAL, timelines and their histories. Pure.

A segment is a file of 1 to 1024 MB, named by its timeline and its
number (``XLogFileName`` in src/include/access/xlog_internal.h). A history file says at which position each timeline
was left for the next one (https://www.postgresql.org/docs/15/continuous-archiving.html#BACKUP-TIMELINES).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from recyclic_backups.errors import DamagedData
from recyclic_backups.postgres.lsn import lsn_of

SEGMENT_NAME = re.compile(r"[0-9A-F]{24}")

_WAL_FILE_BYTES = 1 << 32  # the middle part of a segment's name counts these


def segment_start(lsn: int, segment_bytes: int) -> int:
    """The position at which the segment that holds ``lsn`` begins."""
    return lsn - lsn % segment_bytes


def segment_name(timeline: int, lsn: int, segment_bytes: int) -> str:
    """The file name of the segment that holds ``lsn``."""
    number, per_file = lsn // segment_bytes, _WAL_FILE_BYTES // segment_bytes
    return f"{timeline:08X}{number // per_file:08X}{number % per_file:08X}"


def timeline_of(name: str) -> int:
    """The timeline of a segment, by its name."""
    return int(name[:8], 16)


def start_of(name: str, segment_bytes: int) -> int:
    """The position at which the segment of that name begins."""
    return int(name[8:16], 16) * _WAL_FILE_BYTES + int(name[16:24], 16) * segment_bytes


def history_name(timeline: int) -> str:
    """The file name of a timeline's history; the first one has none."""
    return f"{timeline:08X}.history"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the WAL: of one timeline, from a position up to the one behind its last byte."""

    timeline: int
    start_lsn: int
    end_lsn: int

    def holds(self, lsn: int) -> bool:
        """Whether a recovery that has it can stop at that position."""
        return self.start_lsn <= lsn <= self.end_lsn


def parse_history(content: bytes, timeline: int) -> list[tuple[int, int]]:
    """The ancestors of a timeline, oldest first, each with the position at which it was left. Raises DamagedData."""
    found: list[tuple[int, int]] = []
    for line in content.decode("utf-8", "replace").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            parent, switch = int(words[0]), lsn_of(words[1])
        except (ValueError, IndexError):
            raise DamagedData(f"the history of timeline {timeline} is damaged: {line!r}") from None
        if found and (parent <= found[-1][0] or switch < found[-1][1]):
            raise DamagedData(f"the history of timeline {timeline} is damaged: it is not in order")
        found.append((parent, switch))
    if found and found[-1][0] >= timeline:
        raise DamagedData(f"the history of timeline {timeline} is damaged: it names a later one")
    return found


def lineage(ancestors: list[tuple[int, int]], timeline: int) -> Iterator[tuple[int, int, int | None]]:
    """Each timeline on the way to ``timeline``: itself, the position where it begins, and the one where it was left.

    The last one was not left: None.
    """
    begins = 0
    for each, left_at in ancestors:
        yield each, begins, left_at
        begins = left_at
    yield timeline, begins, None
