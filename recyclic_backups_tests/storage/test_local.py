"""The directory keeps the contract, keeps it over a power cut, and says clearly why when it cannot."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recyclic_backups.errors import ObjectMissing, StorageError
from recyclic_backups.storage.local import LocalStore
from recyclic_backups.storage.local_errors import storage_error
from recyclic_backups_tests.storage.contract import StoreContract, names, read, upload

PROJECT = Path(__file__).parents[2]


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

        def refuse(*_arguments: object) -> None:
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


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A new directory."""
    return LocalStore.open(tmp_path / "backups", create=True)


def files(store: LocalStore) -> list[str]:
    """Everything below the root, hidden or not."""
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*"))


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    """The script in a process of its own."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}
    argv = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        argv, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL, text=True, env=environment
    )


def outcome(script: str, *arguments: str) -> str:
    """What the script prints."""
    process = python(script, *arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip()


# --- durability -------------------------------------------------------------------------------------------


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The system calls that decide what survives a power cut, in order; all of them really happen."""
    seen: list[str] = []

    def watch(verb: str, describe: Callable[..., str]) -> None:
        real = getattr(os, verb)

        def call(*arguments: object, **options: object) -> object:
            description = describe(*arguments)
            result = real(*arguments, **options)
            seen.append(f"{verb} {description}")
            return result

        monkeypatch.setattr(os, verb, call)

    def last_part(path: object) -> str:
        part = os.path.basename(str(path))
        return "partial" if part.startswith(".partial-") else part

    watch("fsync", lambda descriptor: last_part(os.readlink(f"/proc/self/fd/{descriptor}")))
    watch("rename", lambda _source, target: last_part(target))
    watch("link", lambda _source, target: last_part(target))
    watch("mkdir", lambda path, _mode: last_part(path))
    watch("unlink", last_part)
    watch("rmdir", last_part)
    return seen


def test_an_object_takes_its_name_only_after_its_bytes_are_on_disk(
    store: LocalStore, events: list[str]
) -> None:
    """After a power cut a rename without fsync may have become a file full of zeros with a good name."""
    made = ["mkdir app", "fsync backups", "mkdir one", "fsync app"]
    upload(store, "app/one/x", b"x")
    assert [event for event in events if event != "unlink partial"] == [
        *made, "fsync partial", "rename x", "fsync one"
    ]  # fmt: skip
    events.clear()
    store.replace("app/one/x", b"y")
    assert events[:3] == ["fsync partial", "rename x", "fsync one"]
    events.clear()
    store.create("app/one/manifest", b"x")
    assert events[:4] == ["fsync partial", "link manifest", "unlink partial", "fsync one"]


def test_a_deletion_lasts_too(store: LocalStore, events: list[str]) -> None:
    """A tombstone that comes undone, or a manifest that comes back after its objects are gone, is a lie."""
    store.create("app/one/x", b"x")
    store.create("app/y", b"y")
    events.clear()
    store.delete("app/one/x")
    assert events == ["unlink x", "rmdir one", "fsync app"]


def test_a_new_storage_lasts(tmp_path: Path, events: list[str]) -> None:
    """The first backup is worth nothing if its directory is gone after the power cut."""
    LocalStore.open(tmp_path / "backups", create=True)
    assert events == ["mkdir backups", f"fsync {tmp_path.name}"]


def test_an_fsync_that_fails_is_no_commit(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel reports a write that was lost once, and at fsync: ignoring it is how data are lost silently."""

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    store.create("app/older", b"x")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=r"^cannot store app/x: .*input/output error") as failed:
        upload(store, "app/x", b"x")
    assert not failed.value.retryable
    assert files(store) == ["app", "app/older"]


def test_a_directory_that_cannot_be_synced_is_forgiven(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems cannot sync a directory; refusing them would mean no backup there at all."""
    real = os.fsync

    def refuse_directories(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_directories)
    upload(store, "app/x", b"x")
    assert store.get("app/x") == b"x"


def test_a_killed_upload_leaves_no_object(store: LocalStore) -> None:
    """The machine may run out of memory in the middle of a dump; nothing that half may be called a backup."""
    script = """
        import sys, time
        from pathlib import Path
        from recyclic_backups.storage.local import LocalStore
        with LocalStore(Path(sys.argv[1])).writer("app/main.dump") as writer:
            writer.write(b"half")
            print("written", flush=True)
            time.sleep(60)
            writer.commit()
    """
    with python(script, str(store.root)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    assert names(store) == []
    [left] = store.partials()
    assert left.size_bytes == 4
    assert left.name.startswith("app/.partial-")
    store.discard_partial(left.name)
    store.discard_partial(left.name)
    assert files(store) == []


def test_only_partial_uploads_can_be_discarded_as_such(store: LocalStore) -> None:
    """The sweep must have no way to an object."""
    store.create("app/x", b"x")
    for name in ["app/x", "x", "../.partial-1", "", ".partial-1/x"]:
        with pytest.raises(StorageError):
            store.discard_partial(name)
    assert names(store) == ["app/x"]


# --- permissions and shape --------------------------------------------------------------------------------


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

    def scandir(path: Path) -> object:
        read_directories.append(str(path.relative_to(store.root)))
        return real(path)

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


# --- opening, and what to say -----------------------------------------------------------------------------


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
    with pytest.raises(ObjectMissing, match="there is no storage at"):
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
    assert names(store) == []
    assert list(store.partials()) == []


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
    assert names(store) == []
    assert list(store.partials()) == []


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
