"""Where a page may go: a regular file is replaced whole, everything else stays what it is."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from recyclic_backups.errors import StorageError
from recyclic_backups.report.publish import objection, publish
from recyclic_backups_tests.operator import Operator


@contextmanager
def _read_from(fifo: Path) -> Iterator[list[str]]:
    """What comes out of the pipe until its writer closes it."""
    came: list[str] = []
    # Opened for both first: neither side then waits for the other, and a writer that never comes hangs nothing.
    keeper = os.open(fifo, os.O_RDWR)
    reader = os.open(fifo, os.O_RDONLY)

    def read() -> None:
        while data := os.read(reader, 65536):
            came.append(data.decode())

    thread = Thread(target=read)
    thread.start()
    try:
        yield came
    finally:
        os.close(keeper)
        thread.join()
        os.close(reader)


_NOBODY = 65534

# Mounts the first file over the second, as Docker does with a file of the host, and publishes there.
_MOUNTED = """
mount --bind "$1" "$2" && exec "$3" -c '
import sys
from pathlib import Path
from recyclic_backups.report.publish import objection, publish
path = Path(sys.argv[1])
assert not objection(path), objection(path)
publish(path, "new")
' "$2"
"""


@contextmanager
def _as_nobody() -> Iterator[Path]:
    """A folder, where we are not root while the block runs: nothing is forbidden to root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.chown(folder, _NOBODY, -1)
            os.setresuid(_NOBODY, _NOBODY, 0)
        yield folder
    finally:
        if is_root:
            os.setresuid(0, 0, 0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_file_that_is_mounted_by_itself_is_written_in_place(tmp_path: Path) -> None:
    """Loss prevented: no report of a migration in a container, found out after the migration."""
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("mounts: nothing can be mounted here")
    host, inside = tmp_path / "host", tmp_path / "inside"
    host.write_text("an old and longer one")
    host.chmod(0o640)
    inside.touch()
    outcome = subprocess.run(
        [*unshare, "sh", "-c", _MOUNTED, "sh", host, inside, sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert host.read_text() == "new"
    assert stat.S_IMODE(host.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["host", "inside"]


def test_a_file_of_ours_in_a_directory_of_somebody_else_is_written_in_place() -> None:
    """Loss prevented: a report refused that could be written; one promised that cannot."""
    with _as_nobody() as folder:
        file = folder / "report.json"
        file.write_text("an old and longer one")
        file.chmod(0o600)
        folder.chmod(0o555)
        assert objection(file) == ""
        publish(file, "new")
        assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new", 0o600)
        file.chmod(0o400)
        for path in (file, folder / "another"):
            assert objection(path) == f"{folder} is not writable"
            with pytest.raises(StorageError, match="cannot be written: Permission denied"):
                publish(path, "newer")
        assert file.read_text() == "new"
        assert os.listdir(folder) == ["report.json"]
        folder.chmod(0o000)
        assert objection(file) == "Permission denied"


def test_what_is_there_keeps_its_mode_and_its_owner(tmp_path: Path) -> None:
    """Loss prevented: members' data that a probe quoted, for everybody; figures that the collector cannot read."""
    file = tmp_path / "report"
    publish(file, "one", mode=0o600)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for mode in (0o600, 0o640, 0o664):
        file.chmod(mode)
        if os.geteuid() == 0:
            os.chown(file, _NOBODY, _NOBODY)
        before = file.stat()
        publish(file, "two")
        after = file.stat()
        assert after.st_ino != before.st_ino
        assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    publish(tmp_path / "new", "one")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o644


def test_what_can_be_told_beforehand_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: a migration that was run for a report that nobody will get."""
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("file").touch()
    Path("away").symlink_to("nowhere/report")
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        assert objection(Path("socket")) == "it is a socket"
    assert objection(Path(".")) == "it is a directory"
    assert objection(Path("file/report")) == "Not a directory"
    assert "symbolic links" in objection(Path("loop"))
    assert objection(Path("away")) == f"there is no {tmp_path}/nowhere"
    assert {objection(Path(name)) for name in ("file", "pipe", "new", "/dev/null")} == {""}


def test_a_symbolic_link_stays_one_and_its_target_is_written(tmp_path: Path) -> None:
    """Loss prevented: the page that a web server shows stays the old one, for the link to it became a file."""
    shown = tmp_path / "shown"
    shown.mkdir()
    link = tmp_path / "page.html"
    link.symlink_to("shown/index.html")
    for text in ("one", "two"):  # the first one through a link that leads nowhere yet
        publish(link, text)
        assert link.is_symlink()
        assert (shown / "index.html").read_text() == text
        assert os.listdir(shown) == ["index.html"]
        assert sorted(os.listdir(tmp_path)) == ["page.html", "shown"]


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only he gives files away")
def test_nothing_that_somebody_else_laid_into_his_directory_is_followed_or_waited_for(tmp_path: Path) -> None:
    """Loss prevented: the owner of a web server's directory has root's hourly page written over any file."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir()
    kept = ours / "shadow"
    kept.write_text("root's")
    (theirs / "old").symlink_to(kept)
    (theirs / "new").symlink_to(ours / "made")
    (theirs / "folder").symlink_to(ours)
    os.mkfifo(theirs / "pipe")
    (theirs / "page").write_text("before")
    for each in (theirs, *theirs.iterdir()):
        os.chown(each, _NOBODY, _NOBODY, follow_symlinks=False)
    for name in ("old", "new", "folder/shadow", "pipe"):
        assert "somebody else" in objection(theirs / name)
        with pytest.raises(StorageError, match="somebody else may have put there"):
            publish(theirs / name, "page")
    (ours / "through").symlink_to(theirs / "old")  # a link of ours leads as far as theirs
    with pytest.raises(StorageError, match="somebody else may have put there"):
        publish(ours / "through", "page")
    theirs.chmod(0o1777)
    os.chown(theirs, 0, 0)  # as /tmp
    with pytest.raises(StorageError, match="somebody else may have put there"):
        publish(theirs / "old", "page")
    publish(theirs / "page", "page")
    assert ((theirs / "page").read_text(), (theirs / "page").stat().st_uid) == ("page", _NOBODY)
    assert (kept.read_text(), sorted(os.listdir(ours))) == ("root's", ["shadow", "through"])


def test_a_pipe_is_written_into_and_stays_a_pipe_with_its_mode(tmp_path: Path) -> None:
    """Loss prevented: a device or a pipe of the machine that one report turns into a file for everybody."""
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo, 0o600)
    link = tmp_path / "link"
    link.symlink_to(fifo)
    for path in (fifo, link):
        with _read_from(fifo) as came:
            publish(path, "é" * 100_000)
        assert "".join(came) == "é" * 100_000
        assert stat.S_ISFIFO(fifo.lstat().st_mode)
        assert stat.S_IMODE(fifo.lstat().st_mode) == 0o600
        assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_name_of_an_open_pipe_is_written_into(tmp_path: Path) -> None:
    """Loss prevented: /dev/stdout in a pipeline, which is a link to what has no place in any directory."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    link = tmp_path / "stdout"
    link.symlink_to(f"/proc/self/fd/{writer}")
    try:
        publish(link, "page")
        assert os.read(reader, 100) == b"page"
        assert link.is_symlink()
    finally:
        os.close(reader)
        os.close(writer)


def test_what_takes_no_text_is_refused_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: the socket of a running service, replaced by a page."""
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(StorageError, match="socket is a socket"):
            publish(Path("socket"), "page")
        assert stat.S_ISSOCK(Path("socket").lstat().st_mode)
    Path("folder").mkdir()
    Path("to-folder").symlink_to("folder")
    for directory in ("folder", "to-folder", "."):
        with pytest.raises(StorageError, match="is a directory"):
            publish(Path(directory), "page")
    Path("loop").symlink_to("loop")
    with pytest.raises(StorageError, match="loop cannot be written"):
        publish(Path("loop"), "page")
    assert Path("loop").is_symlink()
    assert sorted(os.listdir()) == ["folder", "loop", "socket", "to-folder"]


def test_an_empty_name_of_a_file_is_a_usage_error(operator: Operator) -> None:
    """Loss prevented: an empty variable in a crontab that reads like a broken disk, or is taken for this folder."""
    for command in ("report", "metrics"):
        outcome = operator.run(command, "--output", "")
        assert outcome.code == 2
        assert "--output" in outcome.err
        assert "empty" in outcome.err
