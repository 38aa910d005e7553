"""Throwaway PostgreSQL servers: for tests, the demonstration and restore drills.

A scratch cluster lives in a private directory, listens on 127.0.0.1 and on a Unix socket in that directory,
asks for a random password, and is gone afterwards with all its files, even if this process is killed. It may hold
code that strangers wrote, so it is shut in (:mod:`recyclic_backups.postgres.confinement`).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from recyclic_backups.errors import DatabaseError, ProgramFailed, ProgramMissing, Refused
from recyclic_backups.postgres.account import MAKE_USER, Account
from recyclic_backups.postgres.confinement import Confinement, lacking
from recyclic_backups.postgres.programs import SERVER_PROGRAMS, Installation
from recyclic_backups.postgres.server import Server
from recyclic_backups.postgres.watchdog import watchdog

SUPERUSER = "postgres"

_log = logging.getLogger(__name__)

FAST_SETTINGS: Mapping[str, str] = {
    # A crash of the server loses nothing that was committed, a crash of the machine everything. Commits stay
    # synchronous, which costs next to nothing without fsync: otherwise a crash would lose the last ones.
    "fsync": "off",
    "full_page_writes": "off",
    # A checkpoint in the middle of a load costs more than the disk space it saves.
    "max_wal_size": "2GB",
    "checkpoint_timeout": "1h",
}
_QUIET_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "64MB",
    "max_connections": "60",
    # Comparing holds a lock on each table and plans with its indexes: there may be thousands. 1024 for each connection
    # take about 20 MB (runtime-config-locks.html).
    "max_locks_per_transaction": "1024",
    # Shared memory in files of the data directory goes away with it, and a container's small /dev/shm
    # does not limit parallel index builds.
    "dynamic_shared_memory_type": "mmap",
    "log_checkpoints": "off",
    "jit": "off",
}
_START_TIMEOUT_SECONDS = 60
_STOP_TIMEOUT_SECONDS = 20
_PORT_ATTEMPTS = 5


class ScratchCluster:
    """A throwaway server and the directory it lives in; made by :meth:`start`, never by hand."""

    def __init__(
        self, installation: Installation, home: Path, socket_directory: Path, account: Account, password: str
    ) -> None:
        self.installation = installation
        self.home = home
        self.data_directory = home / "data"
        self.socket_directory = socket_directory
        self.log_path = home / "server.log"
        self._account = account
        self._password = password
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def start(
        cls,
        installation: Installation,
        directory: Path,
        *,
        settings: Mapping[str, str] | None = None,
        locale: str = "C.UTF-8",
        fast: bool = True,
    ) -> Iterator[ScratchCluster]:
        """Make a cluster in a new directory under ``directory``, start it, and remove both at the end.

        ``settings`` are lines of postgresql.conf; ``fast`` trades durability for speed. If the cluster's
        user cannot reach ``directory``, the system's temporary directory is used instead. Raises
        ProgramMissing without initdb and postgres, ConfigurationError if no directory will do,
        ProgramFailed if the server does not come up.
        """
        missing = sorted(SERVER_PROGRAMS - installation.programs)
        if missing:
            raise ProgramMissing(
                f"there is no {' and no '.join(missing)} in {installation.directory}",
                f"install postgresql-{installation.major}, the server package",
            )
        account = Account.for_servers()
        home = account.private_directory(directory)
        socket_directory = account.socket_directory(home)
        cluster = cls(installation, home, socket_directory, account, secrets.token_urlsafe(24))
        try:
            with watchdog(account, (home, socket_directory), all_is_well=lambda: not cluster.running):
                try:
                    cluster._make_reachable()
                    cluster._initialize(locale, {**(FAST_SETTINGS if fast else {}), **(settings or {})})
                    cluster._launch()
                    yield cluster
                finally:
                    cluster._end()
        finally:
            for each in (socket_directory, home):
                _remove(each)

    @property
    def server(self) -> Server:
        """How to reach it over TCP, as its superuser. The port may change when it is restarted."""
        return Server(
            host="127.0.0.1", port=self._port, user=SUPERUSER, password=self._password, proves_itself=True
        )

    @property
    def server_on_socket(self) -> Server:
        """How to reach it through its Unix socket, as its superuser."""
        return Server(
            host=str(self.socket_directory), port=self._port, user=SUPERUSER, password=self._password
        )

    @property
    def lacking(self) -> str:
        """What this machine cannot do to shut the server in, as a sentence; empty if nothing is missing."""
        return lacking(same_user=not self._account.change)

    @property
    def running(self) -> bool:
        """Whether its main process is alive."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Shut down cleanly, rolling back what is in progress; files stay until :meth:`start`'s block ends.

        Raises ProgramFailed if the server does not end in time.
        """
        if self.running and not self._signal_and_wait(signal.SIGINT):
            raise ProgramFailed(f"the scratch server did not stop within {_STOP_TIMEOUT_SECONDS} s")

    def crash(self) -> None:
        """Kill every process of the server at once, as a power cut would: it recovers at the next start."""
        if self._process is None or not self.running:
            return
        segment = self._shared_memory_segment()
        # Stopped first, so that it can neither start another child nor clean up behind the first death.
        self._process.send_signal(signal.SIGSTOP)
        for pid in (*_children(self._process.pid), self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        # Both would be gone after a power cut too; left alone, the number could come to name another process.
        (self.data_directory / "postmaster.pid").unlink(missing_ok=True)
        if segment is not None:
            _remove_shared_memory(segment, self._account.uid)

    def restart(self) -> None:
        """Stop cleanly if running, and start again, on the same port if it is still free."""
        self.stop()
        self._launch()

    def configure(self, settings: Mapping[str, str]) -> None:
        """Append settings to postgresql.conf; they hold from the next :meth:`restart` (or reload) on."""
        lines = [f"{name} = {_quoted(value)}\n" for name, value in settings.items()]
        with open(self._own_file("postgresql.conf"), "a", encoding="utf-8") as file:
            file.writelines(lines)

    def _own_file(self, name: str) -> int:
        """A descriptor to append to a file of the data directory. Raises Refused for what is none of the server's.

        The directory is the user's that the server runs as: another program of his may have laid a link there to a
        file that we may write to and he may not.
        """
        path = self.data_directory / name
        try:
            opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _replaced(path, error.strerror) from None
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_uid != self._account.uid:
            os.close(opened)
            raise _replaced(path, "it is not the file that initdb made")
        return opened

    def log_tail(self, size_bytes: int = 4096) -> str:
        """The end of the server's log."""
        try:
            return self.log_path.read_bytes()[-size_bytes:].decode(errors="replace")
        except FileNotFoundError:
            return ""

    # -- making and starting

    def _make_reachable(self) -> None:
        """Copy a relocatable installation that the cluster's user cannot reach, such as one below root's home."""
        directory = self.installation.directory
        if self._account.may_search(directory):
            return
        if not (directory.parent / "share").is_dir():
            raise ProgramMissing(f"the user that runs scratch servers cannot reach {directory}")
        # The wheel's programs find their libraries beside the package: its shape is kept.
        real = directory.resolve()
        package = real.parent.parent
        libraries = package.with_name(f"{package.name}.libs")
        root = self.home / "programs"
        copy = root / package.name / real.parent.name
        for part in ("bin", "lib", "share"):
            if (real.parent / part).is_dir():
                shutil.copytree(real.parent / part, copy / part, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, root / libraries.name, symlinks=True)
        # What lies deepest first: nothing is in a directory of the other user's when it is given away.
        for path in (*sorted(root.rglob("*"), reverse=True), root):
            if not path.is_symlink():
                self._account.own(path)
        installed = self.installation
        self.installation = Installation(copy / "bin", installed.major, installed.version, installed.programs)

    def _initialize(self, locale: str, settings: Mapping[str, str]) -> None:
        self._account.directory(self.home, self.data_directory.name)
        password_file = self.home / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password, encoding="ascii")
        self._account.own(password_file)
        argv = [
            self.installation.path("initdb"),
            f"--pgdata={self.data_directory}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth-local=scram-sha-256",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            f"--locale={locale}",
            "--no-sync",
            "--no-instructions",
        ]
        with self._account.popen(
            argv, self.home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        ) as process:
            try:
                output, _ = process.communicate(timeout=_START_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise ProgramFailed(f"initdb did not finish within {_START_TIMEOUT_SECONDS} s") from None
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        password_file.unlink()
        if process.returncode != 0:
            raise ProgramFailed(f"initdb failed: {_complaint(output.decode(errors='replace'))}")
        self.configure({**_QUIET_SETTINGS, "unix_socket_directories": str(self.socket_directory), **settings})

    def _launch(self) -> None:
        """Start the server on a free port; try others if another process takes it before the server does."""
        for attempt in range(_PORT_ATTEMPTS):
            port = self._port if attempt == 0 and self._port else _free_port()
            log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
            if self._launch_on(port):
                self._port = port
                return
            with self.log_path.open("rb") as log:
                log.seek(log_start)
                said = log.read().decode(errors="replace")
            if "could not bind" not in said and "could not create any TCP/IP sockets" not in said:
                break
        raise ProgramFailed(
            f"the scratch server of PostgreSQL {self.installation.version} does not start: {_complaint(said)}"
        )

    def _launch_on(self, port: int) -> bool:
        argv = [self.installation.path("postgres"), "-D", str(self.data_directory), "-p", str(port)]
        # Not the whole of ``home``: others may put there what the server must not change (Ground.directory).
        confinement = Confinement.of_server(
            self.installation, (self.data_directory, self.socket_directory), port
        )
        opened = os.open(self.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(opened, "ab") as log:
            process = self._account.popen(
                argv, self.home, stdin=subprocess.DEVNULL, stdout=log.fileno(), confinement=confinement
            )
        self._process = process
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if self._says_ready(process.pid):
                return True
            time.sleep(0.01)
        if self.running:
            self.crash()
        return False

    def _says_ready(self, pid: int) -> bool:
        # Line 8 of postmaster.pid is the server's own word, as pg_ctl reads it; a connection that succeeds
        # could be to somebody else's server on that port.
        lines = self._pid_file()
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _pid_file(self) -> list[str]:
        # Whoever is superuser of the server may have put anything in its place: a FIFO, a link to a device.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            opened = os.open(self.data_directory / "postmaster.pid", flags)
        except OSError:
            return []
        try:
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                return []
            return os.read(opened, 4096).decode(errors="replace").splitlines()
        finally:
            os.close(opened)

    def _shared_memory_segment(self) -> int | None:
        # Line 7: key and id of the System V segment that guards against two servers in one directory.
        words = (self._pid_file()[6:7] or [""])[0].split()
        return int(words[1]) if len(words) == 2 else None

    # -- ending

    def _signal_and_wait(self, number: signal.Signals) -> bool:
        assert self._process is not None
        self._process.send_signal(number)
        try:
            self._process.wait(_STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _end(self) -> None:
        """Stop at once: nothing in it is worth a checkpoint."""
        if self.running and not self._signal_and_wait(signal.SIGQUIT):
            self.crash()


def _remove(directory: Path) -> None:
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        # Not raised: it would hide the reason why we are leaving. But these are somebody's data.
        _log.warning("files of a scratch server stay in %s: %s", directory, error.strerror)


def _replaced(path: Path, why: str | None) -> Refused:
    return Refused(
        f"something else is in the place of {path}: {why}",
        f"see which programs run as the user of throwaway servers, or make one for them alone: {MAKE_USER}",
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _quoted(value: str) -> str:
    # https://www.postgresql.org/docs/15/config-setting.html: quotes are doubled, backslashes escape.
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _complaint(output: str) -> str:
    """Why initdb or a server gave up: its first fatal line, or what it said before "contains errors"."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    fatal = [number for number, line in enumerate(lines) if re.search(r"FATAL:|PANIC:|error:|fatal:", line)]
    if not fatal:
        return (lines or ["no message"])[-1]
    number = fatal[0]
    if "contains errors" in lines[number] and number > 0:
        number -= 1
    return re.sub(r"^.*?(?:FATAL|PANIC|LOG|error|fatal):\s+", "", lines[number])


def _children(pid: int) -> list[int]:
    """Direct children of a process, where /proc tells; elsewhere none: they notice their parent's death."""
    children = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name in parentheses may itself contain spaces and parentheses.
            fields = status.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == pid:
                children.append(int(status.parent.name))
    return children


def _remove_shared_memory(segment: int, made_by: int) -> None:
    # The number was read from a file of the server's: it may name somebody else's, and we may be root.
    libc = ctypes.CDLL(None, use_errno=True)
    remove = 0  # IPC_RMID
    look, found = 2, ctypes.create_string_buffer(256)  # IPC_STAT; ipc_perm: key, uid, gid, cuid (shmctl(2))
    if sys.platform.startswith("linux") and libc.shmctl(segment, look, found) == 0:
        _, _, _, creator = struct.unpack_from("=iIII", found.raw)
        if creator != made_by:
            return
    if libc.shmctl(segment, remove, None) != 0:
        number = ctypes.get_errno()
        # Already gone is as good; otherwise say so, since nobody else would remove it.
        if number not in (errno.EINVAL, errno.EIDRM):
            raise DatabaseError(f"shared memory of a crashed scratch server stays: {os.strerror(number)}")
