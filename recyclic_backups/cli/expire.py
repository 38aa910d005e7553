"""``expire``: which backups stay, which leave, and why; with ``--yes``, let them go."""

from __future__ import annotations

import argparse

from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_json
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.errors import UsageError
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.retention.expire import (
    ExpiryReport,
    expire,
    expire_under_lock,
    freed_by,
    plan_unsigned,
    plan_with_wal,
)
from recyclic_backups.retention.policy import Decision, ExpiryPlan
from recyclic_backups.retention.wal_expire import ServerExpiry, expires_nothing
from recyclic_backups.texts.language import Bytes, Locale, listed, tier_name
from recyclic_backups.texts.text import say


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    command.description = (
        "Shows the plan. With --yes, deletes what the plan lets go, under the same lock as backups, and "
        "lists the storage afterwards to see that it is gone."
    )
    command.add_argument(
        "--yes", action="store_true", help="delete, instead of showing what would be deleted"
    )
    command.add_argument(
        "--without-database",
        action="store_true",
        help="with --yes: the database is gone for good, nobody is backing it up, so no lock is needed",
    )
    command.add_argument(
        "--unsigned",
        action="store_true",
        help="the backups that nobody signed, and no others: taken before encryption was turned on, or put there",
    )
    add_json(command)


def run(call: Invocation) -> int:
    """Run the command."""
    options = call.options
    if options.without_database and not options.yes:
        raise UsageError(
            "--without-database is for --yes: the plan alone asks no database", "add --yes, or leave it out"
        )
    settings, repository = call.settings, call.repository
    if options.yes:
        report = _expire(call)
        _say_what_matters(report.plan, settings.locale)
        wal = [each.to_json() for each in report.servers]
        document = {"plan": report.to_json(), "wal": wal, "freed_bytes": report.freed_bytes, "done": True}
        call.report(document, lambda: _print_report(report, settings.locale))
        return 0
    servers: list[ServerExpiry] = []
    if options.unsigned:
        found = plan_unsigned(repository, render.now())
    else:
        found, servers = plan_with_wal(repository, settings.retention, settings.calendar, render.now())
    _say_what_matters(found, settings.locale)
    freed_bytes = freed_by(repository, found) + sum(each.freed_bytes for each in servers)
    document = {
        "plan": found.to_json(),
        "wal": [each.to_json() for each in servers],
        "freed_bytes": freed_bytes,
        "done": False,
    }
    call.report(document, lambda: _print_plan(call, found, servers, freed_bytes))
    return 0


def _expire(call: Invocation) -> ExpiryReport:
    settings, unsigned = call.settings, call.options.unsigned
    with render.progress() as progress:
        if call.options.without_database:
            return expire(
                call.repository,
                settings.retention,
                settings.calendar,
                now=render.now(),
                unsigned=unsigned,
                progress=progress,
            )
        return expire_under_lock(
            settings.server.answering_within(settings.timeout_seconds),
            call.repository,
            settings.retention,
            settings.calendar,
            clock=render.now,
            lock_wait_seconds=settings.lock_wait_seconds,
            unsigned=unsigned,
            progress=progress,
        )


def _say_what_matters(found: ExpiryPlan, locale: Locale) -> None:
    """Incidents and warnings, on standard error."""
    for each in found.what_matters:
        render.warn(each.text(locale))


def _print_plan(call: Invocation, found: ExpiryPlan, servers: list[ServerExpiry], freed_bytes: int) -> None:
    locale, leaving = call.settings.locale, found.expiring
    if not found.decisions and not servers:
        render.line(say("expire.empty").text(locale))
        return
    render.print_table(
        say("expire.plan").text(locale).split("|"),
        [_row(call, decision) for decision in found.decisions],
        right=(3,),
    )
    render.line()
    render.line(
        say(
            "expire.totals",
            kept=len(found.kept),
            kept_size=_stored(found.kept),
            leaving=len(leaving),
            leaving_size=_stored(leaving),
        ).text(locale)
    )
    for each in servers:
        _print_server(call, each)
    if not expires_nothing(servers):
        render.line(say("expire.would with wal", leaving=len(leaving), size=Bytes(freed_bytes)).text(locale))
    elif leaving:
        render.line(say("expire.would", leaving=len(leaving), size=Bytes(freed_bytes)).text(locale))
    else:
        render.line(say("expire.would not").text(locale))


def _print_server(call: Invocation, found: ServerExpiry) -> None:
    """Base backups with what becomes of each, and how much WAL goes."""
    locale = call.settings.locale
    if found.plan.decisions:
        render.line()
        render.print_table(
            say("expire.base plan").text(locale).split("|"),
            [
                (
                    each.base.base_id,
                    call.local_time(each.base.as_of),
                    Bytes(each.base.manifest.stored_bytes).text(locale),
                    say(f"expire.{each.action.value}").text(locale),
                    listed((reason.text(locale) for reason in each.reasons), locale),
                )
                for each in found.plan.decisions
            ],
            right=(2,),
        )
    kept = found.plan.kept_from
    if kept is not None:
        render.line(
            say(
                "expire.wal", lsn=lsn_text(kept.lsn), timeline=kept.timeline, objects=len(found.plan.wal)
            ).text(locale)
        )
    render.line()


def _row(call: Invocation, decision: Decision) -> tuple[str, ...]:
    backup, locale = decision.backup, call.settings.locale
    # With commas where a tier may have several words: "point de contrôle".
    tiers = (", " if locale == "fr" else " ").join(
        tier_name(tier, locale) for tier in (backup.tiers if backup is not None else ())
    )
    return (
        decision.backup_id,
        "-" if backup is None else call.local_time(backup.as_of),
        tiers or "-",
        "-" if backup is None else Bytes(backup.manifest.stored_bytes).text(locale),
        say(f"expire.{decision.action.value}").text(locale),
        listed(decision.texts(locale), locale),
    )


def _stored(decisions: list[Decision]) -> Bytes:
    return Bytes(sum(each.backup.manifest.stored_bytes for each in decisions if each.backup is not None))


def _print_report(report: ExpiryReport, locale: Locale) -> None:
    if report.removed:
        render.print_table(
            say("expire.report").text(locale).split("|"),
            [
                (
                    removal.backup_id,
                    Bytes(removal.freed_bytes).text(locale),
                    listed((reason.text(locale) for reason in removal.reasons), locale),
                )
                for removal in report.removed
            ],
            right=(1,),
        )
        render.line()
    for backup_id in report.spared:
        render.line(say("expire.spared", backup_id=backup_id).text(locale))
    if report.swept:
        render.line(say("expire.swept", number=len(report.swept)).text(locale))
    for each in report.servers:
        if each.what_left is not None:
            render.line(each.what_left.text(locale))
    kept = len(report.plan.kept) + sum(each.backup_id in report.spared for each in report.plan.expiring)
    render.line(
        say("expire.done", removed=len(report.removed), size=Bytes(report.freed_bytes), kept=kept).text(
            locale
        )
    )
