"""A limit on the speed at which a dump is read: what the till gets of the server is what the backup leaves."""

from __future__ import annotations

import threading
import time


class RateLimit:
    """At most so many bytes a second for all streams together; None is no limit.

    Reading slowly is what slows the server's backend down: its pipe fills and it waits.
    """

    def __init__(self, bytes_per_second: int | None) -> None:
        self._bytes_per_second = bytes_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0

    def pause_for(self, size_bytes: int) -> None:
        """Wait until the line would be free again had it carried these bytes at the allowed speed."""
        if self._bytes_per_second is None:
            return
        with self._lock:
            now = time.monotonic()
            wait_until = max(self._free_at, now)
            self._free_at = wait_until + size_bytes / self._bytes_per_second
        time.sleep(wait_until - now)
