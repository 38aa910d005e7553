"""Sessions that a restore keeps for its next question: no more than it needs, and none once names are swapped."""

from __future__ import annotations

import pytest

from recyclic_backups.errors import DatabaseError
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.restore import kept_sessions
from recyclic_backups.restore.kept_sessions import KeptSessions


def pid_of(kept: KeptSessions) -> int:
    """Which session answers."""
    with kept.session() as connection:
        return connection.info.backend_pid


def test_a_session_answers_the_next_question_too_unless_it_failed_or_is_old(
    cluster: ScratchCluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a restore that goes on with a session which a firewall, or an error, has ended."""
    kept = KeptSessions(cluster.server, database)
    first = pid_of(kept)
    assert pid_of(kept) == first
    with kept.session() as one, kept.session() as other:
        assert one.info.backend_pid != other.info.backend_pid
    pids = []

    def fail() -> None:
        with kept.session() as connection:
            pids.append(connection.info.backend_pid)
            connection.execute("SELECT 1 / 0")

    with pytest.raises(DatabaseError, match="division by zero"):
        fail()
    assert pid_of(kept) not in pids
    monkeypatch.setattr(kept_sessions, "LONGEST_IDLE_SECONDS", -1.0)
    assert pid_of(kept) != pid_of(kept)
    kept.close()


def test_none_is_left_once_they_are_closed(cluster: ScratchCluster, database: str) -> None:
    """Loss prevented: a restored database that cannot take its name, because we are in it ourselves."""
    kept = KeptSessions(cluster.server, database)
    pid_of(kept)
    kept.close()
    pid_of(kept)  # who asks still gets an answer
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"ALTER DATABASE {database} RENAME TO {database}_x")
        connection.execute(f"ALTER DATABASE {database}_x RENAME TO {database}")
