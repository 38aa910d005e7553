"""Parse the command line, run one command, turn errors into a sentence, a hint and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

from recyclic_backups.cli import render
from recyclic_backups.cli.commands import WrongUsage, parser
from recyclic_backups.errors import BackupError, UsageError
from recyclic_backups.own_command import name_program
from recyclic_backups.postgres.process import keep_to_ourselves

if TYPE_CHECKING:
    from recyclic_backups.cli.invocation import Invocation


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    keep_to_ourselves()
    name_program(sys.orig_argv, os.environ)
    # Ended politely, we clean up as after any error; children are ended with their `with` blocks.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup a hangup is nothing to us
            signal.signal(number, _terminated)
    render.set_loudness()
    call: Invocation | None = None
    try:
        call = _begin(words)
        code = int(call.options.run(call))
        if call.json:
            render.print_report(call.document)
        render.finish()
        return code
    except BackupError as error:
        render.complain(error)
        return _end(call, words, error.exit_code, error.kind, error.message, error.hint)
    except KeyboardInterrupt:
        render.warn("interrupted")
        return _end(call, words, 130, "interrupted", "interrupted")
    except SystemExit as end:  # of --help, or of _terminated
        if isinstance(end.code, int) and end.code > 128:
            _end(call, words, end.code, "interrupted", f"ended by {signal.Signals(end.code - 128).name}")
        raise
    except BrokenPipeError:
        render.print_no_more()  # whoever read our output has seen enough (`list | head`)
        return 0
    except Exception as error:
        if os.environ.get("RECYCLIC_BACKUPS_DEBUG") or render.is_verbose():
            raise
        message = f"unexpected error, this is a bug: {type(error).__name__}: {error}"
        render.warn(message)
        render.warn("hint: RECYCLIC_BACKUPS_DEBUG=1 shows where")
        return _end(call, words, 1, "unexpected", message, "RECYCLIC_BACKUPS_DEBUG=1 shows where")


def _begin(words: Sequence[str]) -> Invocation:
    """Raises UsageError, also where the directory that the command was typed in is gone: `.env` is looked for there."""
    try:
        options = parser().parse_args(words)
    except WrongUsage as error:
        for line in error.usage.rstrip().splitlines():
            render.warn(line)
        raise UsageError(str(error)) from None
    render.set_loudness(quiet=getattr(options, "quiet", False), verbose=getattr(options, "verbose", False))
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError(
            "the directory in which this command was typed does not exist any more",
            "cd to another one, and type it again",
        ) from None
    # Settings, storage and catalog take a third of a second to import: --help and --version do without.
    from recyclic_backups.cli.invocation import Invocation  # noqa: PLC0415

    return Invocation(options)


def _end(
    call: Invocation | None, words: Sequence[str], code: int, kind: str, message: str, hint: str = ""
) -> int:
    """Print the error for machines, and hand over what was printed before it.

    Left to Python, which flushes at exit, a full disk makes the code 120.
    """
    try:
        if "--json" in words if call is None else call.json:
            error = {"exit_code": code, "kind": kind, "message": message, "hint": hint}
            render.print_report({**({} if call is None else call.document), "error": error})
        render.finish()
    except BrokenPipeError:
        render.print_no_more()
    except BackupError as unprinted:
        render.complain(unprinted)
    return code


def _terminated(number: int, _frame: FrameType | None) -> None:
    # Not print(): the signal may have interrupted one.
    os.write(2, f"ended by {signal.Signals(number).name}, cleaning up\n".encode())
    raise SystemExit(128 + number)
