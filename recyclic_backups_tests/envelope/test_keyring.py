"""Keys: made once, opened by the right passphrase only, rotated without losing any."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from recyclic_backups.envelope import key_file, passphrase
from recyclic_backups.envelope.data_key import DataKey, key_id_of
from recyclic_backups.envelope.keyring import Keyring, generate_passphrase
from recyclic_backups.errors import (
    BackupError,
    ConfigurationError,
    DamagedData,
    NoUsableKey,
    ObjectExists,
    StorageError,
)
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.memory_store import MemoryStore

NOW = datetime(2026, 11, 22, 1, 0, 3, tzinfo=UTC)
ONE, TWO, THREE = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))


def older_storage(store: MemoryStore, *made: tuple[str, datetime]) -> list[DataKey]:
    """Key files as they were before there were storage ids: each a passphrase and when it was made."""
    keys = []
    for text, created_at in made:
        secret = os.urandom(32)
        keys.append(DataKey(key_id_of(secret), secret))
        content = key_file.wrap(keys[-1], text, passphrase.new_derivation(text), created_at, created_at)
        store.create(f"keys/{keys[-1].key_id}.json", content)
    return keys


def test_the_first_use_makes_a_key_and_every_later_one_finds_it() -> None:
    """Two processes that seal under keys of which one is forgotten would lose backups."""
    store = MemoryStore()
    made = Keyring(store, ONE).for_writing(NOW)
    assert key_id_of(made.secret) == made.key_id
    assert [entry.name for entry in store.list()] == [f"keys/{made.key_id}.json", "storage.json"]
    later = Keyring(store, ONE)
    assert later.for_writing(NOW + timedelta(days=1)) == made
    assert later.for_reading(made.key_id) == made


def test_a_text_passphrase_opens_what_it_wrapped() -> None:
    """Most people type a sentence; it must work as well as a generated key."""
    store = MemoryStore()
    made = Keyring(store, "une phrase de passe assez longue").for_writing(NOW)
    assert Keyring(store, " une phrase de passe assez longue\n").for_reading(made.key_id) == made
    stored = json.loads(store.get(f"keys/{made.key_id}.json"))
    assert stored["derivation"]["n"] == 2**17


def test_a_passphrase_that_opens_nothing_never_makes_a_new_key() -> None:
    """A silent new key would hide a mistyped passphrase until a restore needs the old backups."""
    store = MemoryStore()
    Keyring(store, ONE).for_writing(NOW)
    with pytest.raises(NoUsableKey) as caught:
        Keyring(store, TWO, [THREE]).for_writing(NOW)
    assert "BACKUP_ENCRYPTION_OLD_KEYS" in caught.value.hint
    assert len(list(store.list())) == 2


def test_an_old_passphrase_still_opens_and_is_never_written_with() -> None:
    """After the setting was changed yesterday's backups restore; who knows the former passphrase seals nothing new."""
    store = MemoryStore()
    made = Keyring(store, ONE).for_writing(NOW)
    changed = Keyring(store, TWO, ["", ONE])
    assert changed.for_reading(made.key_id) == made
    with pytest.raises(NoUsableKey, match="only a former passphrase") as caught:
        changed.for_writing(NOW)
    assert "keys rotate" in caught.value.hint
    changed.rotate(TWO, NOW)
    assert changed.for_writing(NOW) == made


def test_of_several_keys_the_newest_is_written_with() -> None:
    """After a key was replaced on purpose, nothing more may be sealed under the old one."""
    store = MemoryStore()
    old, new = older_storage(store, (ONE, NOW), (ONE, NOW + timedelta(seconds=1)))
    unknown = Keyring(MemoryStore(), THREE).for_writing(NOW + timedelta(days=9))
    content = key_file.wrap(unknown, THREE, passphrase.new_derivation(THREE), NOW, NOW)
    store.create(f"keys/{unknown.key_id}.json", content)
    store.create("keys/README.txt", b"not a key file")
    keyring = Keyring(store, ONE)
    assert keyring.for_writing(NOW) == new
    assert keyring.for_reading(old.key_id) == old
    with pytest.raises(NoUsableKey, match=unknown.key_id):
        keyring.for_reading(unknown.key_id)


