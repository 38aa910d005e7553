"""The exit code is the one of what went wrong first, wherever standard output goes and whether it is buffered."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from recyclic_backups_tests.operator import Operator

# A command that prints a line and then ends as it is told.
_ENDING = """
from recyclic_backups.cli import flags, render
from recyclic_backups.cli.main import main
from recyclic_backups.errors import DamagedData
def run(options):
    render.line("a line")
    raise {ending}
flags.run_list = run
raise SystemExit(main(["flags", "list"]))
"""


@contextmanager
def _full() -> Iterator[int]:
    """A disk that takes nothing."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _unread() -> Iterator[int]:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


def _run(
    argv: list[str], output: int, *, unbuffered: bool, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, *argv],
        stdout=output,
        stderr=subprocess.PIPE,
        env={**environment, **(variables or {}), **({"PYTHONUNBUFFERED": "1"} if unbuffered else {})},
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("DamagedData('it is damaged')", 40),
        ("KeyboardInterrupt", 130),
        ("SystemExit(143)", 143),
        ("RuntimeError('two\\nlines\\x1b[8m')", 1),
    ],
)
def test_a_failed_command_keeps_its_exit_code_though_its_output_cannot_be_printed(
    ending: str, code: int
) -> None:
    """Loss prevented: 120 for damaged data, which no monitoring knows, because of a full disk behind ``>``."""
    script = ["-c", _ENDING.format(ending=ending)]
    for place in (_full, _unread):
        with place() as output:
            outcome = _run(script, output, unbuffered=False)
        assert outcome.returncode == code, outcome.stderr
        assert "Exception ignored" not in outcome.stderr
        assert ("No space left on device" in outcome.stderr) is (place is _full)
        # Unbuffered, printing fails first, and the command never comes to its own error.
        with place() as output:
            outcome = _run(script, output, unbuffered=True)
        assert outcome.returncode == (30 if place is _full else 0), outcome.stderr
        assert "Exception ignored" not in outcome.stderr


def test_an_unexpected_error_does_nothing_to_the_terminal() -> None:
    """Loss prevented: the message of a bug that hides the hint below it."""
    outcome = _run(
        ["-c", _ENDING.format(ending="RuntimeError('two\\nlines\\x1b[8m')")],
        subprocess.DEVNULL,
        unbuffered=False,
    )
    assert outcome.stderr.splitlines() == [
        r"unexpected error, this is a bug: RuntimeError: two\nlines\x1b[8m",
        "hint: RECYCLIC_BACKUPS_DEBUG=1 shows where",
    ]


@pytest.mark.parametrize("unbuffered", [True, False], ids=["unbuffered", "buffered"])
def test_a_storage_that_is_gone_is_told_by_the_code_though_the_disk_of_the_figures_is_full(
    operator: Operator, unbuffered: bool
) -> None:
    """Loss prevented: two full disks that look like none of the failures which the manual names."""
    variables = {**operator.variables, "BACKUP_STORAGE": f"file://{operator.directory}/gone"}
    with _full() as output:
        outcome = _run(
            ["-m", "recyclic_backups", "metrics", "--format", "prometheus"],
            output,
            unbuffered=unbuffered,
            variables=variables,
        )
    assert outcome.returncode == 30, outcome.stderr
    assert "error: the report cannot be printed: No space left on device" in outcome.stderr
