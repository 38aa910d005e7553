"""Feed a stored archive to pg_restore, section by section, with nothing decrypted on disk.

Each section is a run of its own, so that its time is known. pg_restore reads a pipe to the end only when it
needs the data; for the definitions before and after them the table of contents at the beginning is enough.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from recyclic_backups.catalog.manifest import BackupObject, Manifest
from recyclic_backups.catalog.objects import READ_BYTES, PlainReader, read_object
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.errors import ProgramFailed, StorageError
from recyclic_backups.fingerprint.names import split_qualified_name
from recyclic_backups.postgres.process import PipedProcess, StoppedReading
from recyclic_backups.postgres.programs import Installation, Section, psql_argv, restore_argv
from recyclic_backups.postgres.server import Server
from recyclic_backups.recovery.older_server import needs_psql, play
from recyclic_backups.recovery.selection import Selection

_SETTINGS = {"synchronous_commit": "off", "maintenance_work_mem": "128MB"}


@dataclass(frozen=True, slots=True)
class Archive:
    """One backup's main archive on its way into one database. Raises DatabaseError, DamagedData, NoUsableKey."""

    repository: Repository
    manifest: Manifest
    installation: Installation
    server: Server
    database: str
    no_owner: bool
    timeout_seconds: float
    scratch: Path | None = None
    server_major: int | None = None
    _running: list[PipedProcess] = field(default_factory=list, repr=False)
    _ending: threading.Event = field(default_factory=threading.Event, repr=False)
    _reading_seconds: list[float] = field(default_factory=list, repr=False)

    @property
    def reading_seconds(self) -> float:
        """How long the streams of rows were fetched, decrypted and decompressed, all of them together."""
        return sum(self._reading_seconds)

    def restore_data(self, selection: Selection | None, jobs: int, on_bytes: Callable[[int], None]) -> None:
        """The rows of all tables, or of the selected ones, ``jobs`` streams at once, the largest first.

        A table that has a stream of its own is fetched without reading the others.
        """
        split = {
            item.relation: item for item in self.manifest.objects if item.role == "table" and item.relation
        }
        parts: list[tuple[BackupObject, Sequence[str]]] = []
        for relation, item in split.items():
            if selection is None or relation in selection.tables:
                schema, name = split_qualified_name(relation)
                # Only the table: the value of its sequence is in the main archive.
                parts.append((item, [f"--schema={schema}", f"--table={name}"]))
        if selection is None:
            parts.append((self.manifest.main, []))
        else:
            for schema, names in selection.names_by_schema(without=split.keys()).items():
                parts.append(
                    (self.manifest.main, [f"--schema={schema}", *(f"--table={name}" for name in names)])
                )
        parts.sort(key=lambda part: -part[0].plain_bytes)
        counting = threading.Lock()

        def count(size_bytes: int) -> None:
            with counting:
                on_bytes(size_bytes)

        self._together(
            jobs, [partial(self._restore, "data", item, only, on_bytes=count) for item, only in parts]
        )

    def restore_definitions(self) -> None:
        """Everything that comes before the rows: schemas, types, functions, empty tables."""
        self._restore("pre-data", self.manifest.main)

    def restore_post_data(self, jobs: int) -> list[str]:
        """Indexes and unique keys in ``jobs`` sessions at once, then foreign keys, triggers and the rest in order.

        Materialized views are computed last. One that cannot be is no reason to give up everything else: it stays
        without rows, and the sentence that says why is returned.
        """
        main = self.manifest.main
        entries = _post_data(self._listing())
        shares = [entries.independent[start::jobs] for start in range(jobs)]
        restore = partial(self._restore, "post-data", main)
        self._together(jobs, [partial(restore, entries=share) for share in shares if share])
        if entries.rest:
            restore(entries=entries.rest)
        return self._refresh(restore, entries.refreshes)

    def _refresh(self, restore: Callable[..., None], entries: Sequence[int]) -> list[str]:
        """All at once, as they nearly always go well; else one by one, in the order in which they need each other."""
        if not entries:
            return []
        try:
            restore(entries=entries)
        except ProgramFailed as failed:
            if failed.retryable:
                raise
        else:
            return []
        notes = []
        for entry in entries:
            try:
                restore(entries=[entry])
            except ProgramFailed as failed:
                if failed.retryable:
                    raise
                notes.append(f"a materialized view stays without rows: {failed.message}")
        return notes

    def _together(self, jobs: int, parts: Sequence[Callable[[], None]]) -> None:
        """Run ``jobs`` parts at once; when one fails, or we are to end, the others are ended, not waited for."""
        with ThreadPoolExecutor(jobs, "restore") as pool:
            parts_done = [pool.submit(part) for part in parts]
            try:
                for done in as_completed(parts_done):
                    done.result()
            except BaseException:
                self._ending.set()
                for done in parts_done:
                    done.cancel()
                for process in list(self._running):
                    process.end()
                raise

    def _listing(self) -> str:
        argv = restore_argv(self.installation, database=None, section="post-data", extra=("--list",))
        with (
            read_object(self.repository, self.manifest, self.manifest.main) as reader,
            PipedProcess(argv, {}, stdin=True, timeout_seconds=self.timeout_seconds) as process,
            ThreadPoolExecutor(1, "listing") as beside,
        ):
            listing = beside.submit(_read_all, process)
            try:
                _pour(reader, process)
            finally:
                process.close_stdin()  # or the other thread waits for a pg_restore that waits for us
            text = listing.result()
            process.wait_ok()
        return text.decode(errors="replace")

    def _restore(
        self,
        section: Section,
        item: BackupObject,
        only: Sequence[str] = (),
        *,
        entries: Sequence[int] | None = None,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Run one section; ``only`` are further options of pg_restore, ``entries`` ids of the table of contents."""
        by_psql = needs_psql(self.installation, self.server_major)
        with _list_file(entries, self.scratch) as list_file:
            argv = restore_argv(
                self.installation,
                database=None if by_psql else self.database,
                section=section,
                list_file=list_file,
                encoding=self.manifest.server.encoding,
                no_owner=self.no_owner,
                extra=("--no-tablespaces", *only),
            )
            environment = self.server.environment(self.database, _SETTINGS)
            with (
                read_object(self.repository, self.manifest, item, on_bytes) as reader,
                PipedProcess(
                    argv, environment, stdin=True, stdout=by_psql, timeout_seconds=self.timeout_seconds
                ) as process,
                self._ended_with_the_others(process),
            ):
                if by_psql:
                    psql = psql_argv(self.installation, self.database)
                    play(process, psql, environment, lambda: _pour(reader, process), self.timeout_seconds)
                else:
                    _pour(reader, process)
                process.wait_ok()
                if section == "data":
                    self._reading_seconds.append(reader.reading_seconds)

    @contextmanager
    def _ended_with_the_others(self, process: PipedProcess) -> Iterator[None]:
        self._running.append(process)
        if self._ending.is_set():
            process.end()
        try:
            yield
        finally:
            self._running.remove(process)


def _pour(reader: PlainReader, process: PipedProcess) -> None:
    """All of the archive, or as much of it as pg_restore wants: it hangs up once it has seen enough."""
    with suppress(StoppedReading):
        while data := reader.read(READ_BYTES):
            process.write(data)


def _read_all(process: PipedProcess) -> bytes:
    pieces = []
    while piece := process.read(READ_BYTES):
        pieces.append(piece)
    return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class _PostData:
    """Ids of the entries of the last section, each group in the archive's own order."""

    independent: list[int]
    rest: list[int]
    refreshes: list[int]


def _post_data(listing: str) -> _PostData:
    """Those that depend on no other one (indexes, primary and unique keys), materialized views' rows, and the rest.

    A line is ``id; catalog-oid oid DESCRIPTION schema name owner``
    (https://www.postgresql.org/docs/15/app-pgrestore.html, --list).
    """
    found = _PostData([], [], [])
    for line in listing.splitlines():
        match = re.match(
            r"(\d+); \d+ \d+ (?:((?:INDEX|CONSTRAINT) (?!ATTACH))|(MATERIALIZED VIEW DATA ))?", line
        )
        if match:
            group = found.independent if match[2] else found.refreshes if match[3] else found.rest
            group.append(int(match[1]))
    return found


@contextmanager
def _list_file(entries: Sequence[int] | None, scratch: Path | None) -> Iterator[Path | None]:
    """A private file of entry ids: no names, hence nothing personal, are written to disk.

    Where another process can open it without one (proc(5)), it has no name, so that none stays if we are killed.
    """
    if entries is None:
        yield None
        return
    open_files = Path(f"/proc/{os.getpid()}/fd")
    with ExitStack() as stack:
        try:
            file: IO[str]
            if open_files.is_dir():
                file = stack.enter_context(tempfile.TemporaryFile("w", dir=scratch))
                path = open_files / str(file.fileno())
            else:
                file = stack.enter_context(tempfile.NamedTemporaryFile("w", dir=scratch))
                path = Path(str(file.name))
            file.writelines(f"{entry};\n" for entry in entries)
            file.flush()
        except OSError as error:
            raise StorageError(
                f"a list of entries cannot be written to {scratch or tempfile.gettempdir()}: {error.strerror}",
                "free some space there, or set BACKUP_SCRATCH to another directory",
            ) from error
        yield path
