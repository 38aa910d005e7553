"""Publish a text as a file that readers see whole, the old one or the new one, or into a device or a pipe.

The directory may be somebody else's: a web server's, node_exporter's. So a symbolic link is followed only where nobody
but us and root can have put one, and everything is done by the descriptor of the directory that was found.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recyclic_backups.errors import StorageError
from recyclic_backups.machine_users import lets_others_write, trusted_users
from recyclic_backups.storage.private_file import replace_in

if TYPE_CHECKING:
    from recyclic_backups.catalog.repository import Repository


NEW_MODE = 0o644
"""Others watch such a file: a web server, node_exporter's textfile collector."""

_KEEPS_ITS_PLACE = (errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS)
"""Of a file that cannot be replaced and may be written: mounted by itself, or in a directory of somebody else."""


_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40
"""As many as Linux follows."""


def publish(path: Path, text: str, *, mode: int = NEW_MODE) -> None:
    """Replace the file, or write into what is no file and keeps its place: a device, a pipe.

    A file that cannot be replaced is written into as well, and readers may see half of it: one that Docker mounts, one
    in a directory where we may make none. ``mode`` is that of a new file; what is there keeps its own, and its owner
    if we may give it away. A symbolic link of ours stays one: what it leads to is written. Raises StorageError, also
    for a directory, a socket, and a link or a pipe of somebody else's, which are left alone.
    """
    data = text.encode()
    try:
        with _found(path) as place:
            found = place.status
            if found is None:
                _replace(place, data, mode)
            elif stat.S_ISREG(found.st_mode) and not place.is_followed:
                try:
                    _replace(place, data, found.st_mode & 0o777, found)
                except OSError as error:
                    if error.errno not in _KEEPS_ITS_PLACE:
                        raise
                    _write_into(place, data)
            elif stat.S_ISDIR(found.st_mode):
                raise StorageError(f"{path} is a directory", "--output names a file")
            elif stat.S_ISSOCK(found.st_mode):
                raise StorageError(
                    f"{path} is a socket: no page can be written into it", "--output names a file"
                )
            else:
                _write_into(place, data)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}", "see --output") from None


def objection(path: Path) -> str:
    """Why :func:`publish` would fail, as far as it can be told beforehand; empty if it can be tried."""
    try:
        with _found(path) as place:
            return _objection(place)
    except FileNotFoundError as error:
        return f"there is no {error.filename}"
    except StorageError as error:
        return error.message.removeprefix(f"{path}: ")
    except OSError as error:
        return error.strerror or str(error)


def _objection(place: _Place) -> str:
    found = place.status
    if found is not None:
        if stat.S_ISDIR(found.st_mode):
            return "it is a directory"
        if stat.S_ISSOCK(found.st_mode):
            return "it is a socket"
        if os.access(place.name, os.W_OK, dir_fd=place.directory):
            return ""
        if not stat.S_ISREG(found.st_mode):
            return "it is not writable"
    may_write = os.access(place.folder, os.W_OK | os.X_OK)
    return "" if may_write else f"{place.folder} is not writable"


