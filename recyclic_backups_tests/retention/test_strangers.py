"""Links and FIFOs among the backups: expiry and sweep touch nothing behind them, and what they hide stays."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from recyclic_backups.catalog.layout import Layout
from recyclic_backups.dump.sweep import sweep
from recyclic_backups.errors import DamagedData
from recyclic_backups.retention.expire import ExpiryReport, expire
from recyclic_backups.retention.policy import Retention
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.retention.histories import CALENDAR, History, paris
from recyclic_backups_tests.retention.stored import catalog_of, open_repository, write

NOW = paris("2026-11-22T12:00")
LATER = NOW + timedelta(days=30)
LAYOUT = Layout("recyclic")
FEW = Retention(daily=2, weekly=0, monthly=0, checkpoint=0, minimum=2)
STRANGER = "20261101T010000Z-AAAAAA"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Four nights in a directory."""
    store = LocalStore.open(tmp_path / "backups", create=True)
    history = History()
    history.nights("2026-11-19", "2026-11-22")
    write(history, store)
    return store


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """Somebody's files, old enough to be swept were they ours, and one named as an object is."""
    folder = tmp_path / "precious"
    (folder / "checks").mkdir(parents=True)
    for name in ("thesis.txt", "main.dump.zst.sealed", "manifest.json", "checks/y"):
        (folder / name).write_text("thesis")
        os.utime(folder / name, (0, 0))
    return folder


def _expire(store: LocalStore) -> ExpiryReport:
    return expire(open_repository(store), FEW, CALENDAR, now=NOW)


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_linked_backup_folder_is_neither_swept_nor_expired_nor_in_the_way(
    store: LocalStore, precious: Path
) -> None:
    """Attack: a folder of the storage linked elsewhere; the sweep took every file behind it for an orphan."""
    link = store.root / LAYOUT.backup(STRANGER)
    link.symlink_to(precious)
    before = _files(precious)
    assert sweep(open_repository(store), None, LATER) == []
    assert len(_expire(store).removed) == 2
    assert _files(precious) == before
    assert link.is_symlink()


def test_a_link_within_a_backup_that_expires_is_left_with_what_it_leads_to(
    store: LocalStore, precious: Path
) -> None:
    """Attack: the folder of checks of a backup that is due, linked elsewhere: its files would go with the backup."""
    oldest = catalog_of(store).backups[-1].backup_id
    (store.root / LAYOUT.backup(oldest) / "more").symlink_to(precious)
    before = _files(precious)
    report = _expire(store)
    assert _files(precious) == before
    # It cannot be believed whole any more, so it stays and is named.
    assert oldest not in {removal.backup_id for removal in report.removed}
    assert catalog_of(store).damage


@pytest.mark.timeout(20)
def test_a_hold_that_somebody_made_a_fifo_still_holds(store: LocalStore) -> None:
    """Attack: put something unreadable in a hold's place, so that what was held expires."""
    oldest = catalog_of(store).backups[-1].backup_id
    path = store.root / LAYOUT.hold(oldest)
    path.parent.mkdir()
    os.mkfifo(path)
    held = catalog_of(store).find(oldest).hold
    assert held is not None
    assert held.holds(LATER)
    with pytest.raises(DamagedData, match="nothing expires while this cannot be trusted"):
        _expire(store)
    assert catalog_of(store).find(oldest)


@pytest.mark.parametrize("folder", ["holds", "tombstones", "tiers"])
def test_nothing_expires_while_a_folder_that_decides_is_a_link(
    store: LocalStore, precious: Path, folder: str
) -> None:
    """Attack: ``holds`` as a link to an empty folder: nothing would be held any more."""
    before = sorted(item.name for item in store.list("recyclic/backups/"))
    path = store.root / "recyclic" / folder
    if path.is_dir():
        path.rename(store.root / "away")
    path.symlink_to(precious)
    with pytest.raises(DamagedData, match=f"recyclic/{folder}: it is a symbolic link"):
        _expire(store)
    assert sorted(item.name for item in store.list("recyclic/backups/")) == before


@pytest.mark.parametrize(
    "name", ["keys/x.json", "recyclic/audit/x.json", "recyclic/flags/x.json", "recyclic/backups/x"]
)
def test_a_stranger_that_decides_nothing_stops_no_expiry(store: LocalStore, name: str) -> None:
    """Attack: one link, and the disk fills up since nothing expires any more."""
    (store.root / name).parent.mkdir(exist_ok=True)
    (store.root / name).symlink_to("nowhere")
    assert len(_expire(store).removed) == 2


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["FIFO", "directory", "link"])
def test_objects_whose_manifest_is_something_strange_are_no_orphans(store: LocalStore, kind: str) -> None:
    """Attack: a FIFO as manifest, and two days later the sweep removes the objects for it."""
    backup_id = catalog_of(store).backups[0].backup_id
    for check in list(store.list(f"{LAYOUT.backup(backup_id)}/checks/")):
        store.delete(check.name)
    for label in list(store.list("recyclic/tiers/")):
        store.delete(label.name)
    path = store.root / LAYOUT.manifest(backup_id)
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere")
    before = sorted(item.name for item in store.list("recyclic/backups/"))
    sweep(open_repository(store), None, LATER)
    assert sorted(item.name for item in store.list("recyclic/backups/")) == before
    assert LAYOUT.manifest(backup_id) in [damage.name for damage in catalog_of(store).damage]


def test_the_sweep_takes_nothing_but_objects(store: LocalStore) -> None:
    """Loss prevented: files that a person put beside orphans, and folders that are no backup's."""
    for name in (
        LAYOUT.object(STRANGER, "main.dump.zst.sealed"),
        LAYOUT.object(STRANGER, "table-0001.dump.zst"),
        LAYOUT.object(STRANGER, "globals.sql"),
    ):
        store.create(name, b"half")
    kept = (
        LAYOUT.object(STRANGER, "notes.txt"),
        LAYOUT.object(STRANGER, "sub/main.dump"),
        "recyclic/backups/mine/main.dump",
        "recyclic/backups/main.dump",
    )
    for name in kept:
        store.create(name, b"a person's")
    (store.root / "recyclic/backups/.partial-thesis").write_text("a person's")
    removed = sweep(open_repository(store), None, LATER)
    assert len(removed) == 3
    names = {item.name for item in store.list("recyclic/backups/")}
    assert names.issuperset(kept)
    assert not names.intersection(removed)
    assert (store.root / "recyclic/backups/.partial-thesis").exists()
