"""An installation with WAL whose backup of today was missed: for Dagster's runs it is tomorrow.

The server, its receiver and Dagster are real. Nobody waits for midnight: the definitions have a clock that is a day
ahead, and Dagster itself has today's partition by its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from recyclic_backups import wiring
from recyclic_backups.archive.archive import WalArchive, servers_in
from recyclic_backups.archive.documents import read_position
from recyclic_backups.archive.receive import Receiver, ReceiveTerms
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.base_backup.back_up import back_up_server
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.config.settings import Settings
from recyclic_backups.demo.stage import DATABASE, Stage, open_stage
from recyclic_backups_tests.archive.conftest import SLOT

TABLE = "association.till_roll"
PATIENCE_SECONDS = 60

_TOMORROW = """\
from datetime import UTC, datetime, timedelta

import dagster as dg

from recyclic_backups.definitions import definitions_in
from recyclic_backups.defs.database import Environment


@dg.definitions
def defs() -> dg.Definitions:
    return definitions_in(Environment(now=lambda: datetime.now(UTC) + timedelta(days=1)))
"""
_WORKSPACE = """\
load_from:
  - python_file: {relative_path: tomorrow.py, location_name: recyclic_backups}
"""


@dataclass(frozen=True)
class MissedDay:
    """The stage, the partition of the day, when its backup was due, and how many rows :data:`TABLE` had then."""

    stage: Stage
    day: str
    due: datetime
    rows: int

    @property
    def catalog(self) -> Catalog:
        """What the storage holds now."""
        return load_catalog(wiring.open_repository(self.stage.settings, create=False))


@contextmanager
def open_missed_day() -> Iterator[MissedDay]:
    """A base backup, rows, the minute in which the backup is due, other rows; a receiver all the time.

    The day before was missed too, and WAL does not reach that.
    """
    today = datetime.now(UTC).date()
    with open_stage(today, None, today - timedelta(days=1)) as opened:
        opened.fill(0.02, today)
        stage = replace(
            opened, variables={**opened.variables, "BACKUP_ENVIRONMENT": "staging", "WAL_ARCHIVE": "true"}
        )
        settings = stage.settings
        _write(stage, f"CREATE TABLE {TABLE} (line int)")
        with receiving(settings):
            repository, terms = wiring.open_repository(settings), wiring.base_backup_terms(settings)
            back_up_server(settings.server, repository, None, terms, clock=lambda: datetime.now(UTC))
            _write(stage, f"INSERT INTO {TABLE} SELECT generate_series(1, 700)")
            # The calendar knows no seconds.
            due = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
            time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()) + 0.2)
            _write(stage, f"DELETE FROM {TABLE} WHERE line > 500")
            end, archive = datetime.now(UTC), archive_of(settings)
            _wait_until(lambda: (found := read_position(archive)) is not None and found.server_time > end)
            local = due.astimezone(settings.timezone)
            stage = replace(stage, variables={**stage.variables, "BACKUP_TIME": f"{local:%H:%M}"})
            lines = "".join(f"{name}='{value}'\n" for name, value in stage.variables.items())
            (stage.directory / ".env").write_text(lines)
            (stage.directory / "tomorrow.py").write_text(_TOMORROW)
            (stage.directory / "workspace.yaml").write_text(_WORKSPACE)
            yield MissedDay(stage, settings.calendar.partition_of(Tier.DAILY, due), due, 700)


@contextmanager
def receiving(settings: Settings) -> Iterator[None]:
    """A receiver of WAL for the length of the block, once it has said how far it is."""
    repository = wiring.open_repository(settings)
    stopping = threading.Event()
    terms = ReceiveTerms(SLOT, tail_seconds=0.2, heartbeat_seconds=3600)
    receiver = Receiver(
        settings.server, repository, terms, clock=lambda: datetime.now(UTC), say=lambda _: None
    )
    thread = threading.Thread(target=receiver.run, args=(stopping,), daemon=True)
    thread.start()
    try:
        while not servers_in(repository) or read_position(archive_of(settings)) is None:
            assert thread.is_alive()
            stopping.wait(0.05)
        yield
    finally:
        stopping.set()
        thread.join()


def archive_of(settings: Settings) -> WalArchive:
    """The WAL of the only server in the storage."""
    repository = wiring.open_repository(settings)
    [server] = servers_in(repository)
    return WalArchive(repository, server)


def _write(stage: Stage, statement: str) -> None:
    with stage.server.connect(DATABASE) as connection:
        connection.execute(statement.encode())


def _wait_until(true: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
