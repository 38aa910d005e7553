"""Which keys are the storage's own: planted ones, those of former passphrases, and those of another storage."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recyclic_backups.envelope import identity, key_file, passphrase
from recyclic_backups.envelope.belonging import SeenKey, Stranger, judge
from recyclic_backups.envelope.data_key import DataKey, key_id_of
from recyclic_backups.envelope.document import canonical, signed
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.errors import DamagedData, NoUsableKey, Refused, StorageError, UsageError
from recyclic_backups_tests.envelope.test_keyring import NOW, ONE, THREE, TWO, older_storage
from recyclic_backups_tests.memory_store import MemoryStore

LATER = NOW + timedelta(days=9)


def new_key() -> DataKey:
    """A data key as somebody makes one for himself."""
    secret = os.urandom(32)
    return DataKey(key_id_of(secret), secret)


def plant(
    store: MemoryStore, text: str, storage_id: str | None = None, key: DataKey | None = None
) -> DataKey:
    """Put a key file wrapped with that passphrase into a storage, newer than all others."""
    key = key or new_key()
    content = key_file.wrap(key, text, passphrase.new_derivation(text), LATER, LATER, storage_id)
    store.replace(f"keys/{key.key_id}.json", content)
    return key


def other_storage(text: str = ONE) -> tuple[MemoryStore, DataKey]:
    """Another storage that the same passphrase opens."""
    store = MemoryStore()
    return store, Keyring(store, text).for_writing(NOW)


def copy_keys(source: MemoryStore, target: MemoryStore) -> None:
    """What somebody copies who merges two storages, or wants them to look like one."""
    for item in source.list("keys/"):
        target.replace(item.name, source.get(item.name))


def problems(store: MemoryStore, text: str = ONE, *old: str) -> dict[str, str]:
    """What is told of the keys."""
    return dict(Keyring(store, text, old).belonging().problems)


def test_a_new_storage_says_which_it_is_and_its_key_file_too() -> None:
    """Prevents that a backup with its key, copied from another storage, looks like one of this."""
    store = MemoryStore()
    key = Keyring(store, ONE).for_writing(NOW)
    document = json.loads(store.get("storage.json"))
    assert identity.STORAGE_ID.fullmatch(document["storage_id"])
    assert document["keys"] == [key.key_id]
    assert json.loads(store.get(f"keys/{key.key_id}.json"))["storage_id"] == document["storage_id"]
    assert Keyring(store, ONE).storage_id() == document["storage_id"]
    assert Keyring(store, TWO).storage_id() is None
    assert problems(store) == {}


def test_the_storage_id_of_a_key_file_cannot_be_edited() -> None:
    """Prevents that a key file of another storage is made to name this one by who has no passphrase."""
    store, key = other_storage()
    name = f"keys/{key.key_id}.json"
    document = json.loads(store.get(name)) | {"storage_id": "0" * 32}
    document["sha256"] = key_file._sha256(document)
    store.replace(name, json.dumps(document).encode())
    with pytest.raises(DamagedData, match="edited"):
        Keyring(store, ONE).for_unsealing(key.key_id)


def test_a_key_planted_with_a_former_passphrase_writes_nothing_and_vouches_for_nothing() -> None:
    """The attack: who knows a former passphrase wraps a newer key of his own; the next backup would be his to read."""
    store = MemoryStore()
    own = Keyring(store, ONE).for_writing(NOW)
    Keyring(store, TWO, [ONE]).rotate(TWO, NOW)
    planted = plant(store, ONE, Keyring(store, TWO).storage_id())
    keyring = Keyring(store, TWO, [ONE])
    assert keyring.for_writing(LATER) == keyring.for_reading(own.key_id) == own
    with pytest.raises(Stranger):
        keyring.for_reading(planted.key_id)
    listed = {entry.key_id: (entry.opened_by, entry.belongs) for entry in keyring.inventory()}
    assert listed == {own.key_id: ("current", True), planted.key_id: ("former", False)}
    assert f"keys/{planted.key_id}.json" in problems(store, TWO, ONE)
    # Nor does changing the passphrase once more take it in.
    assert keyring.rotate(THREE, LATER) == [own.key_id]


def test_who_knows_a_former_passphrase_cannot_say_which_keys_belong() -> None:
    """The attack: a storage.json of his own, signed with the key that he planted, lists it."""
    store = MemoryStore()
    own = Keyring(store, ONE).for_writing(NOW)
    Keyring(store, TWO, [ONE]).rotate(TWO, NOW)
    storage_id = Keyring(store, TWO).storage_id()
    assert storage_id is not None
    planted = plant(store, ONE, storage_id)
    store.replace("storage.json", identity.content_of(storage_id, [own.key_id], NOW, planted))
    keyring = Keyring(store, TWO, [ONE])
    assert keyring.belonging().members == {own.key_id}
    assert keyring.for_writing(LATER) == own
    assert "storage.json" in problems(store, TWO, ONE)


@pytest.mark.parametrize("content", [None, b"{}"])
def test_a_rotation_does_not_take_in_a_key_planted_with_a_former_passphrase_once_storage_json_is_gone(
    content: bytes | None,
) -> None:
    """Prevents that backups are sealed with a key of whoever knows a former passphrase: he takes storage.json away."""
    store, own = other_storage(TWO)
    planted = plant(store, ONE, Keyring(store, TWO).storage_id())
    store.delete(identity.NAME)
    if content is not None:
        store.create(identity.NAME, content)

    assert Keyring(store, TWO, [ONE]).rotate(TWO, LATER) == [own.key_id]
    assert Keyring(store, TWO, [ONE]).for_writing(LATER).key_id == own.key_id
    assert identity.parse(store.get(identity.NAME)).keys == {own.key_id}
    assert planted.key_id not in Keyring(store, TWO, [ONE]).belonging().members


@pytest.mark.parametrize("signs", [False, True])
def test_a_rotation_does_not_ask_a_passphrase_of_long_ago_which_keys_belong(signs: bool) -> None:
    """Prevents the same while the current passphrase is new and opens nothing: all former ones had the same say."""
    store, _ = other_storage(TWO)
    storage_id = Keyring(store, TWO).storage_id()
    assert storage_id is not None
    planted = plant(store, ONE, storage_id)
    store.delete(identity.NAME)
    if signs:
        store.create(identity.NAME, identity.content_of(storage_id, [planted.key_id], NOW, planted))
    before = {item.name: store.get(item.name) for item in store.list()}

    with pytest.raises(Refused, match="two former passphrases"):
        Keyring(store, THREE, [TWO, ONE]).rotate(THREE, LATER)

    assert {item.name: store.get(item.name) for item in store.list()} == before


MANIFEST = "app/backups/20261122T010003Z-K3X7QA/manifest.json"


@pytest.mark.parametrize("manifest", [MANIFEST, "server.73/base/20261122T010003Z-K3X7QA/manifest.json"])
@pytest.mark.parametrize("signs", [False, True])
def test_a_former_passphrase_has_no_say_once_our_own_key_file_was_taken_away(
    signs: bool, manifest: str
) -> None:
    """The attack: who knows a former passphrase leaves but his own key there; his backups would be signed, and the
    operator, told that only a former passphrase opens keys, would rotate: what is written next would be his to read.
    """
    store, own = other_storage(TWO)
    storage_id = Keyring(store, TWO).storage_id()
    assert storage_id is not None
    store.create(manifest, json.dumps(signed({"format": 1}, manifest, own)).encode())
    copy = store.get(f"keys/{own.key_id}.json")
    store.delete(f"keys/{own.key_id}.json")
    store.delete(identity.NAME)
    planted = plant(store, ONE, storage_id)
    if signs:
        store.create(identity.NAME, identity.content_of(storage_id, [planted.key_id], NOW, planted))
    before = {item.name: store.get(item.name) for item in store.list()}

    keyring = Keyring(store, TWO, [ONE])
    assert keyring.belonging().members == frozenset()
    assert [entry.belongs for entry in keyring.inventory()] == [False]
    assert list(problems(store, TWO, ONE)) == ["keys"]
    with pytest.raises(Stranger):
        keyring.for_reading(planted.key_id)
    for write in (lambda: keyring.for_writing(LATER), lambda: keyring.rotate(TWO, LATER)):
        with pytest.raises(NoUsableKey, match="in the place of ours"):
            write()
    assert {item.name: store.get(item.name) for item in store.list()} == before
    # Once the copy is back, all is as it was.
    store.create(f"keys/{own.key_id}.json", copy)
    assert Keyring(store, TWO, [ONE]).belonging().members == {own.key_id}


def test_before_a_rotation_one_former_passphrase_says_which_keys_belong_and_two_do_not() -> None:
    """Prevents that changing the passphrase makes backups unreadable until it is done; and the attack of one of long
    ago in that time: a key of his own, and newer backups signed with it.
    """
    store, own = other_storage(TWO)
    store.create(MANIFEST, json.dumps(signed({"format": 1}, MANIFEST, own)).encode())
    assert Keyring(store, THREE, [TWO]).belonging().members == {own.key_id}
    assert Keyring(store, THREE, [TWO, ONE]).belonging().members == {own.key_id}
    planted = plant(store, ONE, Keyring(store, TWO).storage_id())
    store.delete(identity.NAME)
    assert Keyring(store, THREE, [TWO, ONE]).belonging().members == frozenset()
    # By name a person takes his own in, and that alone.
    assert Keyring(store, THREE, [TWO]).rotate(THREE, LATER, adopt=[own.key_id]) == [own.key_id]
    assert Keyring(store, THREE, [ONE]).belonging().members == {own.key_id}
    with pytest.raises(Stranger):
        Keyring(store, THREE, [ONE]).for_reading(planted.key_id)


def test_a_key_is_taken_in_by_name_where_nothing_opens_what_backups_are_sealed_with() -> None:
    """Prevents a storage that can never be written to again after a key file was lost while the passphrase changed."""
    store, own = other_storage(ONE)
    lost = new_key()
    store.create(MANIFEST, json.dumps(signed({"format": 1}, MANIFEST, lost)).encode())
    keyring = Keyring(store, TWO, [ONE])
    with pytest.raises(NoUsableKey, match=lost.key_id):
        keyring.rotate(TWO, LATER)
    assert keyring.rotate(TWO, LATER, adopt=[own.key_id]) == [own.key_id]
    assert Keyring(store, TWO).for_writing(LATER) == own


def test_a_key_that_the_current_passphrase_opens_and_nobody_listed_is_a_stranger() -> None:
    """The attack: another storage of the same operator, opened by the same passphrase; its key file is copied here."""
    store, own = other_storage()
    elsewhere, theirs = other_storage()
    copy_keys(elsewhere, store)
    keyring = Keyring(store, ONE)
    assert keyring.for_writing(LATER) == own
    assert keyring.for_unsealing(theirs.key_id) == theirs
    with pytest.raises(Stranger):
        keyring.for_reading(theirs.key_id)


def test_the_storage_json_of_another_storage_makes_our_keys_strangers_and_says_so() -> None:
    """The attack: storage.json and keys of the one put over those of the other; backups of both would be mixed."""
    store, own = other_storage()
    elsewhere, theirs = other_storage()
    copy_keys(elsewhere, store)
    store.replace("storage.json", elsewhere.get("storage.json"))
    keyring = Keyring(store, ONE)
    assert keyring.belonging().members == {theirs.key_id}
    assert f"keys/{own.key_id}.json" in problems(store)
    # Without its key it cannot be checked: told, and what our own key files say goes on counting.
    store.delete(f"keys/{theirs.key_id}.json")
    keyring = Keyring(store, ONE)
    before = store.get("storage.json")
    assert keyring.for_writing(LATER) == own
    assert "storage.json" in problems(store)
    assert store.get("storage.json") == before
    with pytest.raises(DamagedData, match="cannot be believed"):
        keyring.rotate(TWO, LATER)


def test_a_missing_storage_json_is_told_and_made_anew_from_the_keys_that_name_the_storage(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The attack: it is deleted, so that a key copied from another storage counts again."""
    store, own = other_storage()
    storage_id = Keyring(store, ONE).storage_id()
    nameless = plant(store, ONE)
    store.delete("storage.json")
    assert {"storage.json", f"keys/{nameless.key_id}.json"} == problems(store).keys()
    assert Keyring(store, ONE).for_writing(LATER) == own
    assert "made anew" in caplog.text
    document = json.loads(store.get("storage.json"))
    assert (document["storage_id"], document["keys"]) == (storage_id, [own.key_id])


