"""A directory as storage: what a commit made visible survives a power cut.

Files are 0600 and directories 0700. An upload is a hidden file beside its target until it is whole and on
disk; then it takes its name. The order is the one that POSIX needs: fsync the file, rename, fsync the
directory (fsync(2): syncing a file does not sync the entry in its directory).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, MutableSequence, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from recyclic_backups.errors import ObjectExists, ObjectMissing, StorageError
from recyclic_backups.storage.exclusive import move_new
from recyclic_backups.storage.local_errors import storage_error
from recyclic_backups.storage.names import PARTIAL_PREFIX, checked_name, split_prefix
from recyclic_backups.storage.ownership import claim, is_unclaimed, new_partial_name
from recyclic_backups.storage.store import StoredObject

# What mkfs makes for root alone in the top directory of an ext file system: a storage may be a whole disk.
_FOREIGN_DIRECTORY = "lost+found"

# How often an upload makes its directory again when a deletion keeps removing it while it is still empty.
_ATTEMPTS = 50

# One line of a directory: a file with its details; a subdirectory with None, and a slash at the end.
_Entry = tuple[str, os.stat_result | None]


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
        Raises ObjectMissing when there is no such directory and it is not to be created, StorageError
        when it cannot be used.
        """
        store = cls(path)
        with store._acting(f"open the storage {store.root}"):
            if create:
                store._make_root()
            try:
                is_directory = stat.S_ISDIR(os.stat(store.root).st_mode)
            except FileNotFoundError:
                raise ObjectMissing(
                    f"there is no storage at {store.root}",
                    "see that BACKUP_STORAGE is right and its disk is mounted",
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
        upload = LocalUpload(self, name)
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
        """The object from ``offset`` on. Raises ObjectMissing."""
        path = self._path(name)
        if offset < 0:
            raise StorageError(f"cannot read {name} from the negative offset {offset}")
        with self._acting(f"read {name}"):
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except (FileNotFoundError, NotADirectoryError):
                raise self._missing(name) from None
        try:
            with self._acting(f"read {name}"):
                if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                    raise self._missing(name)
                os.lseek(descriptor, offset, os.SEEK_SET)
            yield LocalReader(self, name, descriptor)
        finally:
            os.close(descriptor)

    def get(self, name: str) -> bytes:
        """The whole object. Raises ObjectMissing."""
        pieces = []
        with self.reader(name) as reader:
            while piece := reader.read(1 << 20):
                pieces.append(piece)
        return b"".join(pieces)

    def create(self, name: str, data: bytes) -> None:
        """Write an object that must not exist yet. Raises ObjectExists."""
        with self.writer(name) as upload:
            upload.write(data)
            upload.commit_new()

    def replace(self, name: str, data: bytes) -> None:
        """Write an object, or swap its content, in one step."""
        with self.writer(name) as upload:
            upload.write(data)
            upload.commit()

    def delete(self, name: str) -> None:
        """Remove an object and the directories that it leaves empty; a missing one is no error."""
        path = self._path(name)
        with self._acting(f"delete {name}"):
            # A directory of that name is not an object: for us there is nothing.
            with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                os.unlink(path)
            self._sync_upwards(self._prune(path.parent))

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Objects whose name starts with ``prefix``, in name order, one directory at a time."""
        directory, beginning = split_prefix(prefix)
        with self._acting(f"list {prefix or 'the storage'}"):
            os.stat(self.root)  # a storage that is gone must not look like an empty one
        yield from self._walk(f"{directory}/" if directory else "", beginning, partial=False)

    def partials(self) -> Iterator[StoredObject]:
        """Uploads in progress, and what is left of killed ones: ``modified_at`` tells them apart."""
        return self._walk("", "", partial=True)

    def is_abandoned(self, name: str) -> bool:
        """Whether the process that was writing one of :meth:`partials` is known to be gone."""
        with self._acting(f"look at {name}"):
            return is_unclaimed(self.root / name)

    def discard_partial(self, name: str) -> None:
        """Remove one of :meth:`partials`. Only for one whose owner is known dead, or old enough to be."""
        directory, _, last = name.rpartition("/")
        if not last.startswith(PARTIAL_PREFIX):
            raise StorageError(f"{name!r} is not a partial upload")
        parent = self._path(directory) if directory else self.root
        with self._acting(f"discard {name}"):
            with suppress(FileNotFoundError):
                os.unlink(parent / last)
            self._sync_upwards(self._prune(parent))

    def free_bytes(self) -> int:
        """What an ordinary user may still write: blocks reserved for root do not count."""
        with self._acting("ask for the free space"):
            figures = os.statvfs(self.root)
        return figures.f_bavail * figures.f_frsize

    def _path(self, name: str) -> Path:
        return self.root / checked_name(name)

    def _missing(self, name: str) -> ObjectMissing:
        os.stat(self.root)  # within _acting: if the whole storage is gone, that is what to say
        return ObjectMissing(f"there is no {name} in {self.url}")

    @contextmanager
    def _acting(self, deed: str) -> Iterator[None]:
        """Translate the operating system's errors; ``deed`` completes "cannot …"."""
        try:
            yield
        except OSError as error:
            if error.errno == errno.ENOENT and not self.root.exists():
                raise StorageError(
                    f"cannot {deed}: the storage directory {self.root} is not there",
                    "see that its disk is mounted",
                ) from error
            raise storage_error(error, deed) from error

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
        _sync_directory(self.root.parent)

    def _make_directories(self, directory: Path) -> None:
        """Every directory between the root, which must be there, and ``directory``; each made to last."""
        for part in [*reversed(directory.parents), directory]:
            if self.root in part.parents:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o700)
                    _sync_directory(part.parent)

    def _open_partial(self, directory: Path) -> tuple[int, Path]:
        """A new temporary file. Once it is there, no deletion can remove the directory any more."""
        path = directory / new_partial_name()
        for attempt in range(_ATTEMPTS):
            try:
                if attempt:
                    self._make_directories(directory)
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                if claim(descriptor):
                    return descriptor, path
                os.close(descriptor)  # taken for an abandoned one in the moment before it was locked
            except FileNotFoundError:
                if attempt == _ATTEMPTS - 1 or not self.root.exists():
                    raise
        raise AssertionError("unreachable")

    def _prune(self, directory: Path) -> Path:
        """Remove empty directories from here up to the root; the first one that stays is returned."""
        while directory != self.root:
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                pass  # an interrupted deletion, or one beside us, was here before
            except OSError as error:
                # Not empty; a mount point or a symbolic link, which a person made and may keep; or a file.
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.ENOTDIR):
                    break
                raise
            directory = directory.parent
        return directory

    def _sync_upwards(self, directory: Path) -> None:
        """Make the entries of a directory last; of the nearest one above, if a deletion has just removed it."""
        while True:
            try:
                _sync_directory(directory)
            except (FileNotFoundError, NotADirectoryError):
                if directory == self.root:
                    raise
                directory = directory.parent
            else:
                return

    def _walk(self, directory: str, beginning: str, *, partial: bool) -> Iterator[StoredObject]:
        """Objects in name order (or the partial uploads); ``directory`` is "" or ends with a slash."""
        with self._acting(f"list {directory or 'the storage'}"):
            entries = self._entries(directory, beginning, partial)
        for name, details in entries:
            if details is None:
                yield from self._walk(f"{directory}{name}", "", partial=partial)
            else:
                modified_at = datetime.fromtimestamp(details.st_mtime, UTC)
                yield StoredObject(f"{directory}{name}", details.st_size, modified_at)

    def _entries(self, directory: str, beginning: str, partial: bool) -> Sequence[_Entry]:
        """One directory. With the slash after a directory's name, sorting gives the order of whole
        names: ``a-b/x`` comes before ``a/x``.
        """
        found: MutableSequence[_Entry] = []
        with (
            suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(f"{self.root}/{directory}") as entries,
        ):
            for entry in entries:
                name = entry.name
                if not name.startswith(beginning) or (not directory and name == _FOREIGN_DIRECTORY):
                    continue
                if entry.is_dir() and not name.startswith(PARTIAL_PREFIX):
                    found.append((f"{name}/", None))
                elif name.startswith(PARTIAL_PREFIX) is partial:
                    with suppress(FileNotFoundError):  # deleted while we looked
                        details = entry.stat()
                        if stat.S_ISREG(details.st_mode):
                            found.append((name, details))
        return sorted(found, key=lambda entry: entry[0])


