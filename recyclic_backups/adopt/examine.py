"""Read a file to its end, as a restore would: what it is a backup of, and that it can be read. Nothing is written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from recyclic_backups.adopt.header import ArchiveHeader, parse_header
from recyclic_backups.adopt.naming import Place, place
from recyclic_backups.adopt.preamble import PREAMBLE_BYTES, facts_of
from recyclic_backups.adopt.unwrap import OpenedArchive, open_archive
from recyclic_backups.backup_calendar import Calendar
from recyclic_backups.catalog.manifest import ServerFacts
from recyclic_backups.catalog.objects import READ_BYTES
from recyclic_backups.errors import DamagedData, ProgramFailed
from recyclic_backups.postgres.process import PipedProcess, StoppedReading
from recyclic_backups.postgres.programs import Installation, choose, restore_argv
from recyclic_backups.progress import SILENT, Progress


@dataclass(frozen=True, slots=True)
class Examined:
    """A readable archive: where it belongs, what it says of its server, and the SHA-256 of its bytes."""

    place: Place
    header: ArchiveHeader
    facts: ServerFacts
    wrapped_in: tuple[str, ...]
    plain_bytes: int
    sha256: str


def examine(
    path: Path,
    passphrases: Sequence[str],
    installations: Sequence[Installation],
    calendar: Calendar,
    *,
    now: datetime,
    timeout_seconds: float,
    progress: Progress = SILENT,
) -> Examined:
    """Let pg_restore read the whole archive in a file, and take down what it is.

    Raises what :func:`open_archive` and :func:`place` raise, DamagedData when pg_restore cannot read it to its end,
    ProgramMissing when there is no pg_restore new enough.
    """
    with open_archive(path, passphrases, progress.advance) as archive:
        header = parse_header(archive.header)
        belongs = place(path.name, header, calendar, now)
        installation = choose(installations, header.pg_dump_major, {"pg_restore"})
        hashed = _Hashed(archive)
        sql = _read_through(hashed, installation, timeout_seconds)
    return Examined(
        place=belongs,
        header=header,
        facts=facts_of(header, sql),
        wrapped_in=archive.wrapped_in,
        plain_bytes=hashed.size_bytes,
        sha256=hashed.sha256,
    )


class _Hashed:
    """Counts and hashes what is read."""

    def __init__(self, archive: OpenedArchive) -> None:
        self._archive = archive
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def read(self, size: int, /) -> bytes:
        data = self._archive.read(size)
        self._sha256.update(data)
        self.size_bytes += len(data)
        return data

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


def _read_through(archive: _Hashed, installation: Installation, timeout_seconds: float) -> str:
    """All of the archive through pg_restore, which writes SQL that nobody runs; the beginning of that SQL."""
    argv = restore_argv(installation, database=None, extra=("--create",))
    with (
        PipedProcess(argv, {}, stdin=True, timeout_seconds=timeout_seconds, nice=True) as process,
        ThreadPoolExecutor(1, "sql") as beside,
    ):
        beginning = beside.submit(_beginning, process)
        try:
            while data := archive.read(READ_BYTES):
                process.write(data)
            process.close_stdin()
            sql = beginning.result()
            process.wait_ok()
        except StoppedReading:
            raise DamagedData(
                "it goes on after the end of the archive, which is not how it was written"
            ) from None
        except ProgramFailed as failure:
            if failure.retryable:
                raise  # too slow, or killed: that says nothing about the file
            while archive.read(READ_BYTES):
                pass  # if a wrapping is cut short or damaged, that is the better sentence
            raise DamagedData(f"pg_restore cannot read it: {failure.message}", failure.hint) from None
        finally:
            # Whatever happened: without an end of its input it would run on, and the thread would wait for it.
            process.close_stdin()
    return sql.decode(errors="replace")


def _beginning(process: PipedProcess) -> bytes:
    """The first bytes of a program's output; all the rest is read and forgotten."""
    kept = b""
    while piece := process.read(READ_BYTES):
        if len(kept) < PREAMBLE_BYTES:
            kept += piece[: PREAMBLE_BYTES - len(kept)]
    return kept
