"""The replication protocol: the stream of WAL, slots, histories of timelines, base backups.

https://www.postgresql.org/docs/15/protocol-replication.html. psycopg has no interface for it; its ``pq`` layer has
the calls of libpq that it needs. Nothing has to be installed or restarted on the server.
"""

from __future__ import annotations

import os
import re
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from recyclic_backups.errors import DatabaseError
from recyclic_backups.postgres import startup
from recyclic_backups.postgres.connection import received_bytes
from recyclic_backups.postgres.lsn import lsn_of, lsn_text
from recyclic_backups.postgres.opening import NEUTRAL_DATABASE, parameters_of
from recyclic_backups.postgres.server import database_error
from recyclic_backups.postgres.startup import UNKNOWN

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

    from recyclic_backups.postgres.server import Server

APPLICATION_NAME = "recyclic_backups_wal"
"""As what the receiver shows in pg_stat_replication. ``synchronous_standby_names`` must not name it: every commit would
wait for our storage."""

Mode = Literal["true", "database"]
_MODES: tuple[Mode, ...] = ("true", "database")

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # of timestamps in the protocol
_SLOT_IN_USE, _NO_SUCH_SLOT, _NO_SUCH_FILE = "55006", "42704", "58P01"
_UNITS = {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_SEGMENT_SIZES = frozenset(1 << power for power in range(20, 31))  # what initdb takes
_MOST_WARNINGS = 20
_MOST_ANSWER_BYTES = 64 << 20
"""A server's largest message, or answer, is a history of a megabyte: libpq keeps in memory whatever comes."""
_LONGEST_SILENCE_SECONDS = 7200.0
"""A base backup begins with a checkpoint, which takes as long as the disk does; not for ever."""
_SLOT_NAME = re.compile(r"[a-z0-9_]{1,63}")
_SYSTEM_IDENTIFIER, _TIMELINE = re.compile(r"[0-9]{1,20}"), re.compile(r"[0-9]{1,10}")


class SlotInUse(DatabaseError):
    """Another receiver is at the slot: one at a time is served."""


class WalRemoved(DatabaseError):
    """The server does not have that part of its WAL any more."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What IDENTIFY_SYSTEM tells: which cluster this is, its timeline, and up to where its WAL is flushed."""

    system_identifier: str
    timeline: int
    flushed_lsn: int


@dataclass(frozen=True, slots=True)
class Slot:
    """A physical slot; ``restart_lsn`` is None where it reserves nothing (any more)."""

    restart_lsn: int | None
    timeline: int | None


@dataclass(frozen=True, slots=True)
class WalData:
    """A piece of WAL, the position at which it begins, and up to where the server had flushed its WAL by then.

    ``sent_at`` is what the server's clock showed (aware UTC).
    """

    start_lsn: int
    server_end_lsn: int
    sent_at: datetime
    data: memoryview


@dataclass(frozen=True, slots=True)
class Keepalive:
    """The server says up to where its WAL goes, and what its clock shows (aware UTC)."""

    end_lsn: int
    sent_at: datetime
    wants_reply: bool


@dataclass(frozen=True, slots=True)
class TimelineEnd:
    """A timeline has no more; ``next`` is the one after it and the position where that begins.

    None: the server ended the stream in good order, since it is being shut down.
    """

    next: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class BaseBackupStart:
    """What the server says before it sends a base backup: where WAL replay starts, on which timeline.

    ``tablespaces`` are pairs of oid and place; ``size_bytes`` is how much it is about to send, as it estimates.
    """

    start_lsn: int
    timeline: int
    tablespaces: tuple[tuple[int, str], ...]
    size_bytes: int


class Replication:
    """One replication session. Errors of the server leave every method as DatabaseError."""

    def __init__(self, connection: pq.abc.PGconn, subject: str, mode: Mode, patience_seconds: float) -> None:
        self._connection = connection
        self._subject = subject
        self._patience_seconds = patience_seconds
        self.mode = mode
        self.warnings: list[str] = []
        """What the server said beside its answers, the first ones."""
        connection.notice_handler = self._note_warning
        self._line = socket.socket(fileno=os.dup(connection.socket))
        self._is_new, self._before_bytes = True, 0

    @classmethod
    @contextmanager
    def open(
        cls, server: Server, application_name: str = APPLICATION_NAME, *, patience_seconds: float = 60
    ) -> Iterator[Replication]:
        """A session, closed at the end. ``patience_seconds`` bounds the answer to each command.

        The pg_hba.conf of stock images lets nobody in for ``replication``, and everybody for every database: a session
        that names the database ``postgres`` may ask for the same (walsender of either kind).
        """
        last: DatabaseError | None = None
        for mode in _MODES:
            connection = _connected(server, application_name, mode)
            if connection.status == pq.ConnStatus.OK:
                try:
                    replication = cls(connection, f"replication from {server.label}", mode, patience_seconds)
                    with replication._line:
                        yield replication
                finally:
                    connection.finish()
                return
            message = connection.error_message.decode(errors="replace")
            connection.finish()
            error = database_error(f"replication from {server.label}", psycopg.OperationalError(message))
            last = last or error
            if "pg_hba.conf" not in message:
                raise error
        assert last is not None
        last.hint = (
            f"add to pg_hba.conf:  host  replication  {server.user}  ADDRESS/32  scram-sha-256  "
            "and reload the server"
        )
        raise last

    def close(self) -> None:
        """End the session now: the server waits for nothing any more, and keeps by the slot what was not confirmed."""
        self._connection.finish()

    # -- what the server says of itself

    def identify(self) -> Identity:
        """IDENTIFY_SYSTEM."""
        with self._understood("IDENTIFY_SYSTEM"):
            system_identifier, timeline, flushed, _ = self._row("IDENTIFY_SYSTEM")
            if not _SYSTEM_IDENTIFIER.fullmatch(system_identifier):
                raise ValueError("is no system identifier")
            return Identity(system_identifier, _timeline_of(timeline), lsn_of(flushed))

    def setting(self, name: str) -> str:
        """What SHOW says of a setting. Raises DatabaseError where there is none of that name."""
        with self._understood("SHOW"):
            (text,) = self._row(f"SHOW {name}")
            return text

    def segment_bytes(self) -> int:
        """How large its WAL segments are."""
        text = self.setting("wal_segment_size")
        match = re.fullmatch(r"(\d{1,10})(\w+)", text)
        found = int(match[1]) * _UNITS.get(match[2], 0) if match is not None else 0
        if found not in _SEGMENT_SIZES:
            raise DatabaseError(f"{self._subject}: wal_segment_size is {text[:40]!r}")
        return found

    @property
    def server_version(self) -> int:
        """As ``150018``."""
        return self._connection.server_version

    def slot(self, name: str) -> Slot | None:
        """A physical slot, or None where there is none (READ_REPLICATION_SLOT, PostgreSQL 15)."""
        quoted = _slot_name(name)
        with self._understood("READ_REPLICATION_SLOT"):
            kind, restart, timeline = self._row(f"READ_REPLICATION_SLOT {quoted}")
            if not kind:
                return None
            return Slot(lsn_of(restart) if restart else None, _timeline_of(timeline) if timeline else None)

    def create_slot(self, name: str) -> None:
        """Make a physical slot that keeps WAL from now on."""
        self._rows(f"CREATE_REPLICATION_SLOT {_slot_name(name)} PHYSICAL RESERVE_WAL")

    def drop_slot(self, name: str) -> None:
        """Remove a slot; one that is not there is no error."""
        with suppress(_NoSuchSlot):
            self._rows(f"DROP_REPLICATION_SLOT {_slot_name(name)}")

    def history(self, timeline: int) -> bytes:
        """The content of a timeline's history file. Raises WalRemoved where the server has none."""
        self._ask(f"TIMELINE_HISTORY {timeline}")
        result = self._tuples()
        self._drain()
        return bytes(result.get_value(0, 1) or b"")

    # -- the stream of WAL

    def start(self, slot: str, lsn: int, timeline: int) -> TimelineEnd | None:
        """Begin to stream. A TimelineEnd at once where that timeline ends at that very position.

        Raises SlotInUse, WalRemoved.
        """
        self._ask(f"START_REPLICATION SLOT {_slot_name(slot)} PHYSICAL {lsn_text(lsn)} TIMELINE {timeline}")
        result = self._result()
        if result.status == pq.ExecStatus.COPY_BOTH:
            return None
        with self._understood("START_REPLICATION"):
            end = TimelineEnd(_next_timeline(result))
        self._drain()
        return end

    def receive(self, timeout_seconds: float) -> WalData | Keepalive | TimelineEnd | None:
        """The next message; None when none came in time."""
        length, data = self._connection.get_copy_data(1)
        if length == 0:
            readable, _, _ = select.select([self._connection.socket], [], [], max(0.0, timeout_seconds))
            if not readable:
                return None
            self._consume()
            length, data = self._connection.get_copy_data(1)
            if length == 0:
                return None
        if length == -2:
            raise self._lost()
        self._is_new = True
        if length == -1:
            return self._end_of_stream()
        kind = data[0:1].tobytes()
        try:
            if kind == b"w":  # start, end and clock of the server, then the WAL
                start, end, clock = struct.unpack_from(">QQq", data, 1)
                return WalData(start, end, _moment(clock), data[25:])
            if kind == b"k":
                end, clock, wants_reply = struct.unpack_from(">QqB", data, 1)
                return Keepalive(end, _moment(clock), bool(wants_reply))
        except (struct.error, OverflowError):  # too short, or of a time that no calendar has
            raise DatabaseError(
                f"{self._subject}: the server sent a message that is none", retryable=True
            ) from None
        raise DatabaseError(f"{self._subject}: the server sent a message of unknown kind {kind!r}")

    def confirm(self, written_lsn: int, flushed_lsn: int, *, ask_reply: bool = False) -> None:
        """Tell what has come, and what is stored for good: only that may the server forget."""
        now = int((datetime.now(UTC) - _EPOCH) / timedelta(microseconds=1))
        message = struct.pack(">cQQQqB", b"r", written_lsn, flushed_lsn, 0, now, int(ask_reply))
        with self._translated():
            self._connection.put_copy_data(message)
            self._flush()

    def _end_of_stream(self) -> TimelineEnd:
        """The server has ended the copy: answer in kind, and learn what comes next."""
        result = self._optional_result()
        if result is not None and result.status == pq.ExecStatus.COPY_IN:
            with self._translated():
                self._connection.put_copy_end()
                self._flush()
            result = self._optional_result()
        following: tuple[int, int] | None = None
        while result is not None:
            if result.status == pq.ExecStatus.TUPLES_OK:
                with self._understood("START_REPLICATION"):
                    following = _next_timeline(result)
            result = self._optional_result()
        return TimelineEnd(following)

    # -- base backups

    def start_base_backup(self, options: Iterable[str]) -> BaseBackupStart:
        """Begin a BASE_BACKUP.

        Read :meth:`base_backup_messages` to the end afterwards, then :meth:`end_base_backup`.
        """
        self._ask(f"BASE_BACKUP ( {', '.join(options)} )")
        # The checkpoint comes first, which may take as long as it takes.
        first = self._tuples(patient=True)
        spaces = self._tuples()
        rows = [[spaces.get_value(row, column) for column in range(3)] for row in range(spaces.ntuples)]
        copy = self._result(patient=True)
        if copy.status != pq.ExecStatus.COPY_OUT:
            raise DatabaseError(f"{self._subject}: the server began no base backup")
        with self._understood("BASE_BACKUP"):
            return BaseBackupStart(
                lsn_of(_text(first, 0, 0)),
                _timeline_of(_text(first, 0, 1)),
                tuple(
                    (int(oid), (place or b"").decode(errors="replace"))
                    for oid, place, _ in rows
                    if oid is not None  # as of the data directory
                ),
                1024 * sum(int(size or 0) for _, _, size in rows),
            )

    def base_backup_messages(self) -> Iterator[tuple[str, memoryview]]:
        """Kind (``n`` new archive, ``d`` data, ``m`` manifest, ``p`` progress) and content of each message."""
        heard = time.monotonic()
        while True:
            # Never get_copy_data(0): what waits inside of libpq keeps every other thread waiting too.
            length, data = self._connection.get_copy_data(1)
            if length == -2:
                raise self._lost()
            if length == 0:
                if not select.select([self._connection.socket], [], [], 60)[0]:
                    if time.monotonic() - heard > _LONGEST_SILENCE_SECONDS:
                        raise self._silent(_LONGEST_SILENCE_SECONDS)
                    continue
                self._consume()
                continue
            self._is_new = True
            if length == -1:
                return
            yield data[0:1].tobytes().decode("ascii", "replace"), data[1:]
            heard = time.monotonic()

    def end_base_backup(self) -> tuple[int, int]:
        """Where WAL replay must have come for the backup to be consistent, and on which timeline.

        The server tells of checksum failures only after this position: everything is read to the end. Raises
        DatabaseError for them.
        """
        last = self._tuples(patient=True)
        with self._understood("BASE_BACKUP"):
            end_lsn, timeline = lsn_of(_text(last, 0, 0)), _timeline_of(_text(last, 0, 1))
        self._drain(patient=True)
        return end_lsn, timeline

    def upload_manifest(self, pieces: Iterable[bytes]) -> None:
        """The server's manifest of the base backup that an incremental one builds on (PostgreSQL 17)."""
        self._ask("UPLOAD_MANIFEST")
        if self._result().status != pq.ExecStatus.COPY_IN:
            raise DatabaseError(f"{self._subject}: the server takes no manifest")
        with self._translated():
            for piece in pieces:
                self._connection.put_copy_data(piece)
            self._connection.put_copy_end()
            self._flush()
        self._drain(patient=True)

    # -- answers

    def _row(self, command: str) -> list[str]:
        rows = self._rows(command)
        if len(rows) != 1:
            raise DatabaseError(f"{self._subject}: {command.split(maxsplit=1)[0]} told {len(rows)} rows")
        return rows[0]

    def _rows(self, command: str) -> list[list[str]]:
        self._ask(command)
        result = self._result()
        rows = [
            [(result.get_value(row, column) or b"").decode() for column in range(result.nfields)]
            for row in range(result.ntuples)
        ]
        self._drain()
        return rows

    def _ask(self, command: str) -> None:
        with self._translated():
            self._connection.send_query(command.encode())
            self._flush()

    def _tuples(self, *, patient: bool = False) -> PGresult:
        result = self._result(patient=patient)
        if result.status != pq.ExecStatus.TUPLES_OK or result.ntuples == 0:
            raise DatabaseError(f"{self._subject}: the server's answer is not the expected one")
        return result

    def _result(self, *, patient: bool = False) -> PGresult:
        result = self._optional_result(patient=patient)
        if result is None:
            raise self._lost()
        return result

    def _drain(self, *, patient: bool = False) -> None:
        """Read every result that is left: an error may be among them."""
        while self._optional_result(patient=patient) is not None:
            pass

    def _optional_result(self, *, patient: bool = False) -> PGresult | None:
        """The next result. Raises DatabaseError for an error, and for an answer that is overdue."""
        patience_seconds = _LONGEST_SILENCE_SECONDS if patient else self._patience_seconds
        deadline = time.monotonic() + patience_seconds
        while self._connection.is_busy():
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._silent(patience_seconds)
            if select.select([self._connection.socket], [], [], left)[0]:
                self._consume()
        self._is_new = True
        result = self._connection.get_result()
        if result is None:
            return None
        if result.status in (
            pq.ExecStatus.FATAL_ERROR,
            pq.ExecStatus.BAD_RESPONSE,
            pq.ExecStatus.NONFATAL_ERROR,
        ):
            raise self._refused(result)
        return result

    def _note_warning(self, result: PGresult) -> None:
        if len(self.warnings) < _MOST_WARNINGS:
            primary = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b""
            self.warnings.append(primary.decode(errors="replace"))

    def _consume(self) -> None:
        if self._is_new:
            self._is_new, self._before_bytes = False, received_bytes(self._line)
        with self._translated():
            self._connection.consume_input()
        if received_bytes(self._line) - self._before_bytes > _MOST_ANSWER_BYTES:
            self._connection.finish()
            raise DatabaseError(f"{self._subject}: an answer has no end; the line was closed", retryable=True)

    def _flush(self) -> None:
        while self._connection.flush():
            _, writable, _ = select.select([], [self._connection.socket], [], self._patience_seconds)
            if not writable:
                raise DatabaseError(f"{self._subject} takes no more of what we send", retryable=True)

    def _refused(self, result: PGresult) -> DatabaseError:
        state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
        message = result.error_message.decode(errors="replace")
        while self._connection.get_result() is not None:  # so that the session can be used again
            pass
        try:
            error: psycopg.Error = psycopg.errors.lookup(state)(message)
        except KeyError:
            error = psycopg.OperationalError(message)
        translated = database_error(self._subject, error)
        kind = {_SLOT_IN_USE: SlotInUse, _NO_SUCH_SLOT: _NoSuchSlot, _NO_SUCH_FILE: WalRemoved}.get(state)
        if kind is None:
            return translated
        return kind(translated.message, translated.hint, retryable=translated.retryable)

    def _silent(self, seconds: float) -> DatabaseError:
        return DatabaseError(f"{self._subject} did not answer within {seconds:g} s", retryable=True)

    def _lost(self) -> DatabaseError:
        message = (
            self._connection.error_message.decode(errors="replace") or "the server closed the connection"
        )
        return database_error(self._subject, psycopg.OperationalError(message))

    @contextmanager
    def _understood(self, command: str) -> Iterator[None]:
        """Within the block, a ValueError is an answer that no server gives: whoever took its place may say anything."""
        try:
            yield
        except ValueError as error:
            raise DatabaseError(
                f"{self._subject}: the answer to {command} cannot be understood: {error}", retryable=True
            ) from None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise database_error(self._subject, error) from None
        except OSError as error:
            raise DatabaseError(f"{self._subject}: {error.strerror}", retryable=True) from None


class _NoSuchSlot(DatabaseError):
    """There is no slot of that name."""


def _connected(server: Server, application_name: str, mode: Mode) -> pq.abc.PGconn:
    parameters = parameters_of(server, application_name, UNKNOWN) | {
        "replication": mode,
        "dbname": NEUTRAL_DATABASE if mode == "database" else None,
    }
    text = make_conninfo("", **{name: value for name, value in parameters.items() if value is not None})
    # Step by step: PGconn.connect() would keep every other thread of the process, and signals, waiting for the server.
    with startup.without_libpq_variables():
        connection = pq.PGconn.connect_start(text.encode())
        deadline = time.monotonic() + server.connect_timeout_seconds
        while connection.status != pq.ConnStatus.BAD:
            wanted = connection.connect_poll()
            if wanted not in (pq.PollingStatus.READING, pq.PollingStatus.WRITING):
                break
            reads = [connection.socket] if wanted == pq.PollingStatus.READING else []
            writes = [connection.socket] if wanted == pq.PollingStatus.WRITING else []
            left = deadline - time.monotonic()
            if left <= 0 or not any(select.select(reads, writes, [], left)):
                connection.finish()
                raise DatabaseError(
                    f"replication from {server.label}: it did not answer within {server.connect_timeout_seconds:g} s",
                    retryable=True,
                )
        return connection


def _moment(clock: int) -> datetime:
    """A time of the protocol: microseconds since the beginning of 2000."""
    return _EPOCH + timedelta(microseconds=clock)


def _next_timeline(result: PGresult) -> tuple[int, int]:
    return _timeline_of(_text(result, 0, 0)), lsn_of(_text(result, 0, 1))


def _timeline_of(text: str) -> int:
    """A timeline's number. Raises ValueError with the end of a sentence."""
    if not _TIMELINE.fullmatch(text) or not 0 < int(text) < 1 << 32:
        raise ValueError(f"is no timeline: {text[:40]!r}")
    return int(text)


def _text(result: PGresult, row: int, column: int) -> str:
    return (result.get_value(row, column) or b"").decode(errors="replace")


def _slot_name(name: str) -> str:
    """The name, quoted. Raises DatabaseError for one that no slot can have."""
    if not _SLOT_NAME.fullmatch(name):
        raise DatabaseError(f"{name!r} is no name for a replication slot: a to z, 0 to 9 and _ are allowed")
    return f'"{name}"'
