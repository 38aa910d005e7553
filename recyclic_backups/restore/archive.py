"""Feed a stored archive to pg_restore, section by section, with nothing decrypted on disk.

Each section is a run of its own, so that its time is known. pg_restore reads a pipe to the end only when it
needs the data; for the definitions before and after them the table of contents at the beginning is enough.
What is made when, and with whose rights, is decided in :mod:`recyclic_backups.restore.rebuild`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from recyclic_backups.catalog.manifest import BackupObject, Manifest
from recyclic_backups.catalog.objects import READ_BYTES, PlainReader, read_object
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.process import PipedProcess, StoppedReading
from recyclic_backups.postgres.programs import Installation, Section, psql_argv, restore_argv
from recyclic_backups.postgres.server import Server
from recyclic_backups.restore.contents import Entry, entries_of
from recyclic_backups.restore.kept_sessions import KeptSessions
from recyclic_backups.restore.list_file import list_file_of
from recyclic_backups.restore.script import needs_psql, play

_SETTINGS = {"synchronous_commit": "off"}


@dataclass(frozen=True, slots=True)
class Archive:
    """One backup's archives on their way into one database. Raises DatabaseError, DamagedData, NoUsableKey."""

    repository: Repository
    manifest: Manifest
    installation: Installation
    server: Server
    database: str
    no_owner: bool
    timeout_seconds: float
    scratch: Path | None = None
    server_major: int | None = None
    beginnings: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """What is at hand of stored objects: the table of contents is not fetched again for each section."""
    sessions: KeptSessions | None = None
    """Sessions in the database that are kept for the next question."""
    maintenance_work_mem: str = "128MB"
    """What each session may take to build an index."""
    _running: list[PipedProcess] = field(default_factory=list, repr=False)
    _ending: threading.Event = field(default_factory=threading.Event, repr=False)
    _reading_seconds: list[float] = field(default_factory=list, repr=False)

    @property
    def reading_seconds(self) -> float:
        """How long the streams of rows were fetched, decrypted and decompressed, all of them together."""
        return sum(self._reading_seconds)

    def connect(self) -> AbstractContextManager[Connection]:
        """A session in the database that is restored."""
        return self.server.connect(self.database) if self.sessions is None else self.sessions.session()

    def entries(self, section: Section, item: BackupObject | None = None) -> list[Entry]:
        """What a section contains, of the main archive or of that of one table, in the archive's order."""
        return entries_of(self.listing(section, item))

    def listing(self, section: Section, item: BackupObject | None = None) -> str:
        """What ``pg_restore --list`` writes."""
        argv = restore_argv(self.installation, database=None, section=section, extra=("--list",))
        return self._told(argv, item or self.manifest.main)

    def text_of(self, section: Section) -> str:
        """The SQL of all definitions of a section, each below a header with its id."""
        argv = restore_argv(self.installation, database=None, section=section, extra=("--verbose",))
        return self._told(argv, self.manifest.main)

    def _read(
        self, item: BackupObject, on_bytes: Callable[[int], None] = lambda _: None
    ) -> AbstractContextManager[PlainReader]:
        beginning = self.beginnings.get(item.name, b"")
        return read_object(self.repository, self.manifest, item, on_bytes, beginning=beginning)

    def _told(self, argv: list[str], item: BackupObject) -> str:
        """What pg_restore writes about an archive; bytes that are no UTF-8 as they are (PEP 383)."""
        with (
            self._read(item) as reader,
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
        return text.decode(errors="surrogateescape")

    def together(self, jobs: int, parts: Sequence[Callable[[], None]]) -> None:
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

    def run(
        self,
        section: Section,
        item: BackupObject,
        only: Sequence[str] = (),
        *,
        entries: Sequence[int] | None = None,
        server: Server | None = None,
        search_path: str = "",
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Run one section; ``only`` are further options of pg_restore, ``entries`` ids of the table of contents.

        ``server`` tells as whom, if not as ourselves. With ``search_path`` (as SQL) names that are written without a
        schema are looked for there: whoever may make objects in one of its schemas decides what is run. Raises
        ProgramFailed, with the entry at which it happened.
        """
        by_psql = bool(search_path) or needs_psql(self.installation, self.server_major)
        with list_file_of(entries, self.scratch) as (list_file, descriptors):
            argv = restore_argv(
                self.installation,
                database=None if by_psql else self.database,
                # With a list, pg_restore takes comments and grants at its beginning for those of the section with which
                # the entries end that are not in it (SortTocFromFile in src/bin/pg_dump/pg_backup_archiver.c).
                section=section if list_file is None else None,
                list_file=list_file,
                encoding=self.manifest.server.encoding,
                no_owner=self.no_owner,
                # Or it would not say at which entry it stopped.
                extra=("--no-tablespaces", "--verbose", *only),
            )
            environment = (server or self.server).environment(
                self.database, {**_SETTINGS, "maintenance_work_mem": self.maintenance_work_mem}
            )
            with (
                self._read(item, on_bytes) as reader,
                PipedProcess(
                    argv,
                    environment,
                    stdin=True,
                    stdout=by_psql,
                    timeout_seconds=self.timeout_seconds,
                    pass_fds=descriptors,
                ) as process,
                self._ended_with_the_others(process),
            ):
                if by_psql:
                    psql = psql_argv(self.installation, self.database)
                    play(
                        process,
                        psql,
                        environment,
                        lambda: _pour(reader, process),
                        self.timeout_seconds,
                        search_path=search_path,
                        entries=None if section == "data" else lambda: self._scripted(section, item, entries),
                    )
                else:
                    _pour(reader, process)
                process.wait_ok()
                if section == "data":
                    self._reading_seconds.append(reader.reading_seconds)

    def _scripted(self, section: Section, item: BackupObject, wanted: Sequence[int] | None) -> list[int]:
        """The entries of a section in the order in which pg_restore writes them: it gives grants at the end."""
        listed = self.entries(section, item)
        ordered = [
            *(each for each in listed if not each.is_grant),
            *(each for each in listed if each.is_grant),
        ]
        return [each.number for each in ordered if wanted is None or each.number in wanted]

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