@pytest.mark.parametrize("content", [b"", b"{}", b"rot"])
def test_a_spoilt_storage_json_stops_no_backup(content: bytes) -> None:
    """Prevents that one bad block of a disk ends the backups, or that they go on without a word."""
    store, own = other_storage()
    storage_id = Keyring(store, ONE).storage_id()
    store.replace("storage.json", content)
    assert "storage.json" in problems(store)
    assert Keyring(store, ONE).for_writing(LATER) == own
    assert (Keyring(store, ONE).storage_id(), problems(store)) == (storage_id, {})


def test_an_edited_list_of_keys_is_damage() -> None:
    """The attack: a key id written into storage.json by who has no key."""
    store, own = other_storage()
    planted = plant(store, ONE)
    document = json.loads(store.get("storage.json"))
    document["keys"] = sorted([own.key_id, planted.key_id])
    store.replace("storage.json", json.dumps(document).encode())
    assert Keyring(store, ONE).belonging().members == {own.key_id}
    assert "MAC is wrong" in problems(store)["storage.json"]


def test_two_storages_that_were_mixed_are_not_written_until_a_person_says_which() -> None:
    """The attack: keys of two storages and no storage.json; nobody can tell whose backups are the newest."""
    store, own = other_storage()
    elsewhere, theirs = other_storage()
    copy_keys(elsewhere, store)
    store.delete("storage.json")
    keyring = Keyring(store, ONE)
    assert keyring.belonging().members == frozenset()
    for key in (own, theirs):
        with pytest.raises(Stranger):
            keyring.for_reading(key.key_id)
    for write in (lambda: keyring.for_writing(LATER), lambda: keyring.rotate(TWO, LATER)):
        with pytest.raises(DamagedData, match="two storages"):
            write()
    assert keyring.rotate(ONE, LATER, adopt=[own.key_id]) == [own.key_id]
    assert Keyring(store, ONE).for_writing(LATER) == own
    assert f"keys/{theirs.key_id}.json" in problems(store)


