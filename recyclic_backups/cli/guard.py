"""``guard``: run a migration with a checkpoint before it, probes after it, and the way back at hand."""

from __future__ import annotations

import argparse
from pathlib import Path

from recyclic_backups import wiring
from recyclic_backups.catalog.manifest import Checkpoint
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import output_file
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.errors import StorageError, UsageError
from recyclic_backups.guard.report import HEALS_NOTHING, GuardReport
from recyclic_backups.guard.run import guard
from recyclic_backups.report.publish import objection, publish


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    command.usage = "recyclic-backups guard [options] -- COMMAND [ARGUMENT ...]"
    command.description = (
        "Takes a backup of its own tier, verifies it, runs the command (its input and output are the "
        "command's), then asks the probes of the live database. Ends with the command's own exit code if that fails, "
        "with 80 if a probe does."
    )
    command.add_argument("argv", metavar="COMMAND", nargs="+", help="after --, the command and its arguments")
    command.add_argument("--version", metavar="TEXT", default="", help="what is about to be installed")
    command.add_argument("--revision", metavar="TEXT", default="", help="and of which commit it is")
    command.add_argument(
        "--auto-restore",
        action="store_true",
        help="go back by itself on failure, if no session but the command's own was seen in the database",
    )
    command.add_argument(
        "--report",
        metavar="FILE",
        type=output_file,
        help="write a report as JSON into this file (a new one only you can read)",
    )


def run(call: Invocation) -> int:
    """Run the command."""
    options = call.options
    call.warn_of_plaintext()
    if options.report:
        _require_place(options.report)
    # No bar: the terminal is the command's.
    report = guard(
        options.argv,
        call.new_repository,
        call.settings.server,
        wiring.guard_plan(call.settings),
        Checkpoint(options.version, options.revision),
        auto_restore=options.auto_restore,
        clock=render.now,
        say=lambda sentence: render.say(f"guard: {sentence}"),
    )
    if options.report:
        _write(options.report, report)
    _say_outcome(call, report)
    return report.exit_code


def _require_place(path: Path) -> None:
    """Raises UsageError where no report can be written: after the command would be too late to find out."""
    if why := objection(path):
        raise UsageError(f"the report cannot be written: {str(path)!r}: {why}")


def _write(path: Path, report: GuardReport) -> None:
    """A new file is for nobody else: what a probe or the server said may quote members' data."""
    try:
        publish(path, render.as_json({"format": render.FORMAT, **report.to_json()}), mode=0o600)
    except StorageError as error:
        # What became of the database is what matters, and follows.
        render.warn(f"guard: no report: {error.message}")


def _say_outcome(call: Invocation, report: GuardReport) -> None:
    """All on standard error: standard output is the command's."""

    def say(sentence: str) -> None:
        render.warn(f"guard: {sentence}")

    if not report.failed:
        asked = [] if report.after is None else [each for each in report.after.answers if each.passed]
        say(f"{report.program} ended well, {len(asked)} probes are as expected")
        say(f"the checkpoint {report.backup_id} stays for RETENTION_CHECKPOINT")
        return
    say(f"the {report.failed} failed")
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
    if report.failed_before and returned is None:
        say(HEALS_NOTHING)
    if report.go_back is not None:
        say(f"to go back to {call.local_time(report.as_of)}, before the command:")
        render.warn(f"  {report.go_back}")
