"""Run the operator's command as if there were nobody between: its own standard streams, and every signal passed on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from recyclic_backups.postgres.startup import own_environment

NOT_FOUND = 127
NOT_EXECUTABLE = 126
"""What a shell says of such commands (POSIX, 2.8.2 Exit Status for Commands)."""

_PASSED_ON = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_OF_THE_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)


def cannot_run(program: str) -> int | None:
    """The exit code for a program that is not there or may not be run; None for one that can be."""
    if shutil.which(program) is not None:
        return None
    return NOT_EXECUTABLE if os.path.dirname(program) and os.path.exists(program) else NOT_FOUND


def run_command(argv: Sequence[str], application_name: str) -> int:
    """Run a command to its end; its exit code, -N when signal N ended it, 126 or 127 when it cannot be run.

    Whatever connects through libpq in it is known by ``application_name`` (PGAPPNAME). Signals that we get meanwhile
    are passed on to it. It stays in our process group, so that it may read from the terminal; what is typed there to
    end it reaches it by itself.
    """
    environment = {**own_environment(), "PGAPPNAME": application_name}
    with _passing_on() as receivers:
        try:
            process = subprocess.Popen(list(argv), env=environment)
        except FileNotFoundError:
            return NOT_FOUND
        except OSError:
            return NOT_EXECUTABLE
        receivers.append(process)
        return process.wait()


@contextmanager
def _passing_on() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Within the block, signals are for whoever is in the list. One that comes before anybody is, is sent then."""
    early: list[int] = []

    class Receivers(list[subprocess.Popen[bytes]]):
        def append(self, process: subprocess.Popen[bytes]) -> None:
            super().append(process)
            for number in early:
                process.send_signal(number)

    receivers = Receivers()

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if number in _OF_THE_KEYBOARD and _in_foreground():
            return  # the terminal has sent it to the whole group
        for process in receivers:
            process.send_signal(number)
        if not receivers:
            early.append(number)

    before = {number: signal.getsignal(number) for number in _PASSED_ON}
    # Under nohup a hangup is nothing to us, nor to the command, which inherits that.
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, pass_on)
    try:
        yield receivers
    finally:
        for number in heard:
            signal.signal(number, before[number])


def _in_foreground() -> bool:
    """Whether our process group is the one that the terminal's keys go to."""
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
