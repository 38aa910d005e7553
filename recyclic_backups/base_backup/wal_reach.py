"""Whether the archive holds the WAL that a base backup needs, and whether that WAL is its server's.

Without the WAL from its beginning to its end the files of a base backup are not consistent: it must not exist before.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable

from recyclic_backups.archive.archive import WalArchive, servers_in
from recyclic_backups.archive.listing import Listing
from recyclic_backups.archive.wal import segment_name, segment_start
from recyclic_backups.errors import ArchiveError, DamagedData, DatabaseError, Refused
from recyclic_backups.postgres.lsn import lsn_of, lsn_text

_PAUSE_SECONDS = 0.5
_RECEIVER_HINT = "start the receiver: recyclic-backups wal receive"

_LABEL_LINE = re.compile(rb"^(START WAL|CHECKPOINT) LOCATION: ([0-9A-F]+/[0-9A-F]+)", re.MULTILINE)
# src/include/access/xlog_internal.h: XLogLongPageHeaderData; xlogrecord.h: XLogRecord
_LONG_HEADER = "HHIQI4xQII"
_LONG_HEADER_BYTES, _SHORT_HEADER_BYTES = 40, 24
_RECORD = "IIQBB2xI"
_RECORD_BYTES = 24
_XLOG_RECORDS, _CHECKPOINTS, _SHORT_DATA = 0, (0x00, 0x10), 255


def reached_lsn(listing: Listing, timeline: int, from_lsn: int, to_lsn: int, segment_bytes: int) -> int:
    """How far the WAL goes on from ``from_lsn`` without a hole, tails included, ``to_lsn`` at most. Pure."""
    lsn = from_lsn
    while lsn < to_lsn:
        start = segment_start(lsn, segment_bytes)
        filled = listing.end_in(segment_name(timeline, lsn, segment_bytes), segment_bytes)
        if start + filled <= lsn:
            return lsn
        lsn = start + filled
        if filled < segment_bytes:
            break
    return min(lsn, to_lsn)


def wait_for_wal(
    archive: WalArchive,
    timeline: int,
    from_lsn: int,
    to_lsn: int,
    segment_bytes: int,
    *,
    patience_seconds: float,
    check: Callable[[], None] = lambda: None,
) -> Listing:
    """Wait until the archive holds the WAL of a timeline between two positions; returns what it holds then.

    ``check`` is called each time that it is looked at. Raises ArchiveError once nothing more came for
    ``patience_seconds``, StorageError.
    """
    reached, give_up_at = -1, time.monotonic() + patience_seconds
    while True:
        listing = archive.listing()
        before, reached = reached, reached_lsn(listing, timeline, from_lsn, to_lsn, segment_bytes)
        if reached >= to_lsn:
            return listing
        now = time.monotonic()
        if reached > before:
            give_up_at = now + patience_seconds
        if now >= give_up_at:
            raise _not_reached(archive, listing, timeline, reached, to_lsn, patience_seconds)
        check()
        time.sleep(min(_PAUSE_SECONDS, max(0.0, give_up_at - now)))


def _not_reached(
    archive: WalArchive, listing: Listing, timeline: int, reached: int, needed: int, patience_seconds: float
) -> ArchiveError:
    server = archive.system_identifier
    if not listing.segments and not listing.tails:
        others = [each for each in servers_in(archive.repository) if each != server]
        beside = (
            f"; the storage has WAL of server {', '.join(others)}, and this is another one" if others else ""
        )
        return ArchiveError(
            f"no WAL of server {server} is archived, and a base backup is of no use without it{beside}",
            _RECEIVER_HINT,
        )
    return ArchiveError(
        f"the WAL archive of server {server} has nothing after {lsn_text(reached)} on timeline {timeline}, and the "
        f"base backup needs it up to {lsn_text(needed)}; nothing more came for {patience_seconds:g} s: no receiver "
        "runs, or it lags",
        _RECEIVER_HINT,
        retryable=True,
    )


def require_wal_of(
    archive: WalArchive,
    listing: Listing,
    timeline: int,
    stop_lsn: int,
    backup_label: bytes,
    segment_bytes: int,
) -> None:
    """Return if the archive's WAL has the very checkpoint that the base backup begins with, and can be read at its end.

    ``listing`` is what the archive held a moment ago. A clone, and a copy of an older state, have production's system
    identifier and mostly its timeline, and other WAL. Raises Refused for those, DamagedData where the label or the WAL
    cannot be read, NoUsableKey, StorageError.
    """
    found = {name: lsn_of(lsn.decode()) for name, lsn in _LABEL_LINE.findall(backup_label)}
    if found.keys() != {b"START WAL", b"CHECKPOINT"}:
        raise DatabaseError("the base backup's backup_label does not say where it starts")
    wal = _Wal(archive, listing, timeline, segment_bytes)
    redo_lsn, end_lsn = wal.redo_of_checkpoint(found[b"CHECKPOINT"]), wal.end_at(stop_lsn)
    if redo_lsn != found[b"START WAL"]:
        raise Refused(
            f"the WAL in the archive is not this server's: it has no checkpoint at {lsn_text(found[b'CHECKPOINT'])} of "
            f"timeline {timeline} that begins at {lsn_text(found[b'START WAL'])}; nothing was kept",
            "a clone, or a copy of an older state, shares the system identifier: let it use another BACKUP_STORAGE",
        )
    if end_lsn < stop_lsn:
        raise DamagedData(f"the WAL in the archive ends at {lsn_text(end_lsn)}, before {lsn_text(stop_lsn)}")


class _Wal:
    """Bytes of the archive's WAL, by position."""

    def __init__(self, archive: WalArchive, listing: Listing, timeline: int, segment_bytes: int) -> None:
        self._archive, self._listing = archive, listing
        self._timeline, self._segment_bytes = timeline, segment_bytes
        self._segments: dict[str, bytes] = {}

    def end_at(self, lsn: int) -> int:
        """Up to where there is WAL in the segment whose last byte, or one before it, is in front of ``lsn``."""
        return segment_start(lsn - 1, self._segment_bytes) + len(self._segment(lsn - 1))

    def redo_of_checkpoint(self, lsn: int) -> int | None:
        """Where the checkpoint with its record at ``lsn`` begins; None if there is none. Raises DamagedData."""
        segment = self._segment(lsn)
        if len(segment) < _LONG_HEADER_BYTES:
            return None
        for order in "<>":
            *_, identifier, size, page_bytes = struct.unpack_from(order + _LONG_HEADER, segment)
            if size == self._segment_bytes:
                break
        else:
            return None
        if str(identifier) != self._archive.system_identifier or page_bytes < 1024:
            return None
        record = self._bytes(lsn, _RECORD_BYTES + 10, page_bytes)
        if len(record) < _RECORD_BYTES + 10:
            return None
        _, _, _, info, manager, _ = struct.unpack_from(order + _RECORD, record)
        if (manager, info & 0xF0) not in [(_XLOG_RECORDS, kind) for kind in _CHECKPOINTS]:
            return None
        if record[_RECORD_BYTES] != _SHORT_DATA:
            return None
        (redo,) = struct.unpack_from(order + "Q", record, _RECORD_BYTES + 2)
        return int(redo)

    def _bytes(self, lsn: int, count: int, page_bytes: int) -> bytes:
        """So many bytes of a record from ``lsn`` on: it goes on behind the headers of pages."""
        found = b""
        while len(found) < count:
            segment, inside = self._segment(lsn), lsn % self._segment_bytes
            if inside % page_bytes == 0:
                header = _SHORT_HEADER_BYTES if inside else _LONG_HEADER_BYTES
                lsn, inside = lsn + header, inside + header
            piece = segment[inside : min(inside + count - len(found), _next_page(inside, page_bytes))]
            if not piece:
                return found
            found += piece
            lsn += len(piece)
        return found

    def _segment(self, lsn: int) -> bytes:
        name = segment_name(self._timeline, lsn, self._segment_bytes)
        if name not in self._segments:
            self._segments[name] = self._archive.read_segment(self._listing, name, self._segment_bytes)
        return self._segments[name]


def _next_page(inside: int, page_bytes: int) -> int:
    return inside - inside % page_bytes + page_bytes
