"""What lies in a directory that is a storage: objects, uploads in progress, and what is neither.

Nothing is followed and no file is opened: what something is, the directory says. An entry that nobody of us makes
hides nothing but itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from recyclic_backups.errors import DamagedData
from recyclic_backups.storage.descent import kind_of, open_below, open_root
from recyclic_backups.storage.names import MOST_PARTS, PARTIAL_NAME, PARTIAL_PREFIX
from recyclic_backups.storage.store import Child, StoredObject, StrangeEntry

# What mkfs makes for root alone in the top directory of an ext file system: a storage may be a whole disk.
FOREIGN_DIRECTORY = "lost+found"

Wanted = Literal["objects", "partials", "strange", "everything"]
"""Objects, uploads in progress, what is strange, or objects and what is strange."""

_TELLING = ("strange", "everything")

# One line of a directory: a subdirectory's name ends with a slash.
_Entry = tuple[str, os.DirEntry[str]]


_SETTLED_NS = 1_000_000_000
"""A file that changed more recently may change again and keep its times: clocks of file systems tick slowly."""


def walk(
    root: Path, folder: str, beginning: str, wanted: Wanted, after: str = ""
) -> Iterator[StoredObject | StrangeEntry]:
    """What is in one folder of a storage and below it, in the order of names; "" is the whole storage.

    Objects only if their names come ``after`` that one. The folder itself may be strange, and what is on the way to it.
    Raises OSError.
    """
    descriptor = open_root(root)
    way = ""
    try:
        for part in folder.split("/") if folder else []:
            way += f"{part}/"
            try:
                closed = _closed(way)
                above, descriptor = descriptor, open_below(descriptor, part, way.rstrip("/"))
                os.close(above)
            except FileNotFoundError:
                return
            except (NotADirectoryError, DamagedData, PermissionError) as error:
                if isinstance(error, PermissionError) and wanted != "strange":
                    raise  # it was asked for by its name: empty would be a wrong answer
                if wanted in _TELLING:
                    yield StrangeEntry(way.rstrip("/"), _problem_on_the_way(descriptor, part, error))
                return
            if closed:
                if wanted in _TELLING:
                    yield StrangeEntry(way.rstrip("/"), _closed_because(way))
                return
        yield from _Walk(wanted, after).below(descriptor, way, beginning)
    finally:
        os.close(descriptor)


def _problem_on_the_way(above: int, part: str, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"it cannot be looked into: {error.strerror}"
    try:
        kind = kind_of(os.stat(part, dir_fd=above, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return "it changes while it is read"
    if kind == "file":
        return "it is a file where a directory should be"
    return _not_followed(kind)


@dataclass(frozen=True, slots=True)
class _Walk:
    """One walk through directories, in the order of names. ``wanted`` is what it yields, objects ``after`` a name."""

    wanted: Wanted
    after: str = ""

    def below(
        self, descriptor: int, directory: str, beginning: str = ""
    ) -> Iterator[StoredObject | StrangeEntry]:
        """What is in an open directory and below it; ``directory`` is its name, "" or ending with a slash.

        The descriptor stays the caller's. Raises OSError.
        """
        entries = self._entries(descriptor, directory, beginning)
        # All of them before the first is yielded: whoever takes it may delete others meanwhile.
        found = [(name, self._items(entry, f"{directory}{name}")) for name, entry in entries]
        for name, items in found:
            yield from items
            if (
                name.endswith("/")
                and not _closed(f"{directory}{name}")
                and self._leads_on(f"{directory}{name}")
            ):
                yield from self._inside(descriptor, name, f"{directory}{name}")

    def _leads_on(self, directory: str) -> bool:
        """Whether anything wanted may be in that directory: what is strange may be anywhere."""
        return self.wanted in _TELLING or directory > self.after or self.after.startswith(directory)

    def _inside(self, above: int, name: str, directory: str) -> Iterator[StoredObject | StrangeEntry]:
        try:
            descriptor = open_below(above, name.rstrip("/"), directory.rstrip("/"))
        except (FileNotFoundError, NotADirectoryError):
            return  # deleted, or replaced, while we looked
        except (DamagedData, PermissionError) as error:  # replaced by a link; or not ours to read
            if self.wanted in _TELLING:
                yield StrangeEntry(directory.rstrip("/"), _problem_on_the_way(above, name.rstrip("/"), error))
            return
        try:
            yield from self.below(descriptor, directory)
        finally:
            os.close(descriptor)

    def _entries(self, descriptor: int, directory: str, beginning: str) -> Sequence[_Entry]:
        """One directory. With the slash after a directory's name, sorting gives the order of whole names:
        ``a-b/x`` comes before ``a/x``.
        """
        with os.scandir(descriptor) as entries:
            found = [
                (f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name, entry)
                for entry in entries
                if entry.name.startswith(beginning) and (directory or entry.name != FOREIGN_DIRECTORY)
            ]
        return sorted(found, key=lambda each: each[0])

    def _items(self, entry: os.DirEntry[str], name: str) -> tuple[StoredObject | StrangeEntry, ...]:
        """What to yield for one entry: nothing, itself, or that it is strange, or both."""
        found: tuple[StoredObject | StrangeEntry, ...] = ()
        if self.wanted in _TELLING and (problem := _problem(entry, name)):
            found = (StrangeEntry(name.rstrip("/"), problem),)
        if self.wanted == "strange":
            return found
        is_hidden = entry.name.startswith(PARTIAL_PREFIX)
        if name.endswith("/") or is_hidden is not (self.wanted == "partials") or name <= self.after:
            return found
        if is_hidden and not PARTIAL_NAME.fullmatch(entry.name):
            return found
        try:
            details = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # deleted while we looked
            return found
        if kind_of(details.st_mode) != "file":
            return found
        modified_at = datetime.fromtimestamp(details.st_mtime, UTC)
        return (StoredObject(name, details.st_size, modified_at, _version_of(details)), *found)


def _version_of(details: os.stat_result) -> str:
    """What changes with a file's content; empty for one that changed just now. Nobody but root can set a ctime."""
    if abs(time.time_ns() - details.st_ctime_ns) < _SETTLED_NS:
        return ""
    return f"{details.st_ino:x}-{details.st_ctime_ns:x}-{details.st_mtime_ns:x}"


