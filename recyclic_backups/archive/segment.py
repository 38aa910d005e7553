"""The segment of WAL that is coming in: what there is of it, and what of it was handed over to be stored."""

from __future__ import annotations

from collections.abc import Callable

from recyclic_backups.archive.beginning import OTHER_HINT, Beginning
from recyclic_backups.archive.listing import Tail
from recyclic_backups.archive.wal import segment_name
from recyclic_backups.errors import DatabaseError, Refused
from recyclic_backups.postgres.lsn import lsn_text


class Segment:
    """What has come of one segment, and what was handed over to be stored."""

    def __init__(
        self,
        timeline: int,
        start_lsn: int,
        size_bytes: int,
        beginning: Beginning | None = None,
        stored: Callable[[str], bytes] = lambda _: b"",
    ) -> None:
        self.name = segment_name(timeline, start_lsn, size_bytes)
        self.start_lsn, self.size_bytes = start_lsn, size_bytes
        self.data = bytearray(size_bytes)
        self.filled = 0
        self.tails: list[Tail] = list(beginning.tails) if beginning else []
        self.handed_over = beginning.stored_bytes if beginning else 0
        self._known = beginning.known if beginning else b""
        self._whose = beginning.whose if beginning else ""
        if not self._known:
            # Wherever a stream begins: nothing that is stored is ever written over with something else.
            self._known, self._whose = stored(self.name), self.name

    @property
    def end_lsn(self) -> int:
        """The position behind its last byte so far."""
        return self.start_lsn + self.filled

    @property
    def is_full(self) -> bool:
        """Whether all of it has come."""
        return self.filled == self.size_bytes

    @property
    def is_compared(self) -> bool:
        """Whether all that is known of it has come, and was the same: before that nothing of it is stored."""
        return self.filled >= len(self._known)

    def add(self, lsn: int, data: memoryview) -> None:
        """Append what begins at ``lsn``.

        Raises DatabaseError for a hole, and Refused where the archive holds other bytes at that place: then another
        server's WAL is about to be written over ours.
        """
        if lsn != self.end_lsn:
            raise DatabaseError(
                f"the server's stream goes on at {lsn_text(lsn)} instead of {lsn_text(self.end_lsn)}",
                retryable=True,
            )
        end = self.filled + len(data)
        self.data[self.filled : end] = data
        known = self._known[self.filled : end]
        if known and self.data[self.filled : self.filled + len(known)] != known:
            raise Refused(
                f"this server is not the one whose WAL is in the archive: {self.name} differs ({self._whose}); "
                "nothing was written",
                OTHER_HINT,
            )
        self.filled = end
