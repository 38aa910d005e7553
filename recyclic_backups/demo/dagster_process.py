"""Dagster as a program beside the demonstration: one run, or the UI with its daemon. It is never imported here."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.request import urlopen

from recyclic_backups.demo.stage import Stage
from recyclic_backups.errors import BackupError
from recyclic_backups.postgres.process import dies_with_us

UI_HOST = "127.0.0.1"
UI_PORT = 3000
_MODULE = "recyclic_backups.definitions"
_READY_SECONDS = 120
_STOP_SECONDS = 30


_CHECK = re.compile(
    r"Asset check '(?P<name>\w+)' on \S+ (?P<verdict>passed|did not pass)\. Description: '(?P<said>.*)'"
)


def run_job(stage: Stage, job: str, partition: str) -> list[str]:
    """Run one partition of a job to its end, with its checks; returns a line for each of these.

    Raises BackupError with what Dagster said last.
    """
    log = stage.directory / "dagster-run.log"
    argv = [
        *(sys.executable, "-m", "dagster", "job", "execute", "-m", _MODULE, "-j", job),
        *("--tags", json.dumps({"dagster/partition": partition})),
    ]
    with log.open("wb") as file, _started(argv, stage, file.fileno()) as process:
        code = process.wait()
    text = log.read_text(errors="replace").strip()
    if code != 0:
        lines = text.splitlines()
        said = next(
            (line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "nothing"
        )
        raise BackupError(f"the Dagster run of {job} failed: {said[:300]}", f"all it said is in {log}")
    return [f"{check['name']:<12} {check['verdict']}: {check['said']}" for check in _CHECK.finditer(text)]


@contextmanager
def ui(stage: Stage) -> Iterator[str]:
    """Dagster's UI and daemon, schedules on, until the block ends; yields the address once it answers.

    Port 3000 if it is free, else any. Raises BackupError when it does not come up.
    """
    port = free_port()
    log = stage.directory / "dagster-ui.log"
    argv = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", UI_HOST, "-p", str(port)]
    with log.open("wb") as file, _started(argv, stage, file.fileno()) as process:
        address = f"http://{UI_HOST}:{port}"
        give_up_at = time.monotonic() + _READY_SECONDS
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise BackupError("the Dagster UI did not come up", f"all it said is in {log}")
            time.sleep(0.5)
        yield address


def free_port() -> int:
    """3000 if nobody has it, else one that is free now."""
    for port in (UI_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((UI_HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise BackupError("this machine has no free port left")


@contextmanager
def _started(argv: list[str], stage: Stage, log: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, with our stage's settings and nobody else's; ended with all it started."""
    # Of its own, because Dagster ends without removing what it has there when it is told to while it is busy.
    with TemporaryDirectory(prefix="recyclic-ui-", ignore_cleanup_errors=True) as temporary:
        os.chmod(temporary, 0o711)  # servers of drills live below, and may run as another user  # noqa: S103
        process = subprocess.Popen(
            [*dies_with_us(), *argv],
            env=_environment(stage.variables) | {"TMPDIR": temporary},
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


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    # Nothing else of ours: a POSTGRES_HOST of the machine must not get anywhere near.
    inherited = ("PATH", "HOME", "TMPDIR", "LANG", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in inherited if name in os.environ} | dict(variables)


def _answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/server_info", timeout=2) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


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
