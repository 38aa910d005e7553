"""One view of a storage for everybody in a process who looks often: asked seldom, and never wrong for long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from recyclic_backups.errors import ObjectMissing
from recyclic_backups.storage import shared
from recyclic_backups.storage.store import Store
from recyclic_backups_tests.counting import CountingStore


class Watch:
    """A clock that stands, and a storage that is looked at by it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
        self.store = CountingStore()
        self.store.create("app/tiers/a.json", b"1")
        self.store.create("keys/k.json", b"1")
        self.store.forget()

    def view(self) -> Store:
        """What a sensor opens."""
        with shared.looking(lambda: self.now, shared.SECONDS):
            return shared.shared(self.store, "app", lambda _: "app/audit/")

    def look(self) -> tuple[list[str], bytes, bytes | None]:
        """A sensor's questions: the catalog, a key, a file that is not there."""
        view = self.view()
        try:
            missing: bytes | None = view.get("recover.py")
        except ObjectMissing:
            missing = None
        return [item.name for item in view.list("app/")], view.get("keys/k.json"), missing


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Nothing is remembered before and afterwards."""
    for seen in (shared._views, shared._servers):
        seen.clear()
    yield Watch()
    for seen in (shared._views, shared._servers):
        seen.clear()


def test_an_hour_of_looks_costs_a_listing_every_other_minute(watch: Watch) -> None:
    """Loss prevented: four sensors that ask for everything each minute."""
    for _ in range(60):
        for _ in range(4):
            assert watch.look() == (["app/tiers/a.json"], b"1", None)
        watch.now += timedelta(minutes=1)
    assert watch.store.asked == {"list app/": 30 + 1, "read keys/k.json": 1, "read recover.py": 1}


def test_a_change_is_seen_with_the_next_listing_and_at_once_by_who_made_it(watch: Watch) -> None:
    """Loss prevented: an alarm about a backup that was taken two minutes ago, again and again."""
    watch.look()
    watch.store.create("app/tiers/b.json", b"1")
    watch.store.replace("keys/k.json", b"2")
    assert watch.look() == (["app/tiers/a.json"], b"1", None)
    watch.now += timedelta(seconds=shared.SECONDS)
    assert watch.look() == (["app/tiers/a.json", "app/tiers/b.json"], b"2", None)
    watch.view().create("app/tiers/c.json", b"1")
    assert len(watch.look()[0]) == 3
    watch.store.delete("app/tiers/a.json")
    shared.ask_anew()
    assert len(watch.look()[0]) == 2


def test_what_lies_outside_the_listing_is_looked_at_every_hour_and_when_the_clock_goes_back(
    watch: Watch,
) -> None:
    """Loss prevented: a changed recover.py, with the key in its hands one day, that no sensor sees."""
    watch.look()
    watch.store.create("recover.py", b"evil")
    watch.now += timedelta(minutes=59)
    assert watch.look()[2] is None
    watch.now += timedelta(minutes=2)
    assert watch.look()[2] == b"evil"
    watch.store.replace("recover.py", b"more")
    watch.now -= timedelta(days=300)
    assert watch.look()[2] == b"more"


POSITION = "server.7/wal/position.json"


def segments(watch: Watch) -> list[str]:
    """What a sensor knows of the segments of a server, the way in which the archive asks for them."""
    return [each.name for each in watch.view().list("server.7/wal/0")]


def test_the_folders_of_servers_are_listed_once_an_hour_and_how_far_wal_reaches_is_read_when_it_is_asked_for(
    watch: Watch,
) -> None:
    """Loss prevented: thousands of segments listed all day; a dead receiver, and a remembered word that it lives."""
    watch.store.create(POSITION, b"1")
    watch.store.create("server.7/wal/01", b"1")
    for minute in range(60):
        assert segments(watch) == ["server.7/wal/01"]
        assert watch.view().get(POSITION) == b"1", "as old as the listing: the two belong together"
        assert list(watch.view().strange("server.7/base")) == []
        if minute == 10:
            watch.store.replace(POSITION, b"2")
            watch.store.create("server.7/wal/02", b"1")
            assert shared.newest(watch.view(), POSITION, anew=False) == b"1"
            assert shared.newest(watch.view(), POSITION, anew=True) == b"2"
        elif minute > 10:
            assert shared.newest(watch.view(), POSITION, anew=False) == b"2"
        watch.now += timedelta(minutes=1)
    assert watch.store.asked == {"list server.7/": 1, f"read {POSITION}": 2}
    assert segments(watch) == ["server.7/wal/01", "server.7/wal/02"]
    assert watch.view().get(POSITION) == b"2"


def test_while_something_is_wrong_with_wal_it_is_looked_at_closely(watch: Watch) -> None:
    """Loss prevented: an alarm about lost WAL for an hour after the base backup that ended it."""
    watch.store.create(POSITION, b"1")
    assert segments(watch) == []
    shared.watch_servers(watch.view(), closely=True)
    watch.store.create("server.7/wal/01", b"1")
    watch.now += timedelta(seconds=shared.SECONDS)
    assert segments(watch) == ["server.7/wal/01"]
    shared.watch_servers(watch.view(), closely=False)
    watch.store.create("server.7/wal/02", b"1")
    watch.now += timedelta(seconds=shared.SECONDS)
    assert segments(watch) == ["server.7/wal/01"]
    shared.forget_servers(watch.view())
    assert segments(watch) == ["server.7/wal/01", "server.7/wal/02"]


def test_whoever_does_not_look_asks_the_storage_itself(watch: Watch) -> None:
    """Loss prevented: an expiry that is decided by what was there two minutes ago."""
    watch.look()
    assert shared.shared(watch.store, "app", lambda _: "") is watch.store
