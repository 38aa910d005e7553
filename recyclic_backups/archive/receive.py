"""Receive the server's WAL, store it sealed, and confirm to the server only what the storage has.

A resident process: the server keeps, by a replication slot, what was not confirmed yet, so nothing is lost while it is
down. Whole segments are stored as they fill, what there is of the running one every few seconds, as a tail.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from recyclic_backups.archive.archive import Listing, Tail, WalArchive
from recyclic_backups.archive.beginning import Beginning, beginnings
from recyclic_backups.archive.documents import Gap, Position, store_gap, store_position
from recyclic_backups.archive.storekeeper import Job, Storekeeper
from recyclic_backups.archive.wal import segment_name, segment_start
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.keyring import DataKey
from recyclic_backups.errors import BackupError, DatabaseError, Refused, StorageError
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.postgres.opening import NEUTRAL_DATABASE
from recyclic_backups.postgres.replication import (
    Identity,
    Keepalive,
    Replication,
    SlotInUse,
    TimelineEnd,
    WalData,
    WalRemoved,
)
from recyclic_backups.postgres.server import Server

_JOINED_AFTER = 30
"""So many tails of a segment become one: a recovery need not open hundreds."""
_SPOKEN_SECONDS = 1.0
"""How often the server hears from us at least (wal_sender_timeout is 60 s by default)."""
_IDLE_POSITION_SECONDS = 60.0
"""How often a position that did not move is written anew: its time says that the receiver lives."""
_SHUTDOWN_SECONDS = 6.0
"""How long a server that is being shut down waits for our storage at most; Docker kills one after ten."""
_STOP_SECONDS = 10.0
_SLOT_WAIT_SECONDS = 90.0
"""How long another receiver's slot is waited for: the server notices the death of a machine after 60 s."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 15.0
_STILL_BYTES = 8192
"""Less WAL than this between two heartbeats is no traffic."""


@dataclass(frozen=True, slots=True)
class ReceiveTerms:
    """How WAL is received: the slot's name, how often a tail is stored, how often an idle server is made to commit."""

    slot: str
    tail_seconds: float
    heartbeat_seconds: float


class Segment:
    """What has come of one segment, and what was handed over to be stored."""

    def __init__(
        self, timeline: int, start_lsn: int, size_bytes: int, beginning: Beginning | None = None
    ) -> None:
        self.name = segment_name(timeline, start_lsn, size_bytes)
        self.start_lsn, self.size_bytes = start_lsn, size_bytes
        self.data = bytearray(size_bytes)
        self.filled = 0
        self.tails: list[Tail] = list(beginning.tails) if beginning else []
        self.handed_over = beginning.stored_bytes if beginning else 0
        self._known = beginning.known if beginning else b""
        self._whose = beginning.whose if beginning else ""

    @property
    def end_lsn(self) -> int:
        """The position behind its last byte so far."""
        return self.start_lsn + self.filled

    @property
    def is_full(self) -> bool:
        """Whether all of it has come."""
        return self.filled == self.size_bytes

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
                "a clone, or a copy of an older state, shares the system identifier: let it use another "
                "BACKUP_STORAGE; if it is production from now on, move the archive's folder away first",
            )
        self.filled = end


