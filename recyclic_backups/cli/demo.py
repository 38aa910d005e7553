"""``demo``: see it work in two minutes, without any configuration and without touching any."""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.cli import render
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.cli.restore_report_prose import print_report
from recyclic_backups.config.load import load_settings
from recyclic_backups.demo import point_in_time
from recyclic_backups.demo.dagster_process import run_job, ui
from recyclic_backups.demo.stage import DATABASE, Stage, open_stage
from recyclic_backups.drill.run import drill
from recyclic_backups.drill.scenarios import Scenario
from recyclic_backups.errors import VerdictNegative
from recyclic_backups.health.assess import survey
from recyclic_backups.notify.stored_state import open_incidents
from recyclic_backups.quantities import human_bytes, human_seconds
from recyclic_backups.report.page import page
from recyclic_backups.report.publish import keep_in_storage
from recyclic_backups.restore.restore import RestoreReport, restore


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    command.description = (
        "Starts a PostgreSQL of its own with the data of a made-up re-use centre, has Dagster back it up, "
        "restores the backup, compares, undoes an accident to the second, rehearses four recoveries, and leaves Dagster's UI running until Ctrl-C. "
        "Reads no settings and no .env."
    )
    command.add_argument("--no-ui", action="store_true", help="end after the comparison")
    command.add_argument(
        "--scale", type=_scale, default=1.0, metavar="N", help="size of the data; 1 is 50 MB"
    )
    command.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep backups, key and logs in this new directory"
    )


def run(call: Invocation) -> int:
    """Run the command."""
    calendar = load_settings({}).calendar
    today = render.now().astimezone(calendar.timezone).date()
    with ExitStack() as stack:
        with _step("start a PostgreSQL server of its own"):
            stage = stack.enter_context(open_stage(today, call.options.keep))
        render.say(
            f"PostgreSQL {stage.installation.version} on {stage.server.label}, everything in {stage.directory}"
        )
        with _step(f"fill it with a re-use centre's data (scale {call.options.scale:g})"):
            stage.fill(call.options.scale, today)
        render.say(f"the encryption key is kept in {stage.key_file}")
        with _step("receive its WAL from now on, in the background"):
            stack.enter_context(point_in_time.receiving(stage))
        _show(point_in_time.RECEIVE)
        with _step("take a base backup of the whole server"):
            point_in_time.type_command(stage, *point_in_time.BASE_BACKUP)
        _show(point_in_time.BASE_BACKUP)
        partition = calendar.partition_of(Tier.DAILY, render.now())
        with _step(f"back up {partition} as a Dagster run, with its checks"):
            checks = run_job(stage, "daily_backup_job", partition)
        for check in checks:
            render.say(f"          check {check}")
        with _step("restore it into a new database and compare"):
            report = _restore(stage)
        failed = _undo_an_accident(stage) or _rehearse(stage)
        code = _report(stage, report) or failed
        if call.options.keep or not call.options.no_ui:
            render.say(f"the page about it, for a browser: {_write_page(stage)}")
        if not call.options.no_ui and code == 0:
            _serve(stage)
        if call.options.keep:
            render.say(f"kept: backups, key and logs in {stage.directory}")
    return code


def _restore(stage: Stage) -> RestoreReport:
    settings = stage.settings
    repository = wiring.open_repository(settings, create=False)
    backup = load_catalog(repository).find("latest")
    return restore(
        repository,
        backup,
        settings.server,
        f"{DATABASE}_restored",
        wiring.restore_options(settings),
        clock=render.now,
    )


def _undo_an_accident(stage: Stage) -> int:
    """A sale, a forgotten WHERE, and the second before it again; the exit code."""
    with _step("sell a chair, and let somebody forget a WHERE"):
        accident = point_in_time.have_an_accident(stage)
        point_in_time.wait_until_archived(stage, accident.deleted_at)
    render.say(f"          {accident.row}")
    render.say(
        f"          {accident.deleted_at:%H:%M:%S}  {point_in_time.FORGOTTEN_WHERE};  -- {accident.deleted} rows are gone, "
        f"{accident.before:%H:%M:%S} was the second before"
    )
    with _step("bring the table back as it was at that second"):
        point_in_time.type_command(stage, *accident.way_back)
    _show(accident.way_back)
    back = point_in_time.row_now(stage, accident.item_id)
    same = back == accident.row
    render.say(f"          {back or 'nothing'}  {'the same row is back' if same else 'IS NOT THE SAME'}")
    return 0 if same else VerdictNegative.exit_code


def _rehearse(stage: Stage) -> int:
    """The drills; the exit code of the worst one."""
    settings = stage.settings
    lost = {
        Scenario.SIMPLE: "the database is lost",
        Scenario.PARTIAL: "some tables are damaged",
        Scenario.FULL: "everything is lost but storage and key",
        Scenario.PITR: "the server is lost, and comes back from WAL as it was when it was dumped",
    }
    worst = 0
    for scenario, what in lost.items():
        with _step(f"rehearse that {what} (drill {scenario})"):
            report = drill(
                scenario,
                wiring.open_repository(settings, create=False),
                wiring.drill_plan(settings),
                clock=render.now,
            )
        objective = human_seconds(report.objective.restore_seconds)
        verdict = "passed" if report.passed else f"FAILED: {'; '.join(report.reasons)}"
        render.say(
            f"          back in {human_seconds(report.restore_seconds)} (objective {objective}): {verdict}"
        )
        worst = max(worst, report.exit_code)
    return worst


def _report(stage: Stage, report: RestoreReport) -> int:
    manifest = (
        load_catalog(wiring.open_repository(stage.settings, create=False)).find(report.backup_id).manifest
    )
    render.line()
    render.line(
        f"backed up in {human_seconds(manifest.duration_seconds)}: {human_bytes(manifest.plain_bytes)} dumped, "
        f"{human_bytes(manifest.stored_bytes)} stored encrypted ({manifest.compression_percent:.0f} % smaller)"
    )
    render.line()
    print_report(report)
    return 0 if report.comparison.equal else VerdictNegative.exit_code


def _write_page(stage: Stage) -> str:
    """Put the page where Dagster's ``health_job`` puts it every hour, so that the one that is named stays young.

    Returns its address.
    """
    settings = stage.settings
    repository = wiring.open_repository(settings, create=False)
    found = survey(repository, wiring.health_terms(settings), clock=render.now)
    return keep_in_storage(repository, page([found], incidents=open_incidents(repository)))


def _serve(stage: Stage) -> None:
    """Dagster's UI until Ctrl-C or a polite end."""
    with ExitStack() as stack:
        with _step("start Dagster's UI and daemon"):
            address = stack.enter_context(ui(stage))
        render.say("")
        render.say(
            f"Dagster is at {address}: today's backup is there, earlier days are missing, schedules are on."
        )
        render.say(f"The command line sees the same: cd {stage.directory} && recyclic-backups list")
        render.say("Ctrl-C ends it and leaves nothing behind.")
        try:
            signal.pause()
        except KeyboardInterrupt:
            render.say("ending …")


def _show(words: Sequence[str]) -> None:
    """The command that did it, as somebody types it."""
    render.say(f"          $ {point_in_time.typed(words)}")


@contextmanager
def _step(text: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    render.say(f"{time.monotonic() - started:6.1f} s  {text}")


def _scale(text: str) -> float:
    scale = float(text)
    if not 0 < scale <= 1000:
        raise ValueError(text)
    return scale
