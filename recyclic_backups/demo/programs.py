"""Programs beside the demonstration, Dagster's and ours: with its settings and nobody else's, and ended with it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from recyclic_backups.demo.stage import Stage
from recyclic_backups.postgres.process import dies_with_us

_STOP_SECONDS = 30


@contextmanager
def started(argv: Sequence[str], stage: Stage, log: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, with our stage's settings and nobody else's; ended with all it started."""
    # Of its own, because Dagster ends without removing what it has there when it is told to while it is busy.
    with TemporaryDirectory(prefix="recyclic-ui-", ignore_cleanup_errors=True) as temporary:
        os.chmod(temporary, 0o711)  # servers of drills live below, and may run as another user  # noqa: S103
        process = subprocess.Popen(
            [*dies_with_us(), *argv],
            env=environment(stage.variables) | {"TMPDIR": temporary},
            cwd=stage.directory,  # no .env of the user's directory is read here
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _end(process)


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program that has these settings, and none of the machine's."""
    # A POSTGRES_HOST of the machine must not get anywhere near.
    inherited = ("PATH", "HOME", "TMPDIR", "LANG", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in inherited if name in os.environ} | dict(variables)


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGINT, which Dagster obeys with all its children; then everything in its session that is still there."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for number in (signal.SIGTERM, signal.SIGKILL):
        give_up_at = time.monotonic() + 5
        while (left := _session(process.pid)) and time.monotonic() < give_up_at:
            for pid in left:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            time.sleep(0.2)


def _session(leader: int) -> list[int]:
    """Processes of a session that are alive; none where /proc does not tell."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found
