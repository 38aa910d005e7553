"""A day whose backup was missed, rebuilt: recovered to the moment at which it was due, and dumped there.

What is dumped is what production held then, so the backup is of that day and not late. Sequences may stand up to 32
values ahead, and unlogged tables have no rows: both is said in the backup's notes.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.dump.back_up import MissedDay
from recyclic_backups.dump.take import take
from recyclic_backups.errors import ArchiveError, DamagedData, RecoveryError
from recyclic_backups.fingerprint.replayed import LOGGED_AHEAD
from recyclic_backups.recovery.as_backup import require_there, unlogged_tables
from recyclic_backups.recovery.ask_wal import plan_from
from recyclic_backups.recovery.into_scratch import recovered
from recyclic_backups.recovery.survey import survey
from recyclic_backups.recovery.target import at_time


def rebuild(day: MissedDay, scratch: Path, timezone: ZoneInfo) -> Manifest | str:
    """The backup of the moment ``day.at``, which exists then; or why WAL does not bring that moment back.

    Raises as :func:`recovered` and :func:`take`.
    """
    found = survey(day.repository, day.system_identifier, now=day.clock())
    programs = day.options.installations
    try:
        windows = found.windows()
        plan = plan_from(
            found, windows, at_time(day.at), programs, scratch, now=day.clock(), timezone=timezone
        )
        with recovered(found.source, plan, programs, scratch, progress=day.progress) as cluster:
            require_there(cluster, day.repository.database, plan)
            unlogged = unlogged_tables(cluster, day.repository.database)
            return take(
                cluster.server,
                day.repository,
                replace(day.request, source="reconstructed"),
                day.calendar,
                replace(day.options, find_replay_point=False, rate_limit_bytes=None),
                clock=day.clock,
                progress=day.progress,
                check_lock=day.check_lock,
                as_of=day.at,
                notes=_notes(plan.base.base_id, day.at, unlogged),
            )
    except (RecoveryError, ArchiveError, DamagedData) as why:
        return why.message


def _notes(base_id: str, at: datetime, unlogged: tuple[str, ...]) -> tuple[str, ...]:
    said = [
        f"rebuilt from the base backup {base_id} and WAL up to {at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC: sequences "
        f"may stand up to {LOGGED_AHEAD} values ahead"
    ]
    if unlogged:
        said.append(f"unlogged tables, which WAL does not have, have no rows: {', '.join(unlogged)}")
    return tuple(said)
