"""Ask the WAL itself, through pg_waldump: when transactions ended, where a named point is, what was deleted.

Segments are unsealed into a private directory, a few at a time, and gone again. The program is shut in: the WAL may
have been written by whoever was superuser of production.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast
from zoneinfo import ZoneInfo

from recyclic_backups.archive.wal import segment_name, segment_start
from recyclic_backups.errors import ProgramFailed, ProgramMissing
from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.cluster import Cluster
from recyclic_backups.postgres.lsn import lsn_of, lsn_text
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.watchdog import remove, watchdog
from recyclic_backups.recovery.feed import Source
from recyclic_backups.recovery.plan import Located, Plan, Questions, plan_recovery
from recyclic_backups.recovery.survey import Survey
from recyclic_backups.recovery.target import Target
from recyclic_backups.recovery.windows import Window

BATCH = 16
"""So many segments are plain on the disk at once."""

_TRANSACTIONS, _POINTS = ("Transaction",), ("XLOG",)

_RECORD = re.compile(
    r"rmgr: (?P<manager>\S+)\s+len \(rec/tot\):\s*\d+/\s*(?P<bytes>\d+), tx:\s*(?P<xid>\d+), "
    r"lsn: (?P<lsn>[0-9A-F]+/[0-9A-F]+), prev [0-9A-F/]+, desc: (?P<what>.*)"
)
_END = re.compile(
    r"(?P<how>COMMIT|ABORT)(?P<prepared>_PREPARED)? (?:(?P<xid>\d+): )?"
    r"(?P<at>\d{4,}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC"
)
# How pg_waldump says that it came to the end of what there is.
_ENDS = re.compile(
    r"error in WAL record at|could not find (?:a valid record|file)|could not (?:open|read)|invalid record length|"
    r"first record is after|start WAL location|end WAL location"
)


# Descriptions with a name that anybody gives who may prepare a transaction, printed as it is: also as several lines.
_NAMING = ("PREPARE", "RESTORE_POINT")
_HEADER_BYTES, _LEAST_PAGE_BYTES = 40, 1024  # XLogLongPageHeaderData ends with the size of a page


@dataclass(frozen=True, slots=True)
class Record:
    """One record: which part of the server wrote it, its transaction, place and description."""

    manager: str
    xid: int
    lsn: int
    size_bytes: int
    what: str


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a transaction: its commit, or that it was given up, and when."""

    xid: int
    lsn: int
    at: datetime
    committed: bool


def ending_of(record: Record) -> Ending | None:
    """The end of a transaction that a record tells; None for any other record."""
    match = _END.match(record.what) if record.manager == "Transaction" else None
    if match is None:
        return None
    xid = int(match["xid"]) if match["xid"] else record.xid
    moment = datetime.fromisoformat(match["at"]).replace(tzinfo=UTC)
    return Ending(xid, record.lsn, moment, match["how"] == "COMMIT")


class WalReader:
    """Records of a window. ``workshop`` has a private directory and the programs of the server's version."""

    def __init__(self, source: Source, workshop: Cluster, account: Account) -> None:
        self._source, self._workshop, self._account = source, workshop, account

    def forward(
        self,
        window: Window,
        from_lsn: int,
        to_lsn: int,
        managers: Collection[str],
        *,
        at_once: int = BATCH,
    ) -> Iterator[Record]:
        """The records between two positions, in order; so many segments are fetched ``at_once``."""
        seen = from_lsn - 1
        for start, end in _batches(window, from_lsn, to_lsn, at_once):
            for record in self._batch(window, start, end, managers):
                if seen < record.lsn < to_lsn:
                    seen = record.lsn
                    yield record

    def backward(
        self, window: Window, from_lsn: int, to_lsn: int, managers: Collection[str]
    ) -> Iterator[list[Record]]:
        """The same in pieces, the last one first; some records may be in two of them."""
        for start, end in reversed(_batches(window, from_lsn, to_lsn, BATCH)):
            records = self._batch(window, start, end, managers)
            yield [record for record in records if from_lsn <= record.lsn < to_lsn]

    def _batch(self, window: Window, start: int, end: int, managers: Collection[str]) -> Iterator[Record]:
        """The records in some segments. pg_waldump knows one timeline: files of all are given the name of the last."""
        size = window.segment_bytes
        directory = self._workshop.home / "wal"
        directory.mkdir(mode=0o750)
        try:
            if self._account.change:
                os.chown(directory, -1, self._account.gid)
            for lsn in range(segment_start(start, size), end, size):
                content = self._source.segment(
                    window.line.segment_at(lsn, size), size, window.needed_bytes(lsn)
                )
                file = directory / segment_name(window.timeline, lsn, size)
                with open(
                    os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640), "wb"
                ) as out:
                    out.write(content)
                    out.truncate(size)
                if self._account.change:
                    os.chown(file, -1, self._account.gid)
            yield from self._records(directory, window, start, end, managers)
        finally:
            remove(directory)

    def _records(
        self, directory: Path, window: Window, start: int, end: int, managers: Collection[str]
    ) -> Iterator[Record]:
        where = [f"--path={directory}", f"--timeline={window.timeline}"]
        arguments = [
            *where,
            f"--start={lsn_text(start)}",
            f"--end={lsn_text(end)}",
            *(f"--rmgr={each}" for each in managers),
        ]
        complaint, found = "", False
        with self._workshop.program("pg_waldump", *arguments, readable=(directory,)) as process:
            lines = iter(cast("IO[bytes]", process.stdout))
            for line in lines:
                text = line.decode(errors="replace").rstrip("\n")
                match = _RECORD.match(text)
                if match is None:
                    complaint = complaint or text if not _ENDS.search(text) else complaint
                    found = found or bool(_ENDS.search(text))
                    continue
                found = True
                record = Record(
                    match["manager"],
                    int(match["xid"]),
                    lsn_of(match["lsn"]),
                    int(match["bytes"]),
                    match["what"],
                )
                if record.what.startswith(_NAMING) and self._may_look_like_more(directory, window, record):
                    for _ in range(self._lines_of(record, where, directory) - 1):
                        next(lines, None)
                yield record
            code = process.wait()
        if code and not found:
            raise ProgramFailed(f"pg_waldump failed: {complaint or f'exit code {code}'}")

    def _lines_of(self, record: Record, where: Sequence[str], directory: Path) -> int:
        """How many lines pg_waldump prints for that record alone."""
        arguments = (*where, f"--start={lsn_text(record.lsn)}", "--limit=1")
        with self._workshop.program("pg_waldump", *arguments, readable=(directory,)) as process:
            return cast("IO[bytes]", process.stdout).read().count(b"\n")

    @staticmethod
    def _may_look_like_more(directory: Path, window: Window, record: Record) -> bool:
        """Whether a name in the record could hold what looks like the line of another one."""
        size = window.segment_bytes
        with (directory / segment_name(window.timeline, record.lsn, size)).open("rb") as file:
            page_bytes = int.from_bytes(file.read(_HEADER_BYTES)[-4:], sys.byteorder)
            inside = record.lsn % size
            if page_bytes < _LEAST_PAGE_BYTES or inside % page_bytes + record.size_bytes > page_bytes:
                return True  # the header of a page may lie in the midst of it
            file.seek(inside)
            return b"\nrmgr:" in file.read(record.size_bytes)


