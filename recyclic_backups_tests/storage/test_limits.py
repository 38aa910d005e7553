"""Small documents are small: what has no end, or is absurdly large, is damage and is not read to the end."""

from __future__ import annotations

import os
import tracemalloc

import pytest

from recyclic_backups.envelope.document import encode
from recyclic_backups.errors import DamagedData, StorageError
from recyclic_backups.fingerprint.document import packed
from recyclic_backups.fingerprint.model import TableFingerprint
from recyclic_backups.storage.limits import LIMITS, kind_of_document, most_bytes
from recyclic_backups.storage.local import LocalStore
from recyclic_backups.storage.store import Store
from recyclic_backups_tests.memory_store import MemoryStore

ID = "20261122T010003Z-K3X7QA"

KINDS = {
    "keys/0123456789abcdef.json": "key file",
    "storage.json": "storage.json",
    "recover.py": "rescue",
    "RECOVERY.md": "rescue",
    f"app/backups/{ID}/manifest.json": "manifest",
    f"app/backups/{ID}/checks/20261122T010003.000000Z.json": "check",
    "app/tiers/daily/2026-11-22.json": "label",
    f"app/holds/{ID}.json": "hold",
    f"app/tombstones/{ID}.json": "tombstone",
    f"app/attempts/{ID}.json": "attempt",
    "app/audit/20261122T010003.000000Z-000001.json": "audit event",
    "app/flags/fill_gaps.json": "flag",
    "app/flags/fill_gaps.outcome.json": "flag",
    "app/alerts/state.json": "alert state",
    f"app/backups/{ID}/main.dump.zst.sealed": "other",
    "app/report.html": "other",
}


def test_every_kind_of_document_has_a_limit() -> None:
    """A kind that nobody thought of would be read to its end."""
    assert {name: kind_of_document(name) for name in KINDS} == KINDS
    assert set(KINDS.values()) == set(LIMITS)


@pytest.mark.parametrize("name", [name for name in KINDS if most_bytes(name) <= 4 << 20])
def test_a_document_over_its_limit_is_damage_and_never_read_to_its_end(store: LocalStore, name: str) -> None:
    """Attack: a document of terabytes (a sparse file costs nothing) eats the memory of whoever reads it."""
    path = store.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.truncate(path, most_bytes(name))
    assert len(store.get(name)) == most_bytes(name)
    os.truncate(path, 1 << 42)
    tracemalloc.start()
    try:
        with pytest.raises(DamagedData, match="has more than the") as damage:
            store.get(name)
        assert tracemalloc.get_traced_memory()[1] < 3 * most_bytes(name)
    finally:
        tracemalloc.stop()
    assert str(damage.value).startswith(f"{name} is damaged")


def test_no_document_is_written_that_no_reader_takes(store: LocalStore) -> None:
    """Loss prevented: a backup whose manifest is stored, and damage from then on."""
    stores: list[Store] = [store, MemoryStore()]
    name = "app/tiers/daily/2026-11-22.json"
    for each in stores:
        for write in (each.create, each.replace):
            with pytest.raises(StorageError, match="readers take"):
                write(name, bytes(most_bytes(name) + 1))
        each.create(name, bytes(most_bytes(name)))
        assert len(each.get(name)) == most_bytes(name)


def test_the_manifest_of_ten_thousand_tables_fits() -> None:
    """Loss prevented: a large application whose backups are refused by a limit that was meant for attackers."""
    columns = packed({f"a_column_with_a_long_name_{number}": 10**9 for number in range(50)})
    table = TableFingerprint(10**9, {}, "1" * 20, ("public.another_table",) * 5, sketch="ab" * 32).to_json()
    names = [f"some_schema.a_table_with_a_long_name_{number}" for number in range(10_000)]
    # Of each table itself, its owner, grants, three indexes, two constraints and a trigger: text and listing.
    entries = packed({f"INDEX {name}_{number}": "0" * 16 for name in names for number in range(9)})
    document = {
        "tables": {name: {**table, "non_null": columns} for name in names},
        "schema": entries,
        "listing": entries,
    }
    size = len(encode(document))
    assert size < most_bytes(f"app/backups/{ID}/manifest.json") / 2, size
