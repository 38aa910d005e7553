"""``restore``: bring a backup, or tables of it, back."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from recyclic_backups import wiring
from recyclic_backups.cli import catalog, render, restore_plan

if TYPE_CHECKING:
    from recyclic_backups.catalog.catalog import Backup, Catalog
    from recyclic_backups.config.settings import Settings
    from recyclic_backups.fingerprint.compare import Comparison
    from recyclic_backups.merge.merge import MergeReport
    from recyclic_backups.merge.transaction import MergedTables
    from recyclic_backups.postgres.server import Server
    from recyclic_backups.restore.commands import GoBack
    from recyclic_backups.restore.restore import RestoreReport


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    command = commands.add_parser(
        "restore",
        help="restore a backup beside what exists, and compare it",
        description="Restores into a new database, compares it with the backup's fingerprint, and only then lets it "
        "take a name. With --replace the database that had the name is kept under another one.",
    )
    command.add_argument("backup", metavar="ID", help="a backup id, its beginning, or latest")
    command.add_argument("--into", metavar="NAME", help="the database to restore into; it must not exist yet")
    command.add_argument(
        "--table", action="append", default=[], metavar="S.T", help="only this table (repeatable)"
    )
    command.add_argument(
        "--schema", action="append", default=[], metavar="S", help="only this schema's tables"
    )
    command.add_argument(
        "--jobs",
        type=_positive,
        metavar="N",
        help="N streams of rows and N indexes at once (default: the cores, at most 4)",
    )
    command.add_argument(
        "--replace", action="store_true", help="swap with the live database (or with --into NAME)"
    )
    command.add_argument(
        "--merge-into", metavar="DB", help="with --table: put its rows back into this live database"
    )
    command.add_argument(
        "--to-server",
        metavar="URL",
        help="postgresql://user@host:port/ of another server; the password is in it, or in POSTGRES_PASSWORD",
    )
    command.add_argument(
        "--no-owner", action="store_true", help="without owners and grants; needs no superuser"
    )
    command.add_argument(
        "--unsigned",
        action="store_true",
        help="also a backup that nobody signed, or one of another storage, named by its id: whoever wrote it decides "
        "what is in it, roles and functions included",
    )
    command.add_argument(
        "--trust-owners",
        action="store_true",
        help="let code of the database's owners run as the superuser who restores, where their own rights do not do",
    )
    command.add_argument(
        "--accept-missing",
        action="append",
        default=[],
        metavar="OBJECT",
        help="take the database although this object cannot be made, as the report names it (repeatable)",
    )
    command.add_argument("--yes", action="store_true", help="do it: required by --replace and --merge-into")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from recyclic_backups.cli.restore_instead import offer_another
    from recyclic_backups.config.load import load_settings

    _require_sense(options)
    settings = load_settings()
    found = catalog.load(settings)
    with offer_another(options, settings, found):
        return _run(options, settings, found)


def _run(options: argparse.Namespace, settings: Settings, found: Catalog) -> int:
    from recyclic_backups.errors import Refused
    from recyclic_backups.merge.merge import merge_backup
    from recyclic_backups.restore.restore import restore
    from recyclic_backups.restore.selection import Request

    backup = catalog.pick(found, options.backup, unvouched=True)
    backup.require_vouched(unsigned=options.unsigned)
    if not backup.standing.is_believed:
        render.say(
            f"nobody vouches for {backup.backup_id}: {backup.standing.problem}; "
            "its roles and functions are whatever somebody wrote"
        )
    server = _other_server(options.to_server, settings) if options.to_server else settings.server
    into = options.into or settings.database
    if not _confirmed(options, settings, found, backup, server, into):
        render.say("nothing was done: add --yes to do it")
        return Refused.exit_code
    repository = wiring.open_repository(settings, create=False)
    restore_options = wiring.restore_options(
        settings,
        jobs=options.jobs,
        no_owner=options.no_owner,
        trust_owners=options.trust_owners,
        accept_missing=options.accept_missing,
    )
    request = Request(tuple(options.table), tuple(options.schema))
    with render.progress() as progress:
        if options.merge_into:
            put = merge_backup(
                repository,
                backup,
                server,
                options.merge_into,
                request,
                restore_options,
                clock=render.now,
                unsigned=options.unsigned,
                progress=progress,
            )
            report, document = put.restored, put.to_json()
        else:
            put = None
            report = restore(
                repository,
                backup,
                server,
                into,
                restore_options,
                clock=render.now,
                request=request,
                replace=options.replace,
                unsigned=options.unsigned,
                progress=progress,
            )
            document = report.to_json()
    back = restore_plan.way_back(settings, server, into, report.kept_as) if report.kept_as else None
    document["go_back"] = None if back is None else back.to_json()
    if options.json:
        render.print_json(document)
    elif put is not None and put.merged is not None:
        _print_merge(put, put.merged, settings, server)
    else:
        print_report(report, lambda: _say_what_next(options, settings, server, report, back))
    return _exit_code(report, put)


def _other_server(url: str, settings: Settings) -> Server:
    """The server of ``--to-server``. A URL without password leaves it to POSTGRES_PASSWORD, which no ``ps`` shows."""
    from dataclasses import replace

    from recyclic_backups.postgres.server import Server

    server, _ = Server.from_url(url)
    return server if server.password else replace(server, password=settings.password)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _require_sense(options: argparse.Namespace) -> None:
    from recyclic_backups.errors import UsageError

    for name in ("into", "merge_into", "to_server"):
        if getattr(options, name) == "":  # an empty variable of a shell: the live database would be meant
            raise UsageError(f"--{name.replace('_', '-')} is empty", "say which one, or leave the option out")
    if not (options.into or options.replace or options.merge_into):
        raise UsageError(
            "say where to: --into NAME for a new database, or --replace to swap with the live one",
            "nothing that exists is touched without --replace or --merge-into",
        )
    if options.merge_into and (options.into or options.replace):
        raise UsageError("--merge-into goes without --into and --replace")
    if options.merge_into and not (options.table or options.schema):
        raise UsageError("--merge-into puts tables back: name them with --table")
    if options.replace and (options.table or options.schema):
        raise UsageError(
            "--replace swaps the whole database; some tables alone would leave the others empty",
            "use --merge-into to put tables back into the live database",
        )


def _confirmed(
    options: argparse.Namespace,
    settings: Settings,
    found: Catalog,
    backup: Backup,
    server: Server,
    into: str,
) -> bool:
    """Print what would happen to something that exists; whether to go on, which needs ``--yes``."""
    from recyclic_backups.restore import database as databases

    if not (options.replace or options.merge_into):
        restore_plan.say_code(backup, trust_owners=options.trust_owners)
        return True
    with databases.maintenance(server) as connection:
        is_there = databases.exists(connection, options.merge_into or into)
    tables = [*options.table, *(f"{schema}.*" for schema in options.schema)]
    restore_plan.say_plan(
        found,
        backup,
        server,
        replaces=into if options.replace else None,
        is_there=is_there,
        merges=(options.merge_into, tables) if options.merge_into else None,
        timezone=settings.calendar.timezone,
        now=render.now(),
        trust_owners=options.trust_owners,
    )
    return bool(options.yes)


def _say_what_next(
    options: argparse.Namespace,
    settings: Settings,
    server: Server,
    report: RestoreReport,
    back: GoBack | None,
) -> None:
    """The commands to go back, or to look into what is beside; that there is nothing to go back to."""
    if back is not None:
        restore_plan.print_way_back(back)
    elif options.replace and report.comparison.equal is not False:
        render.line(
            f"there was no database {report.database!r}: nothing was replaced, there is nothing to go back to"
        )
    elif report.database != settings.database:
        restore_plan.print_look(settings, server, report.database)
    restore_plan.print_missing(report, accepted=options.accept_missing)


def print_report(report: RestoreReport, say_what_next: Callable[[], None] = lambda: None) -> None:
    """A restore for people: the comparison as a table, times, what next, and the verdict as the last line."""
    from recyclic_backups.quantities import human_seconds

    print_comparison(report.comparison)
    render.line()
    for name, seconds in report.phases.items():
        render.line(f"{name:<11} {human_seconds(seconds):>10}")
    render.line(f"{'together':<11} {human_seconds(report.restore_seconds):>10}")
    render.line()
    render.line(f"backup {report.backup_id} is restored as {report.database!r} on {report.server}")
    if report.selection is not None and report.selection.brought_along:
        render.line(f"with the tables it refers to: {', '.join(report.selection.brought_along)}")
        render.line("other tables have their structure, but no rows")
    if report.loaded_by:
        loaded = ", ".join(f"{tables} as {who}" for who, tables in sorted(report.loaded_by.items()))
        render.line(f"tables loaded with the rights of: {loaded}")
    if report.created_roles:
        render.line(f"created roles: {', '.join(report.created_roles)}")
    if report.kept_as:
        render.line(f"what was there before is kept as {report.kept_as!r}")
    say_what_next()
    for note in (*report.comparison.notes, *report.notes):
        render.line(f"note: {note}")
    print_verdict(report.comparison)


def print_comparison(comparison: Comparison) -> None:
    """Rows expected and found, table by table."""
    if not comparison.tables:
        return

    def number(rows: int | None) -> str:
        return "-" if rows is None else f"{rows:,}".replace(",", " ")

    render.print_table(
        ("TABLE", "BACKUP", "RESTORED", "CONTENT"),
        [
            (
                table.name,
                number(table.rows_expected),
                number(table.rows_actual),
                "equal" if table.equal else "DIFFERS",
            )
            for table in comparison.tables
        ],
        right=(1, 2),
    )


def print_verdict(comparison: Comparison) -> None:
    """What differs, or that nothing does: always the last line."""
    if comparison.equal is None:
        render.line("not comparable: nothing to compare, the backup has no fingerprint")
    elif comparison.equal:
        render.line("equal")
    else:
        for difference in comparison.differences:
            render.line(f"differs: {difference}")


def _print_merge(put: MergeReport, merged: MergedTables, settings: Settings, server: Server) -> None:
    if not merged.clean:
        for broken in merged.broken:
            render.line(f"would break: {broken}")
        render.line(f"nothing was changed in {merged.database!r}")
        if put.restored.selection is not None and len(put.restored.selection.wanted) > 1:
            render.line(
                "the other tables can be put back: type the command without the --table of those named above"
            )
        return
    render.print_table(
        ("TABLE", "CAME BACK", "SET RIGHT", "WENT"),
        [
            (table.table, f"{table.inserted}", f"{table.updated}", f"{table.deleted}")
            for table in merged.tables
        ],
        right=(1, 2, 3),
    )
    restore_plan.print_what_it_met(merged)
    if any(table.keeps_rows for table in merged.tables):
        restore_plan.print_kept_rows(settings, server, merged)
    for note in put.notes:
        render.line(f"note: {note}")
    render.line("equal")


def _exit_code(report: RestoreReport, put: MergeReport | None) -> int:
    from recyclic_backups.errors import Refused, VerdictNegative

    if report.comparison.equal is False:
        return VerdictNegative.exit_code
    if put is not None and put.merged is not None and not put.merged.clean:
        return Refused.exit_code
    return 0
