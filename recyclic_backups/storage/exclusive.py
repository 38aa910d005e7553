"""Give a file its name only if nobody has it: the step on which manifests and locks rest."""

from __future__ import annotations

import errno
import os

# What link(2) answers where there are no hard links: vfat, exFAT, many network and FUSE file systems.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

# renameat2(2), <linux/fs.h>.
_RENAME_NOREPLACE = 1


def move_new(source: str, target: str, directory: int) -> None:
    """Rename within an open directory, but never over an existing file; atomic.

    Raises FileExistsError, and OSError as link(2) and renameat2(2) do: EINVAL or ENOSYS when the file
    system offers neither.
    """
    try:
        # link(2) never overwrites; it must not follow a link that took the source's place.
        os.link(source, target, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_new(source, target, directory)
    else:
        os.unlink(source, dir_fd=directory)


def _rename_new(source: str, target: str, directory: int) -> None:
    """renameat2(2), which Python does not offer."""
    import ctypes  # noqa: PLC0415 - rarely needed

    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    source_name, target_name = os.fsencode(source), os.fsencode(target)
    if library.renameat2(directory, source_name, directory, target_name, _RENAME_NOREPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)  # a FileExistsError for EEXIST
