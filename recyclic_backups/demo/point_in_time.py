"""The demonstration's accident, and how it is undone: WAL received in the background, a base backup, a moment.

What a person would type is what runs, as a program of its own in the demonstration's directory.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from recyclic_backups import wiring
from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.documents import read_position
from recyclic_backups.demo.programs import environment, started
from recyclic_backups.demo.stage import DATABASE, Stage
from recyclic_backups.errors import BackupError
from recyclic_backups.own_command import NAME
from recyclic_backups.postgres.slots import look_at

TABLE = "public.sale_items"
RECEIVE = ("wal", "receive")
BASE_BACKUP = ("base-backup",)

_PATIENCE_SECONDS = 120
_OURS = (sys.executable, "-m", "recyclic_backups")

_SELL = f"""
INSERT INTO {TABLE} (id, sale_id, category, quantity, unit_price, total_price, notes)
SELECT gen_random_uuid(), id, 'Mobilier', 1, 12.5, 12.5, 'Chaise paillée, vendue à l''instant'
FROM public.sales ORDER BY created_at DESC, id LIMIT 1
RETURNING id::text, clock_timestamp()
"""
_ROW = f"SELECT item::text FROM {TABLE} AS item WHERE id = %s::uuid"
FORGOTTEN_WHERE = f"DELETE FROM {TABLE}"


@dataclass(frozen=True, slots=True)
class Accident:
    """Rows that somebody deleted; ``before`` is the last whole second (aware) at which they were all there."""

    before: datetime
    deleted_at: datetime
    deleted: int
    item_id: str
    row: str
    """The row of that id as it was, in the server's own spelling."""

    @property
    def way_back(self) -> tuple[str, ...]:
        """The command that brings the table back, without the program's name."""
        words = ("restore", "--table", TABLE, "--at-time", str(self.before), "--merge-into", DATABASE)
        return (*words, "--yes")


def typed(words: Sequence[str]) -> str:
    """A command of ours as a person types it in the demonstration's directory."""
    return shlex.join((NAME, *words))


def type_command(stage: Stage, *words: str) -> str:
    """Run a command of ours to its end; what it printed. Raises BackupError with what it complained of."""
    done = subprocess.run(
        [*_OURS, *words],
        env=environment(stage.variables),
        cwd=stage.directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip() or "nothing"
        raise BackupError(f"`{typed(words)}` ended with {done.returncode}: {said[-600:]}")
    return done.stdout


@contextmanager
def receiving(stage: Stage) -> Iterator[None]:
    """``wal receive`` in the background until the block ends; the block begins once WAL has come into the storage.

    Raises BackupError when none comes.
    """
    log = stage.directory / "wal-receive.log"
    with log.open("wb") as file, started([*_OURS, *RECEIVE], stage, file.fileno()) as process:
        give_up_at = time.monotonic() + _PATIENCE_SECONDS
        while _archived_until(stage) is None:
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise BackupError("no WAL comes in", f"all that the receiver said is in {log}")
            time.sleep(0.1)
        yield


def have_an_accident(stage: Stage) -> Accident:
    """Sell something, and delete the whole table a second later. Raises DatabaseError."""
    with stage.server.connect(DATABASE) as connection:

        def answer(statement: str, *values: object) -> Sequence[Any]:
            return connection.execute(statement.encode(), values).fetchone() or ()

        item_id, sold_at = answer(_SELL)
        (row,) = answer(_ROW, item_id)
        timezone = stage.settings.calendar.timezone
        # The sale is committed a little after it was made.
        before = (sold_at.astimezone(timezone) + timedelta(seconds=1.3)).replace(microsecond=0)
        (wait_seconds,) = answer("SELECT extract(epoch FROM %s - clock_timestamp())::float8", before)
        time.sleep(max(0.0, wait_seconds + 1.05))
        deleted = connection.execute(FORGOTTEN_WHERE.encode()).rowcount
        (deleted_at,) = answer("SELECT clock_timestamp()")
    return Accident(before, deleted_at.astimezone(timezone), deleted, item_id, row)


def wait_until_archived(stage: Stage, moment: datetime) -> None:
    """Wait until everything that was committed by then is in the storage. Raises BackupError."""
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while (_archived_until(stage) or moment) <= moment:
        if time.monotonic() > give_up_at:
            raise BackupError("the WAL of the accident does not come in")
        time.sleep(0.1)


def row_now(stage: Stage, item_id: str) -> str:
    """The row of that id, in the server's own spelling; empty where there is none."""
    with stage.server.connect(DATABASE) as connection:
        found = connection.execute(_ROW.encode(), [item_id]).fetchone()
    return "" if found is None else str(found[0])


def _archived_until(stage: Stage) -> datetime | None:
    settings = stage.settings
    system_identifier = look_at(settings.server, settings.wal_slot).system_identifier
    position = read_position(WalArchive(wiring.open_repository(settings), system_identifier))
    return None if position is None else position.server_time