class LocalUpload:
    """An upload in progress into a :class:`LocalStore`: a hidden file beside its target."""

    def __init__(self, store: LocalStore, name: str) -> None:
        self._store = store
        self._name = name
        self._target = store._path(name)
        with store._acting(f"store {name}"):
            descriptor, self._partial = store._open_partial(self._target.parent)
        self._descriptor: int | None = descriptor

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes, all of them: the system may take fewer at a time, as on a disk almost full."""
        descriptor = self._open_descriptor()
        rest = memoryview(data).cast("B")
        with self._store._acting(f"store {self._name}"):
            while rest:
                rest = rest[os.write(descriptor, rest) :]

    def commit(self) -> None:
        """Put the object in place, over an older one if there is one."""
        with self._store._acting(f"store {self._name}"):
            self._settle()
            os.rename(self._partial, self._target)
            self._close()
            self._store._sync_upwards(self._target.parent)

    def commit_new(self) -> None:
        """Put the object in place, unless there is one. Raises ObjectExists."""
        with self._store._acting(f"store {self._name}"):
            self._settle()
            try:
                move_new(self._partial, self._target)
            except FileExistsError:
                raise ObjectExists(f"there is already a {self._name} in {self._store.url}") from None
            self._close()
            self._store._sync_upwards(self._target.parent)

    def abandon(self) -> None:
        """Remove what is not committed, and the directory if it was made for it alone."""
        with self._store._acting(f"remove the partial upload of {self._name}"):
            self._close()
            try:
                os.unlink(self._partial)
            except FileNotFoundError:
                return
            self._store._prune(self._target.parent)

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


class LocalReader:
    """An object of a :class:`LocalStore`, open."""

    def __init__(self, store: LocalStore, name: str, descriptor: int) -> None:
        self._store = store
        self._name = name
        self._descriptor = descriptor

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; ``b""`` at the end."""
        with self._store._acting(f"read {self._name}"):
            return os.read(self._descriptor, size)


def _sync_directory(directory: Path) -> None:
    """Make the entries of a directory last."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # fsync(2): EINVAL is "does not support synchronization". Some network and FUSE file systems say so of
        # directories; there is nothing else to do there, and the file itself is synced.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)
