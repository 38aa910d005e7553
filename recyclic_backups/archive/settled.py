"""How much of the WAL was stored so long ago that no failover gives it up. Pure."""

from __future__ import annotations

from collections import deque
from datetime import datetime

from recyclic_backups.archive.documents import SETTLED, Position

_MOST_SEEN = 1000


class Settled:
    """Up to where the archive reached :data:`SETTLED` ago, by the server's clock; goes on from its ``position``."""

    def __init__(self, position: Position | None) -> None:
        self._seen: deque[tuple[datetime, int]] = deque(maxlen=_MOST_SEEN)
        if position is not None:
            if position.settled_lsn:
                self._seen.append((position.server_time - SETTLED, position.settled_lsn))
            self._seen.append((position.server_time, position.lsn))

    def reached(self, lsn: int, server_time: datetime) -> int:
        """What is settled, or 0, once everything up to ``lsn``, where the WAL ended at ``server_time``, is stored."""
        if self._seen and lsn < self._seen[-1][1]:
            self._seen.clear()  # a timeline is followed that gave up the rest
        self._seen.append((server_time, lsn))
        while len(self._seen) > 1 and self._seen[1][0] <= server_time - SETTLED:
            self._seen.popleft()
        at, settled_lsn = self._seen[0]
        return settled_lsn if at <= server_time - SETTLED else 0
