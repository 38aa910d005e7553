"""A storage that counts what it is asked, as a remote one would be billed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recyclic_backups.storage.store import StoredObject
from recyclic_backups_tests.memory_store import MemoryReader, MemoryStore

_KEYS_A_CALL = 1000


class CountingStore(MemoryStore):
    """``calls`` by kind (list, read), a listing one for each 1000 names; ``read_bytes`` by name, of what streams."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.calls: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.read_bytes: Counter[str] = Counter()

    def list(self, prefix: str = "", after: str = "") -> Iterator[StoredObject]:
        """Count a call for each 1000 names."""
        found = list(super().list(prefix, after))
        self._count("list", prefix, max(1, -(-len(found) // _KEYS_A_CALL)))
        return iter(found)

    def children(self, folder: str = "") -> Any:
        """A listing of one level."""
        self._count("list", folder)
        return super().children(folder)

    def get(self, name: str) -> bytes:
        """A read, be there such an object or not."""
        self._count("read", name)
        return super().get(name)

    @contextmanager
    def reader(self, name: str, offset: int = 0) -> Iterator[MemoryReader]:
        """A read that streams."""
        self._count("read", name)
        with super().reader(name, offset) as reader:
            read = reader.read

            def counted(size: int) -> bytes:
                data = read(size)
                self.read_bytes[name] += len(data)
                return data

            reader.read = counted  # type: ignore[method-assign]
            yield reader

    def forget(self) -> None:
        """Begin to count anew."""
        self.calls.clear()
        self.asked.clear()
        self.read_bytes.clear()

    def _count(self, kind: str, name: str, calls: int = 1) -> None:
        self.calls[kind] += calls
        self.asked[f"{kind} {name}"] += calls
