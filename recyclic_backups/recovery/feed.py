"""Hand a recovering server its WAL: unsealed ahead of it, and put into its ``pg_wal`` under its name, whole at once."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.listing import Listing
from recyclic_backups.archive.wal import history_name, start_of
from recyclic_backups.errors import ArchiveError, DamagedData, NoUsableKey, Refused
from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.recovery.unpack import DIRECTORY
from recyclic_backups.recovery.windows import Line, Window

AHEAD = 8
"""So many segments beyond the one that is replayed."""

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# src/include/access/xlog_internal.h: XLogPageHeaderData and XLogLongPageHeaderData, as this machine has them
_HEADER = struct.Struct("=HHIQ")
_LONG_HEADER = struct.Struct("=HHIQI4xQII")
_PAGE_SIZES = frozenset(1 << bits for bits in range(10, 17))
_INCOMING = "recyclic_backups.incoming"
_NOT_READ = b"# damaged in the archive\n"


@dataclass(frozen=True, slots=True)
class Source:
    """What a recovery reads: the archive of a server, and its listing when the plan was made."""

    archive: WalArchive
    listing: Listing

    def of(self, archive_id: str) -> Source:
        """The same, for a base backup that tells whose archive its WAL is in."""
        return Source(self.archive.of(archive_id or self.archive.archive_id), self.listing)

    def segment(self, name: str, segment_bytes: int, needed_bytes: int | None = None) -> bytes:
        """A segment, or what there was of it. Raises DamagedData, ArchiveError where it is gone, StorageError.

        Where ``needed_bytes`` of it are enough, names that say more do not matter.
        """
        listed = self.listing.end_in(name, segment_bytes)
        if needed_bytes is not None:
            listed = min(listed, needed_bytes)
        try:
            content = self.archive.read_segment(self.listing, name, segment_bytes, listed) if listed else b""
        except DamagedData:
            if self.archive.listing_of(name).end_in(name, segment_bytes) >= listed:
                raise
            content = b""
        if not content or len(content) < listed:
            raise ArchiveError(f"the WAL segment {name} is missing from the archive, or a part of it")
        return content


def require_line(name: str, content: bytes, line: Line) -> None:
    """Return if no page of a segment is of a branch that the line does not have. Raises DamagedData.

    Each page says of which timeline it is. The server would take the first wrong one for the end of the WAL, and not
    say which segment it lies in.
    """
    if len(content) < _LONG_HEADER.size:
        return
    *_, page_bytes = _LONG_HEADER.unpack_from(content)
    if page_bytes not in _PAGE_SIZES:
        return  # it is no WAL, which the server says
    left = {part.timeline: part.left_lsn for part in line.parts}
    for offset in range(0, len(content) - _HEADER.size + 1, page_bytes):
        magic, _, timeline, lsn = _HEADER.unpack_from(content, offset)
        if not magic:
            continue  # behind the end of what was written
        left_at = left.get(timeline, -1)
        if left_at is not None and lsn > left_at:
            raise DamagedData(
                f"the WAL segment {name} holds WAL of timeline {timeline} at {lsn_text(lsn)}, which timeline "
                f"{line.timeline} does not have there: it is of another branch"
            )


class PgWal:
    """The ``pg_wal`` of a data directory, by its descriptor: opened before the server runs, and never followed."""

    def __init__(self, data_directory: Path, opened: int, account: Account) -> None:
        self._account = account
        self._path = data_directory / "pg_wal"
        try:
            self._opened = os.open("pg_wal", DIRECTORY, dir_fd=opened)
        except OSError as error:
            raise Refused(f"{self._path} is no directory of the server's: {error.strerror}") from None

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._opened)

    def place(self, name: str, content: bytes, size_bytes: int | None = None) -> None:
        """Put a file there, filled up with zeros to ``size_bytes``. Raises Refused where that cannot be done.

        The directory is the server's, and code of strangers may run there: nothing in it is followed, and what lies
        under the name is replaced, not written into.
        """
        try:
            with suppress(FileNotFoundError):
                os.unlink(_INCOMING, dir_fd=self._opened)
            with open(os.open(_INCOMING, _NEW_FILE, 0o600, dir_fd=self._opened), "wb") as file:
                file.write(content)
                if size_bytes is not None:
                    file.truncate(size_bytes)
                if self._account.change:
                    os.fchown(file.fileno(), self._account.uid, self._account.gid)
            os.rename(_INCOMING, name, src_dir_fd=self._opened, dst_dir_fd=self._opened)
        except OSError as error:
            raise Refused(
                f"the WAL segment {name} cannot be put into {self._path}: {error.strerror}",
                "is there space on that disk?",
            ) from None


class Feeder:
    """The WAL of a window from a position on, in order. While one segment is put in its place the next is unsealed."""

    def __init__(
        self, source: Source, window: Window, from_lsn: int, tell: Callable[[int], None] = lambda _: None
    ) -> None:
        self._source, self._window, self._tell = source, window, tell
        self._segments = window.segments(from_lsn, window.end_lsn)
        self._placed = 0
        self._unsealing = ThreadPoolExecutor(1, "unsealing")
        self._coming: Future[bytes] | None = None

    def __enter__(self) -> Feeder:
        return self

    def __exit__(self, *_: object) -> None:
        self._unsealing.shutdown(cancel_futures=True)

    @classmethod
    def empty(cls, source: Source, window: Window) -> Feeder:
        """One that has handed over everything before."""
        feeder = cls(source, window, window.end_lsn)
        feeder._segments = []
        return feeder

    @property
    def has_more(self) -> bool:
        """Whether there is a segment that was not placed yet."""
        return self._placed < len(self._segments)

    @property
    def next_lsn(self) -> int:
        """Where the next segment begins; behind the last one where there is none."""
        if not self.has_more:
            return self._window.end_lsn
        return start_of(self._segments[self._placed], self._window.segment_bytes)

    def is_wanted(self, replayed_lsn: int) -> bool:
        """Whether the next segment is among those that are kept ahead of what is replayed."""
        return self.has_more and self.next_lsn - replayed_lsn <= AHEAD * self._window.segment_bytes

    def place_histories(self, pg_wal: PgWal) -> None:
        """Every history file there is: a promotion then takes a number that no timeline has.

        Raises DamagedData for one that recovery follows. Of any other one the name is enough: whoever writes to the
        storage must not end every recovery by laying bytes there.
        """
        archive, listing = self._source.archive, self._source.listing
        followed = {part.timeline for part in self._window.line.parts}
        for timeline in sorted(listing.histories):
            try:
                content = archive.read_history(listing, timeline)
            except (DamagedData, NoUsableKey):
                if timeline in followed:
                    raise
                content = _NOT_READ
            pg_wal.place(history_name(timeline), content)

    def place_next(self, pg_wal: PgWal) -> None:
        """Put the next segment there.

        Raises DamagedData for one that is not what was stored, ArchiveError for one that is gone, StorageError.
        """
        name = self._segments[self._placed]
        try:
            content = (self._coming or self._unsealed()).result()
            require_line(name, content, self._window.line)
        except (ArchiveError, DamagedData) as error:
            error.hint = f"what is before it can be had: recover --to-lsn {lsn_text(self.next_lsn)}"
            raise
        self._placed += 1
        self._coming = self._unsealed() if self.has_more else None
        pg_wal.place(name, content, self._window.segment_bytes)
        self._tell(len(content))

    def _unsealed(self) -> Future[bytes]:
        name = self._segments[self._placed]
        needed_bytes = self._window.needed_bytes(self.next_lsn)
        return self._unsealing.submit(self._source.segment, name, self._window.segment_bytes, needed_bytes)
