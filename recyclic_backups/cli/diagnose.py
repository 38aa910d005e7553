"""``diagnose``: what is damaged in a live database, and the commands that put it right."""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import datetime

from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_backup, add_json
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.diagnose.diagnose import diagnose
from recyclic_backups.diagnose.report import Diagnosis, Finding, database_beside
from recyclic_backups.errors import VerdictNegative
from recyclic_backups.health.anomalies import newest_ordinary
from recyclic_backups.postgres.server import Server
from recyclic_backups.restore.commands import move_command


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    command.description = (
        "Reads the whole database, changes nothing, and compares it with a good backup. "
        "Exit code 80 when something was found."
    )
    command.add_argument("database", metavar="DB", nargs="?", help="the database (default: POSTGRES_DB)")
    add_backup(command, option=True, default="the newest that lacks nothing which those before it had")
    add_json(command)


def run(call: Invocation) -> int:
    """Run the command."""
    settings, options, now = call.settings, call.options, render.now()
    found = call.catalog
    database = options.database or settings.database
    if database != settings.database:
        render.say(f"compared with backups of {settings.database!r}")
    given = call.find() if options.backup is not None or options.at is not None else None
    compared, why = (found, []) if given else _before_the_change(found, now)
    with render.progress() as progress:
        diagnosis = diagnose(
            compared,
            settings.server,
            database,
            timeout_seconds=settings.timeout_seconds,
            lock_timeout_seconds=settings.lock_timeout_seconds,
            now=now,
            backup=given,
            progress=progress,
        )
    diagnosis = replace(diagnosis, notes=(*why, *diagnosis.notes))
    moment = call.local_time(diagnosis.as_of)
    call.report(diagnosis.to_json(), lambda: _print(diagnosis, moment, settings.server))
    return 0 if diagnosis.clean else VerdictNegative.exit_code


def _before_the_change(catalog: Catalog, now: datetime) -> tuple[Catalog, list[str]]:
    """The backups to compare with, and notes on why the newest are not among them.

    The morning after an accident the newest backup is one of the accident; one of the future is not judged
    (:meth:`~recyclic_backups.catalog.catalog.Catalog.until`), so nothing is compared with it either.
    """
    present = catalog.until(now)
    why = []
    if ahead := catalog.newest_of_the_future(now):
        why.append(
            f"backup {ahead.backup_id} is dated in the future; --backup {ahead.backup_id} compares with it"
        )
    ordinary = newest_ordinary(present)
    if ordinary is None:
        return present, why
    backup, lacking = ordinary
    older = tuple(each for each in present if each.as_of <= backup.as_of)
    changes = "; ".join(issue.sentence.text() for issue in lacking)
    why.append(
        f"newer backups than {backup.backup_id} lack what it has; --backup latest compares with them. {changes}"
    )
    return replace(present, backups=older), why


def _print(diagnosis: Diagnosis, moment: str, server: Server) -> None:
    """Findings, commands, notes, and the verdict as the last line."""
    rows = f"{diagnosis.rows:,}".replace(",", " ")
    render.line(f"looked at  {diagnosis.database}: {diagnosis.tables} tables, {rows} rows")
    render.line(f"against    {f'{diagnosis.backup_id}, of {moment}' if diagnosis.backup_id else 'no backup'}")
    render.line()
    if diagnosis.findings:
        render.print_table(
            ("WHERE", "WHAT", "FINDING"),
            [(each.name, each.kind.replace("_", " "), _sentence(each)) for each in diagnosis.findings],
        )
        render.line()
    if diagnosis.commands:
        render.line("to put it right, in this order:" if len(diagnosis.commands) > 1 else "to put it right:")
        for command in diagnosis.commands:
            render.command(command)
        _print_moving(diagnosis, server)
        render.line()
    elif diagnosis.findings:
        render.line("no backup has what is needed to put it right")
        render.line()
    for note in (*diagnosis.incomplete, *diagnosis.notes):
        render.line(f"note: {note}")
    render.line(diagnosis.verdict)


def _print_moving(diagnosis: Diagnosis, server: Server) -> None:
    """How tables that are gone get from the database beside into the live one."""
    gone = [each.name for each in diagnosis.findings if each.kind == "table"]
    if gone:
        beside = database_beside(diagnosis.database)
        render.line("then look at what came there, and if it is what is missing:")
        render.command(move_command(server, beside, gone, diagnosis.database))


def _sentence(finding: Finding) -> str:
    if not finding.comes_right_with:
        return finding.sentence
    return f"{finding.sentence}; comes right with {', '.join(finding.comes_right_with)}"
