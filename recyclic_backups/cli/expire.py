"""``expire``: which backups stay, which leave, and why; with ``--yes``, let them go."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from recyclic_backups import wiring
from recyclic_backups.cli import render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recyclic_backups.catalog.repository import Repository
    from recyclic_backups.config.settings import Settings
    from recyclic_backups.languages import Bytes, Locale, Pair
    from recyclic_backups.retention.expire import ExpiryReport
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


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    command = commands.add_parser(
        "expire",
        help="which backups stay, which leave, and why; with --yes, let them go",
        description="Shows the plan. With --yes, deletes what the plan lets go, under the same lock as backups, and "
        "lists the storage afterwards to see that it is gone.",
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
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from recyclic_backups.config.load import load_settings
    from recyclic_backups.errors import UsageError
    from recyclic_backups.retention.expire import plan_expiry, plan_unsigned

    if options.without_database and not options.yes:
        raise UsageError(
            "--without-database is for --yes: the plan alone asks no database", "add --yes, or leave it out"
        )
    settings = load_settings()
    repository = wiring.open_repository(settings, create=False)
    if options.yes:
        report = _expire(
            settings, repository, without_database=options.without_database, unsigned=options.unsigned
        )
        _say_what_matters(report.plan, settings.locale)
        if options.json:
            render.print_json(report.to_json())
        else:
            _print_report(report, settings.locale)
        return 0
    if options.unsigned:
        found = plan_unsigned(repository, render.now())
    else:
        found = plan_expiry(repository, settings.retention, settings.calendar, render.now())
    _say_what_matters(found, settings.locale)
    if options.json:
        render.print_json(found.to_json())
    else:
        _print_plan(found, settings, _freed_by(repository, found))
    return 0


def _expire(
    settings: Settings, repository: Repository, *, without_database: bool, unsigned: bool
) -> ExpiryReport:
    from recyclic_backups.retention.expire import expire, expire_under_lock

    with render.progress() as progress:
        if without_database:
            return expire(
                repository,
                settings.retention,
                settings.calendar,
                now=render.now(),
                unsigned=unsigned,
                progress=progress,
            )
        return expire_under_lock(
            settings.server.answering_within(settings.timeout_seconds),
            repository,
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
        render.say(each.text(locale))


def _freed_by(repository: Repository, found: ExpiryPlan) -> int:
    """What carrying the plan out would free: all that lies there, as a deletion counts it. Raises StorageError.

    Of a small backup the documents (manifest, checks) are a good part, and no manifest knows their sizes.
    """
    folders = (repository.layout.backup(each.backup_id) for each in found.expiring)
    return sum(item.size_bytes for folder in folders for item in repository.store.list(f"{folder}/"))


def _print_plan(found: ExpiryPlan, settings: Settings, freed_bytes: int) -> None:
    from recyclic_backups.languages import Bytes

    locale, leaving = settings.locale, found.expiring
    if not found.decisions:
        render.line(_text("empty", locale))
        return
    render.print_table(
        _text("plan", locale).split("|"),
        [_row(decision, settings.calendar.timezone, locale) for decision in found.decisions],
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


def _row(decision: Decision, timezone: Any, locale: Locale) -> tuple[str, ...]:
    from recyclic_backups.languages import Bytes, listed, tier_name

    backup = decision.backup
    # With commas where a tier may have several words: "point de contrôle".
    tiers = (", " if locale == "fr" else " ").join(
        tier_name(tier, locale) for tier in (backup.tiers if backup is not None else ())
    )
    return (
        decision.backup_id,
        "-" if backup is None else render.local_time(backup.as_of, timezone),
        tiers or "-",
        "-" if backup is None else Bytes(backup.manifest.stored_bytes).text(locale),
        _text(decision.action.value, locale),
        listed(decision.texts(locale), locale),
    )


def _stored(decisions: list[Decision]) -> Bytes:
    from recyclic_backups.languages import Bytes

    return Bytes(sum(each.backup.manifest.stored_bytes for each in decisions if each.backup is not None))


def _print_report(report: ExpiryReport, locale: Locale) -> None:
    from recyclic_backups.languages import Bytes, listed

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
    from recyclic_backups.languages import sentence

    return sentence(_WORDS[name], values, locale)
