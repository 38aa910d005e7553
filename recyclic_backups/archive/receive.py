"""Receive the server's WAL, store it sealed, and confirm to the server only what the storage has.

A resident process: the server keeps, by a replication slot, what was not confirmed yet, so nothing is lost while it is
down. Whole segments are stored as they fill, what there is of the running one every few seconds, as a tail.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from recyclic_backups.archive.archive import MOST_HISTORY_BYTES, WalArchive
from recyclic_backups.archive.archive_id import is_same_archive
from recyclic_backups.archive.beginning import (
    OTHER_HINT,
    Beginning,
    archive_id_for,
    beginnings,
    told_history,
    without_damage_at_its_end,
)
from recyclic_backups.archive.documents import Gap, believed_position, store_gap
from recyclic_backups.archive.listing import Listing
from recyclic_backups.archive.proof import (
    ACCEPT_COMMAND,
    PASSWORD,
    NoProof,
    asking_for,
    opened_with_proof,
    require_proof,
)
from recyclic_backups.archive.settled import Settled
from recyclic_backups.archive.stream import Stream
from recyclic_backups.archive.wal import parse_history
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.keyring import DataKey
from recyclic_backups.errors import (
    BackupError,
    DamagedData,
    DatabaseError,
    NoUsableKey,
    Refused,
    StorageError,
)
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.postgres.opening import NEUTRAL_DATABASE
from recyclic_backups.postgres.replication import Identity, Replication, SlotInUse, WalRemoved
from recyclic_backups.postgres.server import Server
from recyclic_backups.postgres.slots import commit_something

_SLOT_WAIT_SECONDS = 90.0
"""How long another receiver's slot is waited for: the server notices the death of a machine after 60 s."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 15.0
_STILL_BYTES = 8192
"""Less WAL than this between two heartbeats is no traffic."""
_MOST_HISTORIES = 1000
"""So many of the newest timelines are asked for: whoever took the server's place may name any number."""


