"""Run PostgreSQL's programs: their bytes through pipes, their end checked, their complaint in one sentence.

Whoever reads a pipe sees an ordinary end of file when the program at the other end dies. Only
:meth:`PipedProcess.wait_ok` says that it succeeded.

**Children die with us.** Each one starts behind ``setpriv --pdeathsig TERM`` where util-linux provides it:
the kernel then terminates it when we are killed. The alternative, ``preexec_fn``, runs Python between fork
and exec and may deadlock in a process with threads
(https://docs.python.org/3/library/subprocess.html#subprocess.Popen). The kernel watches the *thread* that
started the child: a process belongs to the thread whose ``with`` block it is. Without ``setpriv`` a program
that uses its pipe still ends with us, by SIGPIPE or end of file.

**What is told of an error.** The first sentence of standard error, never DETAIL, CONTEXT or "Command was":
they quote rows and statements, and those hold personal data and passwords.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from recyclic_backups.errors import ProgramFailed, ProgramMissing
from recyclic_backups.postgres.standby import CONFLICT, CONFLICT_HINT

NICE_LEVEL = 10
PIPE_BYTES = 1 << 20
STDERR_TAIL_BYTES = 64 << 10
_GRACE_SECONDS = 5.0
_PR_SET_DUMPABLE = 4

# What a child may know of our environment. Everything else stays here: PGOPTIONS or PGSERVICE would change
# where and how it connects, and our own variables hold keys that are none of its business.
_INHERITED = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "KRB5CCNAME", "KRB5_CONFIG")

_LATER = re.compile(
    r"\bterminat(?:ed|ing)\b|closed the connection|connection refused|connection reset|timeout expired|"
    r"timed out|database system is|too many (?:clients|connections)|remaining connection slots|lock timeout|"
    r"could not receive data|could not send data|SSL SYSCALL|SSL connection has been closed|"
    r"canceling statement due to user request|"
    r"no connection to the server|no such file or directory.*server running|could not obtain lock|"
    + CONFLICT,
    re.IGNORECASE,
)
# How pg_restore says at which entry it stopped, with --verbose, before it says why: kind, name and owner follow two
# numbers of the catalog (warn_or_exit_horribly in src/bin/pg_dump/pg_backup_archiver.c).
_TOC_ENTRY = re.compile(
    r"^pg_restore: from TOC entry (\d{1,10}); \d+ \d+ (.*?) ?$(?=\npg_restore: error:)", re.MULTILINE
)
_CLAIMED_ENTRY = re.compile(rb"^pg_restore: from TOC entry (\d{1,10});", re.MULTILINE)
_LONGEST_CLAIM = 100  # bytes of a line, more than that expression can match
_HINTS = (
    (CONFLICT, CONFLICT_HINT),
    (
        r"requested a cleartext password",
        "whoever answers wants the password itself and has not proved to be the server: set "
        "POSTGRES_SSLMODE=verify-full and POSTGRES_SSLROOTCERT, or find out who answers there",
    ),
    (
        r"too many connections for",
        "raise the CONNECTION LIMIT of the role or database: a backup has BACKUP_JOBS + 3 sessions at once",
    ),
    (r"authentication failed|no password supplied", "check POSTGRES_USER and POSTGRES_PASSWORD"),
    (r"no pg_hba\.conf entry", "the server's pg_hba.conf does not let this host, user or database in"),
    (r'role "[^"]*" does not exist', "check POSTGRES_USER, or restore the roles first"),
    (r'database ".*" does not exist', "check the name of the database"),
    (r"could not translate host name", "check POSTGRES_HOST"),
    (r"server version mismatch", "use programs at least as new as the server: see PG_BIN"),
    (r"permission denied", "grant pg_read_all_data to the backup role, or make it the owner"),
    (r"lock timeout|could not obtain lock", "something holds a lock for longer than BACKUP_LOCK_TIMEOUT"),
    (
        r"canceling statement due to user request",
        "it waited for a lock for longer than BACKUP_LOCK_TIMEOUT (somebody renames or drops a sequence), or somebody "
        "ended it: try again",
    ),
    (r"no space left on device|could not extend file", "free space on the server's disk"),
    (
        r"closed the connection|connection reset|could not (?:receive|send) data|terminating connection|"
        r"no connection to the server|the database system is",
        "the server or the line to it went away: see the server's log, then try again",
    ),
    (
        r"connection to server",
        "check that the server runs and that POSTGRES_HOST and POSTGRES_PORT point at it",
    ),
)


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that ended as it may: what it printed, what it said beside (warnings), and its exit code."""

    stdout: bytes
    stderr: str
    code: int = 0


