"""One stream of WAL, from where it begins to the end of the connection.

One thread reads and answers, another one stores (:mod:`recyclic_backups.archive.storekeeper`). A server that is shut
down waits for who receives from it. It must not wait for our storage.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Protocol

from recyclic_backups.archive.archive import WalArchive, packed
from recyclic_backups.archive.beginning import OTHER_HINT, Beginning
from recyclic_backups.archive.documents import Position, store_position
from recyclic_backups.archive.segment import Segment
from recyclic_backups.archive.settled import Settled
from recyclic_backups.archive.storekeeper import Job, Storekeeper
from recyclic_backups.archive.wal import segment_start
from recyclic_backups.envelope.keyring import DataKey
from recyclic_backups.errors import DatabaseError, Refused
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.postgres.replication import Keepalive, Replication, TimelineEnd, WalData, WalRemoved

_PACKING = 2
"""So many segments are compressed at a time when there is much to catch up with; they are stored in their order."""
_JOINED_AFTER = 30
"""So many tails of a segment become one: a recovery need not open hundreds."""
_SPOKEN_SECONDS = 1.0
"""How often the server hears from us at least (wal_sender_timeout is 60 s by default)."""
_REPLY_SECONDS = 1.0
"""How long a tail waits for the server's answer, so that what it says can be stored with it."""
_SILENCE_SECONDS = 30.0
"""A server that we ask every few seconds and that says nothing for so long is not there any more."""
_IDLE_POSITION_SECONDS = 60.0
"""How often a position that did not move is written anew: its time says that the receiver lives."""
_SHUTDOWN_SECONDS = 6.0
"""How long a server that is being shut down waits for our storage at most; Docker kills one after ten."""
_STOP_SECONDS = 10.0
_CANDIDATE_SECONDS, _MOST_CANDIDATES = 1.0, 60
_OLD = timedelta(seconds=1)
"""A clock that the server showed longer ago says too little."""


class _NotTaken(DatabaseError):
    """The storage takes nothing more: the server is let go before it waits for us."""


class First(Protocol):
    """What is stored before the first WAL that the server sends: what it tells of its timelines, a gap before it."""

    def ask(self, newest: int) -> None:
        """Ask for the histories of timelines up to ``newest``."""

    def store(self) -> None:
        """Store what waits."""


