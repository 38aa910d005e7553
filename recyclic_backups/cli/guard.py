"""``guard``: run a migration with a checkpoint before it, probes after it, and the way back at hand."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Any

from recyclic_backups.cli import render

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from recyclic_backups.guard.report import GuardReport


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    command = commands.add_parser(
        "guard",
        help="run a migration between a checkpoint and the probes; say, or go, the way back",
        usage="recyclic-backups guard [options] -- COMMAND [ARGUMENT ...]",
        description="Takes a backup of its own tier, verifies it, runs the command (its input and output are the "
        "command's), then asks the probes of the live database. Ends with the command's own exit code if that fails, "
        "with 80 if a probe does.",
    )
    command.add_argument("argv", metavar="COMMAND", nargs="+", help="after --, the command and its arguments")
    command.add_argument("--version", metavar="TEXT", default="", help="what is about to be installed")
    command.add_argument("--revision", metavar="TEXT", default="", help="and of which commit it is")
    command.add_argument(
        "--auto-restore",
        action="store_true",
        help="go back by itself on failure, if no session but the command's own was seen in the database",
    )
    command.add_argument("--report", metavar="FILE", help="write a report as JSON into this file")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from recyclic_backups.catalog.manifest import Checkpoint
    from recyclic_backups.configuration import load_settings
    from recyclic_backups.guard.run import guard

    settings = load_settings()
    if not settings.encryption:
        render.say("warning: BACKUP_ENCRYPTION is off: members' data are stored readable (GDPR, article 32)")
    with ExitStack() as stack:
        file = stack.enter_context(_opened(options.report)) if options.report else None
        # No bar: the terminal is the command's.
        report = guard(
            options.argv,
            settings.open_repository(),
            settings.server,
            settings.guard_plan(),
            Checkpoint(options.version, options.revision),
            auto_restore=options.auto_restore,
            clock=render.now,
            say=lambda sentence: render.say(f"guard: {sentence}"),
        )
        if file is not None:
            _write(file, report)
    _say_outcome(report, settings.calendar.timezone)
    return report.exit_code


def _opened(name: str) -> IO[str]:
    """The report's file, opened before anything is done: afterwards would be too late to find that it cannot be."""
    from pathlib import Path

    from recyclic_backups.errors import UsageError

    try:
        return Path(name).open("w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the report cannot be written: {name!r}: {error.strerror}") from None


def _write(file: IO[str], report: GuardReport) -> None:
    import json

    try:
        json.dump(report.to_json(), file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
    except OSError as error:
        # What became of the database is what matters, and follows.
        render.say(f"guard: the report cannot be written: {error.strerror}")


def _say_outcome(report: GuardReport, timezone: ZoneInfo) -> None:
    """All on standard error: standard output is the command's."""

    def say(sentence: str) -> None:
        render.say(f"guard: {sentence}")

    if not report.failed:
        asked = [] if report.after is None else [each for each in report.after.answers if each.passed]
        say(f"{report.program} ended well, {len(asked)} probes are as expected")
        say(f"the checkpoint {report.backup_id} stays for RETENTION_CHECKPOINT")
        return
    say(f"the {report.failed} failed" if report.failed == "probes" else "the command failed")
    for reason in report.reasons:
        say(reason)
    returned = report.returned
    if returned is not None and returned.done and returned.restored is not None:
        say(f"went back to {report.backup_id}: the database is as it was before the command")
        say(f"as the command left it, it is kept as {returned.restored.kept_as!r}")
        return
    if returned is not None:
        for objection in returned.objections:
            say(f"not gone back by itself: {objection}")
        if returned.error:
            say(f"going back did not work: {returned.error}")
        if returned.restored is not None:
            say("going back did not work: what was restored is not equal to the checkpoint")
    if report.go_back is not None:
        say(f"to go back to {render.local_time(report.as_of, timezone)}, before the command:")
        render.say(f"  {report.go_back}")
