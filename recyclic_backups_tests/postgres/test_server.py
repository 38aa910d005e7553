"""A connection to a server whose settings were made for something else."""

from __future__ import annotations

import pytest

from recyclic_backups.errors import DatabaseError
from recyclic_backups.postgres.scratch import ScratchCluster


def test_a_statement_timeout_of_the_database_ends_nothing_of_ours(
    cluster: ScratchCluster, database: str
) -> None:
    """Loss prevented: a restore of an hour, thrown away because collecting statistics took thirty seconds."""
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"ALTER DATABASE {database} SET statement_timeout = '50ms'")
    with cluster.server.connect(database) as connection:
        connection.execute("SELECT pg_sleep(0.2)")


def test_what_a_timeout_ended_is_not_called_unreachable(cluster: ScratchCluster, database: str) -> None:
    """Loss prevented: an hour spent on addresses and firewalls at three in the morning."""
    with (
        pytest.raises(DatabaseError) as raised,
        cluster.server.connect(database, settings={"statement_timeout": "20ms"}) as connection,
    ):
        connection.execute("SELECT pg_sleep(1)")
    assert "timeout" in raised.value.hint
    assert "POSTGRES_HOST" not in raised.value.hint
    assert raised.value.retryable
