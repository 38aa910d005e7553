"""A directory as storage: what a commit made visible survives a power cut.

Files are 0600 and directories 0700. An upload is a hidden file beside its target until it is whole and on
disk; then it takes its name. The order is the one that POSIX needs: fsync the file, rename, fsync the
directory (fsync(2): syncing a file does not sync the entry in its directory).

Others may be able to write there. Below the root nothing is followed, and only regular files are opened
(:mod:`recyclic_backups.storage.descent`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from recyclic_backups.errors import DamagedData, ObjectMissing, StorageError, StorageMissing
from recyclic_backups.storage import limits
from recyclic_backups.storage.descent import (
    kind_of,
    open_directory,
    open_file,
    opened_chain,
    opened_directory,
    prune,
    read_to_end,
    sync_directory,
)
from recyclic_backups.storage.local_errors import acting
from recyclic_backups.storage.local_listing import Wanted, children, walk
from recyclic_backups.storage.local_upload import LocalUpload
from recyclic_backups.storage.mounts import unmounted
from recyclic_backups.storage.names import PARTIAL_PREFIX, checked_name, split_prefix
from recyclic_backups.storage.ownership import is_unclaimed
from recyclic_backups.storage.store import Child, StoredObject, StrangeEntry


class LocalStore:
    """Objects as files below one directory. Safe for several threads and processes at once.

    The constructor touches nothing; :meth:`open` checks the directory and, if asked, makes it.
    """

    def __init__(self, root: Path) -> None:
        # Absolute from the start: a later change of the working directory must not move the storage.
        self.root = Path(os.path.abspath(root))

    @classmethod
    def open(cls, path: Path, create: bool) -> LocalStore:
        """The storage in that directory, checked.

        With ``create`` it is going to be written: a missing directory is made, but never its parents (a
        disk that is not mounted must not become a directory on the system's disk), and one that cannot be
        written is an error now and not after an hour of dumping. Without, a read-only directory will do.
        A directory where /etc/fstab mounts a disk and none is mounted is no storage either, empty as it looks.
        Raises StorageMissing when there is no such directory, could be, and is not to be created; StorageError
        when it cannot be used.
        """
        store = cls(path)
        with acting(store.root, f"open the storage {store.root}"):
            if mount_point := unmounted(store.root):
                raise StorageError(
                    f"the storage {store.root} is not there: no disk is mounted at {mount_point}",
                    f"/etc/fstab says that one has to be: mount {mount_point}",
                )
            if create:
                store._make_root()
            try:
                is_directory = stat.S_ISDIR(os.stat(store.root).st_mode)
            except FileNotFoundError:
                can_be_made = store.root.parent.is_dir() and not os.path.lexists(store.root)
                raise (StorageMissing if can_be_made else StorageError)(
                    f"there is no storage at {store.root}",
                    "see that BACKUP_STORAGE is right and its disk is mounted"
                    + ("; if both are, the first backup makes the directory" if can_be_made else ""),
                ) from None
        if not is_directory:
            raise StorageError(f"the storage {store.root} is not a directory", "name a directory")
        if not os.access(store.root, os.R_OK | os.X_OK):
            raise StorageError(f"the storage {store.root} is not readable", "give its user access to it")
        if create and not os.access(store.root, os.W_OK):
            raise StorageError(
                f"the storage {store.root} is not writable",
                "give the backup user the right to write there, or mount it read-write",
            )
        return store

    @property
    def url(self) -> str:
        """``file://`` and the absolute path, percent-encoded."""
        return self.root.as_uri()

    @contextmanager
    def writer(self, name: str) -> Iterator[LocalUpload]:
        """An upload; leaving without commit, or by an exception, removes what was written."""
        upload = LocalUpload(self.root, self.url, name)
        try:
            yield upload
        except BaseException as error:
            try:
                upload.abandon()
            except StorageError as failed_cleanup:
                error.add_note(f"and the partial upload stays behind: {failed_cleanup}")
            raise
        upload.abandon()

    @contextmanager
    def reader(self, name: str, offset: int = 0) -> Iterator[LocalReader]:
        """The object from ``offset`` on. Raises ObjectMissing, DamagedData for what is no regular file."""
        checked_name(name)
        if offset < 0:
            raise StorageError(f"cannot read {name} from the negative offset {offset}")
        descriptor = self._open(name)
        try:
            if offset:
                with acting(self.root, f"read {name}"):
                    os.lseek(descriptor, offset, os.SEEK_SET)
            yield LocalReader(self.root, name, descriptor)
        finally:
            os.close(descriptor)

    def get(self, name: str) -> bytes:
        """The whole object. Raises ObjectMissing, DamagedData for what is no regular file, or larger than allowed."""
        descriptor = self._open(name)
        try:
            with acting(self.root, f"read {name}"):
                data = read_to_end(descriptor, limits.most_bytes(name))
        finally:
            os.close(descriptor)
        if data is None:
            raise limits.too_large(name)
        return data

    def create(self, name: str, data: bytes) -> None:
        """Write an object that must not exist yet. Raises ObjectExists."""
        limits.require_readable(name, len(data))
        with self.writer(name) as upload:
            upload.write(data)
            upload.commit_new()

    def replace(self, name: str, data: bytes) -> None:
        """Write an object, or swap its content, in one step."""
        limits.require_readable(name, len(data))
        with self.writer(name) as upload:
            upload.write(data)
            upload.commit()

    def delete(self, name: str) -> None:
        """Remove an object and the directories that it leaves empty; a missing one is no error."""
        *directory, last = checked_name(name).split("/")
        with acting(self.root, f"delete {name}"):
            self._unlink(directory, last)

    def list(self, prefix: str = "", after: str = "") -> Iterator[StoredObject]:
        """Objects whose name starts with ``prefix``, in name order, one directory at a time."""
        folder, beginning = split_prefix(prefix)
        for found in self._walk(folder, beginning, "objects", after):
            assert isinstance(found, StoredObject)
            yield found

    def strange(self, folder: str = "") -> Iterator[StrangeEntry]:
        """What nobody of us made, in a folder and below it."""
        if folder:
            checked_name(folder)
        for found in self._walk(folder, "", "strange"):
            assert isinstance(found, StrangeEntry)
            yield found

    def everything(self, folder: str = "", after: str = "") -> Iterator[StoredObject | StrangeEntry]:
        """Objects and what is strange, by one walk."""
        if folder:
            checked_name(folder)
        return self._walk(folder, "", "everything", after)

    def children(self, folder: str = "") -> Sequence[Child]:
        """Everything directly in a folder, by name, whatever it is."""
        parts = checked_name(folder).split("/") if folder else []
        with acting(self.root, f"list {folder or 'the storage'}"):
            try:
                with opened_directory(self.root, parts) as descriptor:
                    return children(descriptor)
            except FileNotFoundError:
                os.stat(self.root)
            except (NotADirectoryError, DamagedData):
                pass
        return []

    def partials(self) -> Iterator[StoredObject]:
        """Uploads in progress, and what is left of killed ones: ``modified_at`` tells them apart."""
        for found in self._walk("", "", "partials"):
            assert isinstance(found, StoredObject)
            yield found

    def is_abandoned(self, name: str) -> bool:
        """Whether the process that was writing one of :meth:`partials` is known to be gone."""
        directory, last = _parts_of_partial(name)
        with acting(self.root, f"look at {name}"):
            try:
                with opened_directory(self.root, directory) as parent:
                    return is_unclaimed(parent, last, name)
            except (DamagedData, IsADirectoryError):
                return False  # something took its place meanwhile

    def discard_partial(self, name: str) -> None:
        """Remove one of :meth:`partials`. Only for one whose owner is known dead, or old enough to be."""
        directory, last = _parts_of_partial(name)
        with acting(self.root, f"discard {name}"):
            self._unlink(directory, last)

    def free_bytes(self) -> int:
        """What an ordinary user may still write: blocks reserved for root do not count."""
        with acting(self.root, "ask for the free space"):
            figures = os.statvfs(self.root)
        return figures.f_bavail * figures.f_frsize

    def open_to_others(self) -> str:
        """Who may change what is in the root: its owner, if that is another user than ours and root, and others."""
        with acting(self.root, "look at the storage"):
            details = os.stat(self.root)
        if details.st_uid not in (0, os.geteuid()):
            return f"it belongs to another user ({details.st_uid})"
        writers = {stat.S_IWGRP: "its group", stat.S_IWOTH: "every user of this machine"}
        found = [who for bit, who in writers.items() if details.st_mode & bit]
        return f"{' and '.join(found)} may write there" if found else ""

    def _walk(
        self, folder: str, beginning: str, wanted: Wanted, after: str = ""
    ) -> Iterator[StoredObject | StrangeEntry]:
        with acting(self.root, f"list {folder or 'the storage'}"):
            yield from walk(self.root, folder, beginning, wanted, after)

    def _unlink(self, directory: Sequence[str], last: str) -> None:
        """Remove a regular file, and then the directories that are empty. Anything else stays: a person made it."""
        with opened_chain(self.root, directory) as chain:
            if len(chain) > len(directory):
                with suppress(FileNotFoundError):
                    details = os.stat(last, dir_fd=chain[-1], follow_symlinks=False)
                    if kind_of(details.st_mode) == "file":
                        os.unlink(last, dir_fd=chain[-1])
            sync_directory(chain[prune(chain, directory)])

    def _open(self, name: str) -> int:
        """A descriptor of an object. Raises ObjectMissing, DamagedData, StorageError."""
        *directory, last = checked_name(name).split("/")
        with acting(self.root, f"read {name}"):
            try:
                parent = open_directory(self.root, directory)
                try:
                    return open_file(parent, last, name)
                finally:
                    os.close(parent)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise self._missing(name) from None

    def _missing(self, name: str) -> ObjectMissing:
        os.stat(self.root)  # within acting(): if the whole storage is gone, that is what to say
        return ObjectMissing(f"there is no {name} in {self.url}")

    def _make_root(self) -> None:
        if self.root.exists():
            return
        try:
            os.mkdir(self.root, 0o700)
        except FileExistsError:
            return
        except FileNotFoundError:
            raise StorageError(
                f"cannot make the storage {self.root}: its parent directory does not exist",
                f"mount the disk or make {self.root.parent} first: only the last directory is made for you",
            ) from None
        with opened_directory(self.root.parent, []) as descriptor:
            sync_directory(descriptor)


class LocalReader:
    """An object of a :class:`LocalStore`, open."""

    def __init__(self, root: Path, name: str, descriptor: int) -> None:
        self._root, self._name, self._descriptor = root, name, descriptor

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; ``b""`` at the end."""
        with acting(self._root, f"read {self._name}"):
            return os.read(self._descriptor, size)


def _parts_of_partial(name: str) -> tuple[Sequence[str], str]:
    """Directory and last part of an upload in progress. Raises StorageError for any other name."""
    directory, _, last = name.rpartition("/")
    if not last.startswith(PARTIAL_PREFIX):
        raise StorageError(f"{name!r} is not a partial upload")
    return (checked_name(directory).split("/") if directory else []), last
