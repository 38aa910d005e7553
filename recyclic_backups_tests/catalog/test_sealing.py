"""Manifests of encrypted backups: what describes the content is sealed, and opened only with the key."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.manifest import Encryption, Manifest
from recyclic_backups.catalog.record import record_manifest
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.sealing import is_readable_by_all, unseal
from recyclic_backups.dump.reseal import seal_older_manifests
from recyclic_backups.envelope.document import decode, encode
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.errors import DamagedData, NoUsableKey, StorageError
from recyclic_backups.fingerprint.model import Fingerprint, TableFingerprint
from recyclic_backups.health.anomalies import anomalies
from recyclic_backups_tests.catalog.older import as_an_older_release_wrote_it
from recyclic_backups_tests.house import KEY, NOON, House
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.retention.histories import manifest as made_up

SERVER_IN_CLEAR = {"system_identifier", "version", "lsn", "encoding"}
OBJECT_IN_CLEAR = {"name", "role", "plain_bytes", "stored_bytes", "stored_sha256"}
IN_CLEAR = {
    *("format", "backup_id", "database", "kind", "tier", "partition", "source", "scheduled_for", "as_of"),
    *("taken_at", "duration_seconds", "late", "server", "programs", "objects", "plain_bytes", "stored_bytes"),
    *("compression", "encryption", "audit_head", "storage_id", "recover_sha256", "instructions_sha256"),
    *("sealed", "mac"),
}


def _without_key(house: House) -> Repository:
    return Repository(house.store, house.database, Keyring(house.store, ""), encrypt=False)


def _document(house: House) -> dict[str, object]:
    name = house.repository.layout.manifest(house.catalog.backups[0].backup_id)
    return decode(house.store.get(name), name)


def test_a_sealed_manifest_says_exactly_this_in_clear(house: House) -> None:
    """Attack prevented: owner, settings, tables and counts read from a stolen disk. The threat model has this list."""
    house.back_up()
    document = _document(house)
    assert document["format"] == 2
    assert set(document) <= IN_CLEAR
    assert set(document["server"]) == SERVER_IN_CLEAR  # type: ignore[call-overload]
    assert all(set(item) == OBJECT_IN_CLEAR for item in document["objects"])  # type: ignore[attr-defined]


def test_with_the_key_a_sealed_manifest_is_the_one_that_was_written(house: House) -> None:
    """Loss prevented: a restore without the owner, settings or grants that only the sealed part knows."""
    house.back_up()
    read = house.catalog.backups[0].manifest
    assert not read.is_closed
    assert read.server.owner == house.server.user
    assert read.fingerprint is not None
    assert "public.member" in read.fingerprint["tables"]
    assert Manifest.from_json(read.to_json()) == read


def test_without_the_key_nobody_takes_sealed_for_none(house: House) -> None:
    """Loss prevented: a restore that compares nothing because the fingerprint it cannot open looks like none."""
    house.back_up()
    backup = load_catalog(_without_key(house)).backups[0]
    manifest = backup.manifest
    assert manifest.is_closed
    assert manifest.stored_bytes > 0
    assert manifest.server.major >= 13
    assert backup.good
    assert "owner" not in repr(manifest)
    for field in ("fingerprint", "notes", "adopted", "checkpoint"):
        with pytest.raises(NoUsableKey):
            getattr(manifest, field)
    for field in ("locale", "owner", "settings", "acl", "comment"):
        with pytest.raises(NoUsableKey):
            getattr(manifest.server, field)
    with pytest.raises(NoUsableKey):
        _ = manifest.main.relation
    with pytest.raises(NoUsableKey):
        manifest.to_json()
    with pytest.raises(AttributeError):
        _ = manifest.nothing  # type: ignore[attr-defined]


def test_health_without_the_key_says_that_tables_are_sealed(house: House) -> None:
    """Loss prevented: a table that was emptied, and a page that calls the night ordinary because it could not look."""
    house.back_up()
    closed = load_catalog(_without_key(house))
    (issue,) = anomalies(closed, house.now)
    assert issue.code == "content_sealed"
    assert not anomalies(house.catalog, house.now)
    for locale in ("en", "fr"):
        assert "BACKUP_ENCRYPTION_KEY" in issue.sentence.text(locale)


def test_what_is_sealed_for_one_backup_opens_for_no_other(house: House, memory: MemoryStore) -> None:
    """Attack prevented: yesterday's fingerprint under today's manifest, so that a lost table compares as equal."""
    first = house.back_up().backup.manifest.document
    second = {**house.back_up().backup.manifest.document, "sealed": first["sealed"]}
    assert first["backup_id"] != second["backup_id"]
    with pytest.raises(DamagedData, match="another backup"):
        unseal(second, house.repository.keyring.for_reading)


@pytest.mark.parametrize("field", ["notes", "fingerprint", "checkpoint", "adopted"])
def test_a_field_in_clear_beside_what_is_sealed_is_damage(house: House, field: str) -> None:
    """Attack prevented: a second fingerprint in clear, which a careless reader would take for the sealed one."""
    house.back_up()
    with pytest.raises(DamagedData, match="in clear"):
        Manifest.from_json(_document(house) | {field: {}})


def test_a_backup_that_is_not_encrypted_keeps_its_manifest_in_clear(house: House) -> None:
    """Loss prevented: a backup without key whose manifest needs one."""
    house.encrypt = False
    manifest = house.back_up().backup.manifest
    document = _document(house)
    assert document["format"] == 1
    assert "sealed" not in document
    assert not is_readable_by_all(manifest)


def test_ten_thousand_tables_fit_into_a_sealed_manifest(memory: MemoryStore) -> None:
    """Loss prevented: a database of many tables whose backup fails at its last step."""
    keyring = Keyring(memory, KEY)
    repository = Repository(memory, "recyclic", keyring, encrypt=True)
    table = TableFingerprint(
        1234, {f"column_{n}": 1234 for n in range(20)}, content="12345678901234567890", sketch="AB" * 128
    )
    fingerprint = Fingerprint("content", tables={f"public.table_{n}": table for n in range(10_000)})
    manifest = replace(
        made_up(NOON),
        encryption=Encryption(1, keyring.for_writing(NOON).key_id),
        fingerprint=fingerprint.to_json(),
    )
    record_manifest(repository, manifest)
    (read,) = load_catalog(repository)
    assert read.manifest.fingerprint == manifest.fingerprint


# -- what older releases wrote


def test_an_older_manifest_is_read_and_told_as_readable(house: House) -> None:
    """Loss prevented: after the upgrade, no older backup restores."""
    backup_id = house.back_up().backup.backup_id
    new = house.catalog.backups[0].manifest
    assert not is_readable_by_all(new)
    as_an_older_release_wrote_it(house.repository, backup_id)
    old = house.catalog.backups[0].manifest
    assert is_readable_by_all(old)
    assert old == new
    assert all(each.passed for each in house.verify())


def _seal_older(house: House) -> tuple[tuple[str, ...], tuple[str, ...]]:
    done = seal_older_manifests(house.server, house.repository, clock=house.clock, lock_wait_seconds=5)
    return done.sealed, tuple(each.name for each in done.refused)


def test_older_manifests_are_sealed_say_the_same_and_once(house: House, memory: MemoryStore) -> None:
    """Loss prevented: sealing that changes a backup, its id or what its checks and labels vouch for."""
    backup_id = house.back_up().backup.backup_id
    others = {item.name: memory.get(item.name) for item in memory.list() if "manifest" not in item.name}
    before = house.catalog.backups[0]
    name = as_an_older_release_wrote_it(house.repository, backup_id)
    assert _seal_older(house) == ((backup_id,), ())
    assert b"member" not in memory.get(name)
    after = house.catalog.backups[0]
    assert after == before
    assert all(memory.get(other) == data for other, data in others.items())
    assert all(each.passed for each in house.verify())
    sealed = memory.get(name)
    assert _seal_older(house) == ((), ())
    assert memory.get(name) == sealed
    events = [json.loads(memory.get(item.name)) for item in memory.list(f"{house.repository.layout.audit}/")]
    (event,) = [each for each in events if each["action"] == "seal manifests"]
    assert event["details"]["backup_ids"] == [backup_id]


def test_a_forged_manifest_is_never_signed(house: House, memory: MemoryStore) -> None:
    """Attack prevented: a manifest edited on the disk, made authentic by the command that seals it."""
    backup_id = house.back_up().backup.backup_id
    name = as_an_older_release_wrote_it(house.repository, backup_id)
    document = decode(memory.get(name), name)
    document["server"]["owner"] = "mallory"
    forged = encode(document)
    memory.replace(name, forged)
    assert _seal_older(house) == ((), (name,))
    assert memory.get(name) == forged


class _StopsAt(MemoryStore):
    """A storage that fails when a manifest is replaced for the ``stops_at``-th time."""

    stops_at = 0

    def replace(self, name: str, data: bytes) -> None:
        if name.endswith("/manifest.json"):
            self.stops_at -= 1
            if self.stops_at == 0:
                raise StorageError("the disk is full")
        super().replace(name, data)


def test_a_run_that_is_stopped_leaves_every_backup_whole_and_the_next_does_the_rest(house: House) -> None:
    """Loss prevented: a full disk halfway, and backups whose manifests are gone."""
    store = house.store = _StopsAt()
    for _ in range(3):
        as_an_older_release_wrote_it(house.repository, house.back_up().backup.backup_id)
    before = house.catalog.backups
    store.stops_at = 2
    with pytest.raises(StorageError):
        _seal_older(house)
    assert house.catalog.backups == before
    assert [is_readable_by_all(each.manifest) for each in house.catalog].count(True) == 2
    sealed, refused = _seal_older(house)
    assert (len(sealed), refused) == (2, ())
    assert house.catalog.backups == before


def test_without_the_key_nothing_is_replaced(house: House, memory: MemoryStore) -> None:
    """Loss prevented: manifests thrown away by somebody who could not make new ones."""
    name = as_an_older_release_wrote_it(house.repository, house.back_up().backup.backup_id)
    before = memory.get(name)
    with pytest.raises(NoUsableKey):
        seal_older_manifests(house.server, _without_key(house), clock=house.clock, lock_wait_seconds=5)
    assert memory.get(name) == before
