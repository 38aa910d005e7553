"""The thread that stores what the receiver hands over, in order.

A slow storage must not silence the protocol: the server ends a connection that says nothing for
``wal_sender_timeout``. What is handed over waits here, at most :data:`MOST_WAITING_BYTES` of it (and always one
segment); the receiver reads no more until there is room.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from recyclic_backups.errors import StorageError

MOST_WAITING_BYTES = 64 << 20

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 15.0


@dataclass(frozen=True, slots=True)
class Job:
    """Something to store; once that is done, everything up to ``end_lsn`` is there for good (None: it says nothing)."""

    act: Callable[[], None]
    end_lsn: int | None = None


class Storekeeper:
    """Does jobs one after the other, and each again until the storage takes it.

    ``durable_lsn`` only ever tells what is committed there. ``failing`` is what the storage said last, empty while
    it works; ``failure`` an error that no second try puts right, for the receiver to raise.
    """

    def __init__(self, durable_lsn: int, segment_bytes: int, say: Callable[[str], None]) -> None:
        self.durable_lsn = durable_lsn
        self.failing = ""
        self.failure: BaseException | None = None
        self._say = say
        self._jobs: queue.Queue[Job] = queue.Queue(max(1, min(4, MOST_WAITING_BYTES // segment_bytes)))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="storekeeper", daemon=True)

    def __enter__(self) -> Storekeeper:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go of what waits: the server still has it. The job under way is waited for."""
        self._over.set()
        self._thread.join()

    @property
    def has_room(self) -> bool:
        """Whether a job would be taken at once."""
        return not self._jobs.full()

    @property
    def is_idle(self) -> bool:
        """Whether everything handed over is done."""
        return self._jobs.unfinished_tasks == 0

    def hand_over(self, job: Job) -> None:
        """Take a job; only while :attr:`has_room`. Raises queue.Full otherwise, which is a bug of the caller's."""
        self._jobs.put_nowait(job)

    def _work(self) -> None:
        while not self._over.is_set():
            try:
                job = self._jobs.get(timeout=0.1)
            except queue.Empty:
                continue
            if self._done(job) and job.end_lsn is not None:
                self.durable_lsn = max(self.durable_lsn, job.end_lsn)
            self._jobs.task_done()

    def _done(self, job: Job) -> bool:
        pause = _FIRST_PAUSE_SECONDS
        began = time.monotonic()
        while self.failure is None:
            try:
                job.act()
            except StorageError as error:
                if error.message != self.failing:
                    self._say(f"the storage does not take WAL: {error.message}; trying again until it does")
                self.failing = error.message
                if self._over.wait(pause):
                    return False
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            except BaseException as error:  # noqa: BLE001 - raised by the receiver, in its own thread
                self.failure = error
            else:
                if self.failing:
                    self._say(f"the storage takes WAL again, after {time.monotonic() - began:.0f} s")
                    self.failing = ""
                return True
        return False
