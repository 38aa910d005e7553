"""The server's machine is gone in the middle of its work, and comes back from the storage alone."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recyclic_backups.catalog.timestamps import from_text
from recyclic_backups.errors import DatabaseError
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups_tests.archive.test_service import Service
from recyclic_backups_tests.faults.site import wait_until
from recyclic_backups_tests.recovery.test_command import place, started

__all__ = ["place"]

PROMISED_SECONDS = 30
WORKED_SECONDS = 45


class Journal:
    """Clients that commit one row after the other; ``committed`` says when the server told them so, by its id."""

    def __init__(self, server: Server) -> None:
        self.committed: dict[int, datetime] = {}
        self._server, self._numbers, self._over = server, itertools.count(1), threading.Event()
        self._clients = [threading.Thread(target=self._work) for _ in range(3)]

    def __enter__(self) -> Journal:
        for each in self._clients:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in self._clients:
            each.join()

    def _work(self) -> None:
        with suppress(DatabaseError), self._server.connect("postgres") as connection:
            while not self._over.wait(0.005):
                number = next(self._numbers)
                connection.execute(
                    b"INSERT INTO public.work VALUES (%s, repeat(md5(random()::text), 20))", [number]
                )
                self.committed[number] = datetime.now(UTC)


@pytest.fixture
def service(installation: Installation, scratch_directory: Path, tmp_path: Path) -> Iterator[Service]:
    """A server as it comes, and a receiver beside it that is not started yet, with the settings as they are shipped."""
    with ScratchCluster.start(installation, scratch_directory) as cluster:
        service = Service(cluster, tmp_path)
        service.variables["WAL_TAIL_SECONDS"] = "10"
        try:
            yield service
        finally:
            if service.running:
                service.end(signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("receiver", "at_most_seconds"), [("dies with it", PROMISED_SECONDS), ("lives on", 3)]
)
def test_what_was_committed_half_a_minute_before_the_machine_died_is_back(
    service: Service, place: Path, tmp_path: Path, receiver: str, at_most_seconds: float
) -> None:
    """Loss prevented: a day of work. And the report that says how much was lost says it as it is."""
    server = service.cluster.server
    with server.connect("postgres") as connection:
        connection.execute("CREATE TABLE public.work (id bigint PRIMARY KEY, what text)")
    service.start()
    with Journal(server) as journal:
        wait_until(lambda: "is taken and verified" in service.log.read_text(), service.log.read_text)
        time.sleep(WORKED_SECONDS)
        if receiver == "dies with it":
            service.end(signal.SIGKILL)
        service.cluster.crash()
        died_at = datetime.now(UTC)
        shutil.rmtree(service.cluster.data_directory)
    if service.running:
        time.sleep(2)  # for what it has read already

    elsewhere = tmp_path / "another machine"
    elsewhere.mkdir()
    before = datetime.now(UTC)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "recyclic_backups", "recover"),
            *("--latest", "--promote", "--json", "--data-directory", str(place)),
        ],
        cwd=elsewhere,
        env=service.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    with (
        started(report["start"], place) as recovered,
        Server(recovered.host, recovered.port, server.user, server.password).connect(
            "postgres"
        ) as connection,
    ):
        back = {row[0] for row in connection.execute("SELECT id FROM public.work")}

    lost = sorted(at for number, at in journal.committed.items() if number not in back)
    whole_until = from_text(report["plan"]["time"])
    really = (died_at - lost[0]).total_seconds() if lost else 0.0
    told = (died_at - whole_until).total_seconds()
    sys.stdout.write(
        f"\n{len(journal.committed)} commits, {len(lost)} lost: those of the last {really:.1f} s; "
        f"the report said {told:.1f} s; back in {report['recovery_seconds']:.1f} s\n"
    )
    worked = died_at - min(journal.committed.values())
    assert worked > timedelta(seconds=PROMISED_SECONDS), "or it shows nothing"
    assert really < at_most_seconds
    assert not [at - whole_until for at in lost if at <= whole_until], "more is lost than the report says"
    assert told - really < 3, "the report makes the loss larger than it was"
    # The command does not know when the server died: it counts up to now.
    assert report["data_loss_seconds"] == pytest.approx((before - whole_until).total_seconds(), abs=15)
