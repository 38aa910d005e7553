"""``expire``: which backups stay, which leave, and why; with ``--yes``, let them go."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_json
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.errors import UsageError
from recyclic_backups.languages import Bytes, Locale, Pair, listed, sentence, tier_name
from recyclic_backups.retention.expire import (
    ExpiryReport,
    expire,
    expire_under_lock,
    freed_by,
    plan_expiry,
    plan_unsigned,
)
from recyclic_backups.retention.policy import Decision, ExpiryPlan

_WORDS: Mapping[str, Pair] = {
    "plan": (
        "BACKUP|CONTENT OF|TIERS|STORED|ACTION|WHY",
        "SAUVEGARDE|CONTENU DU|NIVEAUX|TAILLE|DÉCISION|POURQUOI",
    ),
    "report": ("BACKUP|FREED|WHY", "SAUVEGARDE|LIBÉRÉ|POURQUOI"),
    "keep": ("keep", "garder"),
    "expire": ("expire", "supprimer"),
    "empty": (
        "there is no backup: nothing to keep, nothing to expire",
        "il n'y a aucune sauvegarde : rien à garder, rien à supprimer",
    ),
    "one": ("{number} backup", "{number} sauvegarde"),
    "many": ("{number} backups", "{number} sauvegardes"),
    "totals": (
        "kept: {kept}, {kept_size}; expiring: {leaving}, {leaving_size}",
        "à garder : {kept}, {kept_size} ; à supprimer : {leaving}, {leaving_size}",
    ),
    "would": (
        "nothing was deleted; --yes would delete {leaving} and free {size}, their documents included",
        "rien n'a été supprimé ; --yes supprimerait {leaving} et libérerait {size}, leurs documents compris",
    ),
    "would not": (
        "nothing was deleted; --yes would delete no backup",
        "rien n'a été supprimé ; --yes ne supprimerait aucune sauvegarde",
    ),
    "spared": ("spared {backup_id}: somebody holds it", "épargnée {backup_id} : quelqu'un la retient"),
    "swept": (
        "swept {number} leftovers of killed backups and old tombstones",
        "nettoyage : {number} restes de sauvegardes interrompues et avis d'expiration périmés",
    ),
    "done": (
        "{removed} deleted and seen to be gone, {size} freed; kept: {kept}",
        "suppression constatée : {removed}, {size} libérés ; à garder : {kept}",
    ),
}
"""What is said around the sentences of :mod:`recyclic_backups.retention.wording`, in English and French."""


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
        document = {"plan": report.to_json(), "freed_bytes": report.freed_bytes, "done": True}
        call.report(document, lambda: _print_report(report, settings.locale))
        return 0
    if options.unsigned:
        found = plan_unsigned(repository, render.now())
    else:
        found = plan_expiry(repository, settings.retention, settings.calendar, render.now())
    _say_what_matters(found, settings.locale)
    freed_bytes = freed_by(repository, found)
    document = {"plan": found.to_json(), "freed_bytes": freed_bytes, "done": False}
    call.report(document, lambda: _print_plan(call, found, freed_bytes))
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


def _print_plan(call: Invocation, found: ExpiryPlan, freed_bytes: int) -> None:
    locale, leaving = call.settings.locale, found.expiring
    if not found.decisions:
        render.line(_text("empty", locale))
        return
    render.print_table(
        _text("plan", locale).split("|"),
        [_row(call, decision) for decision in found.decisions],
        right=(3,),
    )
    render.line()
    render.line(
        _text(
            "totals",
            locale,
            kept=_backups(len(found.kept), locale),
            kept_size=_stored(found.kept),
            leaving=_backups(len(leaving), locale),
            leaving_size=_stored(leaving),
        )
    )
    if leaving:
        render.line(_text("would", locale, leaving=_backups(len(leaving), locale), size=Bytes(freed_bytes)))
    else:
        render.line(_text("would not", locale))


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
        _text(decision.action.value, locale),
        listed(decision.texts(locale), locale),
    )


def _stored(decisions: list[Decision]) -> Bytes:
    return Bytes(sum(each.backup.manifest.stored_bytes for each in decisions if each.backup is not None))


def _print_report(report: ExpiryReport, locale: Locale) -> None:
    if report.removed:
        render.print_table(
            _text("report", locale).split("|"),
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
        render.line(_text("spared", locale, backup_id=backup_id))
    if report.swept:
        render.line(_text("swept", locale, number=len(report.swept)))
    kept = len(report.plan.kept) + sum(each.backup_id in report.spared for each in report.plan.expiring)
    render.line(
        _text(
            "done",
            locale,
            removed=_backups(len(report.removed), locale),
            size=Bytes(report.freed_bytes),
            kept=_backups(kept, locale),
        )
    )


def _backups(count: int, locale: Locale) -> str:
    is_one = count < 2 if locale == "fr" else count == 1
    return _text("one" if is_one else "many", locale, number=count)


def _text(name: str, locale: Locale, **values: object) -> str:
    return sentence(_WORDS[name], values, locale)
