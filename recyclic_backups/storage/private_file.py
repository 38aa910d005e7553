"""A file that this machine keeps for itself, and how a file is put into its place whole.

It is read and written in a directory that nobody but us and root may change, by the descriptor of that directory, and
no link is followed.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recyclic_backups.machine_users import lets_others_write, trusted_users

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class PrivateFile:
    """The file of that name in a directory, which is made where its parent is there."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name

    def read(self, most_bytes: int) -> bytes:
        """What it holds; nothing where it is not there, is longer, or somebody else may have written it."""
        with (
            suppress(OSError),
            self._opened() as folder,
            open(os.open(self._name, _OLD, dir_fd=folder), "rb") as file,
        ):
            found = os.fstat(file.fileno())
            if stat.S_ISREG(found.st_mode) and _is_ours(found):
                content = file.read(most_bytes + 1)
                return content if len(content) <= most_bytes else b""
        return b""

    def write(self, data: bytes) -> None:
        """Put it there, whole or not at all. Raises OSError."""
        with suppress(FileExistsError):
            os.mkdir(self._folder, 0o700)
        with self._opened() as folder:
            replace_in(folder, self._name, data)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        folder = os.open(self._folder, _OLD | os.O_DIRECTORY)
        try:
            if not _is_ours(os.fstat(folder)):
                raise PermissionError(errno.EACCES, "somebody else may write there", str(self._folder))
            yield folder
        finally:
            os.close(folder)


def _is_ours(found: os.stat_result) -> bool:
    return found.st_uid in trusted_users(behind_sudo=False) and not lets_others_write(found)


def replace_in(
    directory: int, name: str, data: bytes, finish: Callable[[int], None] = lambda _file: None
) -> None:
    """Write a file beside its place in an open directory, then put it there by renaming. Raises OSError.

    What is there keeps its content until then. ``finish`` is called with the new one once it is written: until then
    only its owner can read it.
    """
    # The name ends otherwise than *.prom: node_exporter's textfile collector reads no other.
    temporary = f".recyclic-{secrets.token_hex(8)}"
    descriptor = os.open(temporary, _NEW, 0o600, dir_fd=directory)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            finish(descriptor)
            os.fsync(descriptor)
        os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(FileNotFoundError):  # of an interrupted attempt too
            os.unlink(temporary, dir_fd=directory)
        raise