class Receiver:
    """Receives the WAL of one server until it is told to stop. ``say`` is told each step, in a sentence."""

    def __init__(
        self,
        server: Server,
        repository: Repository,
        terms: ReceiveTerms,
        *,
        clock: Callable[[], datetime],
        say: Callable[[str], None],
        on_gap: Callable[[Gap], None] = lambda _: None,
    ) -> None:
        self._server, self._repository, self._terms = server, repository, terms
        self._clock, self._say, self._on_gap = clock, say, on_gap
        self._received_lsn = 0
        self._has_streamed = False

    def run(self, stopping: threading.Event) -> None:
        """Receive until ``stopping``; a server that is away is waited for.

        Raises Refused for another server's WAL, or where another receiver is at the slot; and, before anything was
        received, what the server or the storage said.
        """
        over = threading.Event()
        heart = threading.Thread(target=self._beat, args=(over,), name="heartbeat", daemon=True)
        heart.start()
        try:
            self._receive(stopping)
        finally:
            over.set()
            heart.join()

    def _receive(self, stopping: threading.Event) -> None:
        pause, slot_deadline, said = _FIRST_PAUSE_SECONDS, time.monotonic() + _SLOT_WAIT_SECONDS, ""
        while not stopping.is_set():
            began = time.monotonic()
            try:
                self._session(stopping)
                continue
            except SlotInUse as error:
                if time.monotonic() > slot_deadline:
                    raise Refused(
                        f"another receiver is at the slot {self._terms.slot}: {error.message}",
                        "one receiver serves a server; stop the other one, or give this one another WAL_SLOT",
                    ) from None
                message = error.message
            except (DatabaseError, StorageError) as error:
                if not self._has_streamed:
                    raise
                message = error.message
            if message != said:
                self._say(f"not receiving: {message}; trying again")
                said = message
            if time.monotonic() - began > _LONGEST_PAUSE_SECONDS:
                pause, slot_deadline, said = _FIRST_PAUSE_SECONDS, time.monotonic() + _SLOT_WAIT_SECONDS, ""
            stopping.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _session(self, stopping: threading.Event) -> None:
        with Replication.open(self._server) as replication:
            identity = replication.identify()
            segment_bytes = replication.segment_bytes()
            archive = WalArchive(self._repository, identity.system_identifier)
            key = self._repository.key_for_backups(self._clock())
            listing = archive.listing()
            self._store_histories(archive, replication, listing, identity.timeline, key)
            lost = self._ready_slot(replication, listing)
            for beginning in beginnings(
                archive, listing, replication, identity, segment_bytes, self._terms.slot
            ):
                stream = _Stream(self, replication, archive, key, segment_bytes, listing, identity)
                if beginning.gap_from is not None:
                    self._write_gap(archive, beginning, key, lost)
                try:
                    stream.run(beginning, stopping)
                except WalRemoved:
                    if stream.has_data or beginning.is_last:
                        raise
                    continue
                return

    def _ready_slot(self, replication: Replication, listing: Listing) -> str:
        """Have a slot that keeps WAL. Returns why what it kept is lost, empty if nothing is."""
        slot = replication.slot(self._terms.slot)
        if slot is not None and slot.restart_lsn is not None:
            return ""
        lost = ""
        if slot is not None:
            lost = "the server gave up what its slot kept: max_slot_wal_keep_size was reached"
            replication.drop_slot(self._terms.slot)
        elif listing.segments or listing.tails:
            lost = "the slot was gone: dropped, or lost in a failover"
        replication.create_slot(self._terms.slot)
        self._say(f"made the replication slot {self._terms.slot}" + (f"; {lost}" if lost else ""))
        return lost

    def _write_gap(self, archive: WalArchive, beginning: Beginning, key: DataKey | None, lost: str) -> None:
        assert beginning.gap_from is not None
        reason = lost or "the server had removed it"
        gap = Gap(beginning.timeline, beginning.gap_from, beginning.start_lsn, self._clock(), reason)
        store_gap(archive, gap, key)
        self._say(
            f"GAP: WAL from {lsn_text(gap.from_lsn)} to {lsn_text(gap.to_lsn)} is lost ({reason}); "
            "no recovery comes past it before the next base backup"
        )
        self._on_gap(gap)

    def _store_histories(
        self,
        archive: WalArchive,
        replication: Replication,
        listing: Listing,
        newest: int,
        key: DataKey | None,
    ) -> None:
        for timeline in range(2, newest + 1):
            if timeline in listing.histories:
                continue
            with suppress(WalRemoved):  # of a timeline that this server never saw
                archive.store_history(timeline, replication.history(timeline), key)
                listing.histories[timeline] = ""

    def _beat(self, over: threading.Event) -> None:
        """Have an idle server commit now and then, so that there is a commit after any moment that was asked for."""
        before = 0
        while not over.wait(self._terms.heartbeat_seconds):
            now = self._received_lsn
            if now and now - before < _STILL_BYTES:
                with suppress(BackupError), self._server.connect(NEUTRAL_DATABASE) as connection:
                    connection.execute(
                        "SELECT pg_catalog.pg_logical_emit_message(true, 'recyclic_backups', '') "
                        "WHERE NOT pg_catalog.pg_is_in_recovery()"
                    )
            before = now


