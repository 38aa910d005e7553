"""What commands print: reports on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from recyclic_backups.progress import SILENT, Progress


def now() -> datetime:
    """The clock of the command line, aware UTC; below it ``now`` is always a parameter."""
    return datetime.now(UTC)


def print_json(document: Any) -> None:
    """The report for machines."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def say(text: str) -> None:
    """A remark for people, on standard error."""
    print(text, file=sys.stderr)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> None:
    """Columns as wide as their widest cell, two spaces between; ``right`` are the columns of numbers."""
    numbers = set(right)
    lines = [tuple(headers), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        cells = [
            cell.rjust(widths[column]) if column in numbers else cell.ljust(widths[column])
            for column, cell in enumerate(line)
        ]
        print("  ".join(cells).rstrip())


def local_time(moment: datetime | None, timezone: ZoneInfo) -> str:
    """``2026-11-22 02:00:03 CET`` on the operator's clock; a dash where there is none."""
    return "-" if moment is None else moment.astimezone(timezone).strftime("%Y-%m-%d %H:%M:%S %Z")


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar with an estimate on standard error if that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield SILENT
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _Bar(bars)


class _Bar:
    """One bar for each stage; a finished one disappears."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._task: Any = None

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(name, total=total_bytes)

    def advance(self, done_bytes: int) -> None:
        if self._task is not None:
            self._bars.advance(self._task, done_bytes)
