"""The daemon itself, on the definitions as an operator runs them: backfills, and runs that are killed or never end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import dagster as dg
import pytest

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.defs.automation import SHOWN_ONLY
from recyclic_backups.demo.dagster_process import ui
from recyclic_backups.demo.stage import DATABASE, Stage, open_stage
from recyclic_backups.postgres.lock import exclusive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROJECT = Path(__file__).parents[2]
PATIENCE_SECONDS = 180

LAUNCH = """mutation Launch($job: String!, $tags: [ExecutionTag!]!) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "recyclic_backups", repositoryName: "__repository__", jobName: $job},
    runConfigData: {}, executionMetadata: {tags: $tags}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}"""
BACKFILL = """mutation Backfill($partitions: [String!]!) {
  launchPartitionBackfill(backfillParams: {
    assetSelection: [{path: ["recyclic", "daily_backup"]}], partitionNames: $partitions, title: "missed days"
  }) { __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } }
}"""


@dataclass(frozen=True)
class Installation:
    """Dagster at work on a stage, and its instance read from outside."""

    stage: Stage
    address: str
    instance: dg.DagsterInstance

    def ask(self, query: str, **variables: Any) -> Any:
        """The answer of Dagster's GraphQL interface."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(f"{self.address}/graphql", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]

    def launch(self, job: str, partition: str, **tags: str) -> str:
        """Launch a run through the queue, as the button does; its id."""
        given = {"dagster/partition": partition, **tags}
        answer = self.ask(LAUNCH, job=job, tags=[{"key": key, "value": each} for key, each in given.items()])
        return str(answer["launchRun"]["run"]["runId"])

    def run(self, run_id: str) -> dg.DagsterRun:
        """A run as it is now."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def said(self, run_id: str) -> str:
        """All messages of a run's log."""
        return "\n".join(entry.user_message or entry.message for entry in self.instance.all_logs(run_id))

    def runs_of(self, partitions: list[str]) -> list[dg.DagsterRun]:
        """The runs for these partitions."""
        return [run for run in self.instance.get_runs() if run.tags.get("dagster/partition") in partitions]

    @property
    def today(self) -> date:
        """In the stage's time zone."""
        return date.fromisoformat(self.stage.settings.calendar.partition_of(Tier.DAILY, datetime.now(UTC)))

    def ago(self, days: int) -> str:
        """The partition so many days ago."""
        return (self.today - timedelta(days=days)).isoformat()

    @property
    def catalog(self) -> Catalog:
        """What the storage holds."""
        return load_catalog(wiring.open_repository(self.stage.settings))


def wait_until(met: Callable[[], bool], what: str) -> None:
    """Look every half second. Fails after a time that is never reached when things work."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not met():
        assert time.monotonic() < give_up_at, f"waited in vain until {what}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    """Webserver and daemon with the project's dagster.yaml, more impatient; nothing starts by itself."""
    with open_stage(datetime.now(UTC).date(), None) as opened:
        opened.fill(0.02, datetime.now(UTC).date())
        stage = replace(opened, variables={**opened.variables, "BACKUP_ENVIRONMENT": "staging"})
        lines = "".join(f"{name}='{value}'\n" for name, value in stage.variables.items())
        (stage.directory / ".env").write_text(lines)
        text = (PROJECT / "dagster.yaml").read_text(encoding="utf-8")
        for patient, impatient in (
            ("poll_interval_seconds: 15", "poll_interval_seconds: 2"),
            ("free_slots_after_run_end_seconds: 60", "free_slots_after_run_end_seconds: 2"),
        ):
            assert patient in text
            text = text.replace(patient, impatient)
        (stage.dagster_home / "dagster.yaml").write_text(text)
        with ui(stage) as address, dg.DagsterInstance.from_config(str(stage.dagster_home)) as instance:
            yield Installation(stage, address, instance)


def test_a_killed_run_frees_its_place_and_the_next_one_starts(installation: Installation) -> None:
    """Loss prevented: one run out of memory, and no backup ever after."""
    today = installation.today.isoformat()
    with exclusive(installation.stage.server, DATABASE, "backup", wait_seconds=10):
        killed = installation.launch("daily_backup_job", today)
        wait_until(lambda: "waiting for other backups" in installation.said(killed), "it waits for the lock")
        started = re.search(r"Started process for run \(pid: (\d+)\)", installation.said(killed))
        assert started
        os.kill(int(started[1]), signal.SIGKILL)
        following = installation.launch("daily_backup_job", today)
        wait_until(
            lambda: installation.run(killed).status is dg.DagsterRunStatus.FAILURE, "the death is noticed"
        )
    wait_until(lambda: installation.run(following).is_finished, "the next run ends")
    assert installation.run(following).status is dg.DagsterRunStatus.SUCCESS
    assert installation.catalog.labelled(Tier.DAILY, today)