class _Stream:
    """One stream, from where it begins to the end of the connection."""

    def __init__(
        self,
        receiver: Receiver,
        replication: Replication,
        archive: WalArchive,
        key: DataKey | None,
        segment_bytes: int,
        listing: Listing,
        identity: Identity,
    ) -> None:
        self._receiver, self._replication, self._archive = receiver, replication, archive
        self._key, self._segment_bytes = key, segment_bytes
        self._listing, self._identity = listing, identity
        self._terms, self._clock, self._say = receiver._terms, receiver._clock, receiver._say
        self.has_data = False
        self._server_end_lsn = 0
        self._positions: tuple[Position, float] | None = None

    def run(self, beginning: Beginning, stopping: threading.Event) -> None:
        """Stream until told to stop, over every timeline. Raises DatabaseError, Refused, StorageError."""
        timeline, start_lsn = beginning.timeline, beginning.start_lsn
        with Storekeeper(beginning.stored_lsn, self._segment_bytes, self._say) as keeper:
            self._keeper = keeper
            following: Beginning | None = beginning
            while True:
                end = self._replication.start(self._terms.slot, start_lsn, timeline)
                if end is None:
                    self._say(
                        f"receiving from {lsn_text(start_lsn)} on timeline {timeline} of system "
                        f"{self._identity.system_identifier}, replication={self._replication.mode}"
                    )
                    self._segment = Segment(timeline, start_lsn, self._segment_bytes, following)
                    end = self._one_timeline(timeline, stopping)
                    if end is None:
                        return
                if end.next is None:
                    raise DatabaseError("the server ended the stream: it is being shut down", retryable=True)
                timeline, switch_lsn = end.next
                start_lsn, following = segment_start(switch_lsn, self._segment_bytes), None
                self._say(f"timeline {timeline} begins at {lsn_text(switch_lsn)}")
                self._receiver._store_histories(
                    self._archive, self._replication, self._listing, timeline, self._key
                )

    def _one_timeline(self, timeline: int, stopping: threading.Event) -> TimelineEnd | None:
        """Receive one timeline to its end; None when told to stop and all is stored."""
        next_tail = spoken = time.monotonic()
        told_lsn, urgent_until, stop_until = -1, None, None
        keeper = self._keeper
        while True:
            if keeper.failure is not None:
                raise keeper.failure
            now = time.monotonic()
            if stopping.is_set() and stop_until is None:
                stop_until = now + _STOP_SECONDS
            urgent = urgent_until is not None or stop_until is not None
            if (urgent or now >= next_tail) and keeper.has_room:
                self._hand_over_tail()
                if now >= next_tail:
                    self._replication.confirm(self._segment.end_lsn, keeper.durable_lsn, ask_reply=True)
                    next_tail, spoken = now + self._terms.tail_seconds, now
            if keeper.durable_lsn != told_lsn or now - spoken >= _SPOKEN_SECONDS:
                told_lsn, spoken = keeper.durable_lsn, now
                self._replication.confirm(self._segment.end_lsn, told_lsn)
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
                    raise DatabaseError(
                        "the server waits for our storage, which does not answer: it is let go, and keeps the WAL",
                        retryable=True,
                    )
            if self._segment.is_full and not self._hand_over_segment(timeline):
                time.sleep(0.02)  # no room: read nothing more, and keep speaking
                continue
            busy = urgent or stop_until is not None
            message = self._replication.receive(0.05 if busy else min(0.5, max(0.0, next_tail - now)))
            if isinstance(message, TimelineEnd):
                self._wait_until_stored(timeline)
                return message
            if isinstance(message, WalData):
                self._take(message, timeline)
            elif isinstance(message, Keepalive):
                self._note_position(message, timeline)
                if message.wants_reply and urgent_until is None:
                    # We speak every second, so only a server that is being shut down asks.
                    urgent_until = now + _SHUTDOWN_SECONDS

    def _take(self, message: WalData, timeline: int) -> None:
        self.has_data = self._receiver._has_streamed = True
        self._server_end_lsn = max(self._server_end_lsn, message.server_end_lsn)
        lsn, data = message.start_lsn, message.data
        while data:
            room = self._segment.size_bytes - self._segment.filled
            piece, data = data[:room], data[room:]
            self._segment.add(lsn, piece)
            lsn += len(piece)
            if self._segment.is_full and data:
                while not self._hand_over_segment(timeline):
                    if self._keeper.failure is not None:
                        raise self._keeper.failure
                    self._replication.confirm(self._segment.end_lsn, self._keeper.durable_lsn)
                    time.sleep(0.02)
        self._receiver._received_lsn = lsn

    def _hand_over_segment(self, timeline: int) -> bool:
        """Hand over the full segment and begin the next one; False where there is no room yet."""
        segment = self._segment
        if segment.handed_over < segment.size_bytes:
            if not self._keeper.has_room:
                return False

            def store() -> None:
                self._archive.store_segment(segment.name, segment.data, self._key)
                self._archive.delete(tail.name for tail in segment.tails)

            self._keeper.hand_over(Job(store, segment.end_lsn))
        self._segment = Segment(timeline, segment.start_lsn + self._segment_bytes, self._segment_bytes)
        return True

    def _hand_over_tail(self) -> None:
        """Hand over what came since the last tail; after many of them, all of the segment in one."""
        segment = self._segment
        if segment.filled <= segment.handed_over or segment.is_full:
            return
        joins = len(segment.tails) >= _JOINED_AFTER
        start = 0 if joins else segment.handed_over
        data = bytes(memoryview(segment.data)[start : segment.filled])

        def store() -> None:
            stored = self._archive.store_tail(segment.name, start, data, self._key)
            if joins:
                self._archive.delete(tail.name for tail in segment.tails if tail.name != stored.name)
                segment.tails.clear()
            segment.tails.append(stored)

        self._keeper.hand_over(Job(store, segment.end_lsn))
        segment.handed_over = segment.filled

    def _note_position(self, message: Keepalive, timeline: int) -> None:
        """The server says where its WAL ends now. It counts once all of that is stored.

        What it had flushed and not sent yet is told with each piece of WAL: then its word is no end.
        """
        if message.end_lsn >= self._server_end_lsn:
            self._candidate = Position(
                timeline,
                message.end_lsn,
                message.sent_at,
                self._clock(),
                self._segment_bytes,
                self._replication.server_version,
            )

    _candidate: Position | None = None

    def _hand_over_position(self) -> None:
        found = self._candidate
        if found is None or found.lsn > self._keeper.durable_lsn or not self._keeper.has_room:
            return
        self._candidate = None
        now = time.monotonic()
        if self._positions is not None:
            last, written = self._positions
            if last.lsn == found.lsn and now - written < _IDLE_POSITION_SECONDS:
                return
        self._positions = found, now
        self._keeper.hand_over(Job(lambda: store_position(self._archive, found, self._key)))

    def _wait_until_stored(self, timeline: int) -> None:
        """Before the next timeline: what there is of this one is stored, as a tail."""
        while self._keeper.failure is None:
            if self._segment.is_full:
                self._hand_over_segment(timeline)
            elif self._keeper.has_room:
                self._hand_over_tail()
            if self._keeper.is_idle and self._segment.filled <= self._segment.handed_over:
                return
            time.sleep(0.02)
        raise self._keeper.failure
