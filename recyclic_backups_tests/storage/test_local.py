"""The directory keeps the contract of every storage, and keeps strangers out."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from recyclic_backups.errors import StorageError
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.storage.contract import StoreContract, names, read, upload
from recyclic_backups_tests.storage.directories import files


class TestLocalStore(StoreContract):
    """The contract, in a directory."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        """A new directory."""
        return LocalStore.open(tmp_path / "backups", create=True)


class TestLocalStoreWithoutHardLinks(StoreContract):
    """The contract, where the file system has no hard links, as on exFAT and many network shares."""

    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
        """A new directory; link(2) answers as it does on vfat."""

        def refuse(*_arguments: object, **_options: object) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", refuse)
        return LocalStore.open(tmp_path / "backups", create=True)


class TestLocalStoreBehindALink(StoreContract):
    """The contract, where the directory is a symbolic link to another disk."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        """A link to a new directory."""
        (tmp_path / "disk").mkdir()
        (tmp_path / "backups").symlink_to(tmp_path / "disk")
        return LocalStore.open(tmp_path / "backups", create=True)


def test_only_the_owner_can_read_anything(tmp_path: Path) -> None:
    """Without encryption a backup is the whole database, readable by whoever can open the file."""
    before = os.umask(0)
    try:
        store = LocalStore.open(tmp_path / "backups", create=True)
        upload(store, "app/one/x", b"x")
        store.create("app/y", b"y")
        store.replace("app/y", b"z")
        with store.writer("app/z") as writer:
            writer.write(b"z")
            modes = {str(path): path.stat().st_mode & 0o777 for path in [store.root, *store.root.rglob("*")]}
    finally:
        os.umask(before)
    assert {mode for path, mode in modes.items() if Path(path).is_dir()} == {0o700}
    assert len(modes) == 6
    assert {mode for path, mode in modes.items() if not Path(path).is_dir()} == {0o600}


def test_an_open_object_is_not_handed_down_to_programs(store: LocalStore) -> None:
    """pg_dump must not inherit the file it is written to: it would keep a deleted upload's space taken."""
    store.create("app/x", b"x")
    with store.writer("app/y"), store.reader("app/x"):
        for descriptor in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{descriptor}")
            except FileNotFoundError:  # the listing's own
                continue
            if target.startswith(str(store.root)):
                assert not os.get_inheritable(int(descriptor)), target


def test_nothing_stays_open(store: LocalStore) -> None:
    """A service that runs for months runs out of files at last, and then takes no backup."""
    store.create("app/x", b"x")

    def opened() -> list[str]:
        return [
            os.path.realpath(f"/proc/self/fd/{descriptor}")
            for descriptor in os.listdir("/proc/self/fd")
            if os.path.realpath(f"/proc/self/fd/{descriptor}").startswith(str(store.root))
        ]

    upload(store, "app/y", b"y")
    with store.writer("app/z") as writer:
        writer.write(b"z")
        assert len(opened()) == 1
    refused: list[Callable[[], object]] = [
        lambda: store.create("app/x", b""),
        lambda: read(store, "nothing"),
        lambda: read(store, "app"),
    ]
    for act in refused:
        with pytest.raises(StorageError):
            act()
    next(store.list())
    store.delete("app/y")
    assert opened() == []


def test_emptied_directories_go_and_the_root_stays(store: LocalStore) -> None:
    """Thousands of empty directories of expired backups would slow every listing down."""
    store.create("app/backups/1/x", b"x")
    store.delete("app/backups/1/x")
    assert files(store) == []
    assert store.root.is_dir()


def test_an_interrupted_deletion_is_finished_by_the_next(store: LocalStore) -> None:
    """A deletion killed between the file and its directory leaves an empty directory behind."""
    (store.root / "app/backups/1").mkdir(parents=True)
    store.delete("app/backups/1/x")
    assert files(store) == []


def test_a_listing_reads_no_more_than_its_prefix_needs(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listing one backup of a thousand must not read the other 999."""
    for number in range(20):
        store.create(f"app/backups/{number:02}/x", b"x")
    read_directories: list[str] = []
    real = os.scandir

    def scandir(descriptor: int) -> object:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        read_directories.append(os.path.relpath(path, store.root))
        return real(descriptor)

    monkeypatch.setattr(os, "scandir", scandir)
    assert names(store, "app/backups/07/") == ["app/backups/07/x"]
    assert read_directories == ["app/backups/07"]
    read_directories.clear()
    assert len(names(store, "app/backups/1")) == 10
    assert read_directories == ["app/backups", *(f"app/backups/{number}" for number in range(10, 20))]


def test_what_is_no_object_is_not_listed(store: LocalStore, tmp_path: Path) -> None:
    """The top directory of a disk has a lost+found that only root can read: it must not end every listing."""
    (store.root / "lost+found").mkdir()
    (store.root / "lost+found" / "#12").touch()
    (store.root / ".partial-abc").touch()
    (store.root / "broken").symlink_to("nowhere")
    os.mkfifo(store.root / "pipe")
    store.create("app/x", b"x")
    assert names(store) == ["app/x"]