def test_a_missing_key_file_is_said_to_be_missing() -> None:
    """The operator must look for the file, not for a passphrase that cannot help."""
    with pytest.raises(NoUsableKey, match=r"keys/0123456789abcdef\.json is missing"):
        Keyring(MemoryStore(), ONE).for_reading("0123456789abcdef")


@pytest.mark.parametrize("key_id", ["", "../../secret", "0123456789ABCDEF", "0123456789abcde\n"])
def test_a_key_id_is_never_a_path(key_id: str) -> None:
    """A hostile manifest must not make us read a file of its choice."""
    with pytest.raises(DamagedData):
        Keyring(MemoryStore(), ONE).for_reading(key_id)


def test_a_damaged_key_file_is_named_and_does_not_stop_the_others() -> None:
    """A key file rots once: who hears of it today can still put the copy back, and tonight's backup is taken."""
    store = MemoryStore()
    first, second = older_storage(store, (ONE, NOW), (ONE, NOW + timedelta(seconds=1)))
    Keyring(store, ONE).for_writing(NOW)
    store.replace(f"keys/{second.key_id}.json", b"{}")
    store.create("keys/0123456789abcdef.json", b"{}")
    keyring = Keyring(store, ONE)
    assert keyring.for_writing(NOW) == keyring.for_reading(first.key_id) == first
    named = {name for name, _ in keyring.belonging().problems}
    assert {f"keys/{second.key_id}.json", "keys/0123456789abcdef.json"} <= named
    with pytest.raises(DamagedData, match=f"keys/{second.key_id}"):
        keyring.for_reading(second.key_id)


def test_a_damaged_key_file_is_named_where_it_is_the_only_one() -> None:
    """The operator must look for a copy of the file, not for a passphrase."""
    store = MemoryStore()
    made = Keyring(store, ONE).for_writing(NOW)
    store.replace(f"keys/{made.key_id}.json", b"{}")
    with pytest.raises(DamagedData, match=f"keys/{made.key_id}"):
        Keyring(store, ONE).for_writing(NOW)


def test_a_key_that_the_storage_did_not_keep_is_not_used() -> None:
    """Backups sealed under a key file that was stored wrong could never be read."""

    class Forgetful(MemoryStore):
        def get(self, name: str) -> bytes:
            return super().get(name)[:-1]

    with pytest.raises(DamagedData, match="did not keep"):
        Keyring(Forgetful(), ONE).for_writing(NOW)


def test_a_key_file_is_never_overwritten_by_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Overwriting a key file loses every backup sealed under it."""
    store = MemoryStore()
    monkeypatch.setattr(os, "urandom", bytes)  # zeros: a random generator gone wrong
    made = Keyring(store, ONE).for_writing(NOW)
    monkeypatch.setattr(store, "list", lambda _prefix: iter(()))  # a listing that lags behind
    with pytest.raises(NoUsableKey, match="no key file"):
        Keyring(store, ONE).for_writing(NOW)
    store.delete("storage.json")
    with pytest.raises(ObjectExists):
        Keyring(store, ONE).for_writing(NOW)
    assert Keyring(store, ONE).for_reading(made.key_id) == made


def test_rotation_keeps_the_keys_and_changes_the_passphrase(tmp_path: Path) -> None:
    """Rotating must never touch a data key: every backup hangs on it."""
    store = LocalStore(tmp_path)
    made = Keyring(store, ONE).for_writing(NOW)
    later = NOW + timedelta(days=30)
    assert Keyring(store, ONE).rotate(TWO, later) == [made.key_id]
    assert Keyring(store, TWO).for_reading(made.key_id) == Keyring(store, TWO).for_writing(later) == made
    with pytest.raises(NoUsableKey):
        Keyring(store, ONE).for_reading(made.key_id)
    stored = json.loads(store.get(f"keys/{made.key_id}.json"))
    assert (stored["created_at"], stored["wrapped_at"]) == ("2026-11-22T01:00:03Z", "2026-12-22T01:00:03Z")


def test_rotation_leaves_alone_what_it_cannot_open() -> None:
    """A key of another passphrase must survive somebody else's rotation."""
    store, elsewhere = MemoryStore(), MemoryStore()
    mine = Keyring(store, ONE).for_writing(NOW)
    theirs = Keyring(elsewhere, THREE).for_writing(NOW)
    store.create(f"keys/{theirs.key_id}.json", elsewhere.get(f"keys/{theirs.key_id}.json"))
    assert Keyring(store, ONE).rotate(TWO, NOW) == [mine.key_id]
    assert Keyring(store, THREE).for_reading(theirs.key_id) == theirs
    with pytest.raises(NoUsableKey):
        Keyring(store, ONE).rotate(TWO, NOW)
    assert Keyring(MemoryStore(), ONE).rotate(TWO, NOW) == []


