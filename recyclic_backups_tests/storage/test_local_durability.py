"""What a commit made visible survives a power cut; what was not committed leaves no object."""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from recyclic_backups.errors import StorageError
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.storage.contract import names, upload
from recyclic_backups_tests.storage.directories import files, python


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
