"""An upload in progress into a directory: a hidden file beside its target, until it is whole and on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recyclic_backups.errors import DamagedData, ObjectExists, StorageError
from recyclic_backups.storage.descent import (
    make_directories,
    opened_chain,
    opened_directory,
    prune,
    sync_directory,
)
from recyclic_backups.storage.exclusive import move_new
from recyclic_backups.storage.local_errors import acting
from recyclic_backups.storage.names import checked_name
from recyclic_backups.storage.ownership import claim, new_partial_name

# How often an upload makes its directory again when a deletion keeps removing it while it is still empty.
_ATTEMPTS = 50

# An existing file is never opened for writing, whatever it is: O_EXCL.
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalUpload:
    """One upload. No directory is kept open: an upload may take hours, and a disk may have to be unmounted."""

    def __init__(self, root: Path, url: str, name: str) -> None:
        self._root, self._url, self._name = root, url, name
        *self._directory, self._target = checked_name(name).split("/")
        self._partial = ""
        self._descriptor: int | None = None
        with acting(root, f"store {name}"):
            self._open_partial()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes, all of them: the system may take fewer at a time, as on a disk almost full."""
        descriptor = self._open_descriptor()
        rest = memoryview(data).cast("B")
        with acting(self._root, f"store {self._name}"):
            while rest:
                rest = rest[os.write(descriptor, rest) :]

    def commit(self) -> None:
        """Put the object in place, over an older one if there is one.

        rename(2) follows no link: one that stands there is replaced, and what it led to stays as it was.
        """
        with acting(self._root, f"store {self._name}"):
            self._settle()
            with self._own_directory() as directory:
                os.rename(self._partial, self._target, src_dir_fd=directory, dst_dir_fd=directory)
                self._close()
                sync_directory(directory)

    def commit_new(self) -> None:
        """Put the object in place, unless there is one. Raises ObjectExists."""
        with acting(self._root, f"store {self._name}"):
            self._settle()
            with self._own_directory() as directory:
                try:
                    move_new(self._partial, self._target, directory)
                except FileExistsError:
                    raise ObjectExists(f"there is already a {self._name} in {self._url}") from None
                self._close()
                sync_directory(directory)

    def abandon(self) -> None:
        """Remove what is not committed, and the directory if it was made for it alone."""
        with acting(self._root, f"remove the partial upload of {self._name}"):
            self._close()
            with opened_chain(self._root, self._directory) as chain:
                if len(chain) <= len(self._directory):
                    return
                try:
                    os.unlink(self._partial, dir_fd=chain[-1])
                except FileNotFoundError:
                    return
                prune(chain, self._directory)

    def _open_partial(self) -> None:
        """A new temporary file. Once it is there, no deletion can remove the directory any more."""
        for attempt in range(_ATTEMPTS):
            partial = new_partial_name()
            try:
                with _refused_for_writing(self._name):
                    if attempt:
                        make_directories(self._root, self._directory)
                    with opened_directory(self._root, self._directory) as directory:
                        descriptor = os.open(partial, _NEW_FILE, 0o600, dir_fd=directory)
                if claim(descriptor):
                    self._partial, self._descriptor = partial, descriptor
                    return
                os.close(descriptor)  # taken for an abandoned one in the moment before it was locked
            except FileNotFoundError:
                if attempt == _ATTEMPTS - 1 or not self._root.exists():
                    raise
        raise AssertionError("unreachable")

    @contextmanager
    def _own_directory(self) -> Iterator[int]:
        """The target's directory, if the file in it is the one that was written: the way there may have changed."""
        with (
            _refused_for_writing(self._name),
            opened_directory(self._root, self._directory) as directory,
        ):
            found = os.stat(self._partial, dir_fd=directory, follow_symlinks=False)
            if not os.path.samestat(found, os.fstat(self._open_descriptor())):
                raise StorageError(
                    f"cannot store {self._name}: somebody put another file in the place of the one being written",
                    "see who else may write to the storage",
                )
            yield directory

    def _settle(self) -> None:
        """Bytes to the disk. Closing may be where a network file system reports what it could not write.

        A second descriptor is closed for that: the first one holds the lock until the object has its name.
        """
        os.fsync(self._open_descriptor())
        os.close(os.dup(self._open_descriptor()))

    def _close(self) -> None:
        # Forgotten before it is closed: Linux frees the number even when close(2) fails.
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise StorageError(f"the upload of {self._name} is over", "this is a bug: open another one")
        return self._descriptor


@contextmanager
def _refused_for_writing(name: str) -> Iterator[None]:
    """Something strange on the way: for a writer the storage cannot be used, which is not damage of the object."""
    try:
        yield
    except DamagedData as error:
        raise StorageError(f"cannot store {name}: {error.message}", error.hint) from error