def test_an_interrupted_rotation_can_be_run_again() -> None:
    """A crash between two key files must leave both openable."""
    store = MemoryStore()
    first, second = older_storage(store, (ONE, NOW), (ONE, NOW))
    Keyring(store, ONE).for_writing(NOW)
    replaced: list[str] = []

    def fail_at_second(verb: str, name: str) -> None:
        if verb == "replace":
            replaced.append(name)
            if len(replaced) == 2:
                raise StorageError("the disk went away")

    store.before = fail_at_second
    with pytest.raises(StorageError):
        Keyring(store, ONE).rotate(TWO, NOW)
    store.before = lambda _verb, _name: None
    both = sorted([first.key_id, second.key_id])
    assert Keyring(store, TWO, [ONE]).rotate(TWO, NOW) == both
    assert {Keyring(store, TWO).for_reading(key_id).key_id for key_id in both} == set(both)


def test_rotation_to_a_damaged_storage_replaces_nothing() -> None:
    """A rotation that stops halfway over rot would leave two passphrases in use without anyone knowing."""
    store = MemoryStore()
    made, rotten = older_storage(store, (ONE, NOW), (ONE, NOW))
    Keyring(store, ONE).for_writing(NOW)
    store.replace(f"keys/{rotten.key_id}.json", b"rot")
    before = store.get(f"keys/{made.key_id}.json")
    with pytest.raises(DamagedData):
        Keyring(store, ONE).rotate(TWO, NOW)
    assert store.get(f"keys/{made.key_id}.json") == before


@pytest.mark.parametrize("text", ["  ", "hunter2", " " * 20 + "fifteen letters"])
def test_a_short_passphrase_is_a_configuration_error(text: str) -> None:
    """A passphrase that can be guessed is no encryption; say so before anything is sealed."""
    with pytest.raises(ConfigurationError) as caught:
        Keyring(MemoryStore(), text)
    assert not text.strip() or text.strip() not in str(caught.value)
    with pytest.raises(ConfigurationError):
        Keyring(MemoryStore(), ONE).rotate(text, NOW)


def test_the_name_of_a_key_file_given_as_the_key_is_recognized(tmp_path: Path) -> None:
    """The right key is there, and is taken for the wrong one."""
    store = MemoryStore()
    Keyring(store, ONE).for_writing(NOW)
    path = tmp_path / "the-key-of-the-backups"
    for hinted in (False, True):
        with pytest.raises(NoUsableKey) as caught:
            Keyring(store, str(path)).for_writing(NOW)
        assert ("BACKUP_ENCRYPTION_KEY_FILE" in caught.value.hint) is hinted
        assert str(path) not in caught.value.message + caught.value.hint
        path.write_text(ONE)


def test_without_a_passphrase_old_ones_read_and_nothing_is_made() -> None:
    """Encryption turned off must leave old backups readable, and never wrap a new key with a former passphrase."""
    store = MemoryStore()
    for old in ([], [ONE]):
        with pytest.raises(ConfigurationError):
            Keyring(store, "", old).for_writing(NOW)
    made = Keyring(store, ONE).for_writing(NOW)
    assert Keyring(store, "", [ONE]).for_reading(made.key_id) == made
    with pytest.raises(NoUsableKey):
        Keyring(store, "").for_reading(made.key_id)


