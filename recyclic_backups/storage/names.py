"""Which names an object may have. Pure: the rules are the same for every storage.

A name is relative and ``/``-separated. The last line of defence against a name that leaves the storage is
here, not in the callers: a name that breaks a rule is a bug above, and is refused before any I/O.
"""

from __future__ import annotations

import re

from recyclic_backups.errors import StorageError

PARTIAL_PREFIX = ".partial-"
"""How the temporary file of an upload in progress begins; no object may be called so."""


PARTIAL_NAME = re.compile(r"\.partial-(?:[0-9a-f]{0,8}-)?[0-9a-f]{16}")
"""What uploads call such a file, in this version and in earlier ones. Others with the prefix are somebody else's."""

MOST_PARTS = 12
"""How many parts, directories and the last one, a name may have: ours have five."""


def checked_name(name: str) -> str:
    """The same name, if an object may have it. Raises StorageError."""
    _check_segments(name, name.split("/"))
    return name


def split_prefix(prefix: str) -> tuple[str, str]:
    """A listing prefix as (directory without its last slash, beginning of the name inside it).

    ``app/backups/2026`` is ``("app/backups", "2026")``. Raises StorageError for a directory that no object
    can be in.
    """
    directory, _, beginning = prefix.rpartition("/")
    if directory or prefix.startswith("/"):
        _check_segments(prefix, directory.split("/"))
    return directory, beginning


def _check_segments(name: str, segments: list[str]) -> None:
    if any(segment in ("", ".", "..") or segment.startswith(PARTIAL_PREFIX) for segment in segments):
        raise StorageError(
            f"{name!r} cannot be the name of a stored object",
            "names are relative, without empty, '.' or '..' parts, and no part begins with '.partial-'",
        )
    if len(segments) > MOST_PARTS:
        raise StorageError(f"the name of a stored object has more than {MOST_PARTS} parts")
    if "\0" in name:
        raise StorageError("the name of a stored object cannot contain a NUL character")
