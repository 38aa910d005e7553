"""What killed attempts leave is removed by the next backup; nothing that anybody may need is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from recyclic_backups.dump.sweep import sweep
from recyclic_backups.envelope.document import encode, signed, summed
from recyclic_backups.errors import Refused
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore

ID = "20261101T000000Z-AAAAAA"


def _orphans(house: House, *, owner: str | None, age: timedelta) -> MemoryStore:
    """A storage in which an attempt stopped halfway so long ago."""
    written_at = [house.now - age]
    store = MemoryStore(clock=lambda: written_at[0])
    house.store = store
    layout = house.repository.layout
    if owner is not None:
        announce(house, owner)
    store.create(layout.object(ID, "main.dump.zst.sealed"), b"half")
    return store


def announce(house: House, owner: str, *, forged: bool = False) -> None:
    """Say whose attempt it is, as a run does, or as somebody does who has no key."""
    said, name = {"format": 1, "system_identifier": owner}, house.repository.layout.attempt(ID)
    key = None if forged else house.repository.key_for_backups(house.now)
    house.store.replace(name, encode(summed(said, name) if key is None else signed(said, name, key)))


def _names(store: MemoryStore) -> list[str]:
    return [
        item.name
        for item in store.list("")
        if "/audit/" not in item.name and not item.name.startswith(("keys/", "storage.json"))
    ]


def test_an_attempt_of_this_server_is_dead_once_we_hold_its_lock(house: House) -> None:
    """Loss prevented: a disk that fills with the halves of killed backups."""
    store = _orphans(house, owner="me", age=timedelta(0))
    assert len(sweep(house.repository, "me", house.now)) == 2
    assert _names(store) == []


def test_an_attempt_of_another_server_is_left_alone_for_two_days(house: House) -> None:
    """Loss prevented: the objects of a backup that another host is writing right now."""
    store = _orphans(house, owner="another", age=timedelta(hours=47))
    assert sweep(house.repository, "me", house.now) == []
    assert len(_names(store)) == 2
    store = _orphans(house, owner="another", age=timedelta(hours=49))
    sweep(house.repository, "me", house.now)
    assert _names(store) == []


def test_a_forged_announcement_has_nothing_swept_that_another_host_is_writing(house: House) -> None:
    """Attack: whoever can write to the storage, without a key, calls a running backup of another host dead."""
    store = _orphans(house, owner="another", age=timedelta(hours=1))
    announce(house, "me", forged=True)
    assert sweep(house.repository, "me", house.now) == []
    assert len(_names(store)) == 2
    house.encrypt = False  # nor without a passphrase at hand, in a storage that has keys
    assert sweep(house.repository, "me", house.now) == []


def test_an_announcement_with_an_old_date_makes_no_younger_object_go(house: House) -> None:
    """Attack: a file's date is set back, and two days of a running backup are swept as rubbish."""
    written_at = [house.now - timedelta(days=3)]
    house.store = store = MemoryStore(clock=lambda: written_at[0])
    announce(house, "another", forged=True)
    written_at[0] = house.now - timedelta(hours=1)
    dump = house.repository.layout.object(ID, "main.dump.zst.sealed")
    store.create(dump, b"half")
    sweep(house.repository, "me", house.now)
    assert _names(store) == [dump]


def test_an_announcement_protects_nothing_for_ever(house: House) -> None:
    """Attack: a disk filled with objects that a forged announcement claims for a host that never ends."""
    store = _orphans(house, owner=None, age=timedelta(hours=49))
    announce(house, "another", forged=True)
    sweep(house.repository, "me", house.now)
    assert [name for name in _names(store) if "/backups/" in name] == []


@pytest.mark.parametrize(("hours", "left"), [(47, 1), (49, 0)])
def test_objects_nobody_announced_go_after_two_days(house: House, hours: int, left: int) -> None:
    """Loss prevented: orphans of a version that did not announce itself stay for ever."""
    store = _orphans(house, owner=None, age=timedelta(hours=hours))
    sweep(house.repository, "me", house.now)
    assert len(_names(store)) == left


@pytest.mark.parametrize("witness", ["label", "check", "manifest"])
def test_what_somebody_relied_on_is_damage_and_never_swept(
    house: House, memory: MemoryStore, witness: str
) -> None:
    """Loss prevented: the last bytes of a backup whose manifest was deleted, swept as rubbish (invariant 1)."""
    backup_id = house.back_up().backup.backup_id
    layout = house.repository.layout
    removed = {
        "label": [
            layout.manifest(backup_id),
            *(i.name for i in memory.list(f"{layout.backup(backup_id)}/checks/")),
        ],
        "check": [layout.manifest(backup_id), layout.label("daily", "2026-11-22")],
        "manifest": [layout.label("daily", "2026-11-22")],
    }[witness]
    for name in removed:
        memory.delete(name)
    before = _names(memory)
    house.now += timedelta(days=30)
    assert sweep(house.repository, "me", datetime(2027, 6, 1, tzinfo=UTC)) == []
    assert _names(memory) == before


def test_the_next_backup_sweeps_by_itself(house: House) -> None:
    """Loss prevented: a sweep that somebody has to remember."""
    with house.server.connect(house.database) as connection:
        row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    assert row is not None
    store = _orphans(house, owner=str(row[0]), age=timedelta(0))
    house.back_up()
    assert not [name for name in _names(store) if ID in name]
    assert not [name for name in _names(store) if "/attempts/" in name]


def test_a_backup_that_will_not_fit_is_refused_before_it_starts(
    house: House, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a full disk at 02:10 that takes the application down with it."""
    stored = house.back_up().backup.manifest.stored_bytes
    before = _names(memory)
    monkeypatch.setattr(memory, "free_bytes", lambda: stored)
    with pytest.raises(Refused, match="left and the backup needs"):
        house.back_up()
    assert _names(memory) == before
