"""The streams of one attempt at a dump: pg_dump into stored objects, the fingerprint beside them.

All of them read the same exported snapshot. Large tables may have streams of their own
(:mod:`recyclic_backups.dump.split`); everything else, sequences and large objects included, is in the main archive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from recyclic_backups.catalog.manifest import BackupObject, Role
from recyclic_backups.catalog.objects import READ_BYTES, write_object
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.compression import Compression
from recyclic_backups.dump.definitions import read_definitions
from recyclic_backups.dump.rate import RateLimit
from recyclic_backups.dump.split import SPLIT_BYTES, TableSize, tables_to_split
from recyclic_backups.envelope import document
from recyclic_backups.envelope.keyring import DataKey
from recyclic_backups.errors import BackupError, DatabaseError, StorageError
from recyclic_backups.fingerprint.model import Fingerprint, Level, SequenceReading
from recyclic_backups.fingerprint.read import Snapshot, read_fingerprint
from recyclic_backups.postgres.connection import shut
from recyclic_backups.postgres.process import PipedProcess
from recyclic_backups.postgres.programs import Installation, dump_argv
from recyclic_backups.postgres.server import Server
from recyclic_backups.progress import Progress

_CANCEL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class DumpOptions:
    """How a dump is taken. Timeouts in seconds; ``jobs`` streams at once, ``rate_limit_bytes`` a second together.

    ``find_replay_point`` asks for a snapshot with a place in the WAL.
    """

    installations: Sequence[Installation]
    compression: Compression
    fingerprint: Level
    lock_timeout_seconds: int
    timeout_seconds: int
    jobs: int = 1
    rate_limit_bytes: int | None = None
    find_replay_point: bool = False
    split_bytes: int = SPLIT_BYTES


@dataclass
class Streams:
    """One attempt: where it reads, where it writes, and under which backup id.

    ``dumping`` is how pg_dump logs in, ``server`` how we do for the fingerprint.
    """

    server: Server
    dumping: Server
    repository: Repository
    backup_id: str
    options: DumpOptions
    installation: Installation
    data_key: DataKey | None
    held: Snapshot
    progress: Progress
    _given_up: threading.Event = field(default_factory=threading.Event)
    _progressing: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._rate = RateLimit(self.options.rate_limit_bytes)

    def dump(self, sizes: Sequence[TableSize], while_good: Callable[[], object]) -> list[BackupObject]:
        """Every object with data: the main archive first, then the tables that have their own.

        ``while_good`` is called often and raises when there is no use in going on.
        """
        split = tables_to_split(sizes, self.options.jobs, self.options.split_bytes)
        if not split:
            return [self._stream("main.dump", "main", [], while_good)]
        without = [f"--exclude-table-data={table.pattern}" for table in split]
        with ThreadPoolExecutor(self.options.jobs, "dump") as pool:
            streams = [pool.submit(self._stream, "main.dump", "main", without, while_good)]
            for number, table in enumerate(split, 1):
                only = ["--data-only", f"--table={table.pattern}"]
                name = f"table-{number:04}.dump"
                streams.append(pool.submit(self._stream, name, "table", only, while_good))
            try:
                wait(streams)
            except BaseException:
                self._given_up.set()  # interrupted: the pool waits for its threads, so they must end
                raise
        # The one that failed first made the others give up: its error is the one to tell.
        errors = [error for error in (stream.exception() for stream in streams) if error is not None]
        if errors:
            raise next((error for error in errors if not isinstance(error, _GivenUp)), errors[0])
        main, *tables = (stream.result() for stream in streams)
        return [
            main,
            *(replace(item, relation=table.qualified) for item, table in zip(tables, split, strict=True)),
        ]

    def _stream(
        self, base_name: str, role: Role, extra: Sequence[str], while_good: Callable[[], object]
    ) -> BackupObject:
        """One pg_dump through the pipe into one object."""
        argv = dump_argv(
            self.installation,
            database=self.repository.database,
            snapshot=self.held.identifier,
            lock_wait_seconds=self.options.lock_timeout_seconds,
            encoding=self.held.encoding,
            extra=extra,
        )
        environment = self.dumping.environment(self.repository.database)
        try:
            with (
                write_object(
                    self.repository, self.backup_id, base_name, role, self.options.compression, self.data_key
                ) as stream,
                PipedProcess(argv, environment, timeout_seconds=self.options.timeout_seconds) as process,
            ):
                while data := process.read(READ_BYTES):
                    stream.write(data)
                    with self._progressing:
                        self.progress.advance(len(data))
                    while_good()
                    if self._given_up.is_set():
                        raise _GivenUp("another stream of the dump failed")
                    self._rate.pause_for(len(data))
                # The pipe of a pg_dump that died shows an ordinary end of file: only its exit code tells
                # (invariant 2).
                process.wait_ok()
                return stream.finish()
        except BaseException:
            self._given_up.set()
            raise

    def fingerprint(self, sequences_before: Mapping[str, SequenceReading]) -> Fingerprint | None:
        """What the snapshot contains, by queries of our own and by the text of ``pg_dump --schema-only``."""
        if self.options.fingerprint == "off":
            return None
        definitions = read_definitions(
            self.dumping,
            self.repository.database,
            self.installation,
            encoding=self.held.encoding,
            snapshot=self.held.identifier,
            lock_wait_seconds=self.options.lock_timeout_seconds,
            timeout_seconds=self.options.timeout_seconds,
        )
        return read_fingerprint(
            self.server,
            self.repository.database,
            level=self.options.fingerprint,
            held=self.held,
            sequences_before=sequences_before,
            schema_text=definitions,
        )

    def in_time(self, reading: Future[Fingerprint | None], give_up_at: float) -> Fingerprint | None:
        """The fingerprint once it is read. Raises DatabaseError when that takes longer than a backup may."""
        try:
            return reading.result(timeout=max(0.0, give_up_at - time.monotonic()))
        except TimeoutError:
            raise DatabaseError(
                f"the fingerprint was not read within {self.options.timeout_seconds} s",
                "raise BACKUP_TIMEOUT, or set BACKUP_FINGERPRINT=counts",
                retryable=True,
            ) from None

    def store_text(self, base_name: str, text: str) -> BackupObject:
        """A small object from memory."""
        data = text.encode()
        with write_object(
            self.repository,
            self.backup_id,
            base_name,
            "globals",
            self.options.compression,
            self.data_key,
            len(data),
        ) as stream:
            stream.write(data)
            return stream.finish()

    @contextmanager
    def announced(self, system_identifier: str) -> Iterator[None]:
        """Say in the storage who is at work, for as long as it lasts; remove the objects of a failed attempt.

        What a killed process leaves is known by its announcement (:mod:`recyclic_backups.dump.sweep`).
        """
        layout, store = self.repository.layout, self.repository.store
        announcement = layout.attempt(self.backup_id)
        try:
            try:
                said = {"format": 1, "system_identifier": system_identifier}
                store.create(announcement, document.encode(self._vouched(said, announcement)))
                yield
            except BaseException as error:
                try:
                    self._remove_objects()
                    store.delete(announcement)
                except BackupError as second:
                    error.add_note(f"the next backup removes what is left of {self.backup_id}: {second}")
                raise
            with suppress(StorageError):  # the backup is there; the next sweep removes the announcement
                store.delete(announcement)
        except (KeyboardInterrupt, SystemExit):
            with suppress(StorageError):  # asked to end in the very moment of tidying up
                store.delete(announcement)
            raise

    def _vouched(self, said: dict[str, object], name: str) -> dict[str, object]:
        """With a MAC where the backup is encrypted, so that nobody else can call it dead; else with a SHA-256."""
        return document.vouched(said, name, self.data_key)

    def _remove_objects(self) -> None:
        """Once the manifest is there the backup exists, and its objects stay whatever happened after."""
        layout, store = self.repository.layout, self.repository.store
        names = [item.name for item in store.list(f"{layout.backup(self.backup_id)}/")]
        if layout.manifest(self.backup_id) not in names:
            for name in names:
                store.delete(name)

    @contextmanager
    def interrupting_on_error(self, reading: Future[Fingerprint | None]) -> Iterator[None]:
        """When the block fails, end the query that the other thread waits for: politely, then by closing the line."""
        try:
            yield
        except BaseException:
            with suppress(Exception):  # the error under way is the one to tell
                self.held.connection.cancel_safe(timeout=_CANCEL_SECONDS)
            wait([reading], timeout=_CANCEL_SECONDS)
            if not reading.done():
                # A server that does not answer a cancellation will not answer the query either.
                shut(self.held.connection)
            raise


class _GivenUp(BackupError):
    """This stream is whole so far, but another one failed."""
