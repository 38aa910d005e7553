"""What the operating system's error numbers mean to somebody who keeps backups in a directory.

The meanings are those of the Linux manual, errno(3) and write(2).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recyclic_backups.errors import StorageError

_ACCESS = (
    "access is denied",
    "let the user that runs the backups own the directory, and everything in it",
)
_FULL = (
    "no space is left in the storage",
    "free some space, or let `recyclic-backups expire` show what may go",
)
_DEVICE = (
    "the device reports an input/output error",
    "look into the kernel's log (dmesg) and check the disk before you trust what is on it",
)
_POOR_FILE_SYSTEM = (
    "its file system does not offer this operation",
    "use one that has hard links and atomic renames, such as ext4, xfs, btrfs, zfs or NFS",
)
_HANDLES = ("too many files are open", "raise the limit of open files (ulimit -n)")
_NETWORK = ("the network file system does not answer", "see whether its server is up and still exports it")

# errno: (what happened, what to do)
_MEANINGS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: (
        "the disk quota is used up",
        "raise it, or let `recyclic-backups expire` show what may go",
    ),
    errno.EFBIG: (
        "the file would be larger than allowed",
        "raise the file size limit (ulimit -f), or use a file system that takes larger files",
    ),
    errno.EACCES: _ACCESS,
    errno.EPERM: _ACCESS,
    errno.EROFS: ("the storage is not writable: its file system is read-only", "mount it read-write"),
    errno.EIO: _DEVICE,
    errno.ENXIO: _DEVICE,
    errno.ENODEV: _DEVICE,
    errno.ENOTDIR: (
        "a file stands where a directory is needed",
        "move that file away, or choose another directory",
    ),
    errno.EISDIR: ("a directory stands where a file is needed", "move that directory away"),
    errno.ENAMETOOLONG: ("the name is too long for the file system", "choose a shorter path"),
    errno.EINVAL: _POOR_FILE_SYSTEM,
    errno.ENOSYS: _POOR_FILE_SYSTEM,
    errno.EOPNOTSUPP: _POOR_FILE_SYSTEM,
    errno.ELOOP: ("its symbolic links lead in a circle, or stand where none may", "repair the links"),
    errno.EMFILE: _HANDLES,
    errno.ENFILE: _HANDLES,
    errno.ESTALE: _NETWORK,
    errno.ETIMEDOUT: _NETWORK,
    errno.EHOSTDOWN: _NETWORK,
    errno.EHOSTUNREACH: _NETWORK,
    errno.ENOTCONN: _NETWORK,
}

# What may pass by itself. A full disk does not; nor may an fsync that failed be asked again, since the
# kernel may have dropped the pages already (https://wiki.postgresql.org/wiki/Fsync_Errors).
_PASSING = {
    errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.ENOTCONN, errno.EAGAIN, errno.EBUSY,
}  # fmt: skip


def storage_error(error: OSError, deed: str) -> StorageError:
    """The operating system's refusal as a sentence: "cannot <deed>: <what happened>". Pure."""
    number = error.errno or 0
    meaning, hint = _MEANINGS.get(number, (error.strerror or type(error).__name__, ""))
    return StorageError(f"cannot {deed}: {meaning}", hint, retryable=number in _PASSING)


@contextmanager
def acting(root: Path, deed: str) -> Iterator[None]:
    """Translate the operating system's errors in a storage; ``deed`` completes "cannot …"."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOENT and not root.exists():
            raise StorageError(
                f"cannot {deed}: the storage directory {root} is not there",
                "see that its disk is mounted",
            ) from error
        raise storage_error(error, deed) from error
