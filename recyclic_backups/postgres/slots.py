"""What a server keeps for a replication slot, and what its settings do to it."""

from __future__ import annotations

from dataclasses import dataclass

from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.lsn import lsn_of
from recyclic_backups.postgres.opening import NEUTRAL_DATABASE
from recyclic_backups.postgres.server import Server


@dataclass(frozen=True, slots=True)
class SlotState:
    """A slot as the server shows it (view-pg-replication-slots.html).

    ``held_bytes`` is the WAL that lies on the server for its sake. ``left_bytes`` is how much more may come before the
    server gives the slot up; None where ``max_slot_wal_keep_size`` sets no limit: then it goes on until its disk is
    full. ``wal_status`` is ``reserved``, ``extended``, ``unreserved`` or ``lost``.
    """

    active: bool
    restart_lsn: int | None
    wal_status: str
    held_bytes: int
    left_bytes: int | None


@dataclass(frozen=True, slots=True)
class ServerWal:
    """The server's identity, where its WAL ends now, and the slot, if it is there."""

    system_identifier: str
    in_recovery: bool
    current_lsn: int
    slot: SlotState | None


def commit_something(connection: Connection) -> None:
    """Have the server commit a few bytes, so that its WAL goes on; a standby cannot. Any role may.

    It waits for no synchronous standby, which may be down. Raises psycopg.Error.
    """
    connection.execute("SET synchronous_commit = local")
    connection.execute(
        "SELECT pg_catalog.pg_logical_emit_message(true, 'recyclic_backups', '') "
        "WHERE NOT pg_catalog.pg_is_in_recovery()"
    )


def look_at(server: Server, slot: str) -> ServerWal:
    """Ask the server. Any role may. Raises DatabaseError."""
    with server.connect(NEUTRAL_DATABASE) as connection:
        row = connection.execute(
            "SELECT c.system_identifier::text, pg_catalog.pg_is_in_recovery(), "
            "CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() "
            "ELSE pg_catalog.pg_current_wal_insert_lsn() END::text "
            "FROM pg_catalog.pg_control_system() AS c"
        ).fetchone()
        assert row is not None
        found = connection.execute(
            "SELECT active, restart_lsn::text, wal_status, safe_wal_size FROM pg_catalog.pg_replication_slots "
            "WHERE slot_name = %s AND slot_type = 'physical'",
            (slot,),
        ).fetchone()
    current = lsn_of(row[2])
    state = None
    if found is not None:
        restart = None if found[1] is None else lsn_of(found[1])
        held_bytes = 0 if restart is None else max(0, current - restart)
        state = SlotState(found[0], restart, found[2] or "lost", held_bytes, found[3])
    return ServerWal(row[0], row[1], current, state)
