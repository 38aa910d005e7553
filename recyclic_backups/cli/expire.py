"""``expire``: which backups stay, which leave, and why; with ``--yes``, let them go."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from recyclic_backups.cli import render

if TYPE_CHECKING:
    from recyclic_backups.catalog.repository import Repository
    from recyclic_backups.retention.expire import ExpiryReport
    from recyclic_backups.retention.policy import Decision, ExpiryPlan
    from recyclic_backups.settings import Settings


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
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from recyclic_backups.configuration import load_settings
    from recyclic_backups.errors import ObjectMissing, UsageError
    from recyclic_backups.retention.expire import plan_expiry

    if options.without_database and not options.yes:
        raise UsageError(
            "--without-database is for --yes: the plan alone asks no database", "add --yes, or leave it out"
        )
    settings = load_settings()
    try:
        repository = settings.open_repository(create=False)
    except ObjectMissing:
        if options.json:
            render.print_json([])
        render.say("there is no backup yet; take one with: recyclic-backups backup")
        return 0
    if options.yes:
        report = _expire(settings, repository, without_database=options.without_database)
        _say_what_matters(report.plan)
        if options.json:
            render.print_json(report.to_json())
        else:
            _print_report(report)
        return 0
    found = plan_expiry(repository, settings.retention, settings.calendar, render.now())
    _say_what_matters(found)
    if options.json:
        render.print_json(found.to_json())
    else:
        _print_plan(found, settings.calendar.timezone, _freed_by(repository, found))
    return 0


def _expire(settings: Settings, repository: Repository, *, without_database: bool) -> ExpiryReport:
    from recyclic_backups.retention.expire import expire, expire_alone

    with render.progress() as progress:
        if without_database:
            return expire(
                repository, settings.retention, settings.calendar, now=render.now(), progress=progress
            )
        return expire_alone(
            settings.server.answering_within(settings.timeout_seconds),
            repository,
            settings.retention,
            settings.calendar,
            clock=render.now,
            lock_wait_seconds=settings.lock_wait_seconds,
            progress=progress,
        )


def _say_what_matters(found: ExpiryPlan) -> None:
    """Incidents and warnings, on standard error."""
    for incident in found.incidents:
        render.say(f"incident: {incident}")
    for warning in found.warnings:
        render.say(f"warning: {warning}")


def _freed_by(repository: Repository, found: ExpiryPlan) -> int:
    """What carrying the plan out would free: all that lies there, as a deletion counts it. Raises StorageError.

    Of a small backup the documents (manifest, checks) are a good part, and no manifest knows their sizes.
    """
    folders = (repository.layout.backup(each.backup_id) for each in found.expiring)
    return sum(item.size_bytes for folder in folders for item in repository.store.list(f"{folder}/"))


def _print_plan(found: ExpiryPlan, timezone: Any, freed_bytes: int) -> None:
    from recyclic_backups.quantities import human_bytes

    if not found.decisions:
        render.line("there is no backup: nothing to keep, nothing to expire")
        return
    render.print_table(
        ("BACKUP", "CONTENT OF", "TIERS", "STORED", "ACTION", "WHY"),
        [_row(decision, timezone) for decision in found.decisions],
        right=(3,),
    )
    leaving = found.expiring
    render.line()
    render.line(
        f"kept: {_backups(len(found.kept))}, {_stored(found.kept)}; "
        f"expiring: {_backups(len(leaving))}, {_stored(leaving)}"
    )
    if leaving:
        render.line(
            f"nothing was deleted; --yes would delete {_backups(len(leaving))} and free "
            f"{human_bytes(freed_bytes)}, their documents included"
        )
    else:
        render.line("nothing was deleted; --yes would delete no backup")


def _row(decision: Decision, timezone: Any) -> tuple[str, ...]:
    from recyclic_backups.quantities import human_bytes

    backup = decision.backup
    tiers = " ".join(tier.value for tier in backup.tiers) if backup is not None else ""
    return (
        decision.backup_id,
        "-" if backup is None else render.local_time(backup.as_of, timezone),
        tiers or "-",
        "-" if backup is None else human_bytes(backup.manifest.stored_bytes),
        decision.action.value,
        "; ".join(decision.texts()),
    )


def _stored(decisions: list[Decision]) -> str:
    from recyclic_backups.quantities import human_bytes

    return human_bytes(
        sum(each.backup.manifest.stored_bytes for each in decisions if each.backup is not None)
    )


def _print_report(report: ExpiryReport) -> None:
    from recyclic_backups.quantities import human_bytes

    if report.removed:
        render.print_table(
            ("BACKUP", "FREED", "WHY"),
            [
                (
                    removal.backup_id,
                    human_bytes(removal.freed_bytes),
                    "; ".join(reason.text() for reason in removal.reasons),
                )
                for removal in report.removed
            ],
            right=(1,),
        )
        render.line()
    for backup_id in report.spared:
        render.line(f"spared {backup_id}: somebody holds it")
    if report.swept:
        render.line(f"swept {len(report.swept)} leftovers of killed backups and old tombstones")
    kept = len(report.plan.kept) + sum(each.backup_id in report.spared for each in report.plan.expiring)
    render.line(
        f"{_backups(len(report.removed))} deleted and seen to be gone, {human_bytes(report.freed_bytes)} freed; "
        f"kept: {_backups(kept)}"
    )


def _backups(count: int) -> str:
    return f"{count} backup" if count == 1 else f"{count} backups"
