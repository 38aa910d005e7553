"""What lies in the storage of what people were told: used only where it is known who wrote it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope import passphrase
from recyclic_backups.envelope.document import encode, summed
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.notify import state as remembered
from recyclic_backups.notify.incidents import Observation
from recyclic_backups.notify.state import AlertState
from recyclic_backups.notify.stored_state import look_up, name_in_storage, open_incidents, store
from recyclic_backups.texts.language import Locale
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.notify.problems import NOW, problem
from recyclic_backups_tests.notify.test_state import memory_of

NAME = name_in_storage("recyclic")
FORGED = replace(memory_of(Observation((problem(),))), serial=10**9)
OTHER_KEY = "kN7vEjRWeJq83u8SNFZ4kKvN7xI0VniavN7vEjRWeJA="


def house(*, key: str = KEY, encrypt: bool = True) -> Repository:
    """A storage; with encryption on it has had its first backup."""
    there = MemoryStore()
    if encrypt:
        Keyring(there, key).for_writing(NOW)
    return Repository(there, "recyclic", Keyring(there, key if encrypt else ""), encrypt=encrypt)


def unsigned(repository: Repository) -> None:
    """As every version before wrote it, and as anybody can."""
    repository.store.replace(NAME, remembered.to_document(FORGED).encode())


def with_a_sum(repository: Repository) -> None:
    """As it is written where nothing asks for MACs."""
    repository.store.replace(NAME, encode(summed(json.loads(remembered.to_document(FORGED)), NAME)))


def edited(repository: Repository) -> None:
    """A true one with one word changed."""
    store(repository, FORGED)
    content = repository.store.get(NAME)
    repository.store.replace(NAME, content.replace(b"the disk is full", b"call 555 12345"))


def of_another_database(repository: Repository) -> None:
    """A true one of the same storage."""
    neighbour = replace(repository, database="other")
    store(neighbour, FORGED)
    repository.store.replace(NAME, repository.store.get(name_in_storage("other")))


def of_another_storage(repository: Repository) -> None:
    """A true one of a storage that the same passphrase opens, its key file beside it."""
    other = house()
    store(other, FORGED)
    for item in other.store.list("keys/"):
        repository.store.replace(item.name, other.store.get(item.name))
    repository.store.replace(NAME, other.store.get(NAME))


@pytest.mark.parametrize("encrypt", [True, False])
@pytest.mark.parametrize("forge", [unsigned, with_a_sum, edited, of_another_database, of_another_storage])
def test_a_memory_that_we_did_not_sign_is_used_for_nothing(forge: object, encrypt: bool) -> None:
    """Attack: people are sent a text and a link in our name, and are not told what they would have been told."""
    repository = house()
    forge(repository)  # type: ignore[operator]
    repository = replace(repository, keyring=Keyring(repository.store, KEY), encrypt=encrypt)
    copy = look_up(repository)
    assert (copy.state, copy.shown, copy.had_backups) == (None, None, False)
    assert look_up(repository).state is None
    (issue,) = open_incidents(repository)
    assert "What people were told is not shown" in issue.sentence.text()
    assert "n’est pas montré" in issue.sentence.text("fr")
    assert "the disk" not in issue.sentence.text()


def test_what_we_signed_is_gone_on_with() -> None:
    """Loss prevented: everybody told everything again after Dagster's database was lost."""
    repository = house()
    store(repository, FORGED)
    assert look_up(repository).state == FORGED
    assert "mac" in json.loads(repository.store.get(NAME))
    assert len(open_incidents(repository)) == 1


def test_where_nothing_is_signed_nothing_is_sent_or_kept_back_by_what_lies_there() -> None:
    """Attack: the same, on a storage without encryption, where nobody can tell who wrote anything."""
    repository = house(encrypt=False)
    with_a_sum(repository)
    copy = look_up(repository)
    assert copy.state is None
    assert look_up(repository).state is None
    # It may raise an alarm, and it is shown where every word is the storage's.
    assert copy.had_backups
    assert len(open_incidents(repository)) == 1
    store(repository, AlertState(serial=3))
    assert "sha256" in json.loads(repository.store.get(NAME))
    repository.store.replace(NAME, repository.store.get(NAME).replace(b'"serial": 3', b'"serial": 4'))
    assert look_up(repository).shown is None


@pytest.mark.parametrize("locale", ["en", "fr"])
def test_without_the_key_it_is_not_used_and_says_so(locale: Locale) -> None:
    """Attack: whoever takes away the key file makes the forged copy count."""
    repository = house()
    store(repository, FORGED)
    stranger = replace(repository, keyring=Keyring(repository.store, OTHER_KEY))
    copy = look_up(stranger)
    assert copy.state is None
    assert copy.doubt is not None
    sentence = {"en": "no configured passphrase opens its key", "fr": "aucune phrase secrète configurée"}
    assert sentence[locale] in copy.doubt.text(locale)
    for item in list(repository.store.list("keys/")):
        repository.store.delete(item.name)
    assert look_up(replace(repository, keyring=Keyring(repository.store, KEY))).state is None


def test_nothing_makes_a_key_but_a_backup() -> None:
    """Loss prevented: a second key of a storage whose keys are only not mounted."""
    there = MemoryStore()
    repository = Repository(there, "recyclic", Keyring(there, KEY), encrypt=True)
    store(repository, FORGED)
    assert list(there.list("")) == []


def test_a_passphrase_is_derived_once_however_often_the_sensor_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: half a second of a core and 128 MiB, each minute of each day, to protect a remark."""
    derived: list[object] = []
    derive = passphrase._scrypt

    def counted(text: str, derivation: passphrase.Derivation) -> bytes:
        derived.append(derivation)
        return derive(text, derivation)

    monkeypatch.setattr(passphrase, "_scrypt", counted)
    text = "a passphrase of ordinary words, for this test alone"
    repository = house(key=text)
    for serial in range(3):
        opened = replace(repository, keyring=Keyring(repository.store, text))  # as each look does
        store(opened, replace(FORGED, serial=serial))
        assert look_up(opened).state is not None
    assert len(derived) == 1
