"""Parse the command line, run one command, turn errors into a sentence, a hint and an exit code."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Sequence
from types import FrameType

from recyclic_backups import __version__
from recyclic_backups.cli import (
    adopt,
    alerts,
    audit,
    backup,
    catalog,
    demo,
    diagnose,
    drill,
    expire,
    flags,
    guard,
    hold,
    keys,
    metrics,
    notify_test,
    render,
    report,
    restore,
    validate,
    verify,
)
from recyclic_backups.errors import BackupError, UsageError
from recyclic_backups.postgres.process import keep_to_ourselves

_COMMANDS = (
    demo,
    validate,
    backup,
    catalog,
    verify,
    restore,
    diagnose,
    drill,
    guard,
    expire,
    hold,
    metrics,
    report,
    adopt,
    keys,
    audit,
    flags,
    notify_test,
    alerts,
)

_EPILOG = """\
exit codes: 0 done; 2 usage; 10 configuration; 20 database; 30 storage; 40 damaged data; 41 no usable key;
60 no such backup; 70 refused by a safety rule; 80 ran well, the answer is no; 1 a bug
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="recyclic-backups",
        description="PostgreSQL backups that count only once they have been restored and compared.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"recyclic-backups {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in _COMMANDS:
        module.add_to(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parser().parse_args(arguments)
    keep_to_ourselves()
    # Ended politely, we clean up as after any error; children are ended with their `with` blocks.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup a hangup is nothing to us
            signal.signal(number, _terminated)
    try:
        _require_directory()
        code = int(options.run(options))
        render.finish()
        return code
    except BackupError as error:
        _complain(error)
        _hand_over()
        return error.exit_code
    except KeyboardInterrupt:
        render.say("interrupted")
        _hand_over()
        return 130
    except SystemExit:  # of _terminated
        _hand_over()
        raise
    except BrokenPipeError:
        render.print_no_more()  # whoever read our output has seen enough (`list | head`)
        return 0
    except Exception as error:
        if os.environ.get("RECYCLIC_BACKUPS_DEBUG"):
            raise
        render.say(f"unexpected error, this is a bug: {type(error).__name__}: {error}")
        render.say("hint: RECYCLIC_BACKUPS_DEBUG=1 shows where")
        _hand_over()
        return 1


def _require_directory() -> None:
    """Raises UsageError where the directory that a command was typed in is gone: `.env` is looked for there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError(
            "the directory in which this command was typed does not exist any more",
            "cd to another one, and type it again",
        ) from None


def _hand_over() -> None:
    """What was printed before it failed. Left to Python, which flushes at exit, a full disk makes the code 120."""
    try:
        render.finish()
    except BrokenPipeError:
        render.print_no_more()
    except BackupError as error:
        _complain(error)


def _complain(error: BackupError) -> None:
    _say("error", error.message)
    if error.hint:
        _say("hint", error.hint)
    for note in getattr(error, "__notes__", []):
        _say("note", note)


def _say(what: str, text: str) -> None:
    """What a program said may have several lines."""
    for number, line in enumerate(text.split("\n")):
        render.say(line if number else f"{what}: {line}")


def _terminated(number: int, _frame: FrameType | None) -> None:
    # Not print(): the signal may have interrupted one.
    os.write(2, f"ended by {signal.Signals(number).name}, cleaning up\n".encode())
    raise SystemExit(128 + number)
