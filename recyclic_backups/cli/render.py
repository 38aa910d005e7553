"""What commands print: reports on standard output, everything else on standard error."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from recyclic_backups.errors import StorageError, printable
from recyclic_backups.foreign_text import CONTROL, escape_sequence, visible
from recyclic_backups.progress import SILENT, Progress


def now() -> datetime:
    """The clock of the command line, aware UTC; below it ``now`` is always a parameter."""
    return datetime.now(UTC)


def print_json(document: Any) -> None:
    """The report for machines. Raises StorageError."""
    print_text(as_json(document))


def print_text(text: str) -> None:
    """A report that is a document already, as it is. Raises StorageError when standard output takes no more."""
    with _printing():
        if sys.stdout is None:  # closed by whoever started us: `>&-`
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        binary = getattr(sys.stdout, "buffer", None)
        if not isinstance(binary, io.RawIOBase):
            sys.stdout.write(text)
            return
        # Unbuffered (PYTHONUNBUFFERED) the text stream writes once, and forgets what was not taken of it.
        left = memoryview(text.encode(sys.stdout.encoding, sys.stdout.errors or "strict"))
        while left:
            taken = binary.write(left)
            if taken is None:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            left = left[taken:]


def line(text: str = "") -> None:
    """One line of the report for people, whatever stands in it (:func:`visible`). Raises StorageError."""
    print_text(f"{visible(text)}\n")


def command(text: str, before: str = "  ") -> None:
    """A line to paste into a shell, after ``before``. Raises StorageError.

    Control characters, and bytes of a file's name that are no UTF-8, stand there only within the single quotes of
    :func:`shlex.quote`: each is put beside them as ``$'\\n'`` or, byte by byte, as ``$'\\xc2\\x85'``. Both are of
    POSIX.1-2024, section 2.2.4 (``\\u0085`` is not); bash, ksh and zsh read them, an older ``sh`` may not.
    """
    pasted = _UNPASTED.sub(lambda found: f"'$'{_bytes(found[0])}''", text)
    print_text(f"{before}{printable(pasted)}\n")


_UNPASTED = re.compile(f"{CONTROL.pattern}|[\udc80-\udcff]")
# Structure of JSON is ASCII, and C0 is escaped already: what is left stands in texts alone.
_UNESCAPED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def as_json(document: Any) -> str:
    """A report for machines, which is often read at a terminal: no control or bidirectional character is left as is."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return _UNESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def _bytes(character: str) -> str:
    written = character.encode("utf-8", "surrogateescape")
    return (
        escape_sequence(character) if character in "\n\r\t" else "".join(f"\\x{byte:02x}" for byte in written)
    )


def finish() -> None:
    """Hand over what was printed and may still wait. Raises StorageError."""
    with _printing():
        if sys.stdout is not None:
            sys.stdout.flush()


def print_no_more() -> None:
    """Nobody reads standard output any more: what still waits for it, or comes, goes nowhere."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _printing() -> Iterator[None]:
    """Told where it happens: unbuffered, nothing waits for a flush that could tell later."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read it has seen enough: no failure
    except OSError as error:
        print_no_more()
        reason = error.strerror or type(error).__name__
        raise StorageError(
            f"the report cannot be printed: {reason}", "see where standard output goes"
        ) from None


def say(text: str) -> None:
    """A remark for people, on standard error, on one line (:func:`visible`)."""
    print(visible(text), file=sys.stderr)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> None:
    """Columns as wide as their widest cell, two spaces between; ``right`` are the columns of numbers.

    A cell stays in its row and in its column, whatever stands in it (:func:`visible`). Raises StorageError.
    """
    numbers = set(right)
    lines = [tuple(visible(cell) for cell in row) for row in (headers, *rows)]
    widths = [max(len(row[column]) for row in lines) for column in range(len(headers))]
    for row in lines:
        cells = [
            cell.rjust(widths[column]) if column in numbers else cell.ljust(widths[column])
            for column, cell in enumerate(row)
        ]
        line("  ".join(cells).rstrip())


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
        # A table's name is text: [bold] in it is no markup, and [/] no error.
        TextColumn("{task.description}", markup=False),
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
        self._task = self._bars.add_task(visible(name), total=total_bytes)

    def advance(self, done_bytes: int) -> None:
        if self._task is not None:
            self._bars.advance(self._task, done_bytes)
