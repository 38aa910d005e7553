"""``restore``: bring a backup, or tables of it, back."""

from __future__ import annotations

import argparse
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

from recyclic_backups import wiring
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_backup, add_json, given, positive
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.cli.restore_plan_prose import say_plan
from recyclic_backups.cli.restore_report_prose import print_merge, print_report, print_what_next, way_back
from recyclic_backups.dump.verify import verify
from recyclic_backups.errors import DamagedData, Refused, UsageError, VerdictNegative
from recyclic_backups.merge.merge import merge_backup
from recyclic_backups.own_command import own_command
from recyclic_backups.postgres.server import Server
from recyclic_backups.restore.plan import plan_restore, require_its_server
from recyclic_backups.restore.restore import restore
from recyclic_backups.restore.selection import Request


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    command.description = (
        "Restores into a new database, compares it with the backup's fingerprint, and only then lets it "
        "take a name. With --replace the database that had the name is kept under another one."
    )
    add_backup(command)
    command.add_argument(
        "--at-time",
        metavar="TIME",
        type=given,
        help="instead of an ID: as it was at that moment, to the second, from a base backup and the WAL",
    )
    command.add_argument("--into", metavar="NAME", help="the database to restore into; it must not exist yet")
    command.add_argument(
        "--table", action="append", default=[], metavar="S.T", help="only this table (repeatable)"
    )
    command.add_argument(
        "--schema", action="append", default=[], metavar="S", help="only this schema's tables"
    )
    command.add_argument(
        "--jobs",
        type=positive,
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
    add_json(command)


def run(call: Invocation) -> int:
    """Run the command. Damage ends it with the command that restores the next backup that is whole."""
    _require_sense(call.options)
    if call.options.at_time is not None:
        from recyclic_backups.cli.restore_at_time import run_at_time  # noqa: PLC0415 - nobody else needs all that

        return run_at_time(call, _restore)
    found, damaged_id = call.catalog, (call.options.backup or "").upper()
    try:
        backup = call.find(unvouched=True)
        damaged_id = backup.backup_id
        return _restore(call, backup, call.catalog, call.repository)
    except DamagedData as damage:
        # Unchecked, a key's file is damaged, or missing: no other backup would do.
        whole = _whole_instead_of(call, damaged_id) if found.is_checked else None
        if whole is not None:
            command = command_for(call.options, whole.backup_id)
            damage.hint = f"{whole.backup_id}, of {call.local_time(whole.as_of)}, is whole: {command}"
        raise


def _restore(call: Invocation, backup: Backup, catalog: Catalog, repository: Repository) -> int:
    options, settings = call.options, call.settings
    backup.require_vouched(unsigned=options.unsigned)
    if not backup.standing.is_believed:
        render.warn(
            f"nobody vouches for {backup.backup_id}: {backup.standing.problem}; "
            "its roles and functions are whatever somebody wrote"
        )
    server = _other_server(call, options.to_server) if options.to_server else settings.server
    if not options.to_server:
        require_its_server(catalog, backup, server)
    into = options.into or settings.database
    plan = plan_restore(
        catalog,
        backup,
        server,
        options.merge_into or into,
        action="merge" if options.merge_into else "replace" if options.replace else "beside",
        tables=[*options.table, *(f"{schema}.*" for schema in options.schema)],
        trust_owners=options.trust_owners,
        now=render.now(),
    )
    say_plan(call, plan)
    call.document["plan"] = plan.to_json()
    if plan.touches_what_exists and not options.yes:
        raise Refused("nothing was done: add --yes to do it")
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
    back = way_back(call, server, report)
    call.document |= {**document, "go_back": None if back is None else back.to_json()}
    if call.json:
        pass
    elif put is not None and put.merged is not None:
        print_merge(call, server, put, put.merged)
    else:
        print_report(report, lambda: print_what_next(call, server, report, back))
    if report.comparison.equal is False:
        return VerdictNegative.exit_code
    return Refused.exit_code if put is not None and put.merged is not None and not put.merged.clean else 0


def _whole_instead_of(call: Invocation, damaged_id: str) -> Backup | None:
    """The next backup whose stored bytes were read now and are whole; those found damaged on the way are recorded."""
    for candidate in call.catalog.instead_of(damaged_id):
        with render.progress() as progress:
            verdict = verify(
                call.repository,
                candidate,
                "stored",  # sizes and hashes: as fast as the disk, by no program, and whatever the key
                (),
                clock=render.now,
                timeout_seconds=call.settings.timeout_seconds,
                progress=progress,
            )
        if verdict.error is None:
            return candidate
        render.warn(f"{candidate.backup_id}: {verdict.error.message}")
    return None


def command_for(options: argparse.Namespace, backup_id: str) -> str:
    """The command that was typed, of another backup. No password is in it: POSTGRES_PASSWORD is asked for one."""
    words = ["restore", backup_id]
    for name in ("into", "table", "schema", "jobs", "merge_into", "to_server"):
        given = getattr(options, name)
        for value in given if isinstance(given, list) else [given] if given is not None else []:
            shown = _without_password(value) if name == "to_server" else str(value)
            words += [f"--{name.replace('_', '-')}", shown]
    flags = ("replace", "no_owner", "trust_owners", "yes", "json")
    words += [f"--{name.replace('_', '-')}" for name in flags if getattr(options, name)]
    return own_command(*words)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    query = "&".join(each for each in parts.query.split("&") if each.startswith("ssl"))
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}", query=query))


def _other_server(call: Invocation, url: str) -> Server:
    """The server of ``--to-server``. A URL without password leaves it to POSTGRES_PASSWORD, which no ``ps`` shows."""
    server, _ = Server.from_url(url)
    if not server.password:
        return replace(server, password=call.settings.password)
    render.warn(
        "every user of this machine sees the password in --to-server (ps): leave it to POSTGRES_PASSWORD"
    )
    return server


def _require_sense(options: argparse.Namespace) -> None:
    if options.at_time is not None and (options.backup or options.at or options.unsigned):
        raise UsageError(
            "--at-time goes without an ID, --at and --unsigned: it makes a backup of that moment itself"
        )
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
