"""When a directory will not do, the message says why and what to do about it."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recyclic_backups.errors import ObjectMissing, StorageError, StorageMissing
from recyclic_backups.storage.local import LocalStore
from recyclic_backups.storage.local_errors import storage_error
from recyclic_backups_tests.storage.contract import names, upload
from recyclic_backups_tests.storage.directories import files, outcome


def test_opening_makes_the_last_directory_and_never_its_parents(tmp_path: Path) -> None:
    """A disk that is not mounted must not become a directory that fills the system's own."""
    with pytest.raises(StorageError, match="parent directory does not exist") as refused:
        LocalStore.open(tmp_path / "mnt" / "backups", create=True)
    assert str(tmp_path / "mnt") in refused.value.hint
    assert list(tmp_path.iterdir()) == []
    LocalStore.open(tmp_path / "backups", create=True)
    LocalStore.open(tmp_path / "backups", create=True)
    assert (tmp_path / "backups").is_dir()


def test_a_storage_that_is_not_to_be_made_is_missing(tmp_path: Path) -> None:
    """A restore from a mistyped place must say so, and leave no empty directory that looks like a storage."""
    with pytest.raises(StorageMissing, match="there is no storage at"):
        LocalStore.open(tmp_path / "backups", create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("create", [True, False])
def test_a_file_is_no_storage(tmp_path: Path, create: bool) -> None:
    """A path one level too deep must be told from a disk that fails."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="is not a directory"):
        LocalStore.open(tmp_path / "file", create=create)
    with pytest.raises(StorageError, match="a file stands where a directory is needed"):
        LocalStore.open(tmp_path / "file" / "backups", create=create)


def test_a_storage_that_vanished_is_no_empty_storage(store: LocalStore) -> None:
    """An unmounted disk read as "no backups" would let health stay calm and a new chain begin elsewhere."""
    store.root.rmdir()
    acts: list[Callable[[], object]] = [
        lambda: names(store),
        lambda: names(store, "app/"),
        lambda: store.get("app/x"),
        lambda: store.create("app/x", b""),
        lambda: upload(store, "x", b""),
        lambda: store.delete("app/x"),
        store.free_bytes,
    ]
    for act in acts:
        with pytest.raises(StorageError, match="is not there") as failed:
            act()
        assert not isinstance(failed.value, ObjectMissing)
    assert not store.root.exists()


def test_a_file_in_the_place_of_a_directory_is_named(store: LocalStore) -> None:
    """What stands in the way has to be found by a person."""
    store.create("app/x", b"x")
    acts: list[Callable[[], object]] = [
        lambda: store.create("app/x/y", b""),
        lambda: upload(store, "app/x/y/z", b""),
    ]
    for act in acts:
        with pytest.raises(StorageError, match="a file stands where a directory is needed"):
            act()
    with pytest.raises(StorageError, match="a directory stands where a file is needed"):
        upload(store, "app", b"")
    assert files(store) == ["app", "app/x"]


@pytest.fixture
def protected() -> Iterator[Path]:
    """A directory that its user may read and not write; reachable by every user."""
    above = Path(tempfile.mkdtemp())
    above.chmod(0o755)
    (above / "backups").mkdir()
    (above / "backups" / "x").write_bytes(b"x")
    (above / "backups").chmod(0o555)
    yield above / "backups"
    (above / "backups").chmod(0o755)
    shutil.rmtree(above)


def test_a_directory_that_cannot_be_written_can_still_be_restored_from(protected: Path) -> None:
    """The disk may be read-only when it is needed most; but no backup may start there and fail an hour later."""
    script = """
        import os, sys
        from pathlib import Path
        from recyclic_backups.errors import StorageError
        from recyclic_backups.storage.local import LocalStore
        if os.getuid() == 0:
            os.setresuid(65534, 65534, 65534)  # permissions do not bind root
        try:
            LocalStore.open(Path(sys.argv[1]), create=True)
        except StorageError as error:
            print(error)
        store = LocalStore.open(Path(sys.argv[1]), create=False)
        print([found.name for found in store.list()])
        for act in (lambda: store.create("y", b""), lambda: store.create("app/y", b""), lambda: store.delete("x")):
            try:
                act()
            except StorageError as error:
                print(error, bool(error.hint), error.retryable)
    """
    assert outcome(script, str(protected)).splitlines() == [
        f"the storage {protected} is not writable",
        "['x']",
        "cannot store y: access is denied True False",
        "cannot store app/y: access is denied True False",
        "cannot delete x: access is denied True False",
    ]


@pytest.mark.parametrize("create", [True, False])
def test_a_directory_without_permission_is_named_and_is_not_empty(protected: Path, create: bool) -> None:
    """Loss prevented: a storage of another user's, taken for one without backups."""
    script = """
        import os, sys
        from pathlib import Path
        from recyclic_backups.errors import StorageError
        from recyclic_backups.storage.local import LocalStore
        if os.getuid() == 0:
            os.setresuid(65534, 65534, 65534)  # permissions do not bind root
        for place in (Path(sys.argv[1]), Path(sys.argv[1]) / "below"):
            try:
                LocalStore.open(place, create=sys.argv[2] == "True")
            except StorageError as error:
                print(error, error.hint)
    """
    protected.chmod(0o000)
    closed, below = outcome(script, str(protected), str(create)).splitlines()
    assert closed == f"the storage {protected} is not readable give its user access to it"
    assert below.startswith(f"cannot open the storage {protected}/below: access is denied let the user")


def test_a_file_too_large_is_said_and_leaves_nothing(store: LocalStore) -> None:
    """A limit met in the middle of a dump: half of it must not stay and take the space of the next."""
    script = """
        import resource, sys
        from pathlib import Path
        from recyclic_backups.errors import StorageError
        from recyclic_backups.storage.local import LocalStore
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        store = LocalStore.open(Path(sys.argv[1]), create=True)
        try:
            with store.writer("app/main.dump") as writer:
                writer.write(b"x" * 6_000)
                writer.write(b"x" * 6_000)
                writer.commit()
        except StorageError as error:
            print(error, bool(error.hint), error.retryable)
    """
    assert outcome(script, str(store.root)) == (
        "cannot store app/main.dump: the file would be larger than allowed True False"
    )
    assert files(store) == []


def test_a_full_disk_is_said_and_leaves_nothing(store: LocalStore) -> None:
    """The commonest end of a backup must be understood at once. The refusal is the kernel's own, of /dev/full."""
    full = os.open("/dev/full", os.O_WRONLY)

    def back_up() -> None:
        with store.writer("app/main.dump") as writer:
            assert writer._descriptor is not None
            os.dup2(full, writer._descriptor, inheritable=False)
            writer.write(b"x")

    try:
        with pytest.raises(StorageError, match=r"^cannot store app/main\.dump: no space is left") as failed:
            back_up()
    finally:
        os.close(full)
    assert failed.value.hint
    assert not failed.value.retryable
    assert files(store) == []


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_error_of_the_system_becomes_one_sentence(number: int) -> None:
    """An error that nobody translated would end as a stack trace and exit code 1."""
    error = storage_error(OSError(number, os.strerror(number), "/secret/path"), "store x")
    assert str(error).startswith("cannot store x: ")
    assert "/secret/path" not in str(error)
    assert error.exit_code == 30
    assert not (
        error.retryable and number in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EROFS)
    )


def test_the_address_leads_back_to_the_same_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage given relative to a directory must not move when the process does."""
    monkeypatch.chdir(tmp_path)
    store = LocalStore.open(Path("back ups%"), create=True)
    monkeypatch.chdir("/")
    store.create("x", b"x")
    assert store.url == f"file://{tmp_path}/back%20ups%25"
    assert (tmp_path / "back ups%" / "x").is_file()
