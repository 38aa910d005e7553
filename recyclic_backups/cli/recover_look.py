"""``recover --look``: which transactions deleted, dropped or truncated what, and the command for just before one."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from recyclic_backups import wiring
from recyclic_backups.cli import render
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.cli.recover_plan import exact, scratch_of, surveyed
from recyclic_backups.errors import DatabaseError, RecoveryError, UsageError
from recyclic_backups.own_command import own_command
from recyclic_backups.quantities import counted
from recyclic_backups.recovery.ask_wal import last_commit, wal_reader
from recyclic_backups.recovery.look import Happening, Names, RelationFile, look, names_from
from recyclic_backups.recovery.target import moment

_SHOWN = 40
_DEFAULT = timedelta(hours=1)


def run_look(call: Invocation) -> int:
    """Look into the WAL between ``--from`` and ``--until``."""
    options = call.options
    found = surveyed(call, options.server)
    windows = found.windows(options.timeline)
    if not windows:
        raise RecoveryError("there is nothing to look into: no base backup with its WAL")
    names = _names(call)
    with wal_reader(
        found.source,
        wiring.installations(call.settings),
        scratch_of(call),
        windows[-1].bases[-1].server_version,
    ) as reader:
        until = moment(options.until, call.timezone) if options.until else None
        since = moment(options.since, call.timezone) if options.since else None
        window = windows[-1]
        end = window.ends_at or last_commit(reader, window) or window.starts_at
        until = until or max(end, since or end)
        since = since or until - _DEFAULT
        if since > until:
            raise UsageError("--from is after --until")
        happenings = [
            each
            for window in windows
            if window.starts_at <= until
            for each in look(reader, window, since, until, names)
        ]
    worst = max(happenings, key=lambda each: each.weight, default=None)
    document = {
        "from": since.isoformat(),
        "until": until.isoformat(),
        "transactions": [{**each.to_json(names), "command": list(_words(each))} for each in happenings],
    }
    call.report(document, lambda: _print(call, happenings, worst, names, since, until))
    return 0


def _names(call: Invocation) -> Names:
    try:
        return names_from(call.settings.server)
    except DatabaseError as error:
        render.warn(
            f"tables are told by the numbers of their files, since production does not answer: {error.message}"
        )
        return Names()


def _print(
    call: Invocation,
    happenings: list[Happening],
    worst: Happening | None,
    names: Names,
    since: datetime,
    until: datetime,
) -> None:
    render.entry("looked", f"from {exact(call, since)} to {exact(call, until)}")
    shown = sorted(happenings, key=lambda each: each.weight, reverse=True)[:_SHOWN]
    for each in sorted(shown, key=lambda each: each.lsn):
        did = list(_did(each, names))
        render.line(f"{exact(call, each.at)}  xid {each.xid:<10} {did[0]}")
        for more in did[1:]:
            render.line(f"{'':<40}{more}")
    if len(happenings) > len(shown):
        render.line(f"and {len(happenings) - len(shown)} that changed fewer rows: --json has them")
    if worst is None:
        render.line("no transaction deleted, changed, dropped or truncated anything")
        return
    render.line()
    render.line(f"as it was just before {worst.xid}, for example:")
    render.command(own_command(*_words(worst)))


def _words(happening: Happening) -> tuple[str, ...]:
    return "recover", "--to-xid", str(happening.xid), "--exclusive", "--data-directory", "DIR"


def _did(happening: Happening, names: Names) -> Iterator[str]:
    for oid in happening.databases:
        yield f"dropped the database {names.databases.get(oid, f'with the number {oid}')}"
    yield from _rows("deleted", happening.deleted, names)
    yield from _rows("changed", happening.updated, names)
    if happening.removed:
        made = [names.of(each) for each in happening.created if each in names.relations]
        what = "truncated or rewrote" if happening.created else "dropped"
        files = ", ".join(shlex.quote(str(each.number)) for each in happening.removed[:8])
        more = "" if len(happening.removed) <= 8 else f" and {len(happening.removed) - 8} more"
        which = (
            ", ".join(made)
            if made
            else f"files {files}{more} of "
            + ", ".join(
                sorted(
                    {
                        names.databases.get(each.database, f"database {each.database}")
                        for each in happening.removed
                    }
                )
            )
        )
        yield f"{what} {which}"


def _rows(verb: str, counts: Mapping[RelationFile, int], names: Names) -> Iterator[str]:
    for file, rows in sorted(counts.items(), key=lambda each: -each[1])[:8]:
        yield f"{verb} {counted(rows, 'row')} of {names.of(file)}"
