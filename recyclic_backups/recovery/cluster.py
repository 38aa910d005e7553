"""A server made of a base backup and WAL, paused where it was told to be.

It runs shut in, as throwaway servers do, with a configuration of ours, and replays what we put into its ``pg_wal``. It
never ends its recovery by itself: reaching the target it pauses, and where the WAL ends it waits. So no error of the
archive can look like an end.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from recyclic_backups.archive.wal import start_of
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.errors import (
    ArchiveError,
    DamagedData,
    DatabaseError,
    ProgramFailed,
    RecoveryError,
)
from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.cluster import Cluster, complaint
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.postgres.opening import NEUTRAL_DATABASE
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.server import Server
from recyclic_backups.progress import SILENT, Progress, timed
from recyclic_backups.recovery import target as targets
from recyclic_backups.recovery.configuration import (
    PORT,
    ControlFile,
    ServerFiles,
    contents,
    parse_control_file,
)
from recyclic_backups.recovery.feed import Feeder, PgWal, Source
from recyclic_backups.recovery.plan import Plan
from recyclic_backups.recovery.unpack import Tree, open_directory
from recyclic_backups.recovery.unpack_base import unpack_chain
from recyclic_backups.recovery.watch import EndOfWal, Eyes, Look, replaying

_TICK_SECONDS = 0.02
_STALL_SECONDS = 300.0
"""A server that comes no further, and neither waits nor answers, is given up after that."""
_SILENT_SECONDS = 5.0
"""A server of which the system does not tell what it replays gets all that makes its files consistent after that."""
_STOP_SECONDS = 300.0
_RELAUNCHES = 5
_PAGE_BYTES = 8192  # XLOG_BLCKSZ
_LOG_BYTES = 1 << 20

_EVERYWHERE = (NEUTRAL_DATABASE, "template1")
"""Databases that every server has; to log in to another one its name would have to be known."""

_STOPPED = re.compile(r"recovery stopping (before|after) ([^\n]+)")
_TOO_LOW = "insufficient parameter settings"
_PAUSED = "pausing at the end of recovery"


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a recovery stopped: the last position that was replayed, and when the last commit in it was made.

    ``paused`` at the target, or else at the end of the WAL. ``stopped`` is what the server says of the place.
    """

    lsn: int
    last_commit_at: datetime | None
    paused: bool
    stopped: str = ""

    def to_json(self) -> dict[str, Any]:
        """As reports have it."""
        return {
            "lsn": lsn_text(self.lsn),
            "last_commit_time": None if self.last_commit_at is None else to_text(self.last_commit_at),
            "at": "target" if self.paused else "end of WAL",
            "stopped": self.stopped or None,
        }


