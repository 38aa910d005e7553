"""A primary and its hot standby, made by pg_basebackup and kept up to date by streaming."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from recyclic_backups.errors import DatabaseError
from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups_tests.ports import free_port

_PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Pair:
    """Both servers; what is committed on the primary is on the standby after :meth:`caught_up`."""

    primary: Server
    standby: Server

    def execute(self, database: str, *statements: str) -> None:
        """On the primary, each in a transaction of its own; seen on the standby when it returns."""
        with self.primary.connect(database) as connection:
            for statement in statements:
                connection.execute(statement)
        self.caught_up()

    def caught_up(self) -> None:
        """Wait until the standby has replayed what the primary has written."""
        with self.primary.connect("postgres") as above, self.standby.connect("postgres") as below:
            (at,) = above.execute("SELECT pg_current_wal_flush_lsn()").fetchone() or (None,)
            deadline = time.monotonic() + _PATIENCE_SECONDS
            question = "SELECT coalesce(pg_last_wal_replay_lsn() >= %s::pg_lsn, false)"
            while below.execute(question, (at,)).fetchone() != (True,):
                assert time.monotonic() < deadline, "the standby does not follow"
                time.sleep(0.02)


@pytest.fixture(scope="session")
def pair(installation: Installation, scratch_directory: Path) -> Iterator[Pair]:
    """A running pair. Conflicting queries are ended at once on the standby."""
    settings = {"wal_level": "replica", "autovacuum": "off"}
    with (
        ScratchCluster.start(installation, scratch_directory, settings=settings) as primary,
        _standby(primary, scratch_directory) as standby,
    ):
        yield Pair(primary.server, standby)


@contextmanager
def _standby(primary: ScratchCluster, scratch_directory: Path) -> Iterator[Server]:
    # Not a ScratchCluster: those may reach no other server, which is all that a standby does.
    account, server = Account.for_servers(), primary.server
    home = account.private_directory(scratch_directory)
    data, port, programs = account.directory(home, "data"), free_port(), primary.installation.directory
    source = f"host={server.host} port={server.port} user={server.user} password={server.password}"
    copy = [
        str(programs / "pg_basebackup"),
        "--dbname",
        source,
        "-R",
        "-X",
        "stream",
        "-c",
        "fast",
        "--no-sync",
    ]
    with account.popen(
        [*copy, "--pgdata", str(data)], home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as making:
        said, _ = making.communicate(timeout=_PATIENCE_SECONDS)
    assert making.returncode == 0, said
    options = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": account.socket_directory(home),
        "max_standby_streaming_delay": 0,
        "hot_standby_feedback": "off",
    }
    argv = [str(programs / "postgres"), "-D", str(data)]
    argv += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    with (home.parent / f"{home.name}.log").open("wb") as log:
        process = account.popen(argv, home, stdin=subprocess.DEVNULL, stdout=log.fileno())
    try:
        standby = replace(server, port=port)
        _wait_for(standby, process)
        yield standby
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(_PATIENCE_SECONDS)
        (home.parent / f"{home.name}.log").unlink()
        subprocess.run(["rm", "-rf", "--", str(home)], check=True)


def _wait_for(standby: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        assert process.poll() is None, "the standby does not start"
        try:
            with standby.connect("postgres"):
                return
        except DatabaseError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
