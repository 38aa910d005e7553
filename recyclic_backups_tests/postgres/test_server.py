"""A connection to a server whose settings were made for something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recyclic_backups.drill import full
from recyclic_backups.drill.plan import StorageAccess
from recyclic_backups.errors import ConfigurationError, DatabaseError
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups.progress import SILENT


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


def test_a_server_named_by_a_url_keeps_what_it_has_to_prove() -> None:
    """Loss prevented: TLS that was asked for in words that nobody reads, and a session without it."""
    far = Server("db.example.org", 5433, "a@b", "x", "verify-full", "/etc/own ca.pem")
    assert Server.from_url(far.url) == (replace(far, password=""), "postgres")
    near = Server("::1", proves_itself=True)
    assert Server.from_url(near.url) == (near, "postgres")
    for asked in ("ssl_mode=verify-full", "channel_binding=require", "require_auth=none"):
        with pytest.raises(ConfigurationError, match="parameters that are not read"):
            Server.from_url(f"postgresql://me@db.example.org/?{asked}")


def test_a_full_drill_on_a_staging_server_asks_it_for_the_same_proof(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Attack: DRILL_SERVER_URL says verify-full; who stands before it refuses the restore TLS, and reads it all."""
    staging = Server("staging.example.org", password="x", sslmode="verify-full", sslrootcert="system")
    started: list[list[str]] = []
    stopped = RuntimeError()

    def run(argv: list[str], environment: object, **_: object) -> None:
        started.append(argv)
        raise stopped

    monkeypatch.setattr(full, "run", run)
    monkeypatch.setattr(full, "_programs", lambda *_: SimpleNamespace(directory=tmp_path))
    means: Any = SimpleNamespace(
        place=SimpleNamespace(server=staging, throwaway=False),
        progress=SILENT,
        options=SimpleNamespace(timeout_seconds=1),
    )
    backup: Any = SimpleNamespace(backup_id="ID", manifest=SimpleNamespace(database="shop"))
    with pytest.raises(RuntimeError):
        full._restore_from_nothing(means, backup, StorageAccess("file:///x", None, ""), "copy", tmp_path)
    asked = started[0][started[0].index("--to-server") + 1]
    assert Server.from_url(asked)[0] == replace(staging, password="")
