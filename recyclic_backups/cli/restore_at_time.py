"""``restore --at-time``: a database, or tables of it, as they were at a moment between two backups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from recyclic_backups import wiring
from recyclic_backups.audit.log import audited
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.cli import render
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.cli.recover_plan import planned, print_plan, scratch_of
from recyclic_backups.errors import Refused
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.recovery.as_backup import AsBackup, database_at, tables_without_rows
from recyclic_backups.recovery.plan import Plan
from recyclic_backups.recovery.survey import Survey
from recyclic_backups.recovery.target import at_time, moment
from recyclic_backups.restore.selection import Request, select

RestoreBackup = Callable[[Invocation, Backup, Catalog, Repository], int]


def run_at_time(call: Invocation, restore_backup: RestoreBackup) -> int:
    """Recover a throwaway server to the moment, dump the database there, and restore that backup as any other."""
    options = call.options
    target = at_time(moment(options.at_time, call.timezone))
    found, plan = planned(call, target)
    print_plan(call, found, plan, lambda word, text: render.warn(f"{word:<9} {text}"))
    call.document["recovery_plan"] = plan.to_json()
    if (options.merge_into or options.replace) and not options.yes:
        raise Refused("nothing was done: add --yes to do it")
    details = {"target": target.text, "base_id": plan.base.base_id, "tables": list(options.table)}
    with (
        audited(call.repository, "recover", render.now, details=details, required=False) as entry,
        _database_at(call, found, plan) as made,
    ):
        entry.outcome = "dumped"
        entry.details["seconds"] = round(sum(made.phases.values()), 3)
        _require_rows(Request(tuple(options.table), tuple(options.schema)), made)
        call.document["recovery"] = {
            "reached": made.reached.to_json(),
            "phases": {name: round(seconds, 3) for name, seconds in made.phases.items()},
        }
        return restore_backup(call, made.backup, load_catalog(made.repository), made.repository)


@contextmanager
def _database_at(call: Invocation, found: Survey, plan: Plan) -> Iterator[AsBackup]:
    dump = wiring.backup_plan(call.settings)
    with ExitStack() as stack:
        with render.progress() as progress:
            made = stack.enter_context(
                database_at(
                    found.source,
                    plan,
                    call.settings.database,
                    scratch_of(call),
                    dump.options,
                    dump.calendar,
                    actor=call.repository.actor,
                    now=render.now(),
                    progress=progress,
                )
            )
        yield made


def _require_rows(request: Request, made: AsBackup) -> None:
    """Refuse tables that WAL has no rows of: merged, nothing would be left of what is there."""
    written = made.backup.manifest.fingerprint
    fingerprint = None if written is None else Fingerprint.from_json(written)
    wanted = select(request, fingerprint).wanted if request and fingerprint is not None else ()
    if empty := tables_without_rows(wanted, made.unlogged):
        raise Refused(
            f"{', '.join(empty)}: unlogged, so WAL has no rows of it; nothing was done",
            "restore it from a nightly backup",
        )
    if made.unlogged and not wanted:
        render.warn(f"unlogged tables come back empty: {', '.join(made.unlogged)}")
