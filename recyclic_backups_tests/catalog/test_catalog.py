"""What the storage holds, what is damaged in it, and which backup a name means."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.catalog.catalog import Backup, Damage
from recyclic_backups.catalog.documents import Check, Tombstone
from recyclic_backups.catalog.layout import (
    BACKUP_ID,
    asset_name_of,
    database_of,
    folder_of,
    new_backup_id,
)
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.catalog.proof import proven_at
from recyclic_backups.catalog.record import record_check, record_manifest, record_tombstone
from recyclic_backups.catalog.timestamps import compact, from_text, to_text
from recyclic_backups.errors import DamagedData, ObjectExists, RecoveryError
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore

NAMES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=63)
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(NAMES)
def test_any_database_name_is_one_folder_and_comes_back(name: str) -> None:
    """Loss prevented: a database called ``..`` or ``a/b`` whose backups land outside their folder."""
    folder = folder_of(name)
    assert set(folder) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-%")
    assert database_of(folder) == name


@given(NAMES, NAMES)
def test_two_databases_never_share_an_asset(one: str, other: str) -> None:
    """Loss prevented: Dagster shows one database's backups as the other's."""
    if one != other:
        assert folder_of(one) != folder_of(other)
        assert asset_name_of(one) != asset_name_of(other)


@given(MOMENTS, st.binary(min_size=4, max_size=4))
def test_ids_sort_by_time_and_are_recognized(moment: datetime, randomness: bytes) -> None:
    """Loss prevented: a listing by name that is not one by time."""
    backup_id = new_backup_id(moment, randomness)
    assert BACKUP_ID.fullmatch(backup_id)
    later = new_backup_id(moment + timedelta(seconds=1), b"\0\0\0\0")
    assert backup_id < later or compact(moment) == compact(moment + timedelta(seconds=1))


@given(MOMENTS)
def test_moments_come_back_to_the_microsecond(moment: datetime) -> None:
    """Loss prevented: a moment read in the wrong time zone, an hour or two of sales apart."""
    assert from_text(to_text(moment)) == moment
    assert to_text(moment).endswith("Z")


@pytest.mark.parametrize(
    "text", [None, "", "yesterday", "2026-11-22T01:00:00", "0001-01-01T00:00:00+14:00", 5]
)
def test_what_is_no_moment_is_damage(text: object) -> None:
    """Loss prevented: a naive time taken for UTC in winter and wrong in summer."""
    with pytest.raises(DamagedData):
        from_text(text)


def test_a_manifest_is_read_back_as_it_was_written(house: House) -> None:
    """Loss prevented: a field that a restore needs and that only the writer knows."""
    manifest = house.back_up().backup.manifest
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert set(manifest.to_json()) >= {
        *("format", "backup_id", "database", "kind", "tier", "partition", "source", "scheduled_for", "as_of"),
        *(
            "taken_at",
            "duration_seconds",
            "late",
            "server",
            "programs",
            "objects",
            "plain_bytes",
            "stored_bytes",
        ),
        *("compression", "encryption", "fingerprint"),
    }


def _manifest(store: MemoryStore, house: House) -> str:
    return house.repository.layout.manifest(house.catalog.backups[0].backup_id)


DAMAGES: dict[str, Callable[[dict[str, object]], object]] = {
    "no format": lambda document: document.pop("format"),
    "a format of the future": lambda document: document.update(format=99),
    "no id": lambda document: document.pop("backup_id"),
    "another id": lambda document: document.update(backup_id="20200101T000000Z-AAAAAA"),
    "another database": lambda document: document.update(database="else"),
    "an unknown tier": lambda document: document.update(tier="hourly"),
    "no objects": lambda document: document.update(objects=[5]),
    "an object outside": lambda document: document["objects"][0].update(name="../../x"),  # type: ignore[index]
    "negative bytes": lambda document: document["objects"][0].update(stored_bytes=-1),  # type: ignore[index]
    "a time that is none": lambda document: document.update(as_of="soon"),
    "no server": lambda document: document.pop("server"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_manifest_that_is_nonsense_is_reported_and_is_no_backup(
    house: House, memory: MemoryStore, damage: str
) -> None:
    """Loss prevented: a broken manifest that hides the other backups, or is restored from."""
    house.back_up()
    name = _manifest(memory, house)
    document = json.loads(memory.get(name))
    DAMAGES[damage](document)
    memory.replace(name, json.dumps(document).encode())
    catalog = house.catalog
    assert len(catalog) == 0
    assert name in {found.name for found in catalog.damage}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": 1, "format": 1}'])
def test_a_manifest_that_is_no_document_is_reported(
    house: House, memory: MemoryStore, content: bytes
) -> None:
    """Loss prevented: one unreadable file and `list` ends for all backups."""
    house.back_up()
    name = _manifest(memory, house)
    memory.replace(name, content)
    assert name in {found.name for found in house.catalog.damage}
    with pytest.raises(DamagedData):
        house.catalog.find(name.split("/")[-2])


def test_a_deleted_manifest_is_damage_because_its_label_is_there(house: House, memory: MemoryStore) -> None:
    """Loss prevented: a backup that vanishes without anybody being told (invariant 1)."""
    house.back_up()
    memory.delete(_manifest(memory, house))
    problems = [found.problem for found in house.catalog.damage]
    assert any("manifest is missing" in problem for problem in problems)
    assert len(house.catalog) == 0


def test_a_tombstone_makes_a_backup_unusable_at_once(house: House) -> None:
    """Loss prevented: a restore from a backup that is being deleted (invariant 1)."""
    backup = house.back_up().backup
    backup_id = backup.backup_id
    record_tombstone(house.repository, Tombstone(backup_id, house.now), backup.manifest)
    assert len(house.catalog) == 0
    with pytest.raises(RecoveryError, match="expired"):
        house.catalog.find(backup_id)


def test_an_expired_backup_still_says_when_backups_began(house: House) -> None:
    """Loss prevented: gaps that are no longer shown because what came before them has expired."""
    assert house.catalog.began_at is None
    backup = house.back_up().backup
    assert house.catalog.began_at == backup.as_of.replace(microsecond=0)
    record_tombstone(house.repository, Tombstone(backup.backup_id, house.now), backup.manifest)
    assert house.catalog.began_at == backup.as_of.replace(microsecond=0)


def test_a_manifest_is_written_once(house: House) -> None:
    """Loss prevented: a second process that overwrites a backup's description."""
    manifest = house.back_up().backup.manifest
    with pytest.raises(ObjectExists):
        record_manifest(house.repository, manifest)


