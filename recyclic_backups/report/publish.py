"""Publish a text as a file that readers see whole, the old one or the new one, or into a device or a pipe."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from recyclic_backups.errors import StorageError

if TYPE_CHECKING:
    from recyclic_backups.catalog.repository import Repository


NEW_MODE = 0o644
"""Others watch such a file: a web server, node_exporter's textfile collector."""

_KEEPS_ITS_PLACE = (errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS)
"""Of a file that cannot be replaced and may be written: mounted by itself, or in a directory of somebody else."""


def publish(path: Path, text: str, *, mode: int = NEW_MODE) -> None:
    """Replace the file, or write into what is no file and keeps its place: a device, a pipe.

    A file that cannot be replaced is written into as well, and readers may see half of it: one that Docker mounts, one
    in a directory where we may make none. ``mode`` is that of a new file; what is there keeps its own, and its owner
    if we may give it away. A symbolic link stays one: what it leads to is written. Raises StorageError, also for a
    directory and a socket, which are left alone.
    """
    data = text.encode()
    try:
        # Not the link's own kind but what it leads to, as the kernel sees it: /dev/stdout may lead to a pipe, which
        # has no place in any directory.
        found = _stat(path)
        place = Path(os.path.realpath(path))
        if found is None:
            _replace(place, data, mode)
        elif stat.S_ISREG(found.st_mode) and _is(place, found):
            try:
                _replace(place, data, found.st_mode & 0o777, found)
            except OSError as error:
                if error.errno not in _KEEPS_ITS_PLACE:
                    raise
                _write_into(place, data)
        elif stat.S_ISDIR(found.st_mode):
            raise StorageError(f"{path} is a directory", "--output names a file")
        elif stat.S_ISSOCK(found.st_mode):
            raise StorageError(f"{path} is a socket: no page can be written into it", "--output names a file")
        else:
            _write_into(path, data)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}", "see --output") from None


def objection(path: Path) -> str:
    """Why :func:`publish` would fail, as far as it can be told beforehand; empty if it can be tried."""
    try:
        found = _stat(path)
    except OSError as error:
        return error.strerror or str(error)
    if found is not None:
        if stat.S_ISDIR(found.st_mode):
            return "it is a directory"
        if stat.S_ISSOCK(found.st_mode):
            return "it is a socket"
        if os.access(path, os.W_OK):
            return ""
        if not stat.S_ISREG(found.st_mode):
            return "it is not writable"
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        return f"there is no {folder}"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"{folder} is not writable"


def keep_in_storage(repository: Repository, text: str) -> str:
    """Put the page beside the backups, and say at which address it is. Raises StorageError."""
    name = repository.layout.report
    repository.store.replace(name, text.encode())
    return f"{repository.store.url.rstrip('/')}/{name}"


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _is(place: Path, found: os.stat_result) -> bool:
    """Whether that name leads there too: a file that was deleted while it is open has none that does."""
    there = _stat(place)
    return there is not None and os.path.samestat(there, found)


def _replace(path: Path, data: bytes, mode: int, found: os.stat_result | None = None) -> None:
    """Write the file beside its place, then put it there by renaming, with ``mode`` and the owner of what was found.

    What is there keeps its content until then, as node_exporter's textfile collector asks for
    (https://github.com/prometheus/node_exporter#textfile-collector).
    """
    temporary: Path | None = None
    try:
        # The name ends otherwise than *.prom: the collector reads no other.
        with NamedTemporaryFile("wb", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            if found is not None:
                _give_to(file.fileno(), found)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        if temporary is not None:  # of an interrupted attempt too
            temporary.unlink(missing_ok=True)


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


def _write_into(path: Path, data: bytes) -> None:
    """Open what is there, write, close. It is not made where it has gone meanwhile, and nobody's mode changes."""
    with open(
        os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOCTTY | os.O_CLOEXEC), "wb", buffering=0
    ) as device:
        rest = memoryview(data)
        while rest:
            rest = rest[device.write(rest) :]
