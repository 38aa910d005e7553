"""A storage in RAM: the contract of every other one, with a place to inject faults."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count

from recyclic_backups.errors import ObjectExists, ObjectMissing, StorageError
from recyclic_backups.storage import limits
from recyclic_backups.storage.names import checked_name, split_prefix
from recyclic_backups.storage.store import Child, StoredObject, StrangeEntry

_versions = count(1)
"""One for all storages of the process: two of them never have the same version of the same name."""


def _system_clock() -> datetime:
    return datetime.now(UTC)


class MemoryStore:
    """Objects in a dictionary; gone with the process. Safe for several threads.

    ``clock`` gives ``modified_at``. ``before`` is called with the verb and the object's name before every
    call that would touch a real storage (``writer write commit reader read get create replace delete list
    strange children free_bytes``); what it raises is what the storage answers, and the call does nothing.
    """

    def __init__(
        self,
        clock: Callable[[], datetime] = _system_clock,
        before: Callable[[str, str], None] = lambda _verb, _name: None,
    ) -> None:
        self._clock = clock
        self.before = before
        self._objects: dict[str, tuple[bytes, datetime, str]] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """``memory:``, for every store of this kind."""
        return "memory:"

    @contextmanager
    def writer(self, name: str) -> Iterator[MemoryUpload]:
        """An upload; nothing of it is kept unless committed."""
        self._start("writer", name)
        upload = MemoryUpload(self, name)
        try:
            yield upload
        finally:
            upload.abandon()

    @contextmanager
    def reader(self, name: str, offset: int = 0) -> Iterator[MemoryReader]:
        """The object as it is now, from ``offset`` on. Raises ObjectMissing."""
        self._start("reader", name)
        if offset < 0:
            raise StorageError(f"cannot read {name} from the negative offset {offset}")
        yield MemoryReader(self, name, self._content(name), offset)

    def get(self, name: str) -> bytes:
        """The whole object. Raises ObjectMissing."""
        self._start("get", name)
        content = self._content(name)
        if len(content) > limits.most_bytes(name):
            raise limits.too_large(name)
        return content

    def create(self, name: str, data: bytes) -> None:
        """Write an object that must not exist yet. Raises ObjectExists."""
        self._start("create", name)
        limits.require_readable(name, len(data))
        with self._lock:
            if name in self._objects:
                raise ObjectExists(f"there is already a {name} in {self.url}")
            self._objects[name] = (bytes(data), self._clock(), str(next(_versions)))

    def replace(self, name: str, data: bytes) -> None:
        """Write an object, or swap its content."""
        self._start("replace", name)
        limits.require_readable(name, len(data))
        self._put(name, bytes(data))

    def delete(self, name: str) -> None:
        """Remove an object; a missing one is no error."""
        self._start("delete", name)
        with self._lock:
            self._objects.pop(name, None)

    def list(self, prefix: str = "", after: str = "") -> Iterator[StoredObject]:
        """Objects whose name starts with ``prefix``, in name order, as they are at the first step."""
        split_prefix(prefix)
        self.before("list", prefix)
        with self._lock:
            now = dict(self._objects)
        for name in sorted(name for name in now if name.startswith(prefix) and name > after):
            data, modified_at, version = now[name]
            yield StoredObject(name, len(data), modified_at, version)

    def strange(self, folder: str = "") -> Iterator[StrangeEntry]:
        """None: nobody but us can put anything here."""
        self.before("strange", folder)
        return iter(())

    def everything(self, folder: str = "", after: str = "") -> Iterator[StoredObject | StrangeEntry]:
        """The objects."""
        return self.list(f"{folder}/" if folder else "", after)

    def children(self, folder: str = "") -> Sequence[Child]:
        """The first parts of the names below the folder."""
        self.before("children", folder)
        beginning = f"{folder}/" if folder else ""
        with self._lock:
            inside = [name.removeprefix(beginning) for name in self._objects if name.startswith(beginning)]
        parts = {(name.partition("/")[0], "directory" if "/" in name else "file") for name in inside}
        return sorted(Child(name, kind) for name, kind in parts)

    def open_to_others(self) -> str:
        """Nobody."""
        return ""

    def partials(self) -> Iterator[StoredObject]:
        """None: what is not committed is gone with whoever wrote it."""
        return iter(())

    def is_abandoned(self, name: str) -> bool:  # noqa: ARG002 - the protocol's
        """There are none."""
        return False

    def discard_partial(self, name: str) -> None:
        """Nothing to remove."""

    def free_bytes(self) -> int | None:
        """Nothing to say."""
        self.before("free_bytes", "")
        return None

    def _start(self, verb: str, name: str) -> None:
        checked_name(name)
        self.before(verb, name)

    def _content(self, name: str) -> bytes:
        with self._lock:
            if name not in self._objects:
                raise ObjectMissing(f"there is no {name} in {self.url}")
            return self._objects[name][0]

    def _put(self, name: str, data: bytes) -> None:
        with self._lock:
            self._objects[name] = (data, self._clock(), str(next(_versions)))


class MemoryUpload:
    """An upload in progress into a :class:`MemoryStore`."""

    def __init__(self, store: MemoryStore, name: str) -> None:
        self._store = store
        self._name = name
        self._written: bytearray | None = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes."""
        written = self._open_buffer()
        self._store.before("write", self._name)
        written += data

    def commit(self) -> None:
        """Put the object in place, over an older one if there is one."""
        written = self._open_buffer()
        self._store.before("commit", self._name)
        self._store._put(self._name, bytes(written))
        self.abandon()

    def abandon(self) -> None:
        """Forget what is not committed; nothing to do after a commit."""
        self._written = None

    def _open_buffer(self) -> bytearray:
        if self._written is None:
            raise StorageError(f"the upload of {self._name} is over", "this is a bug: open another one")
        return self._written


class MemoryReader:
    """An object of a :class:`MemoryStore`, open: the content it had then."""

    def __init__(self, store: MemoryStore, name: str, content: bytes, position: int) -> None:
        self._store = store
        self._name = name
        self._content = content
        self._position = position

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; ``b""`` at the end."""
        self._store.before("read", self._name)
        piece = self._content[self._position : self._position + size]
        self._position += len(piece)
        return piece
