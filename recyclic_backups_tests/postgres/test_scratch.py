"""Throwaway servers: usable, private, and gone whatever happens."""

from __future__ import annotations

from recyclic_backups.postgres.scratch import ScratchCluster


def test_a_test_gets_an_empty_database_of_its_own(cluster: ScratchCluster, database: str) -> None:
    """Tests that share a database would hide each other's losses."""
    with cluster.server.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
