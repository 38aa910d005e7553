"""Give a file its name only if nobody has it: the step on which manifests and locks rest."""

from __future__ import annotations

import errno
import os
from pathlib import Path

# What link(2) answers where there are no hard links: vfat, exFAT, many network and FUSE file systems.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

# renameat2(2), <fcntl.h> and <linux/fs.h>.
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1


def move_new(source: Path, target: Path) -> None:
    """Rename, but never over an existing file; atomic. Both names are in one directory.

    Raises FileExistsError, and OSError as link(2) and renameat2(2) do: EINVAL or ENOSYS when the file
    system offers neither.
    """
    try:
        os.link(source, target)  # link(2) never overwrites
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_new(source, target)
    else:
        os.unlink(source)


def _rename_new(source: Path, target: Path) -> None:
    """renameat2(2), which Python does not offer."""
    import ctypes  # noqa: PLC0415 - rarely needed

    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    source_name, target_name = os.fsencode(source), os.fsencode(target)
    if library.renameat2(_AT_FDCWD, source_name, _AT_FDCWD, target_name, _RENAME_NOREPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))  # a FileExistsError for EEXIST