def test_an_older_storage_is_trusted_once_and_then_knows_its_keys() -> None:
    """Prevents that backups made before there were storage ids cannot be read, or that a key is believed for ever."""
    store = MemoryStore()
    first, second = older_storage(store, (ONE, NOW), (ONE, NOW + timedelta(seconds=1)))
    assert Keyring(store, ONE).belonging().members == {first.key_id, second.key_id}
    assert problems(store) == {}
    assert "storage.json" not in {item.name for item in store.list()}
    assert Keyring(store, ONE).for_writing(LATER) == second
    assert json.loads(store.get("storage.json"))["keys"] == sorted([first.key_id, second.key_id])
    planted = plant(store, ONE)
    assert Keyring(store, ONE).for_writing(LATER) == second
    with pytest.raises(Stranger):
        Keyring(store, ONE).for_reading(planted.key_id)


def test_an_older_storage_does_not_trust_a_key_of_a_former_passphrase() -> None:
    """The attack of a former passphrase, in the nights before storage.json is made; a person can take a key in."""
    store = MemoryStore()
    own, old = older_storage(store, (TWO, NOW), (ONE, NOW))
    keyring = Keyring(store, TWO, [ONE])
    assert keyring.for_writing(NOW) == own
    with pytest.raises(Stranger):
        keyring.for_reading(old.key_id)
    assert keyring.rotate(TWO, LATER) == [own.key_id]
    assert keyring.rotate(TWO, LATER, adopt=[old.key_id]) == sorted([own.key_id, old.key_id])
    keyring = Keyring(store, TWO)
    assert keyring.for_reading(old.key_id) == old
    for key_id, error in (("0" * 16, UsageError), (plant(store, THREE).key_id, NoUsableKey)):
        with pytest.raises(error):
            keyring.rotate(TWO, LATER, adopt=[key_id])


