"""The program of the container that takes the backups, told to end while it takes one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.demo.stage import DATABASE, Stage, open_stage
from recyclic_backups.postgres.lock import exclusive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROGRAM = Path(__file__).resolve().parents[2] / "docker/programs/code-server"
PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Container:
    """The program at work, as in its container: runs are its children."""

    stage: Stage
    process: subprocess.Popen[str]
    log: Path
    environment: dict[str, str]
    instance: dg.DagsterInstance

    def launch(self, job: str, **tags: str) -> str:
        """Start a run of the job on the served definitions; its id."""
        before = {run.run_id for run in self.instance.get_runs()}
        argv = [sys.executable, "-m", "dagster", "job", "launch", "-w", "workspace.yaml", "-j", job]
        done = subprocess.run(
            [*argv, "--tags", json.dumps(tags)],
            cwd=self.stage.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (run_id,) = {run.run_id for run in self.instance.get_runs()} - before
        return run_id

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        """How a run is doing."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def said(self, run_id: str) -> str:
        """All messages of a run's log."""
        return "\n".join(entry.user_message or entry.message for entry in self.instance.all_logs(run_id))

    def wait_until(self, met: Callable[[], bool], what: str) -> None:
        """Look twice a second."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while not met():
            assert time.monotonic() < give_up_at, f"waited in vain until {what}: {self.log.read_text()}"
            time.sleep(0.5)


@contextmanager
def started(stage: Stage, tmp_path: Path) -> Iterator[Container]:
    """The program, with an instance on disk that starts runs at once."""
    socket = tmp_path / "code.sock"
    (stage.dagster_home / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\n"
        "run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}\n"  # no queue
    )
    (stage.directory / "workspace.yaml").write_text(
        f"load_from: [{{grpc_server: {{socket: {socket}, location_name: recyclic_backups}}}}]\n"
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**stage.variables, "PATH": path}
    if "PYTHONPATH" in os.environ:
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
    log = tmp_path / "code-server.log"
    with (
        log.open("w") as output,
        dg.DagsterInstance.from_config(str(stage.dagster_home)) as instance,
        subprocess.Popen(
            [sys.executable, str(PROGRAM), str(socket)],
            cwd=stage.directory,
            env=environment,
            stdout=output,
            stderr=output,
            text=True,
        ) as process,
    ):
        container = Container(stage, process, log, environment, instance)
        container.wait_until(lambda: "Started Dagster code server" in log.read_text(), "it serves")
        try:
            yield container
        finally:
            process.send_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A server with a database that has a backup, and settings that lead to it."""
    with open_stage(datetime.now(UTC).date(), None) as opened:
        opened.fill(0.02, datetime.now(UTC).date())
        subprocess.run(
            [sys.executable, "-m", "recyclic_backups", "backup"],
            cwd=opened.directory,
            env={"PATH": os.environ["PATH"], **opened.variables},
            check=True,
        )
        yield opened


def test_a_backup_ends_well_though_its_container_is_told_to_end(stage: Stage, tmp_path: Path) -> None:
    """Loss prevented: tonight's backup, killed because somebody rolled out a new image at 02:10."""
    today = stage.settings.calendar.partition_of(Tier.DAILY, datetime.now(UTC))
    with started(stage, tmp_path) as container:
        with exclusive(stage.server, DATABASE, "backup", wait_seconds=10):
            backup = container.launch("daily_backup_job", **{"dagster/partition": today})
            container.wait_until(
                lambda: "waiting for other backups" in container.said(backup), "the backup is under way"
            )
            container.process.terminate()
            container.wait_until(lambda: f"waiting for {backup}" in container.log.read_text(), "it waits")
            meanwhile = container.launch("health_job")
        assert container.process.wait(PATIENCE_SECONDS) == 0
        assert container.status(backup) is dg.DagsterRunStatus.SUCCESS, container.said(backup)
        assert container.status(meanwhile) is dg.DagsterRunStatus.SUCCESS, container.said(meanwhile)
    assert load_catalog(wiring.open_repository(stage.settings)).labelled(Tier.DAILY, today)


def test_a_container_without_a_run_ends_at_once(stage: Stage, tmp_path: Path) -> None:
    """Loss prevented: restarts that take hours, so that somebody begins to kill."""
    with started(stage, tmp_path) as container:
        container.process.terminate()
        assert container.process.wait(30) == 0
        assert "waiting for" not in container.log.read_text()