def test_bytes_that_are_no_text_are_refused_without_showing_them() -> None:
    """An environment variable in another encoding must not end in a traceback with the key in it."""
    with pytest.raises(ConfigurationError) as caught:
        Keyring(MemoryStore(), "secret-passphrase-\udce9")
    assert "secret" not in caught.value.message + caught.value.hint


def test_times_need_a_zone_and_are_kept_in_utc() -> None:
    """The newest key is chosen by time: a local time without zone would choose wrong."""
    with pytest.raises(BackupError):
        Keyring(MemoryStore(), ONE).for_writing(NOW.replace(tzinfo=None))
    store = MemoryStore()
    paris = timezone(timedelta(hours=1))
    made = Keyring(store, ONE).for_writing(NOW.astimezone(paris))
    assert json.loads(store.get(f"keys/{made.key_id}.json"))["created_at"] == "2026-11-22T01:00:03Z"


def test_a_passphrase_is_derived_once_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """scrypt takes 128 MiB and half a second: per object or per label it would stall every command."""
    derived: list[str] = []
    real = passphrase._scrypt
    monkeypatch.setattr(passphrase, "_SCRYPT_N", 2**14)

    def counted(text: str, derivation: passphrase.Derivation) -> bytes:
        derived.append(text)
        return real(text, derivation)

    monkeypatch.setattr(passphrase, "_scrypt", counted)
    store = MemoryStore()
    made = Keyring(store, "a phrase derived a single time").for_writing(NOW)
    for _ in range(3):
        keyring = Keyring(store, "a phrase derived a single time")
        assert keyring.for_reading(made.key_id) == keyring.for_writing(NOW) == made
    assert len(derived) == 1


def test_a_keyring_that_is_not_asked_does_nothing() -> None:
    """`list` must need neither key nor time."""

    def nothing(verb: str, name: str) -> None:
        raise AssertionError(f"{verb} {name}")

    Keyring(MemoryStore(before=nothing), "a phrase that is not derived", ["nor this one, by the way"])


def test_generated_passphrases_are_full_entropy_and_differ() -> None:
    """A generated key that were taken for text would cost scrypt each time; equal ones would be no keys."""
    made = {generate_passphrase() for _ in range(20)}
    assert len(made) == 20
    for text in made:
        found = passphrase.full_entropy(text)
        assert found is not None
        assert len(found) == 32


@pytest.mark.parametrize(
    "text",
    [
        "a" * 44,
        "correct horse battery staple and forty-four.",
        ONE[:-1],
        ONE + "=",
        "-" + "/" * 41 + "w=",  # two alphabets at once
        "A" * 42 + "B=",  # not what 32 bytes encode to: two spare bits are set
        "é" * 44,
    ],
)
def test_what_people_type_is_never_taken_for_full_entropy(text: str) -> None:
    """Text through HKDF alone could be guessed a billion times faster than through scrypt."""
    assert passphrase.full_entropy(text) is None


def test_importing_the_keyring_loads_no_cipher() -> None:
    """Every command pays for its imports: `list` and `--help` must not wait for cryptography."""
    program = "import sys, recyclic_backups.envelope.keyring, recyclic_backups.envelope.unseal, "
    program += "recyclic_backups.envelope.seal, recyclic_backups.envelope.document\n"
    program += "sys.exit(any(name.split('.')[0] == 'cryptography' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_hostile_scrypt_cost_is_refused_without_being_paid() -> None:
    """A key file that asks for 1 TiB must not take the backup host down."""
    store = MemoryStore()
    made = Keyring(store, ONE).for_writing(NOW)
    stored = json.loads(store.get(f"keys/{made.key_id}.json"))
    stored["derivation"] = {
        "name": "scrypt",
        "n": 2**30,
        "r": 8,
        "p": 1,
        "salt": stored["derivation"]["salt"],
    }
    stored["sha256"] = key_file._sha256(stored)
    store.replace(f"keys/{made.key_id}.json", json.dumps(stored).encode())
    with pytest.raises(DamagedData, match="out of bounds"):
        Keyring(store, "a text, so that scrypt applies").for_reading(made.key_id)
