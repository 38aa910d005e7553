"""The commands that there are. Each is a file of this folder, which is imported only when the command is chosen.

A new command is a line here and a file of its name (``notify-test`` is ``notify_test.py``) with two functions:
``add_arguments(command)`` declares what it takes, ``run(call)`` does it and returns the exit code. ``call`` is the
:class:`~recyclic_backups.cli.invocation.Invocation`. A command of several verbs gives each ``set_defaults(run=…)``.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from recyclic_backups import __version__

COMMANDS: Mapping[str, str] = {
    "demo": "see it work: a database of its own, backed up by Dagster, restored and compared",
    "status": "what can come back, whether that was tried, what needs somebody",
    "validate": "check settings, database, storage and keys",
    "backup": "take a backup, verify it and label it",
    "list": "every backup, newest first",
    "show": "one backup: its manifest, checks and tiers",
    "verify": "check that stored backups are whole and can be read",
    "restore": "restore a backup beside what exists, and compare it",
    "recover": "bring the whole server back as it was at a moment: a base backup, and WAL",
    "diagnose": "what is damaged or lost in a live database, and the command that puts it right",
    "drill": "rehearse a recovery on a throwaway server, compare, and measure it",
    "guard": "run a migration between a checkpoint and the probes; say, or go, the way back",
    "expire": "which backups stay, which leave, and why; with --yes, let them go",
    "hold": "keep a backup from expiring until a day",
    "release": "let a held backup expire again when its time comes",
    "wal": "the archive of the server's WAL: receive it, see how it is, fetch a part",
    "base-backup": "the files of the whole server, from which WAL is replayed: take them, list them, verify them",
    "metrics": "how healthy the backups are, in figures",
    "report": "everything on one page: coverage, trends, objectives, what is wrong",
    "adopt": "take over backups made by other software",
    "keys": "encryption keys: make one, list them, change the passphrase",
    "audit": "who did what to which backup, and when",
    "flags": "switch new behaviours on and off, from the next run on",
    "alerts": "look for problems, and tell people of them; for cron and systemd",
    "notify-test": "send a test message through every configured channel",
    "completion": "have a shell complete commands and options",
}
"""Each command's name, and one line about it, in the order of the help."""

_EPILOG = """\
exit codes: 0 done; 2 usage; 10 configuration; 20 database; 30 storage; 40 damaged data; 41 no usable key;
50 WAL archive; 60 no such backup; 70 refused by a safety rule; 80 ran well, the answer is no; 1 a bug
"""


class WrongUsage(Exception):
    """The command line cannot be parsed; ``usage`` is how the command is written."""

    def __init__(self, message: str, usage: str) -> None:
        super().__init__(message)
        self.usage = usage


class CommandParser(argparse.ArgumentParser):
    """The parser of one command, or of one of its verbs. ``module``, if given, declares the arguments."""

    def __init__(self, *arguments: Any, module: str = "", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._module = module
        common = self.add_argument_group("for every command")
        # Before the command or after it: what is not given there must not undo what was given here.
        common.add_argument(
            "--env-file",
            metavar="FILE",
            default=argparse.SUPPRESS,
            help="read settings from FILE instead of .env; variables of the environment go before it",
        )
        common.add_argument(
            "-v",
            "--verbose",
            action="store_true",
            default=argparse.SUPPRESS,
            help="say each step, and where a bug is",
        )
        common.add_argument(
            "-q",
            "--quiet",
            action="store_true",
            default=argparse.SUPPRESS,
            help="no remarks and no progress; the report, warnings and errors stay",
        )

    def declare(self) -> CommandParser:
        """Import the command's module and have it declare its arguments, once."""
        if self._module:
            module = importlib.import_module(f"recyclic_backups.cli.{self._module}")
            self._module = ""
            if hasattr(module, "run"):
                self.set_defaults(run=module.run)
            module.add_arguments(self)
        return self

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse's, once the arguments are declared."""
        return super(CommandParser, self.declare()).parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raises WrongUsage."""
        raise WrongUsage(message, self.format_usage())


def parser(*, whole: bool = False) -> CommandParser:
    """The command line. A command's arguments are declared when it is parsed; with ``whole`` those of all, now."""
    top = CommandParser(
        prog="recyclic-backups",
        description="PostgreSQL backups that count only once they have been restored and compared.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"recyclic-backups {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, line in COMMANDS.items():
        command = commands.add_parser(name, help=line, description=line, module=name.replace("-", "_"))
        if whole:
            command.declare()
    return top