class RecoveredCluster(Cluster):
    """A data directory filled from a base backup, and the server that replays WAL in it."""

    def __init__(
        self,
        installation: Installation,
        home: Path,
        data_directory: Path,
        tablespaces: Path,
        socket_directory: Path,
        account: Account,
        source: Source,
        plan: Plan,
    ) -> None:
        super().__init__(installation, home, data_directory, socket_directory, account)
        self.tablespaces = tablespaces
        self.plan = plan
        self.reached: Reached | None = None
        self.phases: dict[str, float] = {}
        self._source = source.of(plan.base.archive_id)
        self._files = ServerFiles(home / "configuration")
        self._log_from = 0
        self._data = self._spaces = -1
        self._target: Mapping[str, str] = plan.target.settings

    @contextmanager
    def opened(self, data: int | None = None, tablespaces: int | None = None) -> Iterator[None]:
        """Hold descriptors of the data directory and of that of the tablespaces, for the length of the block.

        They stay the same whatever gets their names. Given are those of directories that are open already; without,
        they are opened, that of the tablespaces made if it is needed: in a directory that is ours alone.
        """
        with ExitStack() as stack:

            def held(descriptor: int) -> int:
                stack.callback(os.close, descriptor)
                return descriptor

            self._data = held(open_directory(self.data_directory) if data is None else os.dup(data))
            if tablespaces is not None:
                self._spaces = held(os.dup(tablespaces))
            elif any(each.oid is not None for each in self.plan.base.objects):
                self.tablespaces.mkdir(mode=0o700)
                self._spaces = held(open_directory(self.tablespaces))
            try:
                yield
            finally:
                self._data = self._spaces = -1

    @property
    def server(self) -> Server:
        """How to reach it, through its Unix socket, as its bootstrap superuser."""
        return Server(host=str(self.socket_directory), port=PORT, user=self.plan.base.superuser)

    # -- filling

    def fill(self, progress: Progress = SILENT) -> None:
        """Unpack the base backup, or a chain of them, into the data directory, and give it to the server's user.

        Raises DamagedData, NoUsableKey, StorageError, Refused where the disk is full, ProgramMissing, ProgramFailed.
        """
        progress.stage("base backup", self.plan.plain_bytes)
        with timed(self.phases, "base"):
            unpack_chain(
                self,
                self._data,
                self._source.archive,
                self.plan.chain,
                self.tablespaces,
                self._spaces,
                self._account,
                progress,
            )

    # -- replaying

    def replay(self, progress: Progress = SILENT) -> Reached:
        """Start the server and hand it WAL until it pauses at the target or has all there is.

        Raises DamagedData and ArchiveError for a segment that is damaged or missing, RecoveryError for another place
        than the target's, ProgramFailed for a server that gave up.
        """
        plan = self.plan
        progress.stage("WAL", plan.segments * plan.window.segment_bytes)
        with (
            timed(self.phases, "replay"),
            Feeder(self._source, plan.window, plan.base.start_lsn, progress.advance) as feeder,
        ):
            pg_wal = PgWal(self.data_directory, self._data, self._account)
            try:
                feeder.place_histories(pg_wal)
                reached = self._replay(feeder, pg_wal)
            finally:
                pg_wal.close()
        self._require_target(reached)
        self.reached = reached
        return reached

    def _replay(self, feeder: Feeder, pg_wal: PgWal) -> Reached:
        before: Mapping[str, str] = {}
        for _ in range(_RELAUNCHES):
            settings = self._configure()
            if settings == before:
                break
            before = settings
            self._log_from = self.log_path.stat().st_size if self.log_path.exists() else 0
            with suppress(FileNotFoundError):
                # Its own word of an earlier start must not be taken for this one's.
                os.unlink("postmaster.pid", dir_fd=self._data)
            self.begin(
                PORT,
                ("-c", f"config_file={self._files.config}"),
                writable=(self.tablespaces,) if self.tablespaces.exists() else (),
                readable=(self._files.directory,),
            )
            reached = self._follow(feeder, pg_wal)
            if reached is not None:
                return reached
            # The WAL says that production was given more of something since the base backup.
            self.stop(_STOP_SECONDS)
        raise ProgramFailed(f"the recovering server gave up: {complaint(self._log())}")

    def _follow(self, feeder: Feeder, pg_wal: PgWal) -> Reached | None:
        """Feed it and watch it; None where its settings are lower than the WAL asks for."""
        plan, ends = self.plan, EndOfWal()
        replayed = plan.base.start_lsn
        began = moved = time.monotonic()
        with ExitStack() as stack:
            eyes = stack.enter_context(Eyes(lambda: self.state, self.connected))
            while True:
                if not self.running:
                    if _TOO_LOW in self._log():
                        return None
                    raise ProgramFailed(f"the recovering server gave up: {complaint(self._log())}")
                look = eyes.look()
                if look is not None:
                    if look.pause_state == "paused":
                        if _PAUSED in self._log():
                            return self._reached(look, paused=True)
                        return None
                    seen = look.lsn
                else:
                    seen = self._replaying()
                    if not seen and time.monotonic() - began > _SILENT_SECONDS:
                        seen = plan.base.stop_lsn  # before that nobody can ask
                if seen > replayed:
                    replayed, moved = seen, time.monotonic()
                if feeder.is_wanted(replayed):
                    feeder.place_next(pg_wal)
                    moved = time.monotonic()
                    continue
                if look is not None and not feeder.has_more and ends.is_it(look):
                    return self._reached(look, paused=False)
                if time.monotonic() - moved > _STALL_SECONDS:
                    raise ProgramFailed(
                        f"the recovering server stands still at {lsn_text(replayed)}: {complaint(self._log())}"
                    )
                time.sleep(_TICK_SECONDS)

    def _replaying(self) -> int:
        """The beginning of the segment that is replayed before anybody may come in and ask; 0 where nobody knows."""
        assert self._process is not None
        segment = replaying(self._process.pid)
        return start_of(segment, self.plan.window.segment_bytes) if segment else 0

    def _reached(self, look: Look, *, paused: bool) -> Reached:
        said = list(_STOPPED.finditer(self._log()))
        stopped = f"{said[-1][1]} {said[-1][2]}" if paused and said else ""
        return Reached(look.lsn, look.last_commit_at, paused, stopped)

    def _require_target(self, reached: Reached) -> None:
        """Compare what was reached with what was asked for: a server takes a target that it has passed for reached."""
        plan, target = self.plan, self.plan.target
        if not targets.reached_in_time(target, reached.last_commit_at):
            assert reached.last_commit_at is not None
            raise RecoveryError(
                f"recovery to {target.text} holds a commit of {to_text(reached.last_commit_at)}, which is later: the "
                f"base backup {plan.base.base_id} is not old enough",
                "name an older one with --base",
            )
        if reached.paused:
            return
        window = plan.window
        # A record may go on in WAL that the archive does not have; a page that ends with one tells its end.
        short_of_end = window.end_lsn - reached.lsn > window.segment_bytes
        if target.kind in ("xid", "name") or (target.lsn is not None and reached.lsn < target.lsn):
            raise RecoveryError(f"the WAL ended at {lsn_text(reached.lsn)}, before {target.text}")
        missing = 0 if window.position_lsn is None else window.position_lsn - reached.lsn
        # A server may have flushed its WAL up to the end of a page, in the middle of a record.
        cut = missing <= window.segment_bytes and (window.position_lsn or 0) % _PAGE_BYTES == 0
        if short_of_end or (missing > 0 and not cut):
            raise ArchiveError(
                f"the server replayed no further than {lsn_text(reached.lsn)}, and the archive has WAL up to "
                f"{lsn_text(window.end_lsn)}: what follows is no valid WAL",
                f"what is before that can be had: recover --to-lsn {lsn_text(reached.lsn)}",
            )

    # -- ending

    def promote(self) -> None:
        """End the recovery: from now on the cluster goes its own way, on a new timeline. Raises ProgramFailed."""
        assert self.reached is not None
        with timed(self.phases, "promote"):
            if self._target and not self.reached.paused:
                # With a target that it did not meet, the server would end with an error instead.
                self._forget_target()
            with self.connected() as connection:
                if self.reached.paused:
                    # Paused at its target, a server that is told to go on ends its recovery.
                    connection.execute("SELECT pg_catalog.pg_wal_replay_resume()")
                else:
                    connection.execute("SELECT pg_catalog.pg_promote(false)")
                give_up_at = time.monotonic() + _STOP_SECONDS
                while connection.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone() != (False,):
                    if time.monotonic() > give_up_at:
                        raise ProgramFailed(f"the server did not promote: {complaint(self._log())}")
                    time.sleep(_TICK_SECONDS)
                connection.execute("CHECKPOINT")

    def _forget_target(self) -> None:
        """Start it again without a target: it comes to the same end of the WAL, which lies in its directory."""
        before = self.reached
        assert before is not None
        self.shut_down()
        self._target = {}
        nothing = Feeder.empty(self._source, self.plan.window)
        pg_wal = PgWal(self.data_directory, self._data, self._account)
        try:
            again = self._replay(nothing, pg_wal)
        finally:
            pg_wal.close()
        if again.lsn != before.lsn:
            raise RecoveryError(
                f"started again, the server comes to {lsn_text(again.lsn)} instead of {lsn_text(before.lsn)}"
            )

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """A session in a database that every server has. Raises DatabaseError.

        Whoever owns one of them may have dropped it, or allow no sessions in it (ALLOW_CONNECTIONS).
        """
        with ExitStack() as stack:
            refused: DatabaseError | None = None
            for database in _EVERYWHERE:
                try:
                    connection = stack.enter_context(self.server.connect(database))
                    break
                except DatabaseError as error:
                    refused = refused or error
            else:
                assert refused is not None
                raise refused
            yield connection

    def shut_down(self) -> None:
        """Stop it cleanly. Raises ProgramFailed."""
        with timed(self.phases, "shutdown"):
            self.stop(_STOP_SECONDS)

    # -- inside

    def _configure(self) -> Mapping[str, str]:
        """Write the configuration, for what pg_control asks for now; the parameters it asks for."""
        control = self._control_file()
        self._files.directory.mkdir(mode=0o750, exist_ok=True)
        if self._account.change:
            os.chown(self._files.directory, -1, self._account.gid)
        for path, text in self._contents(self._files, control, self.socket_directory, [os.geteuid()]).items():
            path.unlink(missing_ok=True)
            path.touch(mode=0o640)
            path.write_text(text, encoding="utf-8")
            if self._account.change:
                os.chown(path, -1, self._account.gid)
        return control.settings

    def write_configuration_into(self, opened: int, owner: int) -> None:
        """Put the same configuration into the data directory, for whoever starts a server on it: it pauses there."""
        tree = Tree(self.data_directory, opened, self._account)
        files = ServerFiles(self.data_directory)
        texts = self._contents(files, self._control_file(), self.data_directory, [0, owner], durable=True)
        try:
            for path, text in texts.items():
                tree.write(path.name, text.encode())
        finally:
            tree.close()

    def _control_file(self) -> ControlFile:
        directory = self.data_directory
        control = parse_control_file(
            self.run_program("pg_controldata", str(directory), readable=(directory,), timeout_seconds=60)
        )
        if control.system_identifier != self.plan.system_identifier:
            raise DamagedData(
                f"the base backup {self.plan.base.base_id} is of the system {control.system_identifier}, not of "
                f"{self.plan.system_identifier}"
            )
        return control

    def _contents(
        self,
        files: ServerFiles,
        control: ControlFile,
        socket_directory: Path,
        users: Sequence[int],
        *,
        durable: bool = False,
    ) -> dict[Path, str]:
        plan = self.plan
        return contents(
            files,
            control,
            self._target,
            timeline=plan.window.timeline,
            socket_directory=socket_directory,
            superuser=plan.base.superuser,
            segment_bytes=plan.window.segment_bytes,
            users=users,
            durable=durable,
        )

    def _log(self) -> str:
        """What the server said since it was started last, the end of it."""
        try:
            with self.log_path.open("rb") as log:
                size = os.fstat(log.fileno()).st_size
                log.seek(max(self._log_from, size - _LOG_BYTES))
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
