"""The way from the storage's root to a file, by descriptors: nothing below the root is followed.

Whoever may write to the storage may put a symbolic link, a FIFO or a device in the place of anything. So each
directory is opened from the descriptor of the one above it, with ``O_NOFOLLOW`` (open(2)), and what is judged is what
was opened, not its name. The root alone may be a link: it is what the operator's setting says.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from recyclic_backups.errors import DamagedData

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO that takes the file's place in the last moment must not keep us waiting for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

# What opening a link with O_NOFOLLOW answers: with O_DIRECTORY ENOTDIR on Linux, else ELOOP.
_IS_LINK = (errno.ELOOP, errno.ENOTDIR)

REMOVE_IT = "nothing in the storage is followed: see what it is, then remove it by hand"


def kind_of(mode: int) -> str:
    """What an ``st_mode`` stands for: ``file``, ``directory``, or what nobody of us makes."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    if stat.S_ISLNK(mode):
        return "symbolic link"
    if stat.S_ISFIFO(mode):
        return "FIFO"
    if stat.S_ISSOCK(mode):
        return "socket"
    return "device"


def strange(name: str, kind: str) -> DamagedData:
    """The refusal of something that is neither a file nor a directory."""
    return DamagedData(f"{name} is damaged: it is a {kind}", REMOVE_IT)


def open_root(root: Path) -> int:
    """A descriptor of the storage's own directory, which may be a link. Raises OSError."""
    return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def open_below(parent: int, part: str, name: str) -> int:
    """A descriptor of one directory in another; ``name`` is its whole name in the storage.

    Raises FileNotFoundError, NotADirectoryError for a file, OSError, DamagedData for a link, FIFO, socket or device.
    """
    try:
        return os.open(part, _DIRECTORY, dir_fd=parent)
    except OSError as error:
        if error.errno in _IS_LINK:
            kind = kind_of(os.stat(part, dir_fd=parent, follow_symlinks=False).st_mode)
            if kind not in ("file", "directory"):
                raise strange(name, kind) from None
        raise


def open_directory(root: Path, parts: Sequence[str]) -> int:
    """A descriptor of a directory below the root. Raises as :func:`open_below`."""
    descriptor = open_root(root)
    for number, part in enumerate(parts, 1):
        above = descriptor
        try:
            descriptor = open_below(above, part, "/".join(parts[:number]))
        finally:
            os.close(above)
    return descriptor


@contextmanager
def opened_directory(root: Path, parts: Sequence[str]) -> Iterator[int]:
    """The same for the length of a block."""
    descriptor = open_directory(root, parts)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_chain(root: Path, parts: Sequence[str]) -> Iterator[list[int]]:
    """Descriptors of the root and of every directory on the way, as far as there are directories."""
    descriptors = [open_root(root)]
    try:
        with suppress(FileNotFoundError, NotADirectoryError, DamagedData):
            for number, part in enumerate(parts, 1):
                descriptors.append(open_below(descriptors[-1], part, "/".join(parts[:number])))
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def make_directories(root: Path, parts: Sequence[str]) -> None:
    """Every directory between the root, which must be there, and the last part; each made to last, with mode 0700."""
    descriptor = open_root(root)
    try:
        for number, part in enumerate(parts, 1):
            with suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=descriptor)
                sync_directory(descriptor)
            above, descriptor = descriptor, open_below(descriptor, part, "/".join(parts[:number]))
            os.close(above)
    finally:
        os.close(descriptor)


def open_file(parent: int, part: str, name: str) -> int:
    """A descriptor of a regular file for reading; ``name`` is its whole name in the storage.

    Raises FileNotFoundError, IsADirectoryError, OSError, DamagedData for a link, FIFO, socket or device. Those are
    never opened: opening some devices already does something.
    """
    _require_file(os.stat(part, dir_fd=parent, follow_symlinks=False).st_mode, name)
    try:
        descriptor = os.open(part, _FILE, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise strange(name, "symbolic link") from None
        raise
    try:
        _require_file(os.fstat(descriptor).st_mode, name)  # another thing may have taken its place
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_to_end(descriptor: int, most_bytes: int) -> bytes | None:
    """The whole of a file, or None if it has more than that many bytes: no more of it is read. Raises OSError."""
    pieces: list[bytes] = []
    size_bytes = 0
    expected_bytes = os.fstat(descriptor).st_size
    while piece := os.read(descriptor, min(expected_bytes, most_bytes) + 1):
        pieces.append(piece)
        size_bytes += len(piece)
        if size_bytes > most_bytes:
            return None
    return b"".join(pieces)


def _require_file(mode: int, name: str) -> None:
    kind = kind_of(mode)
    if kind == "directory":
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if kind != "file":
        raise strange(name, kind)


def prune(descriptors: Sequence[int], parts: Sequence[str]) -> int:
    """Remove empty directories of a chain from its end upwards; how many are left below the root.

    What is not empty stays, and so does a mount point. rmdir(2) follows no link.
    """
    depth = len(descriptors) - 1
    while depth:
        try:
            os.rmdir(parts[depth - 1], dir_fd=descriptors[depth - 1])
        except FileNotFoundError:
            pass  # an interrupted deletion, or one beside us, was here before
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.ENOTDIR):
                break
            raise
        depth -= 1
    return depth


def sync_directory(descriptor: int) -> None:
    """Make the entries of a directory last."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        # fsync(2): EINVAL is "does not support synchronization". Some network and FUSE file systems say so of
        # directories; there is nothing else to do there, and the file itself is synced.
        if error.errno != errno.EINVAL:
            raise
