"""Throwaway PostgreSQL servers: for tests, the demonstration and restore drills.

A scratch cluster lives in a private directory, listens on 127.0.0.1 and on a Unix socket in that directory,
asks for a random password, and is gone afterwards with all its files, even if this process is killed. It may hold
code that strangers wrote, so it is shut in (:mod:`recyclic_backups.postgres.confinement`).
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from recyclic_backups.errors import ProgramFailed, ProgramMissing
from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.cluster import Cluster, complaint, quoted
from recyclic_backups.postgres.programs import SERVER_PROGRAMS, Installation
from recyclic_backups.postgres.server import Server

SUPERUSER = "postgres"

FAST_SETTINGS: Mapping[str, str] = {
    # A crash of the server loses nothing that was committed, a crash of the machine everything. Commits stay
    # synchronous, which costs next to nothing without fsync: otherwise a crash would lose the last ones.
    "fsync": "off",
    "full_page_writes": "off",
    # A checkpoint in the middle of a load costs more than the disk space it saves.
    "max_wal_size": "2GB",
    "checkpoint_timeout": "1h",
}
_QUIET_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "64MB",
    "max_connections": "60",
    # Comparing holds a lock on each table and plans with its indexes: there may be thousands. 1024 for each connection
    # take about 20 MB (runtime-config-locks.html).
    "max_locks_per_transaction": "1024",
    # Shared memory in files of the data directory goes away with it, and a container's small /dev/shm
    # does not limit parallel index builds.
    "dynamic_shared_memory_type": "mmap",
    "log_checkpoints": "off",
    "jit": "off",
}
_START_TIMEOUT_SECONDS = 60
_PORT_ATTEMPTS = 5


class ScratchCluster(Cluster):
    """A throwaway server and the directory it lives in; made by :meth:`start`, never by hand."""

    def __init__(
        self, installation: Installation, home: Path, socket_directory: Path, account: Account, password: str
    ) -> None:
        super().__init__(installation, home, home / "data", socket_directory, account)
        self._password = password
        self._port = 0

    @classmethod
    @contextmanager
    def start(
        cls,
        installation: Installation,
        directory: Path,
        *,
        settings: Mapping[str, str] | None = None,
        locale: str = "C.UTF-8",
        fast: bool = True,
    ) -> Iterator[ScratchCluster]:
        """Make a cluster in a new directory under ``directory``, start it, and remove both at the end.

        ``settings`` are lines of postgresql.conf; ``fast`` trades durability for speed. If the cluster's
        user cannot reach ``directory``, the system's temporary directory is used instead. Raises
        ProgramMissing without initdb and postgres, ConfigurationError if no directory will do,
        ProgramFailed if the server does not come up.
        """
        missing = sorted(SERVER_PROGRAMS - installation.programs)
        if missing:
            raise ProgramMissing(
                f"there is no {' and no '.join(missing)} in {installation.directory}",
                f"install postgresql-{installation.major}, the server package",
            )
        account = Account.for_servers()
        home = account.private_directory(directory)
        socket_directory = account.socket_directory(home)
        cluster = cls(installation, home, socket_directory, account, secrets.token_urlsafe(24))
        with cluster.watched(home, socket_directory):
            cluster.make_reachable()
            cluster._initialize(locale, {**(FAST_SETTINGS if fast else {}), **(settings or {})})
            cluster._launch()
            yield cluster

    @property
    def server(self) -> Server:
        """How to reach it over TCP, as its superuser. The port may change when it is restarted."""
        return Server(
            host="127.0.0.1", port=self._port, user=SUPERUSER, password=self._password, proves_itself=True
        )

    @property
    def server_on_socket(self) -> Server:
        """How to reach it through its Unix socket, as its superuser."""
        return Server(
            host=str(self.socket_directory), port=self._port, user=SUPERUSER, password=self._password
        )

    def restart(self) -> None:
        """Stop cleanly if running, and start again, on the same port if it is still free."""
        self.stop()
        self._launch()

    def configure(self, settings: Mapping[str, str]) -> None:
        """Append settings to postgresql.conf; they hold from the next :meth:`restart` (or reload) on."""
        lines = [f"{name} = {quoted(value)}\n" for name, value in settings.items()]
        with open(self.own_file("postgresql.conf"), "a", encoding="utf-8") as file:
            file.writelines(lines)

    # -- making and starting

    def _initialize(self, locale: str, settings: Mapping[str, str]) -> None:
        self._account.directory(self.home, self.data_directory.name)
        password_file = self.home / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password, encoding="ascii")
        self._account.own(password_file)
        argv = [
            self.installation.path("initdb"),
            f"--pgdata={self.data_directory}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth-local=scram-sha-256",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            f"--locale={locale}",
            "--no-sync",
            "--no-instructions",
        ]
        with self._account.popen(
            argv, self.home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        ) as process:
            try:
                output, _ = process.communicate(timeout=_START_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise ProgramFailed(f"initdb did not finish within {_START_TIMEOUT_SECONDS} s") from None
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        password_file.unlink()
        if process.returncode != 0:
            raise ProgramFailed(f"initdb failed: {complaint(output.decode(errors='replace'))}")
        self.configure({**_QUIET_SETTINGS, "unix_socket_directories": str(self.socket_directory), **settings})

    def _launch(self) -> None:
        """Start the server on a free port; try others if another process takes it before the server does."""
        for attempt in range(_PORT_ATTEMPTS):
            port = self._port if attempt == 0 and self._port else _free_port()
            log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
            if self._launch_on(port):
                self._port = port
                return
            with self.log_path.open("rb") as log:
                log.seek(log_start)
                said = log.read().decode(errors="replace")
            if "could not bind" not in said and "could not create any TCP/IP sockets" not in said:
                break
        raise ProgramFailed(
            f"the scratch server of PostgreSQL {self.installation.version} does not start: {complaint(said)}"
        )

    def _launch_on(self, port: int) -> bool:
        self.begin(port)
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while self.running and time.monotonic() < deadline:
            if self.state == "ready":
                return True
            time.sleep(0.01)
        if self.running:
            self.crash()
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
