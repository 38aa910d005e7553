"""Take a dump: one snapshot, read by pg_dump and by the fingerprint side by side; objects first, manifest last."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from recyclic_backups.catalog.layout import new_backup_id
from recyclic_backups.catalog.manifest import BackupObject, Encryption, Manifest, Source
from recyclic_backups.catalog.objects import READ_BYTES, write_object
from recyclic_backups.catalog.record import record_manifest
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.compression import Compression
from recyclic_backups.dump.definitions import read_definitions
from recyclic_backups.dump.facts import read_server_facts
from recyclic_backups.dump.globals import read_globals
from recyclic_backups.envelope.header import VERSION as ENVELOPE_VERSION
from recyclic_backups.envelope.keyring import DataKey
from recyclic_backups.errors import BackupError, DatabaseError
from recyclic_backups.fingerprint.model import Fingerprint, Level, SequenceReading
from recyclic_backups.fingerprint.read import (
    Snapshot,
    read_fingerprint,
    read_sequences,
    snapshot,
)
from recyclic_backups.postgres.process import PipedProcess
from recyclic_backups.postgres.programs import Installation, choose, dump_argv
from recyclic_backups.postgres.server import Server, translated
from recyclic_backups.progress import SILENT, Progress
from recyclic_backups.tiers import Calendar, Tier

_CANCEL_SECONDS = 5.0

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class DumpOptions:
    """How a dump is taken. Timeouts in seconds."""

    installations: Sequence[Installation]
    compression: Compression
    fingerprint: Level
    lock_timeout_seconds: int
    timeout_seconds: int


@dataclass(frozen=True, slots=True)
class Slot:
    """What a dump is taken for: a tier's partition, and who asked."""

    tier: Tier
    partition: str
    source: Source


