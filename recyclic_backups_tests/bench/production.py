"""What the application feels while a backup runs beside it, at a steady rate of transactions."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from dataclasses import replace
from statistics import median

from recyclic_backups_tests.bench.measure import Command
from recyclic_backups_tests.bench.stand import Stand

_SECONDS = 10
_RATE = 200  # transactions a second: what two cores serve without being busy
_LATENCY = re.compile(r"latency average = ([\d.]+) ms")


def production(stand: Stand, scale: float) -> None:
    """Latency of pgbench's transactions alone, beside pg_dump, and beside our backups."""
    stand.drop("pgbench", create=True)()
    pgbench = stand.shell("pgbench", "")
    subprocess.run(
        ["pgbench", "-i", "-q", "-s", "5", "pgbench"],
        env={**os.environ, **pgbench.environment},
        check=True,
        capture_output=True,
    )
    beside = {
        "alone": None,
        "pg_dump -Fc": stand.shell("pg_dump", "pg_dump -Fc >beside.dump"),
        "ours": stand.ours("backup"),
        "ours, limited": stand.ours("backup", BACKUP_RATE_LIMIT="20MB"),
    }
    latency: dict[str, list[float]] = {name: [] for name in beside}
    for _ in range(stand.rounds):
        for name, command in beside.items():
            with _Again(command):
                latency[name].append(_measure(pgbench))
    for name, milliseconds in latency.items():
        stand.seen(f"latency of a transaction, {name}, ms", median(milliseconds))
    pairs = zip(latency["ours"], latency["pg_dump -Fc"], strict=True)
    stand.at_most(
        "latency beside ours / beside pg_dump -Fc", median(one / other for one, other in pairs), 1.0
    )


def _measure(pgbench: Command) -> float:
    """Average latency of transactions at a fixed rate, in milliseconds, waiting for a free client included."""
    argv = ["pgbench", "-n", "-c", "4", "-j", "1", "-T", str(_SECONDS), "-R", str(_RATE), "pgbench"]
    result = subprocess.run(
        argv, env={**os.environ, **pgbench.environment}, check=True, capture_output=True, text=True
    )
    found = _LATENCY.search(result.stdout)
    if found is None:
        raise RuntimeError(f"pgbench said {result.stdout!r}")
    return float(found[1])


class _Again(threading.Thread):
    """Runs a command again and again while something else is measured; the last run is let end."""

    def __init__(self, command: Command | None) -> None:
        super().__init__(daemon=True)
        self._command = command and replace(command)
        self._enough = threading.Event()
        self._failed = ""

    def __enter__(self) -> None:
        if self._command:
            self.start()

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        if self._command:
            self.join()
        if self._failed:
            raise RuntimeError(self._failed)

    def run(self) -> None:
        command = self._command
        if command is None:
            return
        while not self._enough.is_set():
            result = subprocess.run(
                list(command.argv),
                env={**os.environ, **command.environment},
                cwd=command.cwd,
                capture_output=True,
                text=True,
                check=False,
            )
            if result.returncode != 0:
                self._failed = f"{command.name} failed: {result.stderr[-300:]}"
                return
