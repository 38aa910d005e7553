"""Measure whole commands in turn, several times, and compare them run by run.

Machines are shared and their speed drifts: only ratios within one round mean anything, and of those the median.
"""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command: wall and CPU seconds, the peak memory of it with all its children, in bytes."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Command:
    """A command to measure; ``prepare`` is run before each run and not measured."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    cwd: Path | None = None


@dataclass(slots=True)
class Series:
    """All runs of the commands of one comparison, round by round."""

    runs: dict[str, list[Run]] = field(default_factory=dict)

    def median(self, name: str, figure: str = "wall_seconds") -> float:
        """The median of a figure of one command."""
        return float(median(getattr(run, figure) for run in self.runs[name]))

    def ratio(self, name: str, other: str, figure: str = "wall_seconds") -> float:
        """The median of the ratios of two commands, each taken within one round."""
        pairs = zip(self.runs[name], self.runs[other], strict=True)
        return float(median(getattr(one, figure) / getattr(two, figure) for one, two in pairs))

    def to_json(self) -> dict[str, Any]:
        """Every figure of every run."""
        return {
            name: [
                {
                    "wall_seconds": round(run.wall_seconds, 3),
                    "cpu_seconds": round(run.cpu_seconds, 3),
                    "peak_mb": round(run.peak_bytes / 1e6, 1),
                }
                for run in runs
            ]
            for name, runs in self.runs.items()
        }


def compare(commands: Sequence[Command], rounds: int) -> Series:
    """Run all commands once to warm up, then ``rounds`` times in turn. Raises RuntimeError when one fails."""
    series = Series({command.name: [] for command in commands})
    for number in range(rounds + 1):
        for command in commands:
            run = _measured(command)
            if number:
                series.runs[command.name].append(run)
    return series


def _measured(command: Command) -> Run:
    command.prepare()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    process = subprocess.Popen(
        list(command.argv),
        env={**os.environ, **command.environment},
        cwd=command.cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    peak = _Peak(process.pid)
    peak.start()
    _, stderr = process.communicate()
    wall_seconds = time.monotonic() - started
    peak.stop()
    if process.returncode != 0:
        raise RuntimeError(f"{command.name} failed: {stderr.decode(errors='replace')[-500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall_seconds, cpu_seconds, peak.bytes)


class _Peak(threading.Thread):
    """Samples the memory of a process tree: shared pages count in parts (PSS), so that children add up."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._ended = threading.Event()
        self.bytes = 0

    def run(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            self.bytes = max(self.bytes, sum(_pss_bytes(pid) for pid in _tree(self._pid)))

    def stop(self) -> None:
        """End sampling."""
        self._ended.set()
        self.join()


def _tree(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        try:
            children = Path(f"/proc/{each}/task/{each}/children").read_text()
        except OSError:
            continue
        found += [int(child) for child in children.split()]
    return found


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