def children(descriptor: int) -> list[Child]:
    """Everything directly in an open directory, by name, whatever it is. Raises OSError."""
    with os.scandir(descriptor) as entries:
        return sorted(Child(entry.name, _kind(entry)) for entry in entries)


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_file(follow_symlinks=False):  # as the directory says, without a system call
        return "file"
    if entry.is_dir(follow_symlinks=False):
        return "directory"
    try:
        return kind_of(entry.stat(follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return "file"  # gone meanwhile


def _closed(directory: str) -> bool:
    """Whether a directory, named with the slash at its end, is one that no object can be in."""
    last = directory.rstrip("/").rpartition("/")[2]
    return last.startswith(PARTIAL_PREFIX) or last.endswith(".json") or directory.count("/") >= MOST_PARTS


def _closed_because(directory: str) -> str:
    if directory.count("/") >= MOST_PARTS:
        return "it lies too deep in directories"
    return "it is a directory where a document should be"


def _problem(entry: os.DirEntry[str], name: str) -> str:
    """Why nobody of us made this entry; empty for what may be ours."""
    kind = _kind(entry)
    if kind not in ("file", "directory"):
        return _not_followed(kind)
    if kind == "directory" and _closed(name):
        return _closed_because(name)
    if kind == "file" and entry.name.startswith(PARTIAL_PREFIX) and not PARTIAL_NAME.fullmatch(entry.name):
        return "it is named like an upload in progress, and is none of ours"
    if not entry.name.isprintable():  # control characters, and bytes that are no UTF-8
        return "its name has characters that no name of ours has"
    return ""


def _not_followed(kind: str) -> str:
    return f"it is a {kind}, and nothing in the storage is followed"
