"""The chain of events: whatever somebody does to it afterwards is found."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.audit.event import Head
from recyclic_backups.audit.examine import examine
from recyclic_backups.audit.log import KEPT_FOR, append, audited, prune, read_head, read_log
from recyclic_backups.catalog.actor import Actor
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.document import encode, summed
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.errors import DatabaseError, StorageError
from recyclic_backups.storage.store import StoredObject
from recyclic_backups_tests.counting import CountingStore
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.memory_store import MemoryStore

NOW = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
ACTOR = Actor("amelie", "till", "command line", "192.0.2.7")


def repository_of(store: MemoryStore, *, encrypt: bool = True) -> Repository:
    """An empty storage of one database."""
    return Repository(store, "recyclic", Keyring(store, KEY if encrypt else ""), encrypt, ACTOR)


def filled(events: int, *, encrypt: bool = True) -> Repository:
    """A log of so many events, a minute apart."""
    repository = repository_of(MemoryStore(), encrypt=encrypt)
    for number in range(events):
        append(repository, "backup", "done", NOW + number * timedelta(minutes=1), backup_id=f"B{number}")
    return repository


def problems(repository: Repository) -> list[str]:
    """What an examination finds, with no head remembered elsewhere."""
    return examine(repository, {})[0]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.booleans())
def test_a_log_nobody_touched_is_whole_whatever_the_clock_did(steps: list[int], encrypt: bool) -> None:
    """Prevents an honest log from being called forged because a clock was set back."""
    repository = repository_of(MemoryStore(), encrypt=encrypt)
    now = NOW
    for step in steps:
        now += step * timedelta(hours=1)
        append(repository, "verify", "whole", now)
    log = read_log(repository)
    assert [stored.event.number for stored in log if stored.event] == list(range(1, len(steps) + 1))
    assert problems(repository) == []


@given(st.integers(0, 5), st.sampled_from(["edit", "drop", "swap", "rename"]))
def test_what_is_done_to_an_event_afterwards_is_found(position: int, how: str) -> None:
    """Prevents somebody who read the members' data from taking that out of the log."""
    repository = filled(7)
    store = repository.store
    log = read_log(repository)
    name, other = log[position].name, log[position + 1].name
    data = store.get(name)
    if how == "edit":
        store.replace(name, data.replace(b"amelie", b"bertra"))
    elif how == "drop":
        store.delete(name)
    elif how == "swap":
        second = store.get(other)
        store.replace(name, second)
        store.replace(other, data)
    else:
        store.delete(name)
        store.replace(name.replace("20261122", "20261121"), data)
    assert problems(repository)


def test_an_event_rewritten_with_a_sum_of_its_own_breaks_the_next_link() -> None:
    """Prevents a forger without the key from replacing a MAC by a plain sum."""
    repository = filled(3)
    middle = read_log(repository)[1]
    forged = {name: value for name, value in middle.document.items() if name != "mac"} | {"outcome": "failed"}
    repository.store.replace(middle.name, json.dumps(summed(forged, middle.name)).encode())
    assert any("missing, or was edited" in problem for problem in problems(repository))


def test_a_cut_tail_is_found_by_whoever_remembers_the_head() -> None:
    """Prevents the last events from vanishing unseen: nothing in the log itself points at them."""
    repository = filled(5)
    head = read_head(repository)
    assert head is not None
    repository.store.delete(read_log(repository)[-1].name)
    assert problems(repository) == []
    assert examine(repository, {"a manifest": head})[0] == [
        "event 5, which a manifest remembers, is missing or was edited"
    ]


