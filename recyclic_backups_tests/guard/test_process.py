"""The guard as a process: what goes through it to the command, and back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.guard.conftest import Migrator

# Blocked first: a signal that comes before somebody waits for it is kept for him.
_WAITING = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [{number}])
print(os.environ["PGAPPNAME"], flush=True)
signal.sigwait([{number}])
sys.exit(7)
"""


@contextmanager
def _start(migrator: Migrator, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """The guard at work; whatever happens, nothing of it is left after the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "recyclic_backups", "guard", "--report", "report.json", "--", *argv],
        cwd=migrator.operator.directory,
        env={**os.environ, **migrator.operator.variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # no terminal, whoever runs the tests
    ) as guard:
        try:
            yield guard
        finally:
            if guard.poll() is None:
                os.killpg(guard.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", some([signal.SIGTERM, signal.SIGINT, signal.SIGHUP], {signal.SIGTERM}))
def test_a_signal_is_passed_to_the_command(migrator: Migrator, number: signal.Signals) -> None:
    """Prevents a migration that goes on by itself, unseen, after somebody stopped it."""
    with _start(migrator, sys.executable, "-c", _WAITING.format(number=int(number))) as guard:
        assert guard.stdout is not None
        name = guard.stdout.readline().strip()
        assert name.startswith("recyclic_guard_")
        guard.send_signal(number)
        _, err = guard.communicate(timeout=120)
    assert guard.returncode == 7, err
    assert "the command failed" in err
    assert "--replace --yes" in err
    assert migrator.report()["application_name"] == name


def test_a_command_that_a_signal_ends_says_so_by_its_code(migrator: Migrator) -> None:
    """Prevents a killed migration from looking like one that ended well."""
    with _start(migrator, "/bin/sh", "-c", "kill -9 $$") as guard:
        _, err = guard.communicate(timeout=120)
    assert guard.returncode == 137
    assert "was ended by signal 9" in err


def test_input_and_output_are_the_command_s(migrator: Migrator, tmp_path: Path) -> None:
    """Prevents a migration that asks for a yes from never getting it, and a pipeline from reading our remarks."""
    with _start(migrator, "/bin/sh", "-c", "read answer; echo out $answer; echo err $answer >&2") as guard:
        out, err = guard.communicate("yes\n", timeout=120)
    assert guard.returncode == 0, err
    assert out == "out yes\n"
    assert "err yes\n" in err
