"""When a recorded verification stands for reading a backup again, and when it does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.record import record_check
from recyclic_backups.dump.verify import recent_verification
from recyclic_backups.envelope.document import decode, encode, summed
from recyclic_backups_tests.counting import CountingStore
from recyclic_backups_tests.house import House

HOURS = 3600


@pytest.fixture
def store(house: House) -> CountingStore:
    """A storage whose clock is the house's."""
    store = house.store = CountingStore(clock=lambda: house.now)
    return store


def stands(house: House, hours: float = 20) -> bool:
    """Whether the newest backup need not be read."""
    backup = house.catalog.backups[0]
    repository = house.repository
    return (
        recent_verification(repository, backup, "parsed", house.now, within_seconds=hours * HOURS) is not None
    )


def test_a_verification_stands_for_less_than_the_interval(house: House, store: CountingStore) -> None:
    """Loss prevented: a backup that is never read again, and one that is read all day."""
    house.back_up()
    assert stands(house)
    assert not stands(house, hours=0)
    house.now += timedelta(hours=20) - timedelta(seconds=1)
    assert stands(house)
    house.now += timedelta(seconds=1)
    assert not stands(house)


@pytest.mark.parametrize("what", ["written again", "shorter", "gone"])
def test_other_bytes_are_read_again(house: House, store: CountingStore, what: str) -> None:
    """Loss prevented: a proof of bytes that are not there any more."""
    backup = house.back_up().backup
    name = house.repository.layout.object(backup.backup_id, backup.manifest.main.name)
    content = store.get(name)
    house.now += timedelta(minutes=6)
    assert stands(house)
    if what == "gone":
        store.delete(name)
    else:
        store.replace(name, content if what == "written again" else content[:-1])
    assert not stands(house)


@pytest.mark.parametrize("what", ["of the future", "failed later", "of less", "forged", "no key"])
def test_what_is_not_believed_or_says_less_does_not_stand(
    house: House, store: CountingStore, what: str
) -> None:
    """Attack, and mistakes: a wrong clock, or somebody without the key, that keeps rot from being found."""
    backup = house.back_up().backup
    layout = house.repository.layout
    (name,) = (item.name for item in store.list(f"{layout.backup(backup.backup_id)}/checks/"))
    check = Check("verify", backup.backup_id, house.now, True, details={"level": "parsed"})
    house.now += timedelta(minutes=10)
    if what == "failed later":
        record_check(house.repository, replace(check, checked_at=house.now, passed=False), backup.manifest)
    else:
        document = decode(store.get(name), name)
        store.delete(name)
        if what == "of the future":
            record_check(
                house.repository, replace(check, checked_at=house.now + timedelta(days=300)), backup.manifest
            )
        elif what == "of less":
            record_check(house.repository, replace(check, details={"level": "readable"}), backup.manifest)
        elif what == "forged":
            forged = replace(check, checked_at=house.now).to_json()
            store.create(name, encode(summed(forged, name)))
        else:
            store.create(name, encode(document))
            house.encrypt = False  # a keyring without passphrase
    assert not stands(house)