def test_writers_at_the_same_moment_lose_nothing_and_the_log_stays_whole() -> None:
    """Prevents two runs that end together from looking like a forgery."""
    repository = filled(1)
    threads = [threading.Thread(target=append, args=(repository, "verify", "whole", NOW)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    append(repository, "verify", "whole", NOW)
    assert len(read_log(repository)) == 8
    assert problems(repository) == []


def test_old_events_leave_after_three_years_and_the_rest_stays_whole() -> None:
    """Prevents a log of who read members' data from becoming a file about the volunteers that is kept for ever."""
    repository = filled(4)
    later = NOW + KEPT_FOR + timedelta(minutes=1, seconds=30)
    append(repository, "backup", "done", later)
    assert prune(repository, later) == 2
    assert prune(repository, later) == 0
    assert problems(repository) == []
    log = read_log(repository)
    assert [stored.event.action for stored in log if stored.event] == ["backup", "backup", "backup", "prune"]
    repository.store.delete(log[0].name)
    assert problems(repository)


def test_whoever_has_no_key_cannot_declare_an_event_pruned() -> None:
    """Prevents an event from being taken out by whoever may write files, with "whole" as the answer."""
    repository = filled(4)
    head = read_head(repository)
    gone = read_log(repository)[1]
    repository.store.delete(gone.name)
    last = read_log(repository)[-1]
    assert last.event is not None
    forged = replace(
        last.event,
        number=last.event.number + 1,
        at=last.event.at + timedelta(seconds=1),
        action="prune",
        details={"events": 1, "hashes": [gone.sha256]},
        previous=(last.sha256,),
    )
    name = f"{repository.layout.audit}/{forged.file_name}"
    repository.store.create(name, encode(summed(forged.to_json(), name)))
    assert head is not None
    found, notes = examine(repository, {"a manifest": Head(gone.event.number, gone.sha256)})  # type: ignore[union-attr]
    assert len(found) == 2, found
    assert "1 events carry no MAC" in notes[0]


def test_a_head_with_another_number_is_not_the_event_that_was_noted() -> None:
    """Prevents "up to event 9999 nothing was cut off" of a log of ninety."""
    repository = filled(3)
    head = read_head(repository)
    assert head is not None
    assert examine(repository, {"a note": head})[0] == []
    assert examine(repository, {"a note": replace(head, number=9999)})[0] == [
        "event 9999, which a note remembers, is event 3 here"
    ]


def test_after_a_clock_that_was_ahead_events_still_say_when_they_happened() -> None:
    """Prevents four years of "who read what" that all claim the same second of 2030."""
    repository = filled(1)
    append(repository, "backup", "done", NOW + timedelta(days=1500))
    append(repository, "hold", "done", NOW + timedelta(days=1))
    append(repository, "verify", "whole", NOW + timedelta(days=1501))
    events = [stored.event for stored in read_log(repository) if stored.event]
    assert [event.happened_at - NOW for event in events] == [
        timedelta(days=days) for days in (0, 1500, 1, 1501)
    ]
    assert [event.clock_at is None for event in events] == [True, True, False, True]
    assert problems(repository) == []


def test_events_after_a_clock_that_was_ahead_leave_after_three_years_too() -> None:
    """Prevents one wrong second from keeping the log of who read what for ten years more."""
    repository = filled(2)
    append(repository, "backup", "done", NOW + timedelta(days=3650))
    append(repository, "hold", "done", NOW + timedelta(days=1))
    later = NOW + timedelta(days=2) + KEPT_FOR
    assert prune(repository, NOW + KEPT_FOR + timedelta(hours=1)) == 2
    append(repository, "verify", "whole", later)
    # The wrong event was followed by one that is old: it is as old as that.
    assert prune(repository, later) == 2
    assert problems(repository) == []


def test_what_fails_is_recorded_with_its_reason_and_fails_all_the_same() -> None:
    """Prevents a log that knows only of what went well."""
    repository = repository_of(MemoryStore())
    with pytest.raises(DatabaseError), audited(repository, "backup", lambda: NOW):
        raise DatabaseError("the server went away")
    (stored,) = read_log(repository)
    assert stored.event is not None
    assert (stored.event.outcome, stored.event.details["error"]) == ("failed", "the server went away")
    assert stored.event.actor == ACTOR


def test_reading_goes_on_where_the_log_cannot_be_written_and_says_so() -> None:
    """Prevents a restore at 3 a.m. from failing because the backups lie on a read-only disk."""

    class ReadOnly(MemoryStore):
        def create(self, name: str, data: bytes) -> None:
            raise StorageError(f"the storage is read-only: {name} ({len(data)} bytes) stays unwritten")

    repository = repository_of(ReadOnly(), encrypt=False)
    with audited(repository, "restore", lambda: NOW, required=False) as entry:
        pass
    assert "read-only" in entry.unrecorded
    with pytest.raises(StorageError), audited(repository, "backup", lambda: NOW):
        pass


def test_an_event_that_cannot_be_read_is_named_and_stops_nobody() -> None:
    """Prevents one spoilt event from ending the log, or from being passed over in silence."""
    repository = filled(3)
    last = read_log(repository)[-1]
    repository.store.replace(last.name, b"{")
    append(repository, "backup", "done", NOW + timedelta(hours=1))
    assert any(last.name in problem for problem in problems(repository))


def _aged(days: int, events_a_day: int = 4) -> tuple[CountingStore, Repository]:
    """A log of so many days."""
    store = CountingStore()
    repository = repository_of(store)
    for number in range(days * events_a_day):
        append(
            repository,
            "backup",
            "done",
            NOW - timedelta(days=days) + number * timedelta(days=1) / events_a_day,
        )
    return store, repository


def test_an_event_is_added_without_listing_the_whole_log() -> None:
    """Loss prevented: a bill that grows with each day, for the end of a list."""
    store, repository = _aged(40)
    before = len(read_log(repository))
    listed: list[str] = []
    list_ = store.list

    def counted(prefix: str = "", after: str = "") -> Iterator[StoredObject]:
        found = list(list_(prefix, after))
        listed.extend(item.name for item in found if "/audit/" in item.name)
        return iter(found)

    store.list = counted  # type: ignore[method-assign]
    head = append(repository, "verify", "whole", NOW)
    assert head.number == before + 1
    assert len(listed) <= 4 * 5
    listed.clear()
    assert read_head(repository, NOW) == head
    assert len(listed) <= 4 * 5
    store.list = list_  # type: ignore[method-assign]
    assert problems(repository) == []


@pytest.mark.parametrize("years", [-30, -1, 1, 30])
def test_a_clock_that_is_wrong_finds_the_end_of_the_log_all_the_same(years: int) -> None:
    """Loss prevented: a second event number 1, by a machine whose clock lost its battery."""
    _, repository = _aged(10)
    before = len(read_log(repository))
    wrong = NOW + timedelta(days=365 * years)
    head = append(repository, "verify", "whole", wrong)
    assert head.number == before + 1
    assert read_head(repository, wrong) == read_head(repository) == head
    assert append(repository, "verify", "whole", NOW).number == before + 2
    assert problems(repository) == []


def test_what_somebody_puts_at_the_end_of_the_log_hides_no_event_before_it() -> None:
    """Attack: files of days to come, so that the next event names none of the real ones."""
    store, repository = _aged(10)
    before = len(read_log(repository))
    for number in range(30):
        store.replace(f"{repository.layout.audit}/29990101T000000.000000Z-{number:06d}.json", b"{}")
    assert append(repository, "verify", "whole", NOW).number == before + 1
