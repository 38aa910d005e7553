"""What commands print: reports on standard output, everything else on standard error."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from recyclic_backups.errors import BackupError, StorageError, printable
from recyclic_backups.foreign_text import CONTROL, escape_sequence, visible
from recyclic_backups.own_command import as_called
from recyclic_backups.progress import SILENT, Progress
from recyclic_backups.quantities import human_bytes


def now() -> datetime:
    """The clock of the command line, aware UTC; below it ``now`` is always a parameter."""
    return datetime.now(UTC)


FORMAT = 1
"""Of what ``--json`` prints: docs/json.md. Fields are added, and keep their meaning."""


def print_report(document: Mapping[str, Any]) -> None:
    """The report for machines, one object with a ``format``. Raises StorageError."""
    print_text(as_json({"format": FORMAT, **document}))


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
    print_text(f"{visible(as_called(text))}\n")


def entry(word: str, text: str) -> None:
    """A line that begins with what it is about. Raises StorageError."""
    line(f"{word:<11} {text}")


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


class _Loudness:
    quiet = False
    verbose = False


def set_loudness(*, quiet: bool = False, verbose: bool = False) -> None:
    """How much is said from now on: ``-q`` and ``-v``."""
    _Loudness.quiet, _Loudness.verbose = quiet, verbose


def is_verbose() -> bool:
    """Whether ``-v`` was given."""
    return _Loudness.verbose


def say(text: str) -> None:
    """A remark for people, on standard error, on one line (:func:`visible`); not with ``-q``."""
    if not _Loudness.quiet:
        warn(text)


def step(text: str) -> None:
    """A remark for whoever asked for each step, with ``-v``."""
    if _Loudness.verbose:
        warn(text)


def warn(text: str) -> None:
    """What somebody has to know, on standard error, on one line: also with ``-q``.

    ``error:`` and ``warning:`` stand out on a terminal that can colour (https://no-color.org).
    """
    shown = visible(as_called(text))
    word, colon, rest = shown.partition(":")
    colour = _COLOURS.get(word) if colon and _can_colour() else None
    print(f"\x1b[{colour}m{word}:\x1b[0m{rest}" if colour else shown, file=sys.stderr)


def warn_of(what: str, error: BackupError) -> None:
    """That something is wrong with one of several, and what to do; the command goes on."""
    warn(f"{what}: {error.message}")
    if error.hint:
        warn(f"hint: {error.hint}")


_COLOURS = {"error": "1;31", "warning": "1;33", "damaged": "1;31"}


def _can_colour() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NO_COLOR")


def complain(error: BackupError) -> None:
    """The error, its hint and its notes. What a program said may have several lines."""
    for word, text in (
        ("error", error.message),
        *([("hint", error.hint)] if error.hint else []),
        *(("note", note) for note in getattr(error, "__notes__", [])),
    ):
        for number, each in enumerate(text.split("\n")):
            warn(each if number else f"{word}: {each}")


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> None:
    """Columns as wide as their widest cell, two spaces between; ``right`` are the columns of numbers.

    A cell stays in its row and in its column, whatever stands in it (:func:`visible`). Raises StorageError.
    """
    numbers = set(right)
    lines = [tuple(visible(cell) for cell in row) for row in (headers, *rows)]
    widths = [max(len(row[column]) for row in lines) for column in range(len(headers))]
    before_last = sum(widths[:-1]) + 2 * (len(widths) - 1)
    room = _columns()
    left = room - before_last
    if before_last + widths[-1] > room and (left < _NARROWEST or len(headers) - 1 in numbers):
        _print_blocks(lines, room)
        return
    for row in lines:
        cells = [
            cell.rjust(widths[column]) if column in numbers else cell.ljust(widths[column])
            for column, cell in enumerate(row[:-1])
        ]
        last = row[-1].rjust(widths[-1]) if len(headers) - 1 in numbers else row[-1]
        for number, part in enumerate(textwrap.wrap(last, left) if len(last) > left else [last]):
            line(("  ".join([*cells, part]) if not number else f"{'':<{before_last}}{part}").rstrip())


_NARROWEST = 20
"""The fewest columns in which prose of a last column is readable."""


def _print_blocks(lines: Sequence[Sequence[str]], room: int) -> None:
    """A table too wide for the terminal: a block for each row, its first cell above what the headers say of it."""
    headers, *rows = lines
    width = max(len(header) for header in headers[1:])
    for row in rows:
        line(row[0])
        for header, cell in zip(headers[1:], row[1:], strict=True):
            if cell not in ("", "-"):
                # A word that is longer than a line, as a SHA-256, stays whole: it is there to be copied.
                parts = textwrap.wrap(
                    cell, max(room - width - 4, _NARROWEST), break_long_words=False, break_on_hyphens=False
                )
                for number, part in enumerate(parts):
                    line(f"  {'' if number else header:<{width}}  {part}".rstrip())


def _columns() -> int:
    """How wide a table may be: as the terminal, or as ``COLUMNS`` says; anything in a file or a pipe."""
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and int(given) > 0:
        return int(given)
    if sys.stdout is not None and sys.stdout.isatty():
        return os.get_terminal_size(sys.stdout.fileno()).columns or sys.maxsize
    return sys.maxsize


def local_time(moment: datetime | None, timezone: ZoneInfo) -> str:
    """``2026-11-22 02:00:03 CET`` on the operator's clock; a dash where there is none."""
    return "-" if moment is None else moment.astimezone(timezone).strftime("%Y-%m-%d %H:%M:%S %Z")


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar on standard error if that is a terminal, else nothing; with ``-v`` a line for each stage."""
    if _Loudness.verbose:
        yield _Steps()
    elif _Loudness.quiet or not sys.stderr.isatty():
        yield SILENT
    else:
        from recyclic_backups.cli.progress_bar import bar  # noqa: PLC0415 - a tenth of a second, for a terminal alone

        with bar() as drawn:
            yield drawn


class _Steps:
    """A line for each stage, with the seconds since the first."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        about = "" if total_bytes is None else f", about {human_bytes(total_bytes)}"
        warn(f"{time.monotonic() - self._began:7.1f} s  {name}{about}")

    def advance(self, done_bytes: int) -> None:
        """Not said."""
