"""The storage in RAM keeps the contract, and fails when told to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from recyclic_backups.errors import StorageError
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.storage.contract import StoreContract, names, upload


class TestMemoryStore(StoreContract):
    """The contract, in RAM."""

    memory_limit_bytes = None

    @pytest.fixture
    def store(self) -> MemoryStore:
        """An empty one."""
        return MemoryStore()


def test_a_fault_at_any_call_is_what_the_storage_answers() -> None:
    """Tests of the layers above put one fault at every call: a call that cannot fail would stay untested."""
    calls: list[tuple[str, str]] = []
    store = MemoryStore(before=lambda verb, name: calls.append((verb, name)))
    upload(store, "a", b"x")
    with store.reader("a") as reader:
        reader.read(1)
    store.get("a")
    store.create("b", b"x")
    store.replace("b", b"y")
    store.delete("b")
    assert names(store) == ["a"]
    store.free_bytes()
    verbs = " ".join(verb for verb, _ in calls)
    assert verbs == "writer write commit reader read get create replace delete list free_bytes"

    def fail(verb: str, name: str) -> None:
        raise StorageError(f"{verb} {name} fails")

    store.before = lambda verb, name: fail(verb, name) if verb == "commit" else None
    with pytest.raises(StorageError, match="commit c fails"):
        upload(store, "c", b"x")
    store.before = lambda _verb, _name: None
    assert names(store) == ["a"]


def test_the_clock_can_be_set() -> None:
    """The rules about the age of orphans are tested without waiting 48 hours."""
    moment = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
    store = MemoryStore(clock=lambda: moment)
    store.create("a", b"x")
    assert [stored.modified_at for stored in store.list()] == [moment]