def _batches(window: Window, from_lsn: int, to_lsn: int, at_once: int) -> list[tuple[int, int]]:
    """Where to begin and end reading, in order: each piece has a segment of the next one too, for what goes on."""
    size = window.segment_bytes
    found = []
    start = from_lsn
    while start < to_lsn:
        following = segment_start(start, size) + at_once * size
        found.append((start, min(to_lsn, following + size)))
        start = following
    return found


@contextmanager
def wal_reader(
    source: Source, installations: Sequence[Installation], scratch: Path, server_version: int
) -> Iterator[WalReader]:
    """A reader of WAL of that version. Raises ProgramMissing without the program."""
    major = server_version // 10000
    installation = next(
        (each for each in installations if each.major == major and "pg_waldump" in each.programs), None
    )
    if installation is None:
        raise ProgramMissing(
            f"looking into the WAL needs pg_waldump of PostgreSQL {major}, and this machine has none",
            f"install postgresql-{major}, the server package",
        )
    account = Account.for_recovered()
    home = account.private_directory(scratch)
    workshop = Cluster(installation, home, home / "none", home / "none", account)
    with watchdog(account, home, (home,), all_is_well=lambda: True):
        workshop.make_reachable()
        yield WalReader(source, workshop, account)


@contextmanager
def questions(
    source: Source, installations: Sequence[Installation], scratch: Path, windows: Sequence[Window]
) -> Iterator[Questions]:
    """What a plan may have to ask; the WAL is opened when something is asked for the first time."""
    with ExitStack() as stack:
        opened: list[WalReader] = []

        def reader() -> WalReader:
            if not opened:
                version = windows[-1].bases[-1].server_version
                opened.append(stack.enter_context(wal_reader(source, installations, scratch, version)))
            return opened[0]

        yield Questions(
            last_commit=lambda window: last_commit(reader(), window),
            find=lambda target, window, low, high: find(reader(), target, window, low, high),
        )


def plan_from(
    found: Survey,
    windows: Sequence[Window],
    target: Target,
    installations: Sequence[Installation],
    scratch: Path,
    *,
    now: datetime,
    timezone: ZoneInfo,
) -> Plan:
    """How what there is leads to the target. Raises as :func:`plan_recovery`, and what reading WAL raises."""
    with questions(found.source, installations, scratch, windows) as asked:
        return plan_recovery(
            found.archive.system_identifier,
            windows,
            target,
            found.chain_of,
            asked,
            now=now,
            timezone=timezone,
        )


def last_commit(reader: WalReader, window: Window) -> datetime | None:
    """When the last transaction of a window ended; None where none did since its first base backup."""
    for records in reader.backward(window, window.start_lsn, window.end_lsn, _TRANSACTIONS):
        endings = [ending for record in records if (ending := ending_of(record)) is not None]
        if endings:
            return max(endings, key=lambda ending: ending.lsn).at
    return None


def find(reader: WalReader, target: Target, window: Window, low: int, high: int) -> Located | None:
    """The end of a transaction, or the newest point of that name, between two positions; None if it is not there."""
    managers = _TRANSACTIONS if target.kind == "xid" else _POINTS
    for records in reader.backward(window, low, high, managers):
        for record in reversed(records):
            ending = ending_of(record)
            if target.kind == "xid" and ending is not None and ending.xid == target.xid:
                return Located(record.lsn, record.lsn + record.size_bytes, ending.at)
            if target.kind == "name" and record.what == f"RESTORE_POINT {target.name}":
                return Located(record.lsn, record.lsn + record.size_bytes, None)
    return None
