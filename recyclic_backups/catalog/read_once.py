"""Documents of a storage that are read once: by a process, and, through a file, by a machine.

A listing tells the version of each document. What was read under the same name and version is not read again. A
process believes its own memory. It does not believe the file: content comes from there only if it carries a right MAC
under the name of its document, which is looked at anew in every process. So a planted file proves nothing, and hides
nothing. Where nothing is signed, only the process remembers. The file may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recyclic_backups.storage.private_file import PrivateFile
from recyclic_backups.storage.store import Store, StoredObject

MOST_BYTES = 64 << 20
"""Of all documents that a process keeps of one storage: what was not used for longest leaves first."""

MOST_FILE_BYTES = 16 << 20
"""The same for the file, which each process reads whole."""

_LARGEST_BYTES = 8 << 20
"""A larger document is read each time."""

_NEVER = datetime.min.replace(tzinfo=UTC)
_LONGEST_FILE = 6 * MOST_FILE_BYTES
"""JSON spells a byte with six characters at most: a longer file was not written here."""
_FORMAT = 1
FOLDER = "recyclic_backups_documents"
"""The directory for them, below BACKUP_SCRATCH or Dagster's home."""


def unlisted(name: str) -> StoredObject:
    """An object of which no version is known: it is read from the storage."""
    return StoredObject(name, 0, _NEVER)


class Documents:
    """The documents of one storage. ``directory`` is where the file lies; without one there is no file.

    Safe for several threads. Nothing here raises for what is wrong with the file: it is a cache.
    """

    def __init__(self, store: Store, directory: Path | None = None) -> None:
        self._store = store
        self._memory = _memory_of(store.url)
        self._file = None if directory is None else _File(directory, store.url)

    def read(self, item: StoredObject, vouched: Callable[[bytes], bool]) -> bytes:
        """The content of an object as it was just listed.

        ``vouched`` says whether content carries a right MAC for that name. Raises as :meth:`Store.get` does.
        """
        known = self._memory.get(item)
        if known is not None:
            return known
        if self._file is not None:
            kept = self._file.get(item)
            if kept is not None and vouched(kept):
                self._memory.put(item, kept)
                return kept
        content = self._store.get(item.name)
        self._memory.put(item, content)
        if self._file is not None and vouched(content):
            self._file.put(item, content)
        return content

    def save(self) -> None:
        """Write the file if there is something new to keep."""
        if self._file is not None:
            self._file.save()


class _Kept:
    """Contents by name, each with the version that it has; the least recently used first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._found: OrderedDict[str, tuple[str, bytes]] = OrderedDict()
        self._size_bytes = 0

    def get(self, item: StoredObject) -> bytes | None:
        with self._lock:
            version, content = self._found.get(item.name, ("", b""))
            if not item.version or version != _version(item):
                return None
            self._found.move_to_end(item.name)
            return content

    def put(self, item: StoredObject, content: bytes) -> bool:
        """Keep it if that is of any use; whether it was."""
        # One that was replaced between the listing and the reading is of another size, mostly: of no version known.
        if not item.version or len(content) != item.size_bytes or len(content) > _LARGEST_BYTES:
            return False
        with self._lock:
            _, before = self._found.pop(item.name, ("", b""))
            self._found[item.name] = (_version(item), content)
            self._size_bytes += len(content) - len(before)
            while self._size_bytes > self._most_bytes:
                _, (_, gone) = self._found.popitem(last=False)
                self._size_bytes -= len(gone)
        return True

    def entries(self) -> list[tuple[str, str, bytes]]:
        with self._lock:
            return [(name, version, content) for name, (version, content) in self._found.items()]


_memories: dict[str, _Kept] = {}


def _memory_of(url: str) -> _Kept:
    return _memories.setdefault(url, _Kept(MOST_BYTES))


def _version(item: StoredObject) -> str:
    return f"{item.size_bytes}-{item.version}"


class _File:
    """What this machine remembers of a storage: one file in a directory that nobody else may enter."""

    def __init__(self, directory: Path, url: str) -> None:
        name = hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self._file = PrivateFile(directory / FOLDER, f"{name}.json")
        self._kept: _Kept | None = None
        self._has_news = False

    def get(self, item: StoredObject) -> bytes | None:
        return self._loaded().get(item)

    def put(self, item: StoredObject, content: bytes) -> None:
        if self._loaded().put(item, content):
            self._has_news = True

    def save(self) -> None:
        if not self._has_news:
            return
        self._has_news = False
        documents = {
            name: [version, content.decode("utf-8", "surrogateescape")]
            for name, version, content in self._loaded().entries()
        }
        content = json.dumps({"format": _FORMAT, "documents": documents}).encode("ascii")
        with suppress(OSError):
            self._file.write(content)

    def _loaded(self) -> _Kept:
        if self._kept is None:
            self._kept = _Kept(MOST_FILE_BYTES)
            for name, version, content in _entries_in(self._file.read(_LONGEST_FILE)):
                size_bytes, _, of_storage = version.partition("-")
                if size_bytes == str(len(content)):
                    self._kept.put(StoredObject(name, len(content), _NEVER, of_storage), content)
        return self._kept


def _entries_in(content: bytes) -> list[tuple[str, str, bytes]]:
    """Names, versions and contents in a file; none where it is not ours."""
    try:
        document: Any = json.loads(content or b"{}")
        if document.get("format") != _FORMAT:
            return []
        return [
            (name, str(version), text.encode("utf-8", "surrogateescape"))
            for name, (version, text) in document["documents"].items()
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []
