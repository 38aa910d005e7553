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

from recyclic_backups.archive.archive import Listing, WalArchive
from recyclic_backups.archive.beginning import Beginning, beginnings
from recyclic_backups.archive.documents import Gap, store_gap
from recyclic_backups.archive.stream import Stream
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.keyring import DataKey
from recyclic_backups.errors import BackupError, DatabaseError, Refused, StorageError
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
                stream = self._stream(replication, archive, key, segment_bytes, listing, identity)
                if beginning.gap_from is not None:
                    self._write_gap(archive, beginning, key, lost)
                try:
                    stream.run(beginning, stopping)
                except WalRemoved:
                    if stream.has_data or beginning.is_last:
                        raise
                    continue
                return

    def _stream(
        self,
        replication: Replication,
        archive: WalArchive,
        key: DataKey | None,
        segment_bytes: int,
        listing: Listing,
        identity: Identity,
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
            store_histories=lambda newest: self._store_histories(archive, replication, listing, newest, key),
            system_identifier=identity.system_identifier,
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
                    commit_something(connection)
            before = now
