"""Take a dump: one snapshot, read by pg_dump and by the fingerprint side by side; objects first, manifest last."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from recyclic_backups import rescue
from recyclic_backups.audit.log import read_head
from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.layout import new_backup_id
from recyclic_backups.catalog.manifest import Checkpoint, Encryption, Manifest, ReplayPoint, Source
from recyclic_backups.catalog.record import record_manifest
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.dump.facts import read_server_facts, read_system_identifier
from recyclic_backups.dump.globals import read_globals
from recyclic_backups.dump.split import TableSize
from recyclic_backups.dump.streams import DumpOptions, Streams
from recyclic_backups.envelope.header import VERSION as ENVELOPE_VERSION
from recyclic_backups.errors import DatabaseError
from recyclic_backups.fingerprint.model import SequenceReading
from recyclic_backups.fingerprint.read import Snapshot, read_sequences, snapshot
from recyclic_backups.fingerprint.session import reading_session
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import qualified_name
from recyclic_backups.postgres.reader import reading_login
from recyclic_backups.postgres.server import Server
from recyclic_backups.postgres.tls import TLS_HINT, choose_for, plaintext
from recyclic_backups.progress import SILENT, Progress

Clock = Callable[[], datetime]

_GRACE_SECONDS = 3600
"""For how much longer than a dump may take its login may begin sessions."""
_SESSIONS_BESIDE_STREAMS = 8
"""The snapshot's, one beside it, one for definitions; a session that has just ended may count for a moment."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """What a dump is taken for: a tier's partition, and who asked; of a checkpoint, before what."""

    tier: Tier
    partition: str
    source: Source
    checkpoint: Checkpoint | None = None


def take(
    server: Server,
    repository: Repository,
    request: BackupRequest,
    calendar: Calendar,
    options: DumpOptions,
    *,
    clock: Clock,
    progress: Progress = SILENT,
    check_lock: Callable[[], None] = lambda: None,
    before: Backup | None = None,
    as_of: datetime | None = None,
    notes: Sequence[str] = (),
) -> Manifest:
    """Dump the repository's database and make the backup exist. It is neither verified nor labelled yet.

    ``check_lock`` is called before the manifest is written and raises if the lock of this run was lost: another
    run may have swept our objects then. Of a server that was recovered to a moment, ``as_of`` is that one, and
    ``notes`` say what came of it. ``before`` is the newest good backup: that another server answers now is said.

    Raises DatabaseError, ProgramMissing, StorageError, NoUsableKey; then no manifest was written and the objects
    of the attempt are removed again.
    """
    database = repository.database
    started_at = clock()
    give_up_at = time.monotonic() + options.timeout_seconds
    progress.stage("connecting")
    with server.connect(database) as connection:
        major = _number(connection, "SELECT pg_catalog.current_setting('server_version_num')::int / 10000")
        size_bytes = _number(connection, "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())")
        system_identifier = read_system_identifier(connection)
        installation = choose_for(server, options.installations, major, {"pg_dump", "pg_restore"})
        readable = plaintext(connection, server, installation)
    if readable:
        _log.warning("%s; %s", readable, TLS_HINT)
    another = ""
    if before is not None and before.manifest.server.system_identifier not in ("", system_identifier):
        another = (
            f"another server answers at {server.label} than the one that {before.backup_id} is of: if it was not set "
            "up anew, see who listens there"
        )
        _log.warning("%s", another)
    data_key = repository.key_for_backups(started_at)

    with ExitStack() as stack:
        reader = stack.enter_context(
            reading_login(
                server,
                database,
                seconds=options.timeout_seconds + _GRACE_SECONDS,
                sessions=options.jobs + _SESSIONS_BESIDE_STREAMS,
                large_objects=True,
            )
        )
        sequences_before = _sequences(reader, database, options)
        held = stack.enter_context(
            snapshot(
                reader,
                database,
                lock_timeout_seconds=options.lock_timeout_seconds,
                holder=server,
                find_replay_point=options.find_replay_point,
            )
        )
        as_of = as_of or clock()
        backup_id = new_backup_id(as_of, secrets.token_bytes(4))
        sizes = _sizes(held) if options.jobs > 1 else []
        dumping = server if _needs_superuser(held) else reader
        streams = Streams(
            reader, dumping, repository, backup_id, options, installation, data_key, held, progress
        )
        with streams.announced(system_identifier), ThreadPoolExecutor(1, "fingerprint") as beside:
            reading = beside.submit(streams.fingerprint, sequences_before)
            with streams.interrupting_on_error(reading):
                progress.stage("dumping", size_bytes)
                data = streams.dump(sizes, while_good=lambda: reading.done() and reading.result())
                progress.stage("fingerprinting")
                fingerprint = streams.in_time(reading, give_up_at)
            with _catalog(server, database, held) as connection:
                facts = read_server_facts(connection)
                globals_text, of_globals = read_globals(connection)
                left_out = [*_left_out(held, connection)]
            roles = streams.store_text("globals.sql", globals_text)
            sequences_after = _sequences(reader, database, options)
            if fingerprint is not None:
                fingerprint = fingerprint.with_sequences_after(sequences_after)
            finished_at = clock()
            manifest = Manifest(
                backup_id=backup_id,
                database=database,
                tier=request.tier,
                partition=request.partition,
                source=request.source,
                # A checkpoint is due when somebody asks for it.
                scheduled_for=calendar.scheduled_for(request.tier, request.partition)
                if request.tier.has_calendar
                else started_at,
                as_of=as_of,
                taken_at=finished_at,
                # The machine's clock may have been set back meanwhile.
                duration_seconds=max(0.0, round((finished_at - started_at).total_seconds(), 3)),
                late=calendar.is_late(request.tier, request.partition, as_of),
                server=facts,
                programs={"pg_dump": installation.version, "pg_restore": installation.version},
                objects=(*data, roles),
                compression=str(options.compression),
                encryption=Encryption(ENVELOPE_VERSION, data_key.key_id) if data_key else None,
                fingerprint=fingerprint.to_json() if fingerprint else None,
                notes=(*notes, *of_globals, *left_out, *filter(None, (readable, another))),
                audit_head=None if (head := read_head(repository, finished_at)) is None else head.to_json(),
                checkpoint=request.checkpoint,
                replay_point=None
                if held.replay_point is None
                else ReplayPoint(held.replay_point.timeline, held.replay_point.lsn),
                recover_sha256=rescue.shipped_sha256(rescue.SCRIPT),
                instructions_sha256=rescue.shipped_sha256(rescue.INSTRUCTIONS),
            )
            check_lock()
            return record_manifest(repository, manifest)


def _sequences(reader: Server, database: str, options: DumpOptions) -> dict[str, SequenceReading]:
    with reading_session(reader, database, lock_timeout_seconds=options.lock_timeout_seconds) as connection:
        return read_sequences(connection)


@contextmanager
def _catalog(server: Server, database: str, held: Snapshot) -> Iterator[Connection]:
    """A session in the snapshot that has asked no table anything: a restore runs what it answers, as a superuser.

    Code that ran in a session could make its later answers what it likes.
    """
    with reading_session(server, database) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(held.identifier)))
        yield connection
        connection.execute("ROLLBACK")


# pg_dump leaves out subscriptions, and the options of user mappings, for whoever is no superuser. To make either takes
# a right that only a superuser gives.
_OF_SUPERUSERS = """
    SELECT EXISTS (SELECT FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
                   WHERE d.datname = pg_catalog.current_database())
        OR EXISTS (SELECT FROM pg_catalog.pg_user_mappings)
