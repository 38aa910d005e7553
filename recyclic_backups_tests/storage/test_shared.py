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
    shared._views.clear()
    yield Watch()
    shared._views.clear()


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


def test_wal_that_comes_is_seen_with_the_next_listing(watch: Watch) -> None:
    """Loss prevented: "no WAL for an hour" while some comes each second; a receiver that died an hour ago."""
    position = "server.7/wal/position.json"
    watch.store.create(position, b"1")
    assert watch.view().get(position) == b"1"
    watch.store.replace(position, b"2")
    assert watch.view().get(position) == b"1"
    watch.now += timedelta(seconds=shared.SECONDS)
    assert watch.view().get(position) == b"2"
    assert [each.name for each in watch.view().list("server.7/")] == [position]


def test_whoever_does_not_look_asks_the_storage_itself(watch: Watch) -> None:
    """Loss prevented: an expiry that is decided by what was there two minutes ago."""
    watch.look()
    assert shared.shared(watch.store, "app", lambda _: "") is watch.store
