"""What every storage must do, whether a directory, a bucket or an SFTP server.

The protocol is small on purpose: eight verbs that S3, Azure Blob, SFTP and a POSIX file system can all
keep. Names are relative and ``/``-separated (see ``names.py``). The commit point of a large object is
:meth:`ObjectWriter.commit`; leaving the ``with`` block without it leaves no object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One entry of a listing; ``modified_at`` is aware UTC.

    ``version`` changes whenever the content does (an ETag, an inode and its times): content that was read under the
    same name and version need not be read again. It is empty where the storage cannot promise that.
    """

    name: str
    size_bytes: int
    modified_at: datetime
    version: str = ""


@dataclass(frozen=True, slots=True)
class StrangeEntry:
    """Something in the storage that nobody of us made, by its name there, and a sentence about it."""

    name: str
    problem: str


@dataclass(frozen=True, slots=True, order=True)
class Child:
    """One entry of a directory. ``kind`` is ``file``, ``directory``, or the name of what is neither."""

    name: str
    kind: str


class ObjectWriter(Protocol):
    """An upload in progress: nothing is visible under its name until :meth:`commit` returns."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes. Raises StorageError."""

    def commit(self) -> None:
        """Make the object durable and visible; at most once, as the last act. Raises StorageError."""


class ObjectReader(Protocol):
    """An open object, read forward; ``read`` returns ``b""`` at its end."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes, which is more than 0. Raises StorageError."""


class Store(Protocol):
    """Where objects live. Every method raises StorageError when the storage does not answer as it should."""

    @property
    def url(self) -> str:
        """How an operator names this storage; carries no secret."""

    def writer(self, name: str) -> AbstractContextManager[ObjectWriter]:
        """Open an upload. Names of large objects are unique by construction: there is no create-only mode."""

    def reader(self, name: str, offset: int = 0) -> AbstractContextManager[ObjectReader]:
        """Open an object from a byte offset; at or past its end there is nothing.

        Raises ObjectMissing, and DamagedData where something lies that is no object: it is neither followed nor
        waited for.
        """

    def get(self, name: str) -> bytes:
        """A small object whole. Raises as :meth:`reader`, and DamagedData over its limit (``limits.py``)."""

    def create(self, name: str, data: bytes) -> None:
        """Write a small object that must not exist yet, atomically. Raises ObjectExists.

        After any other StorageError the object may be there or not: read it before you try again.
        """

    def replace(self, name: str, data: bytes) -> None:
        """Write a small object, or swap its content, atomically: readers see the old or the new."""

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error, so that a resumed deletion ends the same.

        What is no object (:meth:`strange`) stays where it is, and so does what it may lead to.
        """

    def list(self, prefix: str = "", after: str = "") -> Iterator[StoredObject]:
        """Every object whose name starts with ``prefix`` and comes after ``after``, in the order of names.

        Names are ordered by code point. The prefix need not end at a ``/``. Uploads in progress are not among them. An
        object created or deleted meanwhile may be there or not. A remote storage answers with 1000 names a call, and
        skips those before ``after`` without listing them (S3: start-after).
        """

    def strange(self, folder: str = "") -> Iterator[StrangeEntry]:
        """What nobody of us made, in a folder and below it: the folder itself included, and what is on the way to it.

        Links, FIFOs, sockets, devices, directories that cannot be looked into or that stand where a document should,
        names that no object of ours has. A listing passes over all but the last; none of them hides anything else.
        """

    def everything(self, folder: str = "", after: str = "") -> Iterator[StoredObject | StrangeEntry]:
        """The objects in a folder and below it that come ``after`` that name, and all that is strange there."""

    def children(self, folder: str = "") -> Sequence[Child]:
        """Everything directly in a folder, by name, whatever it is; nothing where there is no such folder."""

    def open_to_others(self) -> str:
        """Who beside its user may change the storage, as the end of a sentence; empty for nobody, or nobody knows."""

    def free_bytes(self) -> int | None:
        """Space left, or None where the storage has no such limit or does not tell."""

    def partials(self) -> Iterator[StoredObject]:
        """Uploads that were never committed: some in progress, some left by killed processes."""

    def is_abandoned(self, name: str) -> bool:
        """Whether whoever wrote one of :meth:`partials` is known to be gone; False where nobody can tell."""

    def discard_partial(self, name: str) -> None:
        """Remove one of :meth:`partials`; one that is not there is no error."""