def test_a_run_beyond_its_time_is_ended(installation: Installation) -> None:
    """Loss prevented: a hung run that keeps every later one waiting."""
    with exclusive(installation.stage.server, DATABASE, "backup", wait_seconds=10):
        run_id = installation.launch(
            "daily_backup_job", installation.today.isoformat(), **{"dagster/max_runtime": "5"}
        )
        wait_until(lambda: installation.run(run_id).is_finished, "it is ended")
    assert "Exceeded maximum runtime of 5 seconds" in installation.said(run_id)


def test_a_backfill_over_graphql_shares_one_late_dump(installation: Installation) -> None:
    """Loss prevented: missed days that look like backups of their time, or a dump of production for each."""
    days = [installation.ago(5), installation.ago(4)]
    before = {backup.backup_id for backup in installation.catalog}
    answer = installation.ask(BACKFILL, partitions=days)["launchPartitionBackfill"]
    require_late(installation, days, before)
    backfill = installation.instance.get_backfill(answer["backfillId"])
    assert backfill is not None
    assert backfill.title == "missed days"


def test_the_command_that_the_sensor_lists_fills_the_days(installation: Installation) -> None:
    """Loss prevented: an alert whose remedy does not work."""
    days = [installation.ago(8), installation.ago(7)]
    before = {backup.backup_id for backup in installation.catalog}
    argv = ["-m", "dagster", "job", "backfill", "-w", "workspace.yaml", "-l", "recyclic_backups"]
    argv += ["-j", "daily_backup_job", "--from", days[0], "--to", days[1], "--noprompt"]
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=installation.stage.directory,
        env={"PATH": os.environ["PATH"], **installation.stage.variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    require_late(installation, days, before)


def require_late(installation: Installation, days: list[str], before: set[str]) -> None:
    """Each day gets a run that succeeds, all of them the same new dump, of which they say that it is late."""
    wait_until(
        lambda: [run.is_finished for run in installation.runs_of(days)] == [True] * len(days),
        "the backfill's runs have ended",
    )
    runs = installation.runs_of(days)
    assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
    catalog = installation.catalog
    (backup,) = [each for each in catalog if each.backup_id not in before]
    labels = [catalog.labels[Tier.DAILY, day] for day in days]
    assert [(label.backup_id, label.late) for label in labels] == [(backup.backup_id, True)] * len(days)
    assert {run.tags["backup_id"] for run in runs} == {backup.backup_id}
    assert {run.tags["late"] for run in runs} == {"true"}
    key = dg.AssetCheckKey(dg.AssetKey(["recyclic", "daily_backup"]), "timeliness")
    history = installation.instance.event_log_storage.get_asset_check_execution_history(key, limit=50)
    told = {}
    for record in history:
        event = record.event.dagster_event if record.event else None
        if event and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            told[evaluation.partition] = (evaluation.passed, evaluation.severity)
    assert [told[day] for day in days] == [(False, dg.AssetCheckSeverity.WARN)] * len(days)


_ALERTS = (
    '{repositoryLocationName: "recyclic_backups", repositoryName: "__repository__", sensorName: "alerts"}'
)
ASKED = f"""{{ sensorOrError(sensorSelector: {_ALERTS}) {{
  ... on Sensor {{
    nextTick {{ evaluationResult {{ skipReason error {{ message }} }} }}
    sensorState {{ ticks(limit: 5) {{ status skipReason }} }}
  }}
}} }}"""
START = f"mutation {{ startSensor(sensorSelector: {_ALERTS}) {{ __typename }} }}"


def test_a_question_for_the_next_tick_sends_nothing_and_the_daemons_tick_does_its_work(
    installation: Installation,
) -> None:
    """Attack prevented: alerts delivered by a viewer's query. Loss prevented: a daemon whose ticks look like one."""
    assert installation.ask(START)["startSensor"]["__typename"] == "Sensor"

    def ended() -> list[Any]:
        ticks = installation.ask(ASKED)["sensorOrError"]["sensorState"]["ticks"]
        return [tick for tick in ticks if tick["status"] != "STARTED"]

    wait_until(lambda: bool(ended()), "the daemon evaluates alerts")
    (tick, *_) = ended()
    assert tick["status"] == "SKIPPED"
    assert "Nobody is told" in tick["skipReason"]
    shown = installation.ask(ASKED)["sensorOrError"]["nextTick"]["evaluationResult"]
    assert shown == {"skipReason": SHOWN_ONLY, "error": None}
