"""What a restore did, in prose: the comparison, times, what to type next, and the verdict as the last line."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Collection, Sequence

from recyclic_backups import wiring
from recyclic_backups.cli import render
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.fingerprint.compare import Comparison
from recyclic_backups.merge.merge import MergeReport
from recyclic_backups.merge.transaction import MergedTables
from recyclic_backups.postgres.server import Server
from recyclic_backups.quantities import human_seconds
from recyclic_backups.restore import subscriptions
from recyclic_backups.restore.commands import GoBack, drop_command, go_back, look_command
from recyclic_backups.restore.database import maintenance
from recyclic_backups.restore.restore import RestoreReport


def print_report(report: RestoreReport, say_what_next: Callable[[], None] = lambda: None) -> None:
    """A restore: the comparison as a table, times, what next, and the verdict."""
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
    _print_verdict(report.comparison)


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


def _print_verdict(comparison: Comparison) -> None:
    if comparison.equal is None:
        render.line("not comparable: nothing to compare, the backup has no fingerprint")
    elif comparison.equal:
        render.line("equal")
    else:
        for difference in comparison.differences:
            render.line(f"differs: {difference}")


def way_back(call: Invocation, server: Server, report: RestoreReport) -> GoBack | None:
    """The commands that undo a swap; None where nothing was replaced."""
    if not report.kept_as:
        return None
    lost = _subscriptions(server, report.kept_as)
    return go_back(server, report.database, report.kept_as, subscriptions=lost, psql=_psql(call))


def print_what_next(call: Invocation, server: Server, report: RestoreReport, back: GoBack | None) -> None:
    """The commands to go back, or to look into what is beside; the SQL for what could not be made."""
    if back is not None:
        render.line(
            f"to go back (ends the sessions there, the restored one is then called {back.restored_as!r}):"
        )
        render.command(back.command)
        render.line("to drop what was there before, once you no longer need it:")
        render.command(back.drop_command)
    elif call.options.replace and report.comparison.equal is not False:
        render.line(
            f"there was no database {report.database!r}: nothing was replaced, there is nothing to go back to"
        )
    elif report.database != call.settings.database:
        render.line("to look into it:")
        render.command(look_command(server, report.database, psql=_psql(call)))
        _print_drop(call, server, report.database)
    _print_missing(report, accepted=call.options.accept_missing)


def print_merge(call: Invocation, server: Server, put: MergeReport, merged: MergedTables) -> None:
    """What putting tables back changed, and how to look at the rows that it took out; or why it changed nothing."""
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
    _print_what_it_met(merged)
    if any(table.keeps_rows for table in merged.tables):
        render.line(
            f"rows as they were before are kept in the database {merged.kept_in!r}, schema replaced, where the last "
            "column tells those taken out from those overwritten; to look at them:"
        )
        for table in merged.tables:
            if table.keeps_rows:
                render.command(look_command(server, merged.kept_in, kept_as=table.kept_as, psql=_psql(call)))
        _print_drop(call, server, merged.kept_in)
    for note in put.notes:
        render.line(f"note: {note}")
    render.line("equal")


def _print_what_it_met(merged: MergedTables) -> None:
    """Rows of the live tables that the backup does not know, by their keys, and keys that were written otherwise."""
    for table in merged.tables:
        if table.newer_keys:
            keys = "; ".join(
                ", ".join(f"{column} {value}" for column, value in key.items()) for key in table.newer_keys
            )
            more = ", …" if table.deleted > len(table.newer_keys) else ""
            render.line(f"not in the backup, and taken out of {table.table}: {table.deleted} ({keys}{more})")
        for column, rows in table.keys_written_otherwise.items():
            render.line(
                f"equal keys that were written otherwise in {table.table}, and are written as in the backup now: "
                f"{column} of {rows}"
            )


def _print_missing(report: RestoreReport, *, accepted: Collection[str]) -> None:
    """The SQL that makes what could not be made, and how to do without it where that stands in the way."""
    for each in report.missing:
        render.line(f"to make {each.name} once that is possible:")
        for text in each.statement.splitlines():
            render.line(f"  {text}")
    options = [
        f"--accept-missing {shlex.quote(each.name)}" for each in report.missing if each.name not in accepted
    ]
    if options and report.comparison.equal is False:
        render.line("to do without it, add to the command:")
        render.command(" ".join(options))


def _print_drop(call: Invocation, server: Server, database: str) -> None:
    render.line("to drop it, once nobody needs it any more:")
    found = _subscriptions(server, database)
    render.command(drop_command(server, database, subscriptions=found, psql=_psql(call)))


def _psql(call: Invocation) -> str:
    """The psql that this machine has."""
    if shutil.which("psql") is not None:
        return "psql"
    found = [each.path("psql") for each in wiring.installations(call.settings) if "psql" in each.programs]
    return found[0] if found else "psql"


def _subscriptions(server: Server, database: str) -> Sequence[str]:
    """What a database has to be rid of before it can be dropped."""
    with maintenance(server, apart_from=database) as connection:
        return subscriptions.names_in(connection, database)