def test_checks_of_the_same_moment_do_not_overwrite_each_other(house: House) -> None:
    """Loss prevented: the verdict "damaged" lost because the clock stood still."""
    backup = house.back_up().backup
    for passed in (True, False, True):
        check = Check("verify", backup.backup_id, house.now, passed)
        record_check(house.repository, check, backup.manifest)
    assert len(house.catalog.backups[0].checks) == 4


def test_latest_is_the_newest_that_is_not_known_to_be_damaged(house: House) -> None:
    """Loss prevented: at 3 a.m. `latest` means the backup that the last check found broken."""
    first = house.back_up().backup
    house.now += timedelta(hours=1)
    second = house.back_up().backup
    assert house.catalog.find("latest").backup_id == second.backup_id
    record_check(
        house.repository,
        Check("verify", second.backup_id, house.now + timedelta(seconds=1), False),
        second.manifest,
    )
    assert house.catalog.find("latest").backup_id == first.backup_id
    assert house.catalog.newest_good() is not None


def test_a_failed_restore_takes_the_proof_and_not_the_backup_away(house: House) -> None:
    """Loss prevented: a drill that failed on its own server makes a whole backup unusable."""
    manifest = house.back_up().backup.manifest
    verified = Check("verify", manifest.backup_id, house.now, True)
    proof = Check("restore", manifest.backup_id, house.now + timedelta(hours=1), True, proves=True)
    failed = Check("drill", manifest.backup_id, house.now + timedelta(hours=2), False)
    assert proven_at(Backup(manifest, checks=(verified, proof)), failed.checked_at) == proof.checked_at
    after = Backup(manifest, checks=(verified, proof, failed))
    assert proven_at(after, failed.checked_at) is None
    assert after.good
    assert not after.known_damaged


def test_part_of_an_id_is_enough_when_only_one_has_it(house: House) -> None:
    """Loss prevented: an ambiguous beginning that silently means one of two backups."""
    first = house.back_up().backup
    assert house.catalog.find(first.backup_id[:8].lower()).backup_id == first.backup_id
    house.now += timedelta(hours=1)
    house.back_up()
    with pytest.raises(RecoveryError, match="2 backups begin"):
        house.catalog.find(first.backup_id[:8])


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.binary(max_size=20))
def test_no_name_of_a_damaged_document_is_one_that_cannot_be_written(text: str, name: bytes) -> None:
    """Loss prevented: an alarm, a page, a report that ends with an exception over the name of a foreign file."""
    for each in (os.fsdecode(name), f"{text}\ud800.json"):
        damage, error = Damage(each, f"{each} is odd"), DamagedData(f"{each} is odd", each)
        for said in (damage.name, damage.problem, error.message, error.hint, str(error)):
            assert said.encode("utf-8").decode("utf-8") == said
    assert (Damage(text, "").name, str(DamagedData(text))) == (text, text)
