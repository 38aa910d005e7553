"""The way back from a swap, for names that a shell and SQL would both like to misunderstand."""

from __future__ import annotations

import os
import subprocess

import pytest

from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups.restore.commands import go_back
from recyclic_backups.restore.database import name_beside


def _databases(cluster: ScratchCluster) -> dict[str, int]:
    with cluster.server.connect("postgres") as connection:
        return dict(connection.execute("SELECT datname, oid::bigint FROM pg_database").fetchall())


def _create(cluster: ScratchCluster, *names: str) -> None:
    with cluster.server.connect("postgres") as connection:
        for name in names:
            quoted = name.replace('"', '""')
            connection.execute(f'CREATE DATABASE "{quoted}" TEMPLATE template0'.encode())


def _drop(cluster: ScratchCluster, *names: str) -> None:
    with cluster.server.connect("postgres") as connection:
        for name in names:
            quoted = name.replace('"', '""')
            connection.execute(f'DROP DATABASE IF EXISTS "{quoted}" WITH (FORCE)'.encode())


def _paste(cluster: ScratchCluster, line: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PGPASSWORD": cluster.server.password, "LANG": "C.UTF-8"}
    return subprocess.run(
        ["/bin/sh", "-c", line], env=environment, check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", ["Vide-grenier d'été", 'x"; DROP "y $HOME `id` \\', "order", "n" * 63])
def test_any_name_goes_back_and_is_dropped(cluster: ScratchCluster, name: str) -> None:
    """Prevents a line that does something else than it says for an association with an apostrophe in its name."""
    kept_as = name_beside(name, "before_20261122t010003z")
    before = set(_databases(cluster))
    _create(cluster, name, kept_as)
    try:
        there = _databases(cluster)
        back = go_back(cluster.server, name, kept_as)
        with cluster.server.connect(name), cluster.server.connect(kept_as):
            done = _paste(cluster, back.command)
        assert done.returncode == 0, done.stderr
        now = _databases(cluster)
        assert now[name] == there[kept_as]
        assert now[back.restored_as] == there[name]
        assert set(now) == (set(there) - {kept_as}) | {back.restored_as}
        # Pasted once more, it says that there is nothing to go back to, and changes nothing.
        assert _paste(cluster, back.command).returncode != 0
        assert _databases(cluster) == now
        _create(cluster, kept_as)
        dropped = _paste(cluster, back.drop_command)
        assert dropped.returncode == 0, dropped.stderr
        assert kept_as not in _databases(cluster)
    finally:
        _drop(cluster, *(set(_databases(cluster)) - before))


def test_both_names_change_or_neither(cluster: ScratchCluster) -> None:
    """Prevents a database that is called nothing at all, because the second renaming failed."""
    before = set(_databases(cluster))
    _create(cluster, "half")
    try:
        there = _databases(cluster)
        back = go_back(cluster.server, "half", "half_before_20261122t010003z_0a1b2c")  # which is not there
        assert _paste(cluster, back.command).returncode != 0
        assert _databases(cluster) == there
    finally:
        _drop(cluster, *(set(_databases(cluster)) - before))


def test_no_password_is_in_the_line_and_the_kind_of_connection_is() -> None:
    """Prevents a password in a terminal's history, and a line that leads nowhere for want of TLS."""
    server = Server(
        "db.example.org", 5433, "admin", "s3cret", sslmode="verify-full", sslrootcert="/etc/ca file"
    )
    back = go_back(server, "postgres", "postgres_before_20261122t010003z_0a1b2c")
    assert "s3cret" not in back.command + back.drop_command
    assert back.command.startswith("PGSSLMODE=verify-full PGSSLROOTCERT='/etc/ca file' psql -X ")
    assert "-h db.example.org -p 5433 -U admin -d template1 " in back.command
