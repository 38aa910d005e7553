"""A document is read once, by a process and by a machine; a cache that somebody planted proves and hides nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recyclic_backups.catalog import read_once
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups_tests.counting import CountingStore
from recyclic_backups_tests.retention.histories import History
from recyclic_backups_tests.retention.stored import open_repository, write


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    read_once._memories.clear()
    yield
    read_once._memories.clear()


@pytest.fixture
def history() -> History:
    """Three days."""
    made = History()
    made.nights("2026-11-20", "2026-11-22")
    return made


def load(store: CountingStore, cache: Path | None, *, encrypt: bool = True) -> tuple[Catalog, int]:
    """The catalog, and how many documents of it were read from the storage."""
    store.forget()
    catalog = load_catalog(replace(open_repository(store, encrypt=encrypt), cache=cache))
    return catalog, sum(count for asked, count in store.asked.items() if asked.startswith("read recyclic/"))


def in_another_process(
    store: CountingStore, cache: Path | None, *, encrypt: bool = True
) -> tuple[Catalog, int]:
    """The same by a process that has read nothing yet."""
    read_once._memories.clear()
    return load(store, cache, encrypt=encrypt)


def test_a_document_is_read_once_by_a_process_and_by_a_machine(history: History, tmp_path: Path) -> None:
    """Loss prevented: a bill for reading what cannot change; and a label that was moved and is not seen."""
    store = CountingStore()
    write(history, store)
    catalog, read = in_another_process(store, tmp_path)
    assert read >= 6
    assert load(store, tmp_path) == (catalog, 0)
    assert in_another_process(store, tmp_path) == (catalog, 0)
    label = next(item.name for item in store.list("recyclic/tiers/"))
    store.replace(label, store.get(label).replace(b"late", b"lute"))
    changed, read = load(store, tmp_path)
    assert read == 1
    assert [damage.name for damage in changed.damage] == [label]
    assert in_another_process(store, None)[1] >= 6  # deleted, or never there


def test_where_nothing_is_signed_the_file_is_not_believed(history: History, tmp_path: Path) -> None:
    """Attack: a planted file with a right SHA-256, in place of what the storage says."""
    store = CountingStore()
    write(history, store, encrypt=False)
    first, second = (in_another_process(store, tmp_path, encrypt=False) for _ in range(2))
    assert first == second
    assert load(store, tmp_path, encrypt=False)[1] == 0


@pytest.mark.parametrize("how", ["edited", "nonsense", "open to others", "link", "fifo", "folder of others"])
def test_a_planted_file_proves_nothing_and_hides_nothing(history: History, tmp_path: Path, how: str) -> None:
    """Attack: backups that are not, or that are gone, by whoever can write to a directory for temporary files."""
    store = CountingStore()
    write(history, store)
    catalog, all_of_them = in_another_process(store, tmp_path)
    (file,) = tmp_path.rglob("*.json")
    document = json.loads(file.read_text())
    if how in ("edited", "open to others", "link"):
        for name, (version, text) in document["documents"].items():
            # Of the same length, so that its version fits.
            document["documents"][name] = [version, text.replace("false", "true ")]
        file.write_text(json.dumps(document))
    if how == "nonsense":
        file.write_bytes(b'{"format": 1, "documents": [[[')
    elif how == "open to others":
        file.chmod(0o666)
    elif how == "link":
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    elif how == "fifo":
        file.unlink()
        os.mkfifo(file)
    elif how == "folder of others":
        file.parent.chmod(0o777)
    found, read = in_another_process(store, tmp_path)
    assert found == catalog
    assert 0 < read <= all_of_them