def test_keys_that_were_lost_are_not_replaced_in_silence() -> None:
    """Prevents a new key, and backups that look fine, in a storage whose folder of keys was deleted."""
    store, own = other_storage()
    store.delete(f"keys/{own.key_id}.json")
    with pytest.raises(NoUsableKey, match="no key file"):
        Keyring(store, ONE).for_writing(LATER)
    assert [item.name for item in store.list("keys/")] == []


@pytest.mark.parametrize("moment", ["keys/", "storage.json"])
def test_two_processes_that_make_the_first_key_agree_on_one(moment: str) -> None:
    """Prevents backups sealed with a key that the storage does not count as its own."""
    store = MemoryStore()
    made: list[DataKey] = []

    def another(verb: str, name: str) -> None:
        if verb == "create" and name.startswith(moment):
            store.before = lambda *_: None
            made.append(Keyring(store, ONE).for_writing(NOW))

    store.before = another
    assert Keyring(store, ONE).for_writing(NOW) == made[0]
    # One of the two keys, if there were two, and nothing is left over.
    assert Keyring(store, ONE).belonging().members == {made[0].key_id}
    assert problems(store) == {}


def test_a_newer_storage_json_is_left_alone() -> None:
    """Prevents that an older release writes over what a newer one knows of the storage."""
    store, own = other_storage()
    document = json.loads(store.get("storage.json")) | {"format": 2}
    store.replace("storage.json", json.dumps(document).encode())
    before = store.get("storage.json")
    for write in (
        lambda: Keyring(store, ONE).for_writing(LATER),
        lambda: Keyring(store, ONE).rotate(TWO, LATER),
    ):
        with pytest.raises(DamagedData, match="newer"):
            write()
    assert store.get("storage.json") == before
    assert Keyring(store, ONE).for_reading(own.key_id) == own


