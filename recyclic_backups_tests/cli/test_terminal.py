"""What a terminal of its own gets: tables that fit, an error that stands out, nothing of that in a pipe."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recyclic_backups.cli import render

HEADERS = ("BACKUP", "CONTENT OF", "TIERS", "STORED", "VERIFIED", "PROVEN", "")
ROW = (
    "20261122T112635Z-JHLXKA",
    "2026-11-22 12:26:35 CET",
    "daily weekly monthly",
    "2.4 MB",
    "2026-11-22 12:26:36 CET",
    "-",
    "late, held",
)


def test_a_table_in_a_pipe_is_as_wide_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a script that reads the third column, and half of it."""
    monkeypatch.delenv("COLUMNS", raising=False)
    render.print_table(HEADERS, [ROW, ROW], right=(3,))
    assert [len(each) for each in capsys.readouterr().out.splitlines()] == [111, 123, 123]


def test_a_table_that_does_not_fit_is_a_block_for_each_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: on a telephone at 3 a.m., which of the backups is the proven one."""
    monkeypatch.setenv("COLUMNS", "60")
    render.print_table(HEADERS, [ROW], right=(3,))
    assert capsys.readouterr().out == (
        "20261122T112635Z-JHLXKA\n"
        "  CONTENT OF  2026-11-22 12:26:35 CET\n"
        "  TIERS       daily weekly monthly\n"
        "  STORED      2.4 MB\n"
        "  VERIFIED    2026-11-22 12:26:36 CET\n"
        "              late, held\n"
    )


def test_prose_in_the_last_column_is_wrapped_below_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a reason that the terminal breaks in the middle of a word, under another column."""
    monkeypatch.setenv("COLUMNS", "40")
    render.print_table(("FLAG", "NOW", ""), [("parallel", "on", "dump large tables side by side")])
    assert capsys.readouterr().out == (
        "FLAG      NOW\nparallel  on   dump large tables side by\n               side\n"
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*[st.text("ab c-", max_size=30)] * 4), min_size=1, max_size=4), st.integers(60, 99))
def test_no_table_of_words_is_wider_than_the_terminal(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    rows: list[tuple[str, ...]],
    columns: int,
) -> None:
    """Loss prevented: a table that no window of 60 columns shows."""
    monkeypatch.setenv("COLUMNS", f"{columns}")
    render.print_table(("ONE", "TWO", "THREE", "FOUR"), rows, right=(1,))
    assert max(map(len, capsys.readouterr().out.splitlines()), default=0) <= columns


def _stderr_of(directory: Path, *, terminal: bool, **variables: str) -> str:
    """What a command that fails says on standard error."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    subprocess.run(
        [sys.executable, "-m", "recyclic_backups", "list"],
        cwd=directory,
        env={"PATH": os.defpath, "TERM": "xterm", "PYTHONPATH": str(Path(__file__).parents[2]), **variables},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        timeout=60,
        check=False,
    )
    os.close(theirs)
    said = b""
    with suppress(OSError):  # a terminal whose other end is closed
        while part := os.read(ours, 65536):
            said += part
    os.close(ours)
    return said.decode()


def test_an_error_stands_out_on_a_terminal_that_can_colour_and_nowhere_else(tmp_path: Path) -> None:
    """Loss prevented: the one line that matters, overlooked; and escape sequences in the mail of cron."""
    assert "\x1b[1;31merror:\x1b[0m there is no storage" in _stderr_of(tmp_path, terminal=True)
    for plain in (
        _stderr_of(tmp_path, terminal=True, NO_COLOR="1"),
        _stderr_of(tmp_path, terminal=True, TERM="dumb"),
        _stderr_of(tmp_path, terminal=False),
    ):
        assert plain.startswith("error: there is no storage")
        assert "\x1b" not in plain
