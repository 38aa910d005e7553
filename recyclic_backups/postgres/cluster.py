"""A server process of ours, in a data directory that somebody else filled.

It runs as the user of throwaway servers, shut in (:mod:`recyclic_backups.postgres.confinement`): its files may hold
code that strangers wrote.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from recyclic_backups.errors import DatabaseError, ProgramFailed, ProgramMissing, Refused
from recyclic_backups.postgres.account import MAKE_USER, Account
from recyclic_backups.postgres.confinement import Confinement, lacking
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.watchdog import watchdog

_STOP_TIMEOUT_SECONDS = 20

_log = logging.getLogger(__name__)


class Cluster:
    """A data directory, the server in it, and a private directory beside: log, socket, a copy of the programs."""

    def __init__(
        self,
        installation: Installation,
        home: Path,
        data_directory: Path,
        socket_directory: Path,
        account: Account,
    ) -> None:
        self.installation = installation
        self.home = home
        self.data_directory = data_directory
        self.socket_directory = socket_directory
        self.log_path = home / "server.log"
        self._account = account
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def lacking(self) -> str:
        """What this machine cannot do to shut the server in, as a sentence; empty if nothing is missing."""
        return lacking(same_user=not self._account.change)

    @property
    def running(self) -> bool:
        """Whether its main process is alive."""
        return self._process is not None and self._process.poll() is None

    def stop(self, timeout_seconds: float = _STOP_TIMEOUT_SECONDS) -> None:
        """Shut down cleanly, rolling back what is in progress; files stay.

        Raises ProgramFailed if the server does not end in time.
        """
        if self.running and not self._signal_and_wait(signal.SIGINT, timeout_seconds):
            raise ProgramFailed(f"the scratch server did not stop within {timeout_seconds:g} s")

    def crash(self) -> None:
        """Kill every process of the server at once, as a power cut would: it recovers at the next start."""
        if self._process is None or not self.running:
            return
        segment = self._shared_memory_segment()
        # Stopped first, so that it can neither start another child nor clean up behind the first death.
        self._process.send_signal(signal.SIGSTOP)
        for pid in (*children_of(self._process.pid), self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        # Both would be gone after a power cut too; left alone, the number could come to name another process.
        (self.data_directory / "postmaster.pid").unlink(missing_ok=True)
        if segment is not None:
            _remove_shared_memory(segment, self._account.uid)

    def log_tail(self, size_bytes: int = 4096) -> str:
        """The end of the server's log."""
        try:
            return self.log_path.read_bytes()[-size_bytes:].decode(errors="replace")
        except FileNotFoundError:
            return ""

    def own_file(self, name: str) -> int:
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

    # -- starting

    def begin(
        self,
        port: int,
        arguments: Sequence[str] = (),
        *,
        writable: Sequence[Path] = (),
        readable: Sequence[Path] = (),
    ) -> int:
        """Start the server's process, which may use these files beside its own directories; its process id.

        Whether it comes up is another question: :attr:`state`.
        """
        argv = [
            self.installation.path("postgres"),
            "-D",
            str(self.data_directory),
            "-p",
            str(port),
            *arguments,
        ]
        # Not the whole of ``home``: others may put there what the server must not change (Ground.directory).
        confinement = Confinement.of_server(
            self.installation,
            (self.data_directory, self.socket_directory, *writable),
            port,
            tuple(readable),
        )
        opened = os.open(self.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(opened, "ab") as log:
            process = self._account.popen(
                argv, self.home, stdin=subprocess.DEVNULL, stdout=log.fileno(), confinement=confinement
            )
        self._process = process
        return process.pid

    @contextlib.contextmanager
    def program(
        self, name: str, *arguments: str, writable: Sequence[Path] = (), readable: Sequence[Path] = ()
    ) -> Iterator[subprocess.Popen[bytes]]:
        """One of the installation's programs, as the server's user and shut in; what it says comes through its pipe.

        It is ended at the end of the block if it still runs.
        """
        confinement = Confinement.of_program(self.installation, name, tuple(writable), tuple(readable))
        argv = [self.installation.path(name), *arguments]
        with self._account.popen(
            argv,
            self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            confinement=confinement,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.stdout.close()  # type: ignore[union-attr]

    def run_program(
        self,
        name: str,
        *arguments: str,
        timeout_seconds: float,
        writable: Sequence[Path] = (),
        readable: Sequence[Path] = (),
    ) -> str:
        """The same to its end; what it printed. Raises ProgramFailed."""
        with self.program(name, *arguments, writable=writable, readable=readable) as process:
            try:
                output, _ = process.communicate(timeout=timeout_seconds)
            except subprocess.TimeoutExpired:
                raise ProgramFailed(f"{name} did not finish within {timeout_seconds:g} s") from None
        said = output.decode(errors="replace")
        if process.returncode != 0:
            raise ProgramFailed(f"{name} failed: {complaint(said)}")
        return said

    @property
    def state(self) -> str:
        """What the server says of itself: ``starting``, ``ready`` for sessions, ``stopping``; empty for nothing."""
        # Line 8 of postmaster.pid is the server's own word, as pg_ctl reads it; a connection that succeeds
        # could be to somebody else's server on that port.
        lines = self._pid_file()
        if self._process is None or len(lines) < 8 or lines[0].strip() != str(self._process.pid):
            return ""
        return lines[7].strip()

    def make_reachable(self) -> None:
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

    def _signal_and_wait(
        self, number: signal.Signals, timeout_seconds: float = _STOP_TIMEOUT_SECONDS
    ) -> bool:
        assert self._process is not None
        self._process.send_signal(number)
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self) -> None:
        """Stop at once: nothing in it is worth a checkpoint."""
        if self.running and not self._signal_and_wait(signal.SIGQUIT):
            self.crash()

    @contextlib.contextmanager
    def watched(self, *directories: Path) -> Iterator[None]:
        """Let neither the server nor ``directories``, first the cluster's own, outlive the block, nor us."""
        with watchdog(self._account, self.data_directory, directories, all_is_well=lambda: not self.running):
            try:
                yield
            finally:
                self.end()


def _replaced(path: Path, why: str | None) -> Refused:
    return Refused(
        f"something else is in the place of {path}: {why}",
        f"see which programs run as the user of throwaway servers, or make one for them alone: {MAKE_USER}",
    )


def quoted(value: str) -> str:
    """A value as it is written in postgresql.conf: quotes are doubled, backslashes escape.

    https://www.postgresql.org/docs/15/config-setting.html
    """
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def complaint(output: str) -> str:
    """Why initdb or a server gave up: its first fatal line, or what it said before "contains errors"."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    fatal = [number for number, line in enumerate(lines) if re.search(r"FATAL:|PANIC:|error:|fatal:", line)]
    if not fatal:
        return (lines or ["no message"])[-1]
    number = fatal[0]
    if "contains errors" in lines[number] and number > 0:
        number -= 1
    return re.sub(r"^.*?(?:FATAL|PANIC|LOG|error|fatal):\s+", "", lines[number])


def children_of(pid: int) -> list[int]:
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
