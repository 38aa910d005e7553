"""Dagster as a program beside the demonstration: one run, or the UI with its daemon. It is never imported here."""

from __future__ import annotations

import json
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import URLError
from urllib.request import urlopen

from recyclic_backups.demo.programs import started
from recyclic_backups.demo.stage import Stage
from recyclic_backups.errors import BackupError

UI_HOST = "127.0.0.1"
UI_PORT = 3000
_MODULE = "recyclic_backups.definitions"
_READY_SECONDS = 120


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
    with log.open("wb") as file, started(argv, stage, file.fileno()) as process:
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
    with log.open("wb") as file, started(argv, stage, file.fileno()) as process:
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


def _answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/server_info", timeout=2) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
