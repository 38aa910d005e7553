"""What archiving WAL, a base backup and a recovery cost, beside PostgreSQL's own programs and pgBackRest."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import environ
from pathlib import Path
from statistics import median

from recyclic_backups.archive.archive import WalArchive, servers_in
from recyclic_backups.archive.wal import segment_name
from recyclic_backups.base_backup.catalog import load_base_backups
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.lsn import lsn_of
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.bench.comparisons import pgbackrest_options
from recyclic_backups_tests.bench.measure import Command, Series
from recyclic_backups_tests.bench.stand import DATABASE, KEY, Stand
from recyclic_backups_tests.bench.wal_received import SLOT

_SEGMENT_BYTES = 16 << 20
_SEGMENTS_PER_SCALE = 20
_KEPT = "bench_kept"  # a slot that keeps the same WAL for every run
_THEIRS = "bench_pg_receivewal"


@dataclass(frozen=True, slots=True)
class WrittenWal:
    """Whole segments that the server has, and keeps."""

    names: tuple[str, ...]
    end_lsn: str
    system_identifier: str


def wal(stand: Stand, scale: float) -> None:
    """Receiving, sealing and storing segments: ours, pg_receivewal (plain files), pgBackRest's push of each.

    All of them take the same segments, which the server has already: what is measured is how fast they can, not how
    fast a server writes.
    """
    written = _written(stand, max(4, round(_SEGMENTS_PER_SCALE * scale)))
    storage, directory = stand.directory / "wal-ours", stand.directory / "wal-theirs"
    figures = stand.directory / "wal-ours.jsonl"
    count = len(written.names)

    def emptied(slot: str, folder: Path) -> Callable[[], None]:
        def prepare() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            with stand.cluster.server.connect("postgres") as connection:
                connection.execute(
                    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s",
                    (slot,),
                )
                connection.execute("SELECT pg_copy_physical_replication_slot(%s, %s)", (_KEPT, slot))

        return prepare

    last = written.names[-1]
    file = storage / f"server.{written.system_identifier}/wal/{last[:8]}/{last}.zst.sealed"
    ours = replace(
        stand.ours(name="ours", BACKUP_STORAGE=f"file://{storage}"),
        argv=[sys.executable, "-m", "recyclic_backups_tests.bench.wal_received", str(file), str(figures)],
        cwd=Path.cwd(),
        prepare=emptied(SLOT, storage),
    )
    theirs = (
        f"pg_receivewal -D '{directory}' --slot {_THEIRS} --no-loop --synchronous --endpos {written.end_lsn}"
    )
    commands = [ours, stand.shell("pg_receivewal", theirs, emptied(_THEIRS, directory))]
    if shutil.which("pgbackrest"):
        commands.append(_pushes(stand, written))
    series = stand.compare("wal", commands)

    took = [json.loads(line) for line in figures.read_text().splitlines()][-stand.rounds :]
    wall, cpu = ([run[figure] / count for run in took] for figure in ("wall_seconds", "cpu_seconds"))
    plain = [run.wall_seconds / count for run in series.runs["pg_receivewal"]]
    stand.seen("segments", count)
    stand.seen("ours, ms for a segment", 1000 * median(wall))
    stand.seen("ours, ms of CPU for a segment", 1000 * median(cpu))
    stand.seen("ours, MB/s", _SEGMENT_BYTES / 1e6 / median(wall))
    stand.seen("ours, peak memory, MiB", series.median("ours", "peak_bytes") / 2**20)
    stand.seen("ours / pg_receivewal to plain files, wall", _ratio(wall, plain))
    if shutil.which("pgbackrest"):
        pushed = series.runs["pgBackRest, push"]
        stand.seen(
            "pgBackRest push, ms for a segment", 1000 * median(run.wall_seconds for run in pushed) / count
        )
        pairs = [(run.wall_seconds / count, run.cpu_seconds / count) for run in pushed]
        stand.at_most(
            "ours / pgBackRest push, ms for a segment", _ratio(wall, [each[0] for each in pairs]), 0.4
        )
        stand.seen("ours / pgBackRest push, CPU", _ratio(cpu, [each[1] for each in pairs]))


def base_backup(stand: Stand, scale: float) -> None:
    """The files of the whole server: ours, pg_basebackup without compression, pgBackRest.

    "Taking" is what the manifest says; the whole command also starts Python and reads everything back.
    """
    storage, plain = stand.directory / "base-ours", stand.directory / "base-theirs"

    def gone() -> None:
        shutil.rmtree(plain, ignore_errors=True)

    ours = stand.ours("base-backup", "--full", name="ours", BACKUP_STORAGE=f"file://{storage}")
    commands = [
        ours,
        stand.shell("pg_basebackup", f"pg_basebackup -D '{plain}' -Ft -X none --checkpoint=fast", gone),
    ]
    if shutil.which("pgbackrest"):
        options = pgbackrest_options(stand)
        stand.once(stand.shell("stanza", "pgbackrest stanza-create", more=options))
        commands.append(stand.shell("pgBackRest, full", "pgbackrest --type=full backup", more=options))
    with _receiver(stand, storage):
        series = stand.compare("base backup", commands)
    taking = _durations(storage)[-stand.rounds :]
    stand.seen("taking / pg_basebackup to plain files", _ratio(taking, _wall(series, "pg_basebackup")))
    if shutil.which("pgbackrest"):
        theirs = _wall(series, "pgBackRest, full")
        stand.at_most("taking / pgBackRest full, wall", _ratio(taking, theirs), 0.9)
        stand.seen("whole command, verified / pgBackRest full, wall", _ratio(_wall(series, "ours"), theirs))
        stand.seen(
            "whole command / pgBackRest full, CPU", series.ratio("ours", "pgBackRest, full", "cpu_seconds")
        )


def recovery(stand: Stand, scale: float) -> None:
    """A base backup and the segments after it, to a server that can be written to: ours and pgBackRest's, from disk."""
    account = Account.for_servers()
    place = Path(tempfile.mkdtemp(prefix="recyclic-bench-recovered-"))
    place.chmod(0o755)
    account.own(place)
    (place / "none.conf").touch()
    ours, theirs = place / "ours", place / "theirs"
    storage = stand.directory / "recovery-ours"
    options = pgbackrest_options(stand) | {
        "PGBACKREST_REPO1_PATH": f"{place}/repository",
        "PGBACKREST_LOCK_PATH": f"{place}/lock",
        "PGBACKREST_SPOOL_PATH": f"{place}/spool",
        "PGBACKREST_CONFIG": f"{place}/none.conf",  # the system's may be root's alone
    }
    try:
        with _receiver(stand, storage):
            stand.once(stand.ours("base-backup", "--full", BACKUP_STORAGE=f"file://{storage}"))
            if shutil.which("pgbackrest"):
                full = "pgbackrest stanza-create; pgbackrest --type=full backup"
                stand.once(stand.shell("full", full, more=options))
            written = _written(stand, max(4, round(_SEGMENTS_PER_SCALE * scale)))
            _wait_for(storage, written)
        commands = [
            stand.after(
                stand.ours(
                    *("recover", "--latest", "--promote", "--yes", "--data-directory", str(ours)),
                    name="ours",
                    BACKUP_STORAGE=f"file://{storage}",
                ),
                lambda: shutil.rmtree(ours, ignore_errors=True),
            )
        ]
        if shutil.which("pgbackrest"):
            folder = stand.cluster.data_directory / "pg_wal"
            names = " ".join(sorted(each.name for each in folder.iterdir() if len(each.name) == 24))
            push = f"for name in {names}; do pgbackrest archive-push '{folder}'/$name; done"
            stand.once(stand.shell("push", f"{push}; chown -R {account.uid} '{place}'", more=options))
            commands.append(_restored(stand, account, theirs, options))
        series = stand.compare("recovery", commands)
        stand.seen("segments", len(written.names))
        stand.seen("ours, seconds", series.median("ours"))
        if shutil.which("pgbackrest"):
            stand.seen("ours / pgBackRest restore and recovery, wall", series.ratio("ours", "pgBackRest"))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _restored(stand: Stand, account: Account, place: Path, options: Mapping[str, str]) -> Command:
    """pgBackRest's restore, and the server started on it until it can be written to."""
    lent = f"setpriv --reuid={account.uid} --regid={account.gid} --clear-groups " if account.change else ""
    start = f"-c archive_mode=off -c listen_addresses= -c unix_socket_directories={place} -c port=5432"
    script = f"""
        pgbackrest restore
        pg_ctl -s -D '{place}' -l '{place}/log' -t 600 -o '{start}' start
        recovering() {{ psql -XAt -h '{place}' -p 5432 -d postgres -c 'SELECT pg_is_in_recovery()'; }}
        until test "$(recovering)" = f; do sleep 0.05; done
        pg_ctl -s -D '{place}' -m immediate stop
    """

    def emptied() -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o700)
        account.own(place)

    more = {**options, "PGBACKREST_PG1_PATH": str(place), "PGOPTIONS": "", "HOME": str(place)}
    command = stand.shell("pgBackRest", script, emptied, more)
    return replace(command, argv=[*shlex.split(lent), *command.argv], cwd=Path("/"))


