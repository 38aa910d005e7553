"""What ``restore`` says before it touches something that exists, and how to go back or tidy up afterwards."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from recyclic_backups import wiring
from recyclic_backups.cli import render

if TYPE_CHECKING:
    from recyclic_backups.catalog.catalog import Backup, Catalog
    from recyclic_backups.config.settings import Settings
    from recyclic_backups.merge.transaction import MergedTables
    from recyclic_backups.postgres.server import Server
    from recyclic_backups.restore.commands import GoBack
    from recyclic_backups.restore.restore import RestoreReport


def say_plan(
    catalog: Catalog,
    backup: Backup,
    server: Server,
    *,
    replaces: str | None,
    is_there: bool,
    merges: tuple[str, Sequence[str]] | None,
    timezone: ZoneInfo,
    now: datetime,
    trust_owners: bool = False,
) -> None:
    """What would be done, from when, what is lost by it, what is known of the backup, how long it took before.

    ``replaces`` is the database to be swapped, if it ``is_there``; ``merges`` the one whose tables are put back, and
    those tables.
    """
    from recyclic_backups.quantities import human_bytes, human_seconds

    def line(word: str, text: str) -> None:
        render.say(f"{word:<9} {text}")

    labels = ", ".join(f"{label.tier.value} {label.partition}" for label in backup.labels)
    stored = human_bytes(backup.manifest.stored_bytes)
    line("restore", f"{backup.backup_id} ({labels or 'no label'}; {stored} stored)")
    content_of = render.local_time(backup.as_of, timezone)
    line("content", f"of {content_of}, nothing newer")
    age = human_seconds(max(0.0, (now - backup.as_of).total_seconds()))
    if merges is not None:
        line(
            "since",
            f"what was written into these tables in the {age} since then is taken out, and kept beside",
        )
    else:
        stays = " (it stays in the database that is replaced, which is kept)" if is_there else ""
        line("lost", f"what was written in the {age} since then{stays}")
    newer = [each for each in catalog if each.as_of > backup.as_of and not each.known_damaged]
    if newer:
        line("newer", f"{newer[0].backup_id}, of {render.local_time(newer[0].as_of, timezone)}, is there too")
    line("proven", _proof(backup, timezone))
    line("took", _last_time(catalog, backup, timezone, partial=merges is not None))
    say_code(backup, trust_owners=trust_owners)
    if merges is not None:
        database, tables = merges
        for text in _written_by(server, trust_owners=trust_owners):
            line("", text)
        line(
            "into",
            f"{database!r} on {server.label}: restored beside and compared first; if equal, the rows of",
        )
        line("", f"{', '.join(tables)} become those of the backup, in one transaction;")
        line("", "rows it does not have, and rows as they were, are kept in a database beside")
    elif not is_there:
        line(
            "replaces",
            f"nothing: there is no database {replaces!r} on {server.label} now; restored beside and",
        )
        line("", "compared first; only if equal does it take that name")
    else:
        line(
            "replaces",
            f"{replaces!r} on {server.label}: restored beside and compared first; only if equal are",
        )
        line("", "the names swapped; its sessions are ended then, and it is kept under another name")


def _written_by(server: Server, *, trust_owners: bool) -> Sequence[str]:
    """With whose rights live tables are written, and so whose rights what they compute has."""
    if trust_owners:
        return (
            f"--trust-owners: the rows are put back by {server.user!r}, and what is computed runs as him",
        )
    return (
        "the rows are put back with the rights of the tables' owner; by a superuser (tables of his own, or of",
        "several owners) only if nothing that belongs to others is computed with them, else not at all",
    )


def say_code(backup: Backup, *, trust_owners: bool) -> None:
    """Whose code comes with the backup, and as whom it will run."""
    from recyclic_backups.fingerprint.model import Fingerprint
    from recyclic_backups.restore.code_warning import owned_code

    written = backup.manifest.fingerprint
    lines = owned_code(None if written is None else Fingerprint.from_json(written), trusted=trust_owners)
    for number, text in enumerate(lines):
        render.say(f"{'' if number else 'code':<9} {text}")


def _proof(backup: Backup, timezone: ZoneInfo) -> str:
    from recyclic_backups.catalog.why import why_text
    from recyclic_backups.restore.last_duration import last_failure

    failed = last_failure(backup)
    if failed is not None:
        check = failed.check
        reason = why_text(check) if check.is_closed else next(iter(check.reasons), "no reason was given")
        return f"NO: the {failed.what} of {render.local_time(check.checked_at, timezone)} FAILED: {reason}"
    if backup.proven_at is None:
        return f"never yet; {_PROVES[_level(backup)]}"
    return f"{render.local_time(backup.proven_at, timezone)}, restored and found equal"


_PROVES = {
    "content": "this restore compares every row before anything changes",
    "counts": "this restore compares the number of rows of every table before anything changes",
    "off": "nor can this restore compare it, the backup has no fingerprint: look at it with --into first",
}
"""What a restore does about a backup that was never proven, by the level of its fingerprint."""


def _level(backup: Backup) -> str:
    from recyclic_backups.fingerprint.model import Fingerprint

    written = backup.manifest.fingerprint
    return "off" if written is None else Fingerprint.from_json(written).level


def _last_time(catalog: Catalog, backup: Backup, timezone: ZoneInfo, *, partial: bool) -> str:
    from recyclic_backups.quantities import human_seconds
    from recyclic_backups.restore.last_duration import last_measured

    found = last_measured(backup, catalog, partial=partial)
    if found is None:
        return "not known: no drill or restore was measured yet"
    seconds, when = (
        human_seconds(found.check.duration_seconds),
        render.local_time(found.check.checked_at, timezone),
    )
    of_other = "" if found.check.backup_id == backup.backup_id else f" of {found.check.backup_id}"
    return f"{seconds} the last time ({found.what}{of_other}, {when})"


def way_back(settings: Settings, server: Server, database: str, kept_as: str) -> GoBack:
    """The commands that undo a swap, with the psql that this machine has."""
    from recyclic_backups.restore.commands import go_back

    return go_back(
        server, database, kept_as, subscriptions=_subscriptions(server, kept_as), psql=_psql(settings)
    )


def _psql(settings: Settings) -> str:
    import shutil

    if shutil.which("psql") is not None:
        return "psql"
    found = [each.path("psql") for each in wiring.installations(settings) if "psql" in each.programs]
    return found[0] if found else "psql"


def print_way_back(back: GoBack) -> None:
    """How to go back, and how to be rid of what was replaced."""
    render.line(
        f"to go back (ends the sessions there, the restored one is then called {back.restored_as!r}):"
    )
    render.command(back.command)
    render.line("to drop what was there before, once you no longer need it:")
    render.command(back.drop_command)


def print_look(settings: Settings, server: Server, database: str) -> None:
    """How to look into a database that was restored beside, and how to be rid of it."""
    from recyclic_backups.restore.commands import look_command

    render.line("to look into it:")
    render.command(look_command(server, database, psql=_psql(settings)))
    _print_drop(settings, server, database)


def print_what_it_met(merged: MergedTables) -> None:
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


def print_kept_rows(settings: Settings, server: Server, merged: MergedTables) -> None:
    """How to look at the rows that a merge took out or overwrote, and how to be rid of them."""
    from recyclic_backups.restore.commands import look_command

    render.line(
        f"rows as they were before are kept in the database {merged.kept_in!r}, schema replaced, where the last column "
        "tells those taken out from those overwritten; to look at them:"
    )
    for table in merged.tables:
        if table.keeps_rows:
            look = look_command(server, merged.kept_in, kept_as=table.kept_as, psql=_psql(settings))
            render.command(look)
    _print_drop(settings, server, merged.kept_in)


def print_missing(report: RestoreReport, *, accepted: Collection[str]) -> None:
    """The SQL that makes what could not be made, and how to do without it where that stands in the way."""
    import shlex

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


def _print_drop(settings: Settings, server: Server, database: str) -> None:
    from recyclic_backups.restore.commands import drop_command

    render.line("to drop it, once nobody needs it any more:")
    found = _subscriptions(server, database)
    render.command(drop_command(server, database, subscriptions=found, psql=_psql(settings)))


def _subscriptions(server: Server, database: str) -> Sequence[str]:
    """What a database has to be rid of before it can be dropped."""
    from recyclic_backups.restore import subscriptions
    from recyclic_backups.restore.database import maintenance

    with maintenance(server, apart_from=database) as connection:
        return subscriptions.names_in(connection, database)
