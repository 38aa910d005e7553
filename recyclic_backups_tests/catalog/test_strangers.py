"""What lies in a storage and is not ours is told, and stops nothing else."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.layout import Layout
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.strangers import HINT, MOST_TOLD, find_strangers, tell_strangers
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.errors import DamagedData
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.memory_store import MemoryStore

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ID = "20261122T010003Z-K3X7QA"
LAYOUT = Layout("app")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A storage with a folder of a database."""
    store = LocalStore.open(tmp_path / "backups", create=True)
    store.create(LAYOUT.object(ID, "main.dump"), b"x")
    return store


def catalog_of(store: LocalStore) -> Catalog:
    """What is loaded."""
    return load_catalog(Repository(store, "app", Keyring(store, ""), encrypt=False))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "name",
    [
        LAYOUT.manifest(ID),
        LAYOUT.label("daily", "2026-11-22"),
        LAYOUT.tombstone(ID),
        "app/audit",
        "keys/a.json",
        "keys",
    ],
)
def test_a_link_or_fifo_in_the_place_of_a_document_is_damage(store: LocalStore, name: str) -> None:
    """Attack: what is passed over in silence hides a backup, a label or a key."""
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        path = store.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
        assert name in [damage.name for damage in catalog_of(store).damage]
        path.unlink()


def test_a_backup_whose_manifest_is_a_link_is_named_as_damaged(store: LocalStore) -> None:
    """Attack: "there is no such backup" would send the operator looking elsewhere."""
    (store.root / LAYOUT.manifest(ID)).symlink_to("/etc/passwd")
    with pytest.raises(DamagedData, match="symbolic link"):
        catalog_of(store).find(ID)


def test_a_database_folder_that_is_a_link_is_no_empty_storage(store: LocalStore, tmp_path: Path) -> None:
    """Attack: all backups behind a link. Nothing is followed, and nobody is told that there never was a backup."""
    (store.root / "app").rename(tmp_path / "elsewhere")
    (store.root / "app").symlink_to(tmp_path / "elsewhere")
    catalog = catalog_of(store)
    assert [damage.name for damage in catalog.damage] == ["app"]
    with pytest.raises(DamagedData, match="app: it is a symbolic link"):
        catalog.find("latest")


def test_a_hold_that_is_a_link_holds_as_one_that_cannot_be_read_does(store: LocalStore) -> None:
    """Attack: a hold replaced by a link, so that what somebody held expires."""
    path = store.root / LAYOUT.hold(ID)
    path.parent.mkdir()
    path.symlink_to("nowhere")
    house = Repository(store, "app", Keyring(store, ""), encrypt=False)
    names = [damage.name for damage in load_catalog(house).damage]
    assert names == [LAYOUT.hold(ID)]


def test_a_million_links_are_not_a_million_lines(store: LocalStore) -> None:
    """Attack: a mail, a page and a log that nobody can open."""
    for number in range(MOST_TOLD + 20):
        (store.root / f"app/backups/{number:05}").symlink_to("nowhere")
        (store.root / f"{number:05}").symlink_to("nowhere")
    damage = catalog_of(store).damage
    assert len(damage) == MOST_TOLD + 1
    assert "more than" in damage[-1].problem
    assert len(find_strangers(store)) == MOST_TOLD + 1


def test_what_is_ours_is_no_stranger(store: LocalStore) -> None:
    """Loss prevented: a warning at every backup, which nobody reads any more when there is reason to."""
    for name in (
        "recover.py",
        "RECOVERY.md",
        "storage.json",
        "keys/0123456789abcdef.json",
        "app/report.html",
    ):
        store.replace(name, b"x")
    for folder in ("tiers", "attempts", "holds", "tombstones", "audit", "flags", "alerts"):
        store.create(f"app/{folder}/x/y.json", b"x")
    store.create("My%20Shop/backups/x/manifest.json", b"x")
    for folder in ("lost+found", "software/wheels", "server.17/wal", "app_that_is_empty"):
        (store.root / folder).mkdir(parents=True)
    with store.writer("recover.py"):
        assert find_strangers(store) == []
    memory = MemoryStore()
    memory.create("app/backups/x/manifest.json", b"x")
    assert find_strangers(memory) == []


def test_a_module_beside_recover_py_is_told_with_what_to_do(store: LocalStore) -> None:
    """Attack: ``argparse.py`` beside recover.py would be loaded by it, with the key in its hands."""
    (store.root / "argparse.py").write_text("evil")
    (store.root / "json").mkdir()
    (store.root / "json/__init__.py").write_text("evil")
    (store.root / "app/__init__.py").write_text("evil")
    (store.root / "app/sub").mkdir()
    (store.root / "base64.py").symlink_to("argparse.py")
    os.mkfifo(store.root / "RECOVERY.md")
    said: list[str] = []
    tell_strangers(store, said.append)
    assert said == [
        "warning: RECOVERY.md in the storage's top directory is a FIFO: it is not followed",
        "warning: the file app/__init__.py in the storage is not of this software",
        "warning: the directory app/sub in the storage is not of this software",
        "warning: the file argparse.py in the storage's top directory is not of this software",
        "warning: base64.py in the storage's top directory is a symbolic link: it is not followed",
        "warning: the directory json in the storage's top directory is no database's",
        f"hint: {HINT}",
    ]


def test_a_directory_that_cannot_be_looked_into_is_told_and_stops_no_backup(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: no backup because of a trash folder of another user in the top directory of the disk."""
    (store.root / ".Trash-0").mkdir()
    real = os.open

    def refuse(path: object, *arguments: object, **options: object) -> int:
        if path == ".Trash-0":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    [found] = find_strangers(store)
    assert found.startswith("the directory .Trash-0 in the storage's top directory cannot be looked into")


def test_a_key_is_not_made_anew_where_a_stranger_stands_in_its_place(store: LocalStore) -> None:
    """Attack: the key file replaced by a FIFO: a new key would hide that the old backups cannot be read any more."""
    passphrase = "correct horse battery staple"
    made = Keyring(store, passphrase).for_writing(NOW)
    path = store.root / "keys" / f"{made.key_id}.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DamagedData, match=f"keys/{made.key_id}.json"):
        Keyring(store, passphrase).for_writing(NOW)
