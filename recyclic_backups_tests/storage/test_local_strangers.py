"""Somebody else may write to the storage: what he puts there is never followed, waited for, nor anything behind it."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recyclic_backups.errors import BackupError, DamagedData, ObjectExists, ObjectMissing, StorageError
from recyclic_backups.storage.local import LocalStore
from recyclic_backups.storage.names import MOST_PARTS
from recyclic_backups.storage.store import Child
from recyclic_backups_tests.storage.contract import names, read, upload

NOT_FOLLOWED = "nothing in the storage is followed"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What lies beside the storage and belongs to somebody: a file, a folder with one, and what no upload made."""
    folder = tmp_path / "precious"
    (folder / "sub").mkdir(parents=True)
    (folder / "thesis.txt").write_text("thesis")
    (folder / "sub" / "y").write_text("y")
    (folder / ".partial-0123456789abcdef").write_text("another program's")
    return folder


def seen(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All of a directory: names, modes and content."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else b"",
        )
        for path in sorted(folder.rglob("*"))
    }


def make(kind: str, path: Path, outside: Path) -> None:
    """Something that nobody of us makes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match kind:
        case "link to a file":
            path.symlink_to(outside / "thesis.txt")
        case "link to a folder":
            path.symlink_to(outside)
        case "link to nothing":
            path.symlink_to("nowhere")
        case "link in a circle":
            path.symlink_to(path)
        case "link to a device":
            path.symlink_to("/dev/zero")
        case "FIFO":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))


KINDS = [
    "link to a file",
    "link to a folder",
    "link to nothing",
    "link in a circle",
    "link to a device",
    "FIFO",
    "socket",
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_in_the_place_of_an_object_is_neither_read_nor_deleted(
    store: LocalStore, outside: Path, kind: str
) -> None:
    """Attack: a link to /dev/zero eats the machine, a FIFO hangs the backup, a link has foreign files read."""
    before = seen(outside)
    store.create("app/x", b"x")
    make(kind, store.root / "app/manifest.json", outside)
    for act in (store.get, lambda name: read(store, name)):
        with pytest.raises(
            DamagedData, match=r"^app/manifest\.json is damaged: it is a (symbolic link|FIFO|socket)"
        ):
            act("app/manifest.json")
    assert names(store) == ["app/x"]
    [found] = store.strange()
    assert found.name == "app/manifest.json"
    assert NOT_FOLLOWED in found.problem
    store.delete("app/manifest.json")
    assert list(store.strange("app")) == [found]  # a person removes it, who sees what it is
    with pytest.raises(ObjectExists):
        store.create("app/manifest.json", b"new")
    assert seen(outside) == before


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", KINDS)
def test_replacing_an_object_puts_it_in_the_strangers_place_and_writes_through_nothing(
    store: LocalStore, outside: Path, kind: str
) -> None:
    """Attack: recover.py as a link to the operator's .bashrc, which the next backup would overwrite."""
    before = seen(outside)
    make(kind, store.root / "recover.py", outside)
    store.replace("recover.py", b"script")
    assert store.get("recover.py") == b"script"
    assert stat.S_ISREG((store.root / "recover.py").lstat().st_mode)
    assert list(store.strange()) == []
    assert seen(outside) == before


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_in_the_place_of_a_folder_leads_nowhere(
    store: LocalStore, outside: Path, kind: str
) -> None:
    """Attack: ``tiers`` as a link has labels land outside, ``backups/<id>`` has an expiry delete there."""
    before = seen(outside)
    store.create("app/x", b"x")
    make(kind, store.root / "app/tiers", outside)
    for name in ("app/tiers/thesis.txt", "app/tiers/sub/y"):
        writing: list[Callable[[], object]] = [
            lambda name=name: store.create(name, b"new"),  # type: ignore[misc]
            lambda name=name: store.replace(name, b"new"),  # type: ignore[misc]
            lambda name=name: upload(store, name, b"new"),  # type: ignore[misc]
        ]
        for act in writing:
            with pytest.raises(StorageError, match=r"^cannot store .*: app/tiers is damaged: it is a "):
                act()
        with pytest.raises(DamagedData, match="app/tiers is damaged"):
            store.get(name)
        store.delete(name)
    for prefix in ("", "app", "app/", "app/tiers", "app/tiers/", "app/tiers/sub/", "app/tiers/th"):
        assert [name for name in names(store, prefix) if "tiers" in name] == []
    assert store.children("app/tiers") == []
    assert [partial.name for partial in store.partials()] == []
    for folder in ("", "app", "app/tiers", "app/tiers/sub"):
        assert [found.name for found in store.strange(folder)] == ["app/tiers"]
    assert not store.is_abandoned("app/tiers/.partial-0123456789abcdef")
    store.discard_partial("app/tiers/.partial-0123456789abcdef")
    assert seen(outside) == before


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    """Loss prevented: an operator whose BACKUP_STORAGE is a link to a mounted disk cannot back up any more."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "backups").symlink_to(tmp_path / "disk")
    store = LocalStore.open(tmp_path / "backups", create=True)
    upload(store, "app/x", b"x")
    assert names(store) == ["app/x"]
    assert list(store.strange()) == []


@pytest.mark.timeout(20)
def test_a_file_that_becomes_a_fifo_between_the_look_and_the_opening_does_not_hang(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: the race between stat(2) and open(2), won. What was opened is judged, and opened without blocking."""
    store.create("app/x", b"x")
    real = os.stat

    def look(path: str, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        details = real(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        if path == "x":
            (store.root / "app/x").unlink()
            os.mkfifo(store.root / "app/x")
        return details

    monkeypatch.setattr(os, "stat", look)
    with pytest.raises(DamagedData, match="it is a FIFO"):
        store.get("app/x")


def test_a_folder_that_becomes_a_link_while_an_upload_is_written_takes_nothing(
    store: LocalStore, outside: Path
) -> None:
    """Attack: swap the backup's folder during the hour that a dump takes, so that it is renamed to outside."""
    before = seen(outside)
    with store.writer("app/main.dump") as writer:
        writer.write(b"x")
        (store.root / "app").rename(store.root / "moved")
        (store.root / "app").symlink_to(outside)
        with pytest.raises(StorageError, match="app is damaged: it is a symbolic link"):
            writer.commit()
    assert seen(outside) == before


def test_a_file_put_in_the_place_of_the_one_being_written_is_not_taken_for_it(
    store: LocalStore, outside: Path
) -> None:
    """Attack: another file under the upload's own hidden name would become the object."""
    with store.writer("app/main.dump") as writer:
        writer.write(b"x")
        [partial] = (store.root / "app").iterdir()
        partial.unlink()
        partial.symlink_to(outside / "thesis.txt")
        with pytest.raises(StorageError, match="another file in the place"):
            writer.commit()
    assert names(store) == []
    assert (outside / "thesis.txt").read_text() == "thesis"


def test_a_hard_link_of_a_foreign_file_is_never_written_into(store: LocalStore, outside: Path) -> None:
    """Attack: a second name of somebody's file as the label. Replacing and deleting drop the name, no more."""
    before = seen(outside)
    acts: list[Callable[[], None]] = [
        lambda: store.replace("app/label.json", b"new"),
        lambda: store.delete("app/label.json"),
        lambda: upload(store, "app/label.json", b"new"),
    ]
    for act in acts:
        (store.root / "app").mkdir(exist_ok=True)
        (store.root / "app/label.json").unlink(missing_ok=True)
        os.link(outside / "thesis.txt", store.root / "app/label.json")
        act()
        assert seen(outside) == before
    os.unlink(store.root / "app/label.json")
    os.link(outside / "thesis.txt", store.root / "app/label.json")
    with pytest.raises(ObjectExists):
        store.create("app/label.json", b"new")
    assert seen(outside) == before


def test_a_directory_in_the_place_of_a_document_is_told(store: LocalStore) -> None:
    """Attack: an empty directory as manifest: the backup would look like orphans, and be swept two days later."""
    (store.root / "app/backups/1/manifest.json").mkdir(parents=True)
    (store.root / "app/backups/1/manifest.json/x").write_text("x")
    [found] = store.strange("app")
    assert (found.name, found.problem) == (
        "app/backups/1/manifest.json",
        "it is a directory where a document should be",
    )
    assert names(store) == []
    with pytest.raises(ObjectMissing):
        store.get("app/backups/1/manifest.json")


@pytest.mark.parametrize(
    "name", ["tier\x1b[2J", "line\nbreak", "right\u202eleft", os.fsdecode(b"caf\xe9")], ids=ascii
)
def test_names_that_no_object_of_ours_has_are_told_and_hide_nothing(store: LocalStore, name: str) -> None:
    """Attack: names that write over the terminal of whoever lists them."""
    store.create(f"app/{name}/x", b"x")
    store.create("app/zzz", b"x")
    assert names(store) == sorted([f"app/{name}/x", "app/zzz"])
    assert [found.name for found in store.strange("app")] == [f"app/{name}"]


def test_directories_without_end_are_not_gone_into(store: LocalStore) -> None:
    """Attack: thousands of directories in one another end a walk by the limit of recursion or of open files."""
    deep = store.root
    for _ in range(300):
        deep = deep / "d"
        deep.mkdir()
    (deep / "x").write_text("x")
    store.create("app/x", b"x")
    assert names(store) == ["app/x"]
    [found] = store.strange()
    assert found.name == "/".join(["d"] * MOST_PARTS)
    assert "too deep" in found.problem
    with pytest.raises(StorageError, match="more than 12 parts"):
        store.create("/".join(["d"] * (MOST_PARTS + 1)), b"x")


def test_what_is_named_like_an_upload_and_is_none_is_not_swept(store: LocalStore) -> None:
    """Loss prevented: another program's hidden file, removed two days after it was put beside the backups."""
    (store.root / ".partial-thesis.txt").write_text("thesis")
    (store.root / ".partial-0123456789abcdef").symlink_to("nowhere")
    assert list(store.partials()) == []
    assert [found.name for found in store.strange()] == [".partial-0123456789abcdef", ".partial-thesis.txt"]


def test_a_folder_that_cannot_be_read_stops_no_listing(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: one directory of another user, in which nobody may look, ends every listing (root may look anywhere)."""
    store.create("app/a/x", b"x")
    store.create("app/b/x", b"x")
    real = os.open

    def refuse(path: object, *arguments: object, **options: object) -> int:
        if path == "a":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    assert names(store, "app/") == ["app/b/x"]
    [found] = store.strange("app")
    assert (found.name, found.problem) == ("app/a", "it cannot be looked into: Permission denied")
    with pytest.raises(StorageError, match="access is denied"):
        names(store, "app/a/")  # asked for by its name: "nothing" would be untrue


def test_everything_in_a_folder_is_told_with_its_kind(store: LocalStore, outside: Path) -> None:
    """What recover.py would import has to be seen: files, packages and links alike."""
    (store.root / "argparse.py").write_text("evil")
    (store.root / "json").mkdir()
    make("FIFO", store.root / "pipe", outside)
    make("link to a folder", store.root / "z", outside)
    assert store.children() == [
        Child("argparse.py", "file"),
        Child("json", "directory"),
        Child("pipe", "FIFO"),
        Child("z", "symbolic link"),
    ]
    assert store.children("json") == store.children("nothing") == store.children("argparse.py") == []


@pytest.mark.parametrize(
    ("mode", "told"), [(0o700, ""), (0o755, ""), (0o770, "its group"), (0o777, "every user of this machine")]
)
def test_a_storage_that_others_may_write_to_is_told(store: LocalStore, mode: int, told: str) -> None:
    """A local user who may write there may put all of the above there."""
    store.root.chmod(mode)
    assert told in store.open_to_others()
    assert bool(store.open_to_others()) is bool(told)


def test_a_storage_of_another_user_is_told(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner may do with it what he wants, whatever the mode says."""
    details = list(os.stat(store.root))
    details[4] = 4242
    monkeypatch.setattr(os, "stat", lambda *_arguments, **_options: os.stat_result(details))
    assert store.open_to_others() == "it belongs to another user (4242)"


# Trees of anybody's making.

PARTS = ["app", "keys", "backups", "manifest.json", "é", "tab\t", ".partial-0123456789abcdef", "x"]
TREES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(PARTS), min_size=1, max_size=4),
        st.sampled_from(["file", "folder", *KINDS[:6]]),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES, targets=st.lists(st.lists(st.sampled_from(PARTS), min_size=1, max_size=4), max_size=6))
def test_whatever_lies_there_nothing_outside_changes_and_the_listing_is_of_regular_files(
    store: LocalStore, outside: Path, tree: list[tuple[list[str], str]], targets: list[list[str]]
) -> None:
    """Attack: a combination of links, FIFOs and names that nobody thought of."""
    before = seen(outside)
    shutil.rmtree(store.root)
    store.root.mkdir()
    for parts, kind in tree:
        path = store.root.joinpath(*parts)
        if any(each.is_symlink() or (each.exists() and not each.is_dir()) for each in [*path.parents, path]):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "folder":
            path.mkdir(exist_ok=True)
        elif not path.is_dir():
            path.write_text("x") if kind == "file" else make(kind, path, outside)
    closed = (".partial-0123456789abcdef", "manifest.json")
    regular = [
        str(path.relative_to(store.root))
        for path in store.root.rglob("*")
        if stat.S_ISREG(path.lstat().st_mode) and outside not in path.resolve().parents
    ]
    expected = [
        name
        for name in regular
        if not any(part in closed for part in name.split("/")[:-1]) and not name.endswith(closed[0])
    ]
    assert names(store) == sorted(expected)
    list(store.strange())
    for parts in targets:
        name = "/".join(parts)
        for act in (
            store.get,
            lambda each: store.replace(each, b"n"),
            lambda each: store.create(each, b"n"),
            store.delete,
        ):
            try:
                act(name)
            except BackupError:
                continue
    for partial in list(store.partials()):
        store.discard_partial(partial.name)
    for item in list(store.list()):
        store.delete(item.name)
    assert names(store) == []
    assert seen(outside) == before
