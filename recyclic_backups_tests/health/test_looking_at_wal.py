"""How the archive of WAL is seen by who looks every minute: listed seldom, and never wrong because of that."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from recyclic_backups.archive.archive import WalArchive, packed
from recyclic_backups.archive.wal import segment_name
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.health.assess import read_wal
from recyclic_backups.health.finding import Level
from recyclic_backups.health.judge import WalSource
from recyclic_backups.health.wal import WalFacts, wal_findings
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.postgres.server import Server
from recyclic_backups.storage import shared
from recyclic_backups.storage.store import Store, StoredObject
from recyclic_backups_tests.counting import CountingStore
from recyclic_backups_tests.health.catalogs import catalog
from recyclic_backups_tests.health.wals import SEGMENT_BYTES, MadeUpWal

NOW = datetime(2026, 11, 29, 9, 30, tzinfo=UTC)


class LookedAt:
    """An archive of six days that a sensor looks at, beside a server that does not answer."""

    def __init__(self) -> None:
        self.now = NOW
        self.store = CountingStore()
        self.received = MadeUpWal.of_days(
            WalArchive(self._repository(self.store), "7"), NOW, days=6, bases=(6,), segments_a_day=2
        )

    def pass_minutes(self, count: int) -> None:
        """Time goes by."""
        self.now += timedelta(minutes=count)

    def facts(self) -> WalFacts:
        """What a sensor sees."""
        nobody = Server("127.0.0.1", 1, "nobody", "", connect_timeout_seconds=1)
        with shared.looking(lambda: self.now, shared.SECONDS):
            repository = self._repository(shared.shared(self.store, "app", lambda _: ""))
            return read_wal(repository, catalog(), WalSource(nobody, "slot"), self.now)

    def said(self) -> set[str]:
        """Warnings and worse."""
        found = wal_findings(self.facts(), self.now)
        return {each.code for each in found if each.level in (Level.WARNING, Level.CRITICAL)}

    def _repository(self, store: Store) -> Repository:
        return Repository(store, "app", Keyring(store, ""), encrypt=False)


@pytest.fixture
def looked_at() -> Iterator[LookedAt]:
    """Nothing is remembered before and afterwards."""
    shared.ask_anew()
    yield LookedAt()
    shared.ask_anew()


def test_for_an_hour_of_looks_the_archive_is_listed_once_and_nothing_false_is_told(
    looked_at: LookedAt,
) -> None:
    """Loss prevented: an alarm about WAL that is missing, for the listing is older than the word of the receiver."""
    assert looked_at.said() == set()
    looked_at.store.forget()
    for _ in range(59):
        looked_at.pass_minutes(1)
        looked_at.received.segments(1)
        looked_at.received.receive(looked_at.now)
        assert looked_at.said() == set()
        reached = looked_at.facts().reaches_until
        assert reached is not None
        assert looked_at.now - reached <= timedelta(minutes=5)
    assert looked_at.store.asked["list server.7/"] == 0
    assert looked_at.store.asked["read server.7/wal/position.json"] <= 12
    looked_at.pass_minutes(1)
    assert looked_at.said() == set()
    assert looked_at.store.asked["list server.7/"] == 1


def test_a_silent_receiver_is_heard_of_as_soon_as_ever(looked_at: LookedAt) -> None:
    """Loss prevented: a quarter of an hour more without WAL, because its last word is remembered."""
    looked_at.said()
    looked_at.pass_minutes(3)
    looked_at.received.receive(looked_at.now)
    looked_at.pass_minutes(5)
    assert looked_at.said() == set()
    looked_at.pass_minutes(1)
    assert looked_at.said() == {"wal_silent"}
    looked_at.received.receive(looked_at.now)
    assert looked_at.said() == set()


def test_a_failover_and_a_hole_are_seen_before_the_hour_is_over(looked_at: LookedAt) -> None:
    """Loss prevented: a window along a timeline that the server has left; an alarm for an hour after it was mended."""
    archive, key = looked_at.received.archive, looked_at.received.key
    assert looked_at.facts().windows[-1].timeline == 1
    lsn = looked_at.received.lsn
    archive.store_history(2, f"1\t{lsn_text(lsn)}\tno recovery target specified\n".encode(), key)
    archive.store_segment(segment_name(2, lsn, SEGMENT_BYTES), packed(b"x"), key)
    looked_at.pass_minutes(6)
    looked_at.received.receive(looked_at.now, timeline=2)
    assert looked_at.facts().windows[-1].timeline == 2
    gone = archive.listing().segments[segment_name(1, lsn - 3 * SEGMENT_BYTES, SEGMENT_BYTES)]
    content = looked_at.store.get(gone)
    looked_at.store.delete(gone)
    looked_at.pass_minutes(60)
    looked_at.received.receive(looked_at.now, timeline=2)
    assert looked_at.said() == {"wal_gap"}
    with looked_at.store.writer(gone) as upload:
        upload.write(content)
        upload.commit()
    looked_at.pass_minutes(2)
    assert looked_at.said() == set()


def test_a_segment_that_a_listing_misses_because_its_tails_were_just_replaced_is_no_hole(
    looked_at: LookedAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a mail at night that WAL is lost, because a directory was read while the receiver wrote to it."""
    hidden = sorted(looked_at.received.archive.listing().segments.values())[-2]
    listed = looked_at.store.list

    def once(prefix: str = "", after: str = "") -> Iterator[StoredObject]:
        monkeypatch.undo()
        return (each for each in listed(prefix, after) if each.name != hidden)

    def when_it_is_of_the_server(prefix: str = "", after: str = "") -> Iterator[StoredObject]:
        return once(prefix, after) if prefix.startswith("server.") else listed(prefix, after)

    monkeypatch.setattr(looked_at.store, "list", when_it_is_of_the_server)
    assert looked_at.said() == set()
    looked_at.store.delete(hidden)
    looked_at.pass_minutes(60)
    looked_at.received.receive(looked_at.now)
    assert looked_at.said() == {"wal_gap"}