def take(
    server: Server,
    repository: Repository,
    slot: Slot,
    calendar: Calendar,
    options: DumpOptions,
    *,
    clock: Clock,
    progress: Progress = SILENT,
) -> Manifest:
    """Dump the repository's database and make the backup exist. It is neither verified nor labelled yet.

    Raises DatabaseError, ProgramMissing, StorageError, NoUsableKey; then no manifest was written and the objects
    of the attempt are removed again.
    """
    database = repository.database
    started_at = clock()
    give_up_at = time.monotonic() + options.timeout_seconds
    progress.stage("connecting")
    with server.connect(database) as connection:
        major = _server_major(connection)
        size_bytes = _database_size(connection)
        sequences_before = read_sequences(connection)
    installation = choose(options.installations, major, {"pg_dump", "pg_restore"})
    data_key = repository.keyring.for_writing(started_at) if repository.encrypt else None

    with snapshot(server, database, lock_timeout_seconds=options.lock_timeout_seconds) as held:
        as_of = clock()
        backup_id = new_backup_id(as_of, secrets.token_bytes(4))
        attempt = _Attempt(server, repository, backup_id, options, installation, data_key)
        with attempt.cleaned_up_on_error(), ThreadPoolExecutor(1, "fingerprint") as beside:
            reading = beside.submit(attempt.fingerprint, held, sequences_before)
            with _interrupted_on_error(held, reading):
                progress.stage("dumping", size_bytes)
                main = attempt.dump(held, reading, progress)
                progress.stage("fingerprinting")
                fingerprint = attempt.in_time(reading, give_up_at)
            with translated(f"database {database!r} on {server.label}"):
                facts = read_server_facts(held.connection)
                globals_text, notes = read_globals(held.connection)
            roles = attempt.store_text("globals.sql", globals_text)
            with server.connect(database) as connection:
                sequences_after = read_sequences(connection)
            if fingerprint is not None:
                fingerprint = fingerprint.with_sequences_after(sequences_after)
            finished_at = clock()
            manifest = Manifest(
                backup_id=backup_id,
                database=database,
                tier=slot.tier,
                partition=slot.partition,
                source=slot.source,
                scheduled_for=calendar.scheduled_for(slot.tier, slot.partition),
                as_of=as_of,
                taken_at=finished_at,
                duration_seconds=round((finished_at - started_at).total_seconds(), 3),
                late=calendar.is_late(slot.tier, slot.partition, as_of),
                server=facts,
                programs={"pg_dump": installation.version, "pg_restore": installation.version},
                objects=(main, roles),
                compression=str(options.compression),
                encryption=Encryption(ENVELOPE_VERSION, data_key.key_id) if data_key else None,
                fingerprint=fingerprint.to_json() if fingerprint else None,
                notes=tuple(notes),
            )
            return record_manifest(repository, manifest)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt at a dump: the streams that share its snapshot and its backup id."""

    server: Server
    repository: Repository
    backup_id: str
    options: DumpOptions
    installation: Installation
    data_key: DataKey | None

    def dump(self, held: Snapshot, reading: Future[Fingerprint | None], progress: Progress) -> BackupObject:
        """pg_dump through the pipe into the main object; given up early when the fingerprint failed."""
        argv = dump_argv(
            self.installation,
            database=self.repository.database,
            snapshot=held.identifier,
            lock_wait_seconds=self.options.lock_timeout_seconds,
        )
        environment = self.server.environment(self.repository.database)
        with (
            write_object(
                self.repository, self.backup_id, "main.dump", "main", self.options.compression, self.data_key
            ) as stream,
            PipedProcess(
                argv, environment, timeout_seconds=self.options.timeout_seconds, nice=True
            ) as process,
        ):
            while data := process.read(READ_BYTES):
                stream.write(data)
                progress.advance(len(data))
                if reading.done():
                    reading.result()
            # The pipe of a pg_dump that died shows an ordinary end of file: only its exit code tells (invariant 2).
            process.wait_ok()
            return stream.finish()

    def fingerprint(
        self, held: Snapshot, sequences_before: Mapping[str, SequenceReading]
    ) -> Fingerprint | None:
        """What the snapshot contains, by queries of our own and by the text of ``pg_dump --schema-only``."""
        if self.options.fingerprint == "off":
            return None
        definitions = read_definitions(
            self.server,
            self.repository.database,
            self.installation,
            snapshot=held.identifier,
            lock_wait_seconds=self.options.lock_timeout_seconds,
            timeout_seconds=self.options.timeout_seconds,
        )
        return read_fingerprint(
            self.server,
            self.repository.database,
            level=self.options.fingerprint,
            held=held,
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
        with write_object(
            self.repository, self.backup_id, base_name, "globals", self.options.compression, self.data_key
        ) as stream:
            stream.write(text.encode())
            return stream.finish()

    @contextmanager
    def cleaned_up_on_error(self) -> Iterator[None]:
        """Remove the objects of a failed attempt; what cannot be removed now is an orphan for the next sweep."""
        try:
            yield
        except BaseException as error:
            layout = self.repository.layout
            try:
                names = [
                    item.name for item in self.repository.store.list(f"{layout.backup(self.backup_id)}/")
                ]
                # Once the manifest is there the backup exists, and its objects stay whatever happened after.
                for name in names if layout.manifest(self.backup_id) not in names else ():
                    self.repository.store.delete(name)
            except BackupError as second:
                error.add_note(f"objects of the attempt {self.backup_id} remain: {second}")
            raise


@contextmanager
def _interrupted_on_error(held: Snapshot, reading: Future[Fingerprint | None]) -> Iterator[None]:
    """When the block fails, end the query that the other thread waits for: politely, then by closing the line."""
    try:
        yield
    except BaseException:
        with suppress(Exception):  # the error under way is the one to tell
            held.connection.cancel_safe(timeout=_CANCEL_SECONDS)
        wait([reading], timeout=_CANCEL_SECONDS)
        if not reading.done():
            # A server that does not answer a cancellation will not answer the query either.
            with suppress(Exception), socket.socket(fileno=os.dup(held.connection.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)
        raise


def _server_major(connection: object) -> int:
    return _number(connection, "SELECT pg_catalog.current_setting('server_version_num')::int / 10000")


def _database_size(connection: object) -> int:
    return _number(connection, "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())")


def _number(connection: object, query: str) -> int:
    row = connection.execute(query).fetchone()  # type: ignore[attr-defined]
    if row is None:
        raise DatabaseError("the server answers a question about itself with nothing")
    return int(row[0])
