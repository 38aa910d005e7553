"""The first bytes of an archive of pg_dump's custom format: which database, when, by which versions. Pure.

We read them ourselves because ``pg_restore --list`` prints the creation date in the time zone of the process that
runs it, after a detour through ``mktime`` that moves times which that zone skips; and because which pg_restore
can read the archive has to be known before one is started. The layout is that of ``ReadHead`` in PostgreSQL's
``src/bin/pg_dump/pg_backup_archiver.c``; it is the same for versions 1.10 (PostgreSQL 8.0) to 1.16 (18) but for
the compression, which became one byte with 1.15 (16).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from recyclic_backups.errors import DamagedData, UsageError

MAGIC = b"PGDMP"
HEADER_BYTES = 4096
"""More than any header has: three texts of at most a few hundred bytes, and numbers."""

_OLDEST = (1, 10, 0)
_COMPRESSION_IN_ONE_BYTE = (1, 15, 0)
_CUSTOM = 1
_OTHER_FORMATS = {2: "files", 3: "tar", 5: "directory"}


@dataclass(frozen=True, slots=True)
class ArchiveHeader:
    """What an archive says of itself.

    ``created`` is the clock on the wall of the machine that ran pg_dump, naive: the archive does not say its time
    zone, only whether it was summer time (``summer``). Versions are like ``15.18``.
    """

    database: str
    created: datetime | None
    summer: bool
    server_version: str
    pg_dump_version: str

    @property
    def pg_dump_major(self) -> int:
        """15 for ``15.18``; no older pg_restore is sure to read the archive."""
        return int(self.pg_dump_version.split(".")[0])


def parse_header(head: bytes) -> ArchiveHeader:
    """Read the header at the beginning of ``head``.

    Raises DamagedData when it is cut short or makes no sense, UsageError for formats that are not adopted.
    """
    reading = _Reading(head)
    if reading.take(len(MAGIC)) != MAGIC:
        raise DamagedData("it does not begin as an archive of pg_dump does")
    version = (reading.byte(), reading.byte(), reading.byte())
    if version < _OLDEST or version[0] != 1:
        raise UsageError(
            f"it is an archive of version {version[0]}.{version[1]}, which is not adopted",
            "restore it with the programs of its time and back that database up",
        )
    reading.integer_bytes = reading.byte()
    if not 1 <= reading.integer_bytes <= 8:
        raise DamagedData("the header of the archive makes no sense")
    reading.byte()  # the size of offsets
    form = reading.byte()
    if form in _OTHER_FORMATS:
        raise UsageError(
            f"it is an archive of pg_dump's {_OTHER_FORMATS[form]} format",
            "only the custom format (-Fc) is adopted",
        )
    if form != _CUSTOM:
        raise DamagedData("the header of the archive makes no sense")
    if version >= _COMPRESSION_IN_ONE_BYTE:
        reading.byte()
    else:
        reading.integer()
    second, minute, hour, day, month, year, summer = (reading.integer() for _ in range(7))
    try:
        # As in C's struct tm: months from 0, years from 1900, a leap second possible.
        created = datetime(year + 1900, month + 1, day, hour, minute, min(second, 59))  # noqa: DTZ001 - see above
    except (ValueError, OverflowError):
        created = None
    return ArchiveHeader(
        database=reading.text(),
        created=created,
        summer=summer > 0,
        server_version=_version(reading.text()),
        pg_dump_version=_version(reading.text()),
    )


class _Reading:
    """One pass over the bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.integer_bytes = 4

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.data):
            raise DamagedData("the archive is cut short: its header is not complete")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def integer(self) -> int:
        """A sign, then the bytes of the number, the lowest first."""
        sign = self.byte()
        number = int.from_bytes(self.take(self.integer_bytes), "little")
        return -number if sign else number

    def text(self) -> str:
        length = self.integer()
        return "" if length < 0 else self.take(length).decode(errors="replace")


def _version(text: str) -> str:
    """``15.18`` of ``15.18 (Debian 15.18-0+deb12u1)``."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    if found is None:
        raise DamagedData("the header of the archive does not say which version of PostgreSQL it is of")
    return found[0]