def _wait_for(storage: Path, written: WrittenWal) -> None:
    """Until our archive has the last segment."""
    last = written.names[-1]
    file = storage / f"server.{written.system_identifier}/wal/{last[:8]}/{last}.zst.sealed"
    deadline = time.monotonic() + 600
    while not file.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{file} does not come")
        time.sleep(0.1)


@contextmanager
def _receiver(stand: Stand, storage: Path) -> Iterator[None]:
    """Our receiver at work, as the service is."""
    command = stand.ours("wal", "receive", BACKUP_STORAGE=f"file://{storage}", WAL_TAIL_SECONDS="1")
    with subprocess.Popen(
        command.argv,
        env={**environ, **command.environment},
        cwd=command.cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            with stand.cluster.server.connect("postgres") as connection:
                # An idle server has nothing to send, and a base backup waits for something to come.
                connection.execute("SELECT pg_logical_emit_message(true, 'bench', '')")
            yield
        finally:
            process.terminate()


def _written(stand: Stand, segments: int) -> WrittenWal:
    """Have the server write so many segments, of rows such as the application's, and keep them."""
    with stand.cluster.server.connect(DATABASE) as connection:

        def ask(query: str, *values: object) -> str:
            row = connection.execute(query.encode(), values).fetchone()
            assert row is not None
            return str(row[0])

        ask("SELECT pg_switch_wal()")
        ask(
            "SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots WHERE slot_name = %s",
            _KEPT,
        )
        ask("SELECT pg_create_physical_replication_slot(%s, true)", _KEPT)
        start = lsn_of(ask("SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = %s", _KEPT))
        start -= start % _SEGMENT_BYTES
        largest = ask(
            "SELECT oid::regclass FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
            "ORDER BY relpages DESC LIMIT 1"
        )
        connection.execute(f"CREATE TABLE public.wal_written (LIKE {largest})".encode())
        end = start
        while end < start + segments * _SEGMENT_BYTES:
            connection.execute(f"INSERT INTO public.wal_written SELECT * FROM {largest} LIMIT 20000".encode())
            end = lsn_of(ask("SELECT pg_current_wal_lsn()"))
        connection.execute(b"DROP TABLE public.wal_written")
        ask("SELECT pg_switch_wal()")
        timeline = int(ask("SELECT timeline_id FROM pg_control_checkpoint()"))
        names = tuple(
            segment_name(timeline, start + number * _SEGMENT_BYTES, _SEGMENT_BYTES)
            for number in range(segments)
        )
        end_lsn = f"{(start + segments * _SEGMENT_BYTES) >> 32:X}/{(start + segments * _SEGMENT_BYTES) & 0xFFFFFFFF:X}"
        return WrittenWal(names, end_lsn, ask("SELECT system_identifier FROM pg_control_system()"))


def _pushes(stand: Stand, written: WrittenWal) -> Command:
    """pgBackRest's archive-push, once for each segment, as archive_command runs it."""
    options = pgbackrest_options(stand)
    stand.once(stand.shell("stanza", "pgbackrest stanza-create", more=options))
    archive = Path(options["PGBACKREST_REPO1_PATH"]) / "archive" / "bench"

    def emptied() -> None:
        for folder in archive.glob("*-*/"):
            shutil.rmtree(folder)

    folder = stand.cluster.data_directory / "pg_wal"
    script = f"for name in {' '.join(written.names)}; do pgbackrest archive-push '{folder}'/$name; done"
    return stand.shell("pgBackRest, push", script, emptied, options)


def _durations(storage: Path) -> list[float]:
    """How long each base backup took by its manifest, the oldest first."""
    store = LocalStore(storage)
    repository = Repository(store, "postgres", Keyring(store, KEY), encrypt=True)
    (server,) = servers_in(repository)
    found = load_base_backups(WalArchive(repository, server)).bases
    return [each.manifest.duration_seconds for each in reversed(found)]


def _wall(series: Series, name: str) -> list[float]:
    return [run.wall_seconds for run in series.runs[name]]


def _ratio(ones: list[float], others: list[float]) -> float:
    return median(one / other for one, other in zip(ones, others, strict=True))
