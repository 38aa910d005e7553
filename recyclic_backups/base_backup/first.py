"""The base backup without which the WAL that comes in is of no use: the first one, and the one after lost WAL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.documents import believed_gaps, believed_position
from recyclic_backups.base_backup.catalog import load_base_backups
from recyclic_backups.base_backup.due import why_due
from recyclic_backups.errors import BackupError

_LOOK_SECONDS = 3600.0
"""How often it is looked whether one is needed; at once when WAL was lost."""
_FIRST_LOOK_SECONDS = 5.0
"""After the receiver has begun: a base backup waits for its WAL."""


def why_needed(archive: WalArchive, now: datetime) -> str | None:
    """Why a base backup is needed now, empty where none is; None while no WAL has come.

    What cannot be believed keeps nobody from taking one. Raises StorageError.
    """
    if believed_position(archive) is None:
        return None
    return why_due(load_base_backups(archive).bases, believed_gaps(archive), now)


class FirstBase:
    """Takes one whenever it is needed, beside a receiver, in a thread of its own.

    ``archive`` finds the server's part of the storage, ``take`` takes a base backup and verifies it. What goes wrong is
    said, and tried again an hour later.
    """

    def __init__(
        self,
        archive: Callable[[], WalArchive],
        take: Callable[[], object],
        say: Callable[[str], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._archive, self._take, self._say, self._clock = archive, take, say, clock
        self._wake, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="first base backup", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def look_now(self) -> None:
        """WAL was lost: do not wait for the hour."""
        self._wake.set()

    def end(self) -> None:
        """Look no more. One that is being taken is not waited for: it ends with the process, and leaves nothing."""
        self._over.set()
        self._wake.set()

    def _work(self) -> None:
        wait = _FIRST_LOOK_SECONDS
        while True:
            self._wake.wait(wait)
            self._wake.clear()
            if self._over.is_set():
                return
            wait = _LOOK_SECONDS
            try:
                why = why_needed(self._archive(), self._clock())
                if why is None:
                    wait = _FIRST_LOOK_SECONDS
                elif why:
                    self._say(f"{why}: taking one")
                    self._take()
                    self._say("the base backup is taken and verified")
            except BackupError as error:
                self._say(f"no base backup was taken: {error.message}; trying again in an hour")