@dataclass(frozen=True, slots=True)
class ReceiveTerms:
    """How WAL is received: the slot's name, how often a tail is stored, how often an idle server is made to commit."""

    slot: str
    tail_seconds: float
    heartbeat_seconds: float


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
        self._proof = ""

    def run(self, stopping: threading.Event) -> None:
        """Receive until ``stopping``; a server that is away is waited for.

        Raises Refused for another server's WAL, or where another receiver is at the slot; and, before anything was
        received, what the server or the storage said, unless it may pass by itself.
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
                if not self._has_streamed and not error.retryable:
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
        with self._opened() as (replication, proof):
            identity = replication.identify()
            archive = WalArchive(self._repository, identity.system_identifier)
            position = believed_position(archive)
            require_proof(position, proof, self._server)
            segment_bytes = replication.segment_bytes()
            key = self._repository.key_for_backups(self._clock())
            listing = without_damage_at_its_end(archive, archive.listing(), segment_bytes, self._say)
            archive = archive.of(archive_id_for(archive, listing, position, segment_bytes))
            if position is not None and not is_same_archive(position.archive_id, archive.archive_id):
                self._say("position.json is of another archive of this server, and is passed over")
                position = None
            listing = without_damage_at_its_end(archive, listing, segment_bytes, self._say)
            first = _First(archive, replication, listing, key)
            first.ask(identity.timeline)
            lost = self._ready_slot(replication, listing)
            settled = Settled(position)
            for beginning in beginnings(
                archive,
                listing,
                replication,
                identity,
                segment_bytes,
                self._terms.slot,
                is_proven=bool(proof),
                position=position,
            ):
                stream = self._stream(
                    replication, archive, key, segment_bytes, first, identity, proof, settled
                )
                if beginning.gap_from is not None:
                    first.gap = lambda beginning=beginning: self._write_gap(archive, beginning, key, lost)
                try:
                    stream.run(beginning, stopping)
                except WalRemoved:
                    if stream.has_data or beginning.is_last:
                        raise
                    continue
                return

    @contextmanager
    def _opened(self) -> Iterator[tuple[Replication, str]]:
        """A session with the server, and how it proved who it is.

        Once it has shown that it knows the password, nobody answers who does not: we are here all day, and somebody
        else may listen on its port while it is down. Raises DatabaseError.
        """
        try:
            with opened_with_proof(self._server, required=self._proof == PASSWORD) as (replication, proof):
                self._proof = proof
                yield replication, proof
        except NoProof:
            raise DatabaseError(
                f"who answers as {self._server.label} does not show any more that it knows the password: "
                "somebody else listens there, or pg_hba.conf was changed",
                f"in the second case: {ACCEPT_COMMAND}, and start the receiver again",
                retryable=True,
            ) from None

    def _stream(
        self,
        replication: Replication,
        archive: WalArchive,
        key: DataKey | None,
        segment_bytes: int,
        first: _First,
        identity: Identity,
        proof: str,
        settled: Settled,
    ) -> Stream:
        def received(lsn: int) -> None:
            self._received_lsn, self._has_streamed = lsn, True

        return Stream(
            replication,
            archive,
            key,
            segment_bytes,
            slot=self._terms.slot,
            tail_seconds=self._terms.tail_seconds,
            clock=self._clock,
            say=self._say,
            received=received,
            first=first,
            stored=lambda segment: first.stored(segment, segment_bytes),
            system_identifier=identity.system_identifier,
            proof=proof,
            settled=settled,
        )

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

    def _beat(self, over: threading.Event) -> None:
        """Have an idle server commit now and then, so that there is a commit after any moment that was asked for."""
        before = 0
        while not over.wait(self._terms.heartbeat_seconds):
            now = self._received_lsn
            if now and now - before < _STILL_BYTES:
                server = asking_for(self._server, self._proof)
                with suppress(BackupError), server.connect(NEUTRAL_DATABASE) as connection:
                    commit_something(connection)
            before = now


class _First:
    """What is stored before the first WAL of a session: histories of the server's timelines, and ``gap``, if any.

    Histories are asked for before it streams. By the first WAL what is known of it was compared. Before that nobody's
    word is kept: a history that stays would have recoveries follow a branch of somebody else's.
    """

    def __init__(
        self, archive: WalArchive, replication: Replication, listing: Listing, key: DataKey | None
    ) -> None:
        self._archive, self._replication, self._listing, self._key = archive, replication, listing, key
        self._waiting: dict[int, bytes] = {}
        self.gap: Callable[[], None] | None = None

    def ask(self, newest: int) -> None:
        """Have what the server tells of the timelines up to ``newest``, as far as the archive does not have it.

        Raises Refused where the archive has another history of one of them.
        """
        for timeline in range(max(2, newest - _MOST_HISTORIES + 1), newest + 1):
            with suppress(WalRemoved):  # of a timeline that this server never saw
                told = self._replication.history(timeline)
                if len(told) > MOST_HISTORY_BYTES:
                    raise DatabaseError(f"the server tells a history of timeline {timeline} that is too long")
                said, before = told_history(told, timeline), self._stored_history(timeline)
                if before is None:
                    self._waiting[timeline] = told
                elif parse_history(before, timeline) != said:
                    raise Refused(
                        f"this server tells another history of timeline {timeline} than the archive has: another "
                        "branch of it; nothing was written",
                        OTHER_HINT,
                    )

    def store(self) -> None:
        """Store what waits. Raises StorageError."""
        if self.gap is not None:
            self.gap()
            self.gap = None
        for timeline, content in list(self._waiting.items()):
            self._archive.store_history(timeline, content, self._key)
            del self._waiting[timeline]

    def stored(self, segment: str, segment_bytes: int) -> bytes:
        """What the archive had of a segment when the session began, and can be believed."""
        return self._archive.authentic_part(self._listing, segment, segment_bytes).content

    def _stored_history(self, timeline: int) -> bytes | None:
        if timeline not in self._listing.histories:
            return None
        try:
            return self._archive.read_history(self._listing, timeline)
        except (DamagedData, NoUsableKey):
            return None  # something that somebody put there, or that decayed: it is stored anew
