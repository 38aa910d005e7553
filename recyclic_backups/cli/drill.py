"""``drill``: rehearse a recovery somewhere it can do no harm, measure it, and judge."""

from __future__ import annotations

import argparse

from recyclic_backups import wiring
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_backup, add_json
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.cli.restore_report_prose import print_comparison
from recyclic_backups.drill.report import DrillReport
from recyclic_backups.drill.run import drill
from recyclic_backups.drill.scenarios import Scenario
from recyclic_backups.postgres.process import lower_priority
from recyclic_backups.quantities import human_seconds


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    command.description = (
        "simple: the newest backup of each tier into a new database. partial: damage is done to a copy, "
        "found by diagnose, and put right. full: everything but storage and key is gone. pitr: the server comes back "
        "from a base backup and WAL, and is compared with a dump of that moment. Never touches production; the verdict "
        "is kept beside the backup."
    )
    command.add_argument("scenario", metavar="SCENARIO", choices=[each.value for each in Scenario])
    add_backup(command, option=True, default="the newest")
    add_json(command)


def run(call: Invocation) -> int:
    """Run the command."""
    backup_id = call.options.backup if call.options.at is None else call.find().backup_id
    lower_priority()
    with render.progress() as progress:
        report = drill(
            Scenario(call.options.scenario),
            call.repository,
            wiring.drill_plan(call.settings),
            clock=render.now,
            backup_id=backup_id,
            progress=progress,
        )
    call.report(report.to_json(), lambda: print_report(report))
    return report.exit_code


def print_report(report: DrillReport) -> None:
    """A drill for people: what was compared, what was found, how long it took, and the verdict as the last line."""
    newest = report.newest
    render.line(f"drill {report.scenario} of {newest.backup_id} on {report.ground}")
    render.line()
    if newest.comparison is not None:
        print_comparison(newest.comparison)
        render.line()
    for each in newest.details.get("wounds", ()):
        render.line(f"damage    {each['table']}: {each['what']} ({each['rows']})")
    for command in newest.details.get("commands", ()):
        render.command(command, before="diagnose  ")
    for refused in newest.details.get("refused", ()):
        render.line(f"refused   {refused}")
    for answer in newest.details.get("probes", ()):
        verdict = {True: "ok", False: "FAILED", None: "-"}[answer["passed"]]
        render.line(
            f"probe     {verdict:<6}  {answer['probe']}"
            + ("" if answer["passed"] else f": {answer['reason']}")
        )
    render.line()
    for name, seconds in newest.phases.items():
        render.line(f"{name:<11} {human_seconds(seconds):>10}")
    allowed = report.objective
    render.line(
        f"{'together':<11} {human_seconds(report.restore_seconds):>10}   objective "
        f"{human_seconds(allowed.restore_seconds)}: {_met(report.in_time)}"
    )
    render.line(
        f"{'data loss':<11} {human_seconds(report.data_loss_seconds):>10}   objective "
        f"{human_seconds(allowed.data_loss_seconds)}: {_met(report.loss_in_bounds)}"
    )
    for other in report.results[1:]:
        render.line(
            f"also        {other.backup_id}: {other.verdict} in {human_seconds(other.restore_seconds)}"
        )
    for note in newest.notes:
        render.line(f"note: {note}")
    for reason in report.reasons:
        render.line(f"failed: {reason}")
    render.line("passed" if report.passed else "FAILED")


def _met(met: bool) -> str:
    return "met" if met else "not met"
