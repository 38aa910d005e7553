"""Where a page may go: a regular file is replaced whole, everything else stays what it is."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from recyclic_backups.errors import StorageError
from recyclic_backups.report.publish import publish
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
