"""The place of a snapshot in the WAL: a recovery that stops there holds exactly what the snapshot saw.

A transaction is in the WAL, by its commit record, a little before others see it. So a place is found only at a moment
at which nobody is in between: no other session holds a transaction id, and the snapshot is the same before and after
the position is read. Then no commit record lies before that position whose transaction the snapshot does not see.
(ProcArrayEndTransaction comes after XLogFlush, and the lock on the own transaction id goes last:
RecordTransactionCommit and CommitTransaction in the server's src/backend/access/transam/xact.c.)
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.lsn import lsn_of

# pg_walfile_name: the first eight digits are the timeline.
_POSITION = """
SELECT pg_catalog.pg_current_wal_insert_lsn()::text,
       pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8)
"""
# A prepared transaction has no process, and may be committed at any moment.
_OTHERS = """
SELECT count(*) FROM pg_catalog.pg_locks
WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted AND (pid IS NULL OR pid <> ALL (%s::int4[]))
"""
_SNAPSHOT = "SELECT pg_catalog.pg_current_snapshot()::text"


@dataclass(frozen=True, slots=True)
class ReplayPoint:
    """Where replay has to stop, inclusive."""

    timeline: int
    lsn: int


def replay_point(snapshot: Connection, beside: Connection, ours: Collection[int]) -> ReplayPoint | None:
    """The place of the snapshot of a transaction; None where somebody was just writing: take another snapshot.

    ``beside`` is a session outside of it, and ``ours`` are processes of the server that hold a transaction id for us
    and commit nothing.
    """
    seen = snapshot.execute(_SNAPSHOT).fetchone()
    position = beside.execute(_POSITION).fetchone()
    others = beside.execute(_OTHERS, (list(ours),)).fetchone()
    now = beside.execute(_SNAPSHOT).fetchone()
    if position is None or others is None or others[0] or seen != now:
        return None
    return ReplayPoint(int(position[1], 16), lsn_of(position[0]))