def test_thousands_of_key_files_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack: key files whose derivation takes seconds and a gigabyte each; every command would hang."""
    store = MemoryStore()
    text = "a text, so that scrypt would be paid"
    monkeypatch.setattr(passphrase, "_SCRYPT_N", 2**14)
    own = Keyring(store, text).for_writing(NOW)
    content = store.get(f"keys/{own.key_id}.json")
    for number in range(200):
        document = json.loads(content) | {"key_id": f"{number:016x}"}
        document["derivation"] = {
            **document["derivation"],
            "salt": passphrase.new_derivation(text).describe()["salt"],
        }
        document["sha256"] = key_file._sha256(document)
        store.create(f"keys/{number:016x}.json", canonical(document))
    derived: list[str] = []
    real = passphrase._scrypt

    def counted(phrase: str, derivation: passphrase.Derivation) -> bytes:
        derived.append(phrase)
        return real(phrase, derivation)

    monkeypatch.setattr(passphrase, "_scrypt", counted)
    monkeypatch.setattr(passphrase, "_roots", {})
    found = Keyring(store, text).belonging()
    assert found.members == {own.key_id}
    assert len(derived) == 1
    assert len(found.problems) == 200


def test_costly_key_files_cost_little_though_storage_json_was_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The attack: without storage.json every key is tried, and 63 that take ten seconds each make any command hang."""
    store = MemoryStore()
    text = "a text, so that scrypt would be paid"
    monkeypatch.setattr(passphrase, "_SCRYPT_N", 2**14)
    own = Keyring(store, text).for_writing(NOW)
    content = store.get(f"keys/{own.key_id}.json")
    for number in range(40):
        document = json.loads(content) | {"key_id": f"{number:016x}"}
        document["derivation"] |= {
            "n": 2**20,
            "p": 4,
            "salt": passphrase.new_derivation(text).describe()["salt"],
        }
        document["sha256"] = key_file._sha256(document)
        store.create(f"keys/{number:016x}.json", canonical(document))
    store.delete(identity.NAME)
    dear: list[int] = []
    real = passphrase._scrypt

    def counted(phrase: str, derivation: passphrase.Derivation) -> bytes:
        if derivation.n == 2**14:
            return real(phrase, derivation)
        dear.append(derivation.n)
        return bytes(32)

    monkeypatch.setattr(passphrase, "_scrypt", counted)
    monkeypatch.setattr(passphrase, "_roots", {})
    keyring = Keyring(store, text)
    assert keyring.belonging().members == {own.key_id}
    assert len(keyring.inventory()) == 41
    assert len(dear) == 4