class Stream:
    """Receives until told to stop. ``received`` is told up to where.

    ``first`` is asked for histories with each new timeline. ``stored`` tells what the archive has of a segment already.
    Positions say by which ``proof`` the server is known, and what is ``settled``.
    """

    def __init__(
        self,
        replication: Replication,
        archive: WalArchive,
        key: DataKey | None,
        segment_bytes: int,
        *,
        slot: str,
        tail_seconds: float,
        clock: Callable[[], datetime],
        say: Callable[[str], None],
        received: Callable[[int], None],
        first: First,
        stored: Callable[[str], bytes],
        system_identifier: str,
        proof: str,
        settled: Settled,
    ) -> None:
        self._replication, self._archive = replication, archive
        self._key, self._segment_bytes = key, segment_bytes
        self._server_version = replication.server_version
        self._slot, self._tail_seconds = slot, tail_seconds
        self._clock, self._say = clock, say
        self._received, self._first, self._stored = received, first, stored
        self._proof, self._settled = proof, settled
        self._system_identifier = system_identifier
        self.has_data = False
        self._left: tuple[int, memoryview] | None = None
        self._candidates: list[Position] = []
        self._written: tuple[Position, float] | None = None

    def run(self, beginning: Beginning, stopping: threading.Event) -> None:
        """Stream until told to stop, over every timeline. Raises DatabaseError, Refused, StorageError."""
        timeline, start_lsn = beginning.timeline, beginning.start_lsn
        self._known_lsn = beginning.stored_lsn
        self._is_strange = beginning.gap_from is not None or not self._proof
        with (
            ThreadPoolExecutor(_PACKING, "packing") as self._packing,
            Storekeeper(beginning.stored_lsn, self._segment_bytes, self._say) as keeper,
        ):
            self._keeper = keeper
            following = beginning
            try:
                while True:
                    self._known_until = start_lsn + len(following.known)
                    end = self._replication.start(self._slot, start_lsn, timeline)
                    if end is None:
                        self._say(
                            f"receiving from {lsn_text(start_lsn)} on timeline {timeline} of system "
                            f"{self._system_identifier}, replication={self._replication.mode}"
                        )
                        self._segment = Segment(
                            timeline, start_lsn, self._segment_bytes, following, self._stored
                        )
                        streamed, end = True, self._one_timeline(timeline, stopping)
                        if end is None:
                            self._replication.close()
                            return
                    else:
                        streamed = False
                    if end.next is None:
                        raise DatabaseError(
                            "the server ended the stream: it is being shut down", retryable=True
                        )
                    following = self._on_the_next(following, end.next, streamed=streamed)
                    timeline, start_lsn = following.timeline, following.start_lsn
                    self._say(f"timeline {timeline} begins at {lsn_text(end.next[1])}")
                    self._first.ask(timeline)
            except _NotTaken:
                # What was read is kept, and stored once that is possible: only then more of it is asked for.
                self._replication.close()
                while not keeper.is_idle and keeper.failure is None and not stopping.wait(0.2):
                    pass
                raise
            except WalRemoved:
                raise  # there is another place to begin at
            except DatabaseError:
                self._replication.close()
                self._store_what_came(timeline)
                raise
            except BaseException:
                # Before the job under way is waited for, which may take as long as the storage likes.
                self._replication.close()
                raise

    def _on_the_next(self, now: Beginning, following: tuple[int, int], *, streamed: bool) -> Beginning:
        """Where the next timeline is received from: it holds what came of this one in its first segment, too.

        Raises Refused where it does not begin where this one ended.
        """
        timeline, switch_lsn = following
        start_lsn = segment_start(switch_lsn, self._segment_bytes)
        ended_at, known = now.start_lsn, b""
        if streamed:
            ended_at, known = self._segment.end_lsn, bytes(self._segment.data[: switch_lsn - start_lsn])
        if timeline <= now.timeline or switch_lsn != ended_at or (now.known and not streamed):
            raise Refused(
                f"the server ends timeline {now.timeline} at {lsn_text(switch_lsn)} for timeline {timeline}, and what "
                f"came of it ends at {lsn_text(ended_at)}: that cannot be; nothing more was written",
                OTHER_HINT,
            )
        return Beginning(timeline, start_lsn, start_lsn, known, f"what came of timeline {now.timeline}")

    def _one_timeline(self, timeline: int, stopping: threading.Event) -> TimelineEnd | None:
        """Receive one timeline to its end; None when told to stop and all is stored."""
        heard = self._next_ask = self._spoken_at = self._asked_at = time.monotonic()
        urgent_until, stop_until, stuck_at = None, None, None
        keeper = self._keeper
        while True:
            if keeper.failure is not None:
                raise keeper.failure
            now = time.monotonic()
            if stopping.is_set() and stop_until is None:
                stop_until = now + _STOP_SECONDS
            urgent = urgent_until is not None or stop_until is not None
            self._speak(now)
            if (urgent or now >= self._tail_at) and keeper.has_room:
                self._hand_over_tail()
                self._tail_at = math.inf
            self._hand_over_position()
            stored = keeper.durable_lsn >= self._segment.end_lsn
            if stop_until is not None and ((stored and keeper.is_idle) or now > stop_until):
                self._replication.confirm(self._segment.end_lsn, keeper.durable_lsn)
                if not stored:
                    self._say("the storage did not take the end of the WAL in time; the server keeps it")
                return None
            if urgent_until is not None:
                if stored:
                    urgent_until = None
                elif now > urgent_until:
                    raise _NotTaken(
                        "the server waits for our storage, which does not answer: it is let go, and keeps the WAL",
                        retryable=True,
                    )
            if not self._make_room(timeline):
                # Nothing more is read, so a server that is shut down would not be heard either.
                stuck_at, heard = stuck_at or now, now
                if now - stuck_at > _SHUTDOWN_SECONDS and stop_until is None:
                    raise _NotTaken(
                        "the storage takes nothing more: the server is let go, and keeps the WAL",
                        retryable=True,
                    )
                time.sleep(0.02)
                continue
            stuck_at = None
            if stop_until is not None:
                time.sleep(0.02)  # a busy server would go on for ever; what it writes now it keeps
                continue
            message = self._replication.receive(0.05 if urgent else min(0.5, max(0.0, self._next_ask - now)))
            if message is not None:
                heard = time.monotonic()
            elif now - heard > max(_SILENCE_SECONDS, 3 * self._tail_seconds):
                raise DatabaseError(
                    f"the server has said nothing for {now - heard:.0f} s, though it was asked",
                    retryable=True,
                )
            if isinstance(message, TimelineEnd):
                self._wait_until_stored(timeline, message, stopping)
                return message
            if isinstance(message, WalData):
                self._take(message, timeline)
            elif isinstance(message, Keepalive):
                self._take_answer(message, timeline)
                if message.wants_reply and urgent_until is None:
                    # We speak every second, so only a server that is being shut down asks.
                    urgent_until = now + _SHUTDOWN_SECONDS

    _next_ask = _asked_at = _spoken_at = 0.0
    _tail_at = math.inf
    _told_lsn = -1

    def _speak(self, now: float) -> None:
        """Tell the server what is stored, whenever that is more and once a second; and ask it when a tail is due."""
        lsn = self._keeper.durable_lsn
        asks = now >= self._next_ask
        if not asks and lsn == self._told_lsn and now - self._spoken_at < _SPOKEN_SECONDS:
            return
        self._replication.confirm(self._segment.end_lsn, lsn, ask_reply=asks)
        self._told_lsn, self._spoken_at = lsn, now
        if asks:
            # It answers behind all that it has sent, with the end of its WAL: the tail goes out with that.
            self._next_ask, self._asked_at = now + self._tail_seconds, now
            self._clock_when_asked = self._server_clock
            self._tail_at = now + _REPLY_SECONDS

    # -- what comes in

    def _take(self, message: WalData, timeline: int) -> None:
        self.has_data = True
        end_lsn = message.start_lsn + len(message.data)
        self._server_end_lsn = max(self._server_end_lsn, message.server_end_lsn)
        self._left = message.start_lsn, message.data
        if end_lsn >= message.server_end_lsn:
            self._newest = end_lsn, self._server_clock
            if time.monotonic() - self._noted_at > _CANDIDATE_SECONDS:
                self._note_position(timeline, *self._newest)
        self._server_clock = message.sent_at
        self._make_room(timeline)
        self._received(end_lsn)

    _server_end_lsn = _known_lsn = _known_until = 0
    _noted_at = 0.0
    _is_strange = True
    _server_clock: datetime | None = None
    """What it showed in the message before: later messages know everything that was committed by then."""
    _clock_when_asked: datetime | None = None
    _newest: tuple[int, datetime | None] = (0, None)

    def _make_room(self, timeline: int) -> bool:
        """Put what has come into segments, each handed over once it is full. False while the storage has no room."""
        while True:
            if self._segment.is_full and not self._hand_over_segment(timeline):
                return False
            if self._left is None:
                return True
            lsn, data = self._left
            piece = data[: self._segment.size_bytes - self._segment.filled]
            self._segment.add(lsn, piece)
            self._left = (lsn + len(piece), data[len(piece) :]) if len(piece) < len(data) else None

    def _take_answer(self, message: Keepalive, timeline: int) -> None:
        now = time.monotonic()
        asked, self._server_clock = self._clock_when_asked, message.sent_at
        # One that we read late was written while the server waited for us, and its work went on.
        if now - self._asked_at <= _REPLY_SECONDS:
            self._note_position(timeline, message.end_lsn, asked)
            if asked is None or message.sent_at - asked > _OLD:
                self._next_ask = now  # the answer to this knows all that was committed by the time of that
        if self._tail_at < math.inf:
            self._tail_at = now

    # -- what is stored

    def _hand_over_segment(self, timeline: int) -> bool:
        """Hand over the full segment and begin the next one; False where there is no room yet."""
        segment = self._segment
        if segment.handed_over < segment.size_bytes or segment.tails:
            if not self._keeper.has_room:
                return False
            is_stored = (
                segment.handed_over == segment.size_bytes
            )  # and was compared; its tails outlived a kill
            data, segment.data = segment.data, bytearray()  # freed once it is packed
            content = None if is_stored else self._packing.submit(packed, data)

            def store() -> None:
                if content is not None:
                    self._first.store()
                    self._archive.store_segment(segment.name, content.result(), self._key)
                self._archive.delete(tail.name for tail in segment.tails)

            self._keeper.hand_over(Job(store, segment.end_lsn))
        self._segment = Segment(
            timeline, segment.start_lsn + self._segment_bytes, self._segment_bytes, stored=self._stored
        )
        return True

    def _hand_over_tail(self) -> None:
        """Hand over what came since the last tail; after many of them, all of the segment in one."""
        segment = self._segment
        if segment.filled <= segment.handed_over or segment.is_full or not segment.is_compared:
            return
        joins = len(segment.tails) >= _JOINED_AFTER
        start = 0 if joins else segment.handed_over
        data = memoryview(segment.data)[start : segment.filled]

        def store() -> None:
            self._first.store()
            stored = self._archive.store_tail(segment.name, start, data, self._key)
            if joins:
                self._archive.delete(tail.name for tail in segment.tails if tail.name != stored.name)
                segment.tails.clear()
            segment.tails.append(stored)

        self._keeper.hand_over(Job(store, segment.end_lsn))
        segment.handed_over = segment.filled

    def _note_position(self, timeline: int, lsn: int, server_time: datetime | None) -> None:
        """Everything that was committed when the server's clock showed that time lies before ``lsn``.

        It counts once all of that is stored. The clock in a message is no such time: the server looks first how far
        its WAL goes, and then at the clock, and other sessions commit in between. The clock of the message before is.
        What the server had flushed and not sent yet is told with each piece of WAL: before that its word is no end.
        Nor is it anybody's word whom we know before all that is stored was compared with what it sends. While the
        storage takes nothing, fewer and fewer of them wait.
        """
        if server_time is None or lsn < max(self._server_end_lsn, self._known_lsn):
            return
        if not self._segment.is_compared or self._segment.end_lsn < self._known_lsn:
            return
        if self._is_strange and not self.has_data:
            return  # it has said much and shown nothing
        if len(self._candidates) == _MOST_CANDIDATES:
            self._candidates = self._candidates[::2]
        self._noted_at = time.monotonic()
        self._candidates.append(
            Position(
                timeline,
                lsn,
                server_time,
                self._clock(),
                self._segment_bytes,
                self._server_version,
                self._archive.system_identifier,
                self._proof,
                self._settled.reached(lsn, server_time),
                self._archive.archive_id,
            )
        )

    def _hand_over_position(self, *, at_once: bool = False) -> None:
        durable = [each for each in self._candidates if each.lsn <= self._keeper.durable_lsn]
        if not durable or not self._keeper.has_room:
            return
        found, now = durable[-1], time.monotonic()
        if self._written is not None and not at_once:
            last, written = self._written
            wait = _IDLE_POSITION_SECONDS if last.lsn == found.lsn else self._tail_seconds / 2
            if now - written < wait:
                return
        self._candidates = [each for each in self._candidates if each.lsn > found.lsn]
        self._written = found, now
        self._keeper.hand_over(Job(lambda: store_position(self._archive, found, self._key)))

    def _store_what_came(self, timeline: int) -> None:
        """The connection is lost, and the server may be gone for good: store all that it has sent."""
        give_up_at = time.monotonic() + _STOP_SECONDS
        if self.has_data:
            self._note_position(timeline, *self._newest)
        while self.has_data and self._keeper.failure is None and time.monotonic() < give_up_at:
            if self._make_room(timeline) and self._keeper.has_room:
                self._hand_over_tail()
                if self._keeper.is_idle and (
                    self._segment.filled <= self._segment.handed_over or not self._segment.is_compared
                ):
                    self._hand_over_position(at_once=True)
                    if self._keeper.is_idle:
                        return
            time.sleep(0.02)

    def _wait_until_stored(self, timeline: int, end: TimelineEnd, stopping: threading.Event) -> None:
        """Before the next timeline: what there is of this one is stored, as a tail."""
        if end.next is not None and self._segment.end_lsn < self._known_until:
            raise Refused(
                f"the server's timeline {timeline} ends before what the archive has of it; nothing was written",
                OTHER_HINT,
            )
        while self._keeper.failure is None:
            if stopping.is_set():
                raise _NotTaken("told to stop; the server keeps the end of the WAL", retryable=True)
            if self._make_room(timeline) and self._keeper.has_room:
                self._hand_over_tail()
            if (
                self._keeper.is_idle
                and self._left is None
                and (self._segment.filled <= self._segment.handed_over or not self._segment.is_compared)
            ):
                return
            time.sleep(0.02)
        raise self._keeper.failure
