"""``recover``: a whole server, from a base backup and WAL, as it was at a moment."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from recyclic_backups import wiring
from recyclic_backups.audit.log import audited
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_json, given, positive
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.cli.recover_look import run_look
from recyclic_backups.cli.recover_plan import exact, planned, print_plan, scratch_of
from recyclic_backups.errors import Refused, UsageError
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.quantities import human_seconds
from recyclic_backups.recovery.into_directory import (
    RecoveryReport,
    describe,
    recover_into,
)
from recyclic_backups.recovery.plan import Plan
from recyclic_backups.recovery.survey import Survey
from recyclic_backups.recovery.target import Kind, Target, parse

_KINDS: tuple[Kind, ...] = ("time", "lsn", "xid", "name")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    command.description = (
        "Brings the whole server back, all its databases, as it was at a moment: a base backup, and the WAL that was "
        "archived since. It goes into a new directory, and production is not touched. The plan comes first. The server "
        "stops at the target and waits there; --promote makes an ordinary cluster of it."
    )
    target = command.add_mutually_exclusive_group(required=True)
    target.add_argument("--latest", action="store_true", help="everything that is in the archive")
    target.add_argument(
        "--to-time",
        metavar="TIME",
        type=given,
        help="what was committed by then: '2026-11-20 14:31:07' (in BACKUP_TIMEZONE) or 2026-11-20T13:31:07Z",
    )
    target.add_argument("--to-lsn", metavar="LSN", type=given, help="up to a position in the WAL")
    target.add_argument(
        "--to-xid", metavar="XID", type=given, help="up to the commit of a transaction, with it"
    )
    target.add_argument(
        "--to-name", metavar="NAME", type=given, help="up to a point that pg_create_restore_point() set"
    )
    target.add_argument(
        "--look",
        action="store_true",
        help="recover nothing: which transactions deleted or dropped what, and when",
    )
    command.add_argument(
        "--from",
        dest="since",
        metavar="TIME",
        type=given,
        help="with --look: from when on (default: the last hour)",
    )
    command.add_argument("--until", metavar="TIME", type=given, help="with --look: until when")
    command.add_argument(
        "--exclusive",
        action="store_true",
        help="stop just before the target, without the transaction that is it",
    )
    command.add_argument(
        "--data-directory", metavar="DIR", type=given, help="where to: it must be empty, or not exist yet"
    )
    command.add_argument(
        "--promote", action="store_true", help="end the recovery there: the cluster can be written to"
    )
    command.add_argument("--dry-run", action="store_true", help="show the plan, and do nothing")
    command.add_argument("--base", metavar="BASE_ID", type=given, help="begin with this base backup")
    command.add_argument(
        "--timeline",
        metavar="N",
        type=positive,
        help="along this timeline, not the one the server was on last",
    )
    command.add_argument(
        "--server", metavar="SYSID", help="the server's system identifier, where the storage has several"
    )
    command.add_argument(
        "--yes", action="store_true", help="do it although WAL that is lost hides what came after it"
    )
    add_json(command)


def run(call: Invocation) -> int:
    """Run the command."""
    options = call.options
    if options.look:
        return run_look(call)
    if options.since or options.until:
        raise UsageError("--from and --until say where to --look")
    target = target_of(call)
    if not options.dry_run and options.data_directory is None:
        raise UsageError(
            "say where to recover to: --data-directory DIR", "--dry-run shows the plan and needs no directory"
        )
    found, plan = planned(call, target, timeline=options.timeline, base=options.base, server=options.server)
    call.report({"plan": plan.to_json()}, lambda: print_plan(call, found, plan, render.entry))
    if options.dry_run:
        return 0
    return _recover(call, found, plan)


def target_of(call: Invocation) -> Target:
    """What the options ask for. Raises UsageError."""
    options = call.options
    for kind in _KINDS:
        text: str | None = getattr(options, f"to_{kind}")
        if text is not None:
            return parse(kind, text, call.timezone, exclusive=options.exclusive)
    return parse("latest", "", call.timezone, exclusive=options.exclusive)


def _recover(call: Invocation, found: Survey, plan: Plan) -> int:
    options = call.options
    if plan.notes and not options.yes:
        raise Refused("nothing was done: add --yes to recover without what is lost", plan.notes[0])
    directory = Path(options.data_directory).absolute()
    details = {"target": plan.target.text, "base_id": plan.base.base_id, "directory": str(directory)}
    with (
        audited(call.repository, "recover", render.now, details=details, required=False) as entry,
        render.progress() as progress,
    ):
        report = recover_into(
            found.source,
            plan,
            directory,
            wiring.installations(call.settings),
            scratch_of(call),
            now=render.now(),
            promote=options.promote,
            progress=progress,
        )
        entry.outcome = describe(report)
        entry.details["seconds"] = report.recovery_seconds
    call.report(report.to_json(), lambda: print_report(call, report))
    if entry.unrecorded:
        render.warn(entry.unrecorded)
    return 0


def print_report(call: Invocation, report: RecoveryReport) -> None:
    """What came of it in prose, and the next command."""
    reached = report.reached
    render.line()
    where = "at the target" if reached.paused else "at the end of the WAL"
    render.entry("reached", f"{lsn_text(reached.lsn)}, {where}")
    if reached.stopped:
        render.entry("", f"stopped {reached.stopped}")
    render.entry(
        "last commit",
        "none since the base backup"
        if reached.last_commit_at is None
        else exact(call, reached.last_commit_at),
    )
    if report.lost_seconds is not None:
        render.entry("lost", f"what was committed in the {human_seconds(report.lost_seconds)} before now")
    phases = ", ".join(f"{name} {human_seconds(seconds)}" for name, seconds in report.phases.items())
    render.entry("took", f"{human_seconds(report.recovery_seconds)} ({phases})")
    for note in report.notes:
        render.entry("note", note)
    render.entry("directory", f"{report.directory}, of user {report.owner.uid}")
    if report.tablespaces is not None:
        render.entry("", f"its tablespaces are in {report.tablespaces}: they belong together")
    if report.put_aside:
        render.entry(
            "settings", f"those of ALTER SYSTEM are put aside in {report.put_aside}: read them first"
        )
    if report.promoted:
        render.entry("cluster", f"promoted, on timeline {report.timeline}, and shut down cleanly")
        if report.has_configuration:
            render.entry(
                "",
                "with production's postgresql.conf and pg_hba.conf: archive_command and the like act again",
            )
        else:
            render.entry(
                "",
                "its postgresql.conf is not in it: production keeps it elsewhere (Debian: /etc/postgresql)",
            )
    else:
        render.entry("cluster", "shut down; started so, it stops at the same point, and can be read:")
    render.command(shlex.join(report.start))
    if not report.promoted:
        render.entry("look", f"psql -h {shlex.quote(str(report.directory))} -U {report.plan.base.superuser}")
        render.entry("go on", "the same recover command with --promote, into another directory")