@pytest.mark.parametrize("step", range(8))
@pytest.mark.parametrize("fault", ["before", "after"])
def test_a_rotation_that_stops_anywhere_leaves_a_storage_that_both_passphrases_open(
    step: int, fault: str
) -> None:
    """Prevents the loss of every backup, or of the list of keys, by a power cut while the passphrase is changed."""
    store = MemoryStore()
    keys = older_storage(store, (ONE, NOW), (ONE, NOW), (ONE, NOW))
    if step % 2:
        Keyring(store, ONE).for_writing(NOW)  # with storage.json already
    writes: list[str] = []
    replace = store.replace

    def replaced(name: str, data: bytes) -> None:
        if len(writes) == step // 2:
            if fault == "after":
                replace(name, data)
            raise StorageError("the power went")
        writes.append(name)
        replace(name, data)

    store.replace = replaced  # type: ignore[method-assign]
    with suppress(StorageError):
        Keyring(store, TWO, [ONE]).rotate(TWO, LATER)
    store.replace = replace  # type: ignore[method-assign]
    both = Keyring(store, TWO, [ONE])
    assert {both.for_reading(key.key_id).key_id for key in keys} == {key.key_id for key in keys}
    assert both.rotate(TWO, LATER) == sorted(key.key_id for key in keys)
    assert problems(store, TWO) == {}
    assert Keyring(store, TWO).for_writing(LATER) in keys
    assert len({json.loads(store.get(f"keys/{key.key_id}.json"))["storage_id"] for key in keys}) == 1


@given(
    st.lists(
        st.tuples(st.booleans(), st.booleans(), st.sampled_from([None, "a" * 32, "b" * 32])), max_size=5
    ),
    st.one_of(st.none(), st.integers(0, 4)),
    st.integers(0, 31),
)
@settings(max_examples=200, deadline=None)
def test_what_may_be_written_with_is_current_and_believed(
    drawn: list[tuple[bool, bool, str | None]], signer: int | None, listed: int
) -> None:
    """Property: whatever keys lie there and whatever storage.json says, only what the current passphrase opens writes;
    a list of keys is believed only if a leading key signed it; two storages without one are never one.
    """
    keys = [new_key() for _ in drawn]
    seen = [
        SeenKey(key.key_id, NOW, storage_id if opens else None, key if opens else None, opens and current)
        for key, (opens, current, storage_id) in zip(keys, drawn, strict=True)
    ]
    content = None
    if signer is not None and signer < len(keys):
        names = [key.key_id for number, key in enumerate(keys) if listed >> number & 1]
        content = identity.content_of("c" * 32, names, NOW, keys[signer])
    found = judge(seen, content)
    current = {key.key_id for key in seen if key.current}
    assert {key.key_id for key in found.writers} <= current
    if found.identity is None:
        assert found.members <= (current or {key.key_id for key in seen if key.data_key})
        assert len({found.keys[key_id].storage_id for key_id in found.members}) <= 1
    else:
        assert not current or found.identity.signer in current
    assert found.is_known == any(key.data_key for key in seen)


def test_no_two_storages_have_one_id() -> None:
    """Prevents two storages of one id: what is of the one would be of the other."""
    made = set()
    for _ in range(20):
        keyring = Keyring(MemoryStore(), ONE)
        keyring.for_writing(NOW)
        made.add(keyring.storage_id())
    assert len(made) == 20


@pytest.mark.parametrize(
    "change",
    [
        {"storage_id": "x"},
        {"storage_id": None},
        {"keys": "0359b5a7ac127405"},
        {"keys": ["nonsense"]},
        {"keys": []},
        {"created_at": "2026-11-22T01:00:03"},
        {"mac": None},
        {"format": None},
    ],
)
def test_a_storage_json_that_is_nonsense_is_damage(change: dict[str, object]) -> None:
    """Prevents a traceback, or a guess, where somebody wrote something else."""
    key = new_key()
    document = json.loads(identity.content_of("c" * 32, [], datetime(2026, 11, 22, tzinfo=UTC), key))
    with pytest.raises(DamagedData, match="is damaged"):
        identity.parse(json.dumps(document | change).encode())


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-10:00", "0001-01-01T00:00:00+14:00"])
def test_a_key_file_dated_beyond_the_calendar_is_damage(moment: str) -> None:
    """Prevents that `keys list` ends with an unexpected error because of a file that somebody put there."""
    store, own = other_storage()
    document = json.loads(store.get(key_file.storage_name(own.key_id)))
    document |= {"key_id": "0" * 16, "created_at": moment}
    del document["sha256"]
    document["sha256"] = hashlib.sha256(canonical(document)).hexdigest()
    store.create(key_file.storage_name("0" * 16), json.dumps(document).encode())

    listed = {entry.key_id: entry for entry in Keyring(store, ONE).inventory()}
    assert listed["0" * 16].problem == "a time is beyond the calendar"
    assert listed[own.key_id].opened_by == "current"
