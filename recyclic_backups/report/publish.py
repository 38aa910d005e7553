"""Publish a text as a file that readers see whole, the old one or the new one, or into a device or a pipe."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from recyclic_backups.errors import StorageError

if TYPE_CHECKING:
    from recyclic_backups.catalog.repository import Repository


def publish(path: Path, text: str) -> None:
    """Replace the file, or write into what is no file and keeps its place: a device, a pipe.

    A symbolic link stays one: what it leads to is written. Raises StorageError, also for a directory and a socket,
    which are left alone.
    """
    data = text.encode()
    try:
        # Not the link's own kind but what it leads to, as the kernel sees it: /dev/stdout may lead to a pipe, which
        # has no place in any directory.
        found = _stat(path)
        place = Path(os.path.realpath(path))
        if found is None or (stat.S_ISREG(found.st_mode) and _is(place, found)):
            _replace(place, data)
        elif stat.S_ISDIR(found.st_mode):
            raise StorageError(f"{path} is a directory", "--output names a file")
        elif stat.S_ISSOCK(found.st_mode):
            raise StorageError(f"{path} is a socket: no page can be written into it", "--output names a file")
        else:
            _write_into(path, data)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}", "see --output") from None


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


def _replace(path: Path, data: bytes) -> None:
    """Write the file beside its place, then put it there by renaming. Readable by everybody: others watch it.

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
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        if temporary is not None:  # of an interrupted attempt too
            temporary.unlink(missing_ok=True)


def _write_into(path: Path, data: bytes) -> None:
    """Open what is there, write, close. It is not made where it has gone meanwhile, and nobody's mode changes."""
    with open(
        os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOCTTY | os.O_CLOEXEC), "wb", buffering=0
    ) as device:
        rest = memoryview(data)
        while rest:
            rest = rest[device.write(rest) :]
