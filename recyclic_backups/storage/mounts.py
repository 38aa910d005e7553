"""Where a disk should be mounted and is not: its empty directory must not pass for an empty storage."""

from __future__ import annotations

import os
import re
from pathlib import Path

FSTAB = Path("/etc/fstab")


def unmounted(path: Path) -> Path | None:
    """The mount point of fstab(5) that a path lies in, or is, while nothing is mounted there; None where all is well.

    The nearest one counts: a disk mounted below a place without its own is a disk. Raises OSError.
    """
    wanted = _mount_points()
    resolved = path.resolve()
    for place in (resolved, *resolved.parents):
        if os.path.ismount(place):
            return None
        if place in wanted:
            return place
    return None


def _mount_points() -> frozenset[Path]:
    """The second field of each line; spaces and the like in it are written in octal (fstab(5))."""
    try:
        lines = FSTAB.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return frozenset()  # containers often have none
    fields = [line.split() for line in lines if not line.lstrip().startswith("#")]
    places = [each[1] for each in fields if len(each) > 1 and each[1].startswith("/")]
    return frozenset(
        Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place)).resolve() for place in places
    )