"""


def _needs_superuser(held: Snapshot) -> bool:
    row = held.connection.execute(_OF_SUPERUSERS).fetchone()
    return row is None or bool(row[0])


# Tables that somebody made members of an extension (ALTER EXTENSION … ADD TABLE), which pg_dump takes for its script's
# and leaves out. Those of a script belong to a superuser, and what it keeps of their rows is among its configuration.
_HIDDEN = """
    SELECT n.nspname, c.relname FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
    JOIN pg_catalog.pg_class c ON c.oid = d.objid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
    WHERE d.deptype = 'e' AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND c.relkind IN ('r', 'p', 'm')
      AND NOT r.rolsuper AND c.oid <> ALL (coalesce(e.extconfig, '{}'::oid[]))
    ORDER BY 1, 2
"""


def _left_out(held: Snapshot, connection: Connection) -> Iterator[str]:
    """What a standby does not have, as pg_dump knows too: people must not look for it in the backup."""
    if names := [table.qualified for table in held.tables if table.unreplicated]:
        yield (
            "taken from a hot standby, where unlogged tables have no rows: they and their sequences come back "
            f"empty: {', '.join(names)}"
        )
    if names := [qualified_name(*row) for row in connection.execute(_HIDDEN).fetchall()]:
        yield (
            f"not in the backup, since pg_dump leaves out what belongs to an extension: {', '.join(names)}; "
            "to have them in it: ALTER EXTENSION … DROP TABLE …"
        )


def _sizes(held: Snapshot) -> list[TableSize]:
    """Ordinary tables that may be split off. Configuration tables of extensions stay where pg_dump filters them."""
    tables = {
        table.oid: table
        for table in held.tables
        if table.kind == "r" and not (table.condition or table.unreplicated)
    }
    rows = held.connection.execute(
        "SELECT oid::bigint, coalesce(pg_catalog.pg_table_size(oid), 0) FROM unnest(%s::oid[]) oid",
        (list(tables),),
    ).fetchall()
    return [TableSize(tables[oid].schema, tables[oid].name, int(size)) for oid, size in rows]


def _number(connection: Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    if row is None:
        raise DatabaseError("the server answers a question about itself with nothing")
    return int(row[0])