def run(
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    timeout_seconds: float,
    input: bytes | None = None,
    nice: bool = False,
    cwd: Path | None = None,
    any_code: bool = False,
) -> Finished:
    """Run a program to its end and return all it printed: for short answers, not for dumps.

    With ``any_code`` the caller judges what it exited with. Raises ProgramFailed if it fails, is killed or takes too
    long; ProgramMissing if it is not there.
    """
    process = _start(
        argv,
        environment,
        stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        nice=nice,
        cwd=cwd,
    )
    with process:
        try:
            stdout, stderr = process.communicate(input, timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            _end_group(process)
            raise _too_slow(argv, timeout_seconds) from None
        except BaseException:
            _end_group(process)
            raise
    said = stderr.decode(errors="replace")
    if process.returncode < 0 or (process.returncode and not any_code):
        raise failure(program_name(argv), process.returncode, said)
    return Finished(stdout, said, process.returncode)


class StoppedReading(ProgramFailed):
    """A program that ended well without reading all of its input: it had seen enough."""


class PipedProcess:
    """A program whose input or output, or both, pass through us; a context manager.

    ``timeout_seconds`` bounds the whole run: every read, write and wait raises ProgramFailed once it has
    passed. Leaving the block before the program has ended terminates it, then kills it, with its whole
    process group. Reading while writing needs two threads, as always with pipes. Descriptors in ``pass_fds`` stay open
    in it, under the same numbers.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        timeout_seconds: float,
        stdin: bool = False,
        stdout: bool = True,
        nice: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._argv = list(argv)
        self._pass_fds = tuple(pass_fds)
        self._environment = dict(environment)
        self._timeout_seconds = timeout_seconds
        self._wants_stdin = stdin
        self._wants_stdout = stdout
        self._nice = nice
        self._tail = bytearray()
        self._claimed = set[int]()

    def __enter__(self) -> Self:
        self._process = _start(
            self._argv,
            self._environment,
            stdin=subprocess.PIPE if self._wants_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE if self._wants_stdout else subprocess.DEVNULL,
            nice=self._nice,
            pass_fds=self._pass_fds,
        )
        self._deadline = time.monotonic() + self._timeout_seconds
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                _widen(pipe)
        if self._process.stdin is not None:
            os.set_blocking(self._process.stdin.fileno(), False)
        self._listener = threading.Thread(target=self._listen, name="stderr", daemon=True)
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            _end_group(self._process)
        self.close_stdin()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._hear_out()

    @property
    def pid(self) -> int:
        """The program's process id; its process group has the same number."""
        return self._process.pid

    @property
    def stderr(self) -> str:
        """The last 64 KiB it has written to standard error so far."""
        return bytes(self._tail).decode(errors="replace")

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes of its output as soon as there are any; ``b""`` at the end.

        The end of the output does not say that all is well: :meth:`wait_ok` does. Raises ProgramFailed.
        """
        return os.read(self._await(self._process.stdout, select.POLLIN), size)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """As :meth:`read`, into a buffer: how many bytes were put there, 0 at the end."""
        return os.readv(self._await(self._process.stdout, select.POLLIN), [buffer])

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """Give it all of these bytes. Raises ProgramFailed, with its own reason if it has ended."""
        rest = memoryview(data)
        while rest:
            try:
                written = os.write(self._await(self._process.stdin, select.POLLOUT), rest)
            except BlockingIOError:
                continue  # less room in the pipe than one page, which poll does not call full
            except BrokenPipeError:
                self.wait_ok()
                raise StoppedReading(f"{program_name(self._argv)} stopped reading before the end") from None
            rest = rest[written:]

    def end(self) -> None:
        """End it, from any thread: whoever reads, writes or waits gets ProgramFailed."""
        _end_group(self._process)

    def close_stdin(self) -> None:
        """Tell it that there is no more input."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def wait_ok(self) -> str:
        """Wait for its end and return what it said beside its output (warnings); closes its input first.

        Raises ProgramFailed unless it ended with exit code 0 within the time limit.
        """
        self.close_stdin()
        try:
            code = self._process.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _end_group(self._process)
            raise _too_slow(self._argv, self._timeout_seconds) from None
        self._hear_out()
        if code != 0:
            failed = failure(program_name(self._argv), code, self.stderr)
            failed.claimed_entries |= self._claimed
            raise failed
        return self.stderr

    def _await(self, pipe: IO[bytes] | None, event: int) -> int:
        """The pipe's descriptor once it can be used."""
        if pipe is None:
            raise ValueError("this process was started without that pipe")
        poll = select.poll()
        poll.register(pipe, event)
        left = self._deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            _end_group(self._process)
            raise _too_slow(self._argv, self._timeout_seconds)
        return pipe.fileno()

    def _listen(self) -> None:
        # A program that nobody listens to stops as soon as the pipe of its complaints is full.
        assert self._process.stderr is not None
        line = b""
        with self._process.stderr as pipe:
            while piece := pipe.read(1 << 16):
                self._tail += piece
                del self._tail[:-STDERR_TAIL_BYTES]
                # From its beginning: what follows the true line may be longer than the tail.
                text = line + piece
                self._claimed.update(int(number) for number in _CLAIMED_ENTRY.findall(text))
                line = text[text.rfind(b"\n") + 1 :]
                line = line if len(line) <= _LONGEST_CLAIM else b"a line that has begun"

    def _hear_out(self) -> None:
        # Bounded: a grandchild that survived may hold the pipe open.
        self._listener.join(_GRACE_SECONDS)


def program_name(argv: Sequence[str]) -> str:
    """How messages name a program."""
    return Path(argv[0]).name


def failure(program: str, code: int, stderr: str) -> ProgramFailed:
    """The error for a program that ended with an exit code, or by a signal (a negative code)."""
    # The last: names of other entries, which it tells while all goes well, may look like that line.
    entries = [*_TOC_ENTRY.finditer(stderr)] if program == "pg_restore" else []
    entry = entries[-1] if entries else None
    sentence = first_complaint(stderr[entry.end() :] if entry else stderr)
    if code < 0:
        name = _signal_name(-code)
        hint = "the system may have run out of memory" if -code == signal.SIGKILL else ""
        said = f": {sentence}" if sentence else ""
        killed = -code in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        return ProgramFailed(f"{program} was ended by {name}{said}", hint, retryable=killed)
    hint = next((hint for pattern, hint in _HINTS if re.search(pattern, sentence, re.IGNORECASE)), "")
    text = sentence or "it gave no reason"
    where = f" at {entry[2]}" if entry else ""
    return ProgramFailed(
        f"{program} failed (exit code {code}){where}: {text}",
        hint,
        retryable=bool(_LATER.search(sentence)),
        complaint=sentence.removeprefix("could not execute query: "),
        toc_entry=int(entry[1]) if entry else None,
    )


def first_complaint(stderr: str) -> str:
    """The sentence of a program's standard error that says what went wrong; empty if it said nothing.

    Prefixes such as ``pg_dump: error:`` and the severity of a server's message are taken off. Where pg_dump
    only says which of its calls failed, the server's own reason, one line below, takes that place.
    """
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    marked = [line for line in lines if re.search(r"\b(?:error|fatal|ERROR|FATAL|PANIC):\s", line)]
    plain = [
        line
        for line in lines
        if not re.search(r"\b(?:warning|WARNING|NOTICE|hint|HINT|detail|DETAIL):", line)
    ]
    sentence = next(iter(marked or plain or lines), "")
    sentence = re.sub(r"^[\w./-]+: (?:\[[\w ()]+\] )?(?:(?:error|fatal): )?", "", sentence)
    reason = re.search(r"Error message from server: (.+)", stderr)
    if reason:
        sentence = re.sub(r"PQ\w+\(\) failed\.?$", lambda _: reason[1].strip(), sentence)
    return re.sub(r"\b(?:FATAL|ERROR|PANIC):\s+", "", sentence)


def _start(
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdin: int,
    stdout: int,
    nice: bool,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    if shutil.which(argv[0]) is None:
        raise ProgramMissing(
            f"{argv[0]} cannot be run", "install the PostgreSQL client programs, or set PG_BIN"
        )
    try:
        process = subprocess.Popen(
            [*dies_with_us(), *argv],
            # Messages in English, since they are read by the expressions above.
            env={**inherited(), "LC_ALL": "C", **environment},
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=cwd,
            pass_fds=pass_fds,
            # A group of its own: a Ctrl-C at the terminal is for us to handle, and we can end all of it.
            process_group=0,
            bufsize=0,
        )
    except OSError as error:
        raise ProgramFailed(
            f"{program_name(argv)} cannot be started: {error.strerror}", retryable=True
        ) from error
    if nice:
        # From outside, since nothing may run in the child before exec; it may be gone already.
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, process.pid, NICE_LEVEL)
    return process


def inherited() -> dict[str, str]:
    """What every program gets of our environment: no secret is in it."""
    return {name: value for name in _INHERITED if (value := os.environ.get(name)) is not None}


@lru_cache(maxsize=1)
def dies_with_us() -> tuple[str, ...]:
    """What to put before a program's argument list so that it ends with us; nothing where util-linux is missing."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return ()
    # BusyBox has a setpriv without this option.
    probe = subprocess.run(
        [setpriv, "--pdeathsig", "TERM", "true"],
        env=inherited(),
        capture_output=True,
        check=False,
        timeout=10,
    )
    return (setpriv, "--pdeathsig", "TERM", "--") if probe.returncode == 0 else ()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Terminate, then kill, a process and all of its group, and reap it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)


def _too_slow(argv: Sequence[str], timeout_seconds: float) -> ProgramFailed:
    return ProgramFailed(
        f"{program_name(argv)} did not finish within {timeout_seconds:g} s and was ended",
        "raise BACKUP_TIMEOUT if it needs longer",
        retryable=True,
    )


def _widen(pipe: IO[bytes]) -> None:
    """A pipe of 1 MiB instead of 64 KiB: fewer switches between two busy processes. An optimization only."""
    command = getattr(fcntl, "F_SETPIPE_SZ", None)
    if command is not None:
        with contextlib.suppress(OSError):  # over the user's limit, /proc/sys/fs/pipe-user-pages-soft
            fcntl.fcntl(pipe, command, PIPE_BYTES)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def keep_to_ourselves() -> None:
    """Leave no core dump, and let no other process of our user read our memory or environment: both hold keys.

    A process that cannot be dumped belongs to root below ``/proc`` (proc(5), prctl(2): PR_SET_DUMPABLE). Programs that
    we start are as dumpable as ever, but get none of the keys.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def lower_priority() -> None:
    """Give way to everybody else on this machine: low priority, and the disk only when nobody wants it.

    Compressing takes more CPU than pg_dump does, and is ours: children inherit both. Measured beside a busy
    server, the answers of a till waited a third as long (docs/performance.md). It cannot be taken back.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, max(NICE_LEVEL, os.getpriority(os.PRIO_PROCESS, 0)))
    ionice = shutil.which("ionice")
    if ionice is not None:
        # The idle class (ioprio_set(2)); a kernel or container that refuses it costs nothing but politeness.
        subprocess.run(
            [ionice, "-c", "3", "-p", str(os.getpid())],
            env=inherited(),
            capture_output=True,
            check=False,
            timeout=10,
        )