def keep_in_storage(repository: Repository, text: str) -> str:
    """Put the page beside the backups, and say at which address it is. Raises StorageError."""
    name = repository.layout.report
    repository.store.replace(name, text.encode())
    return f"{repository.store.url.rstrip('/')}/{name}"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a text goes: a name in an open directory, which stays that one whatever happens to ``folder``, its path.

    ``status`` is of what is there, None if nothing is. ``is_followed``: it is a link that leads to no name, like those
    to the open files of a process.
    """

    directory: int
    folder: str
    name: str
    status: os.stat_result | None
    is_followed: bool = False


@contextmanager
def _found(path: Path) -> Iterator[_Place]:
    """The place that a path leads to. Raises OSError, StorageError for what somebody else may have put in the way."""
    directory, folder = os.open("/", _DIRECTORY), "/"
    try:
        parts, links = list(path.absolute().parts[1:]) or ["."], 0
        while True:
            name = parts.pop(0)
            status, target = _look(directory, name), ""
            if status is not None and stat.S_ISLNK(status.st_mode):
                if not _is_ours(directory, status):
                    raise StorageError(
                        f"{path}: {os.path.join(folder, name)} is a link that somebody else may have put there",
                        "name the file itself, or a directory that is yours",
                    )
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                target = os.readlink(name, dir_fd=directory)
                # The kernel's own links may lead to what has no name: a pipe, a deleted file.
                meant = _look(directory, name, follow=True)
                named = _look(directory, target, follow=True)
                if not parts and meant is not None and (named is None or not os.path.samestat(meant, named)):
                    yield _Place(directory, folder, name, meant, is_followed=True)
                    return
                parts = [*(part for part in target.split("/") if part), *parts] or ["."]
                deeper, below = ("/", "/") if target.startswith("/") else (".", folder)
            elif not parts:
                if status is not None and _takes_text(status) and not _is_ours(directory, status):
                    raise StorageError(
                        f"{path}: somebody else may have put there what is no file", "remove it by hand"
                    )
                yield _Place(directory, folder, name, status)
                return
            else:
                deeper, below = name, os.path.normpath(os.path.join(folder, name))
            try:
                opened = os.open(deeper, _DIRECTORY, dir_fd=directory)
            except FileNotFoundError as error:
                error.filename = below
                raise
            os.close(directory)
            directory, folder = opened, below
    finally:
        os.close(directory)


def _look(directory: int, name: str, *, follow: bool = False) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=follow)
    except FileNotFoundError:
        return None


def _takes_text(found: os.stat_result) -> bool:
    """Whether it is a device or a pipe."""
    return stat.S_IFMT(found.st_mode) in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK)


def _is_ours(directory: int, found: os.stat_result) -> bool:
    """Whether nobody but us and root can have put that into the directory, or can put something else in its place."""
    trusted = trusted_users(behind_sudo=False)
    holder = os.fstat(directory)
    if holder.st_uid not in trusted:
        return False
    # Of a directory like /tmp nobody removes what is another's.
    return not lets_others_write(holder) or bool(holder.st_mode & stat.S_ISVTX and found.st_uid in trusted)


def _replace(place: _Place, data: bytes, mode: int, found: os.stat_result | None = None) -> None:
    """Put the file into its place whole, with ``mode`` and the owner of what was found.

    As node_exporter's textfile collector asks for
    (https://github.com/prometheus/node_exporter#textfile-collector).
    """

    def finish(file: int) -> None:
        if found is not None:
            _give_to(file, found)
        os.fchmod(file, mode)

    replace_in(place.directory, place.name, data, finish)


def _give_to(file: int, found: os.stat_result) -> None:
    """The same owner and group, where we may: else whoever read the file could not any more."""
    now = os.fstat(file)
    for theirs, ours, ids in (
        (found.st_gid, now.st_gid, (-1, found.st_gid)),
        (found.st_uid, now.st_uid, (found.st_uid, -1)),
    ):
        if theirs != ours:
            with suppress(OSError):  # mostly only root may: the file is ours then, as a new one is
                os.fchown(file, *ids)


def _write_into(place: _Place, data: bytes) -> None:
    """Open what is there, write, close. It is not made where it has gone meanwhile, and nobody's mode changes."""
    flags = os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC | (0 if place.is_followed else os.O_NOFOLLOW)
    with open(os.open(place.name, flags, dir_fd=place.directory), "wb", buffering=0) as device:
        opened = os.fstat(device.fileno())
        if place.status is None or not os.path.samestat(opened, place.status):
            raise OSError(errno.EAGAIN, "something else was put in its place")
        if stat.S_ISREG(opened.st_mode):
            device.truncate(0)
        rest = memoryview(data)
        while rest:
            rest = rest[device.write(rest) :]
