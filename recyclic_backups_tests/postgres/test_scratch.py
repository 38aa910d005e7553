"""Throwaway servers: usable, private, and gone whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recyclic_backups.errors import DatabaseError, ProgramFailed, ProgramMissing
from recyclic_backups.postgres import account, scratch
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups_tests.postgres.test_process import wait_until_gone
from recyclic_backups_tests.prepared_clusters import initialize_with_initdb


@pytest.fixture(autouse=True)
def no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters made here are made by initdb, as everywhere but in tests."""
    monkeypatch.setattr(ScratchCluster, "_initialize", initialize_with_initdb)


def one(server: Server, query: str, database: str = "postgres") -> object:
    """The first value of a query's first row."""
    with server.connect(database) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def postmaster_pid(data_directory: Path) -> int:
    """The main process of the server in a data directory."""
    return int((data_directory / "postmaster.pid").read_text().splitlines()[0])


def test_a_cluster_answers_on_both_ways_in(cluster: ScratchCluster) -> None:
    """A drill goes through the socket, the demonstration shows the address: both must lead to this server."""
    shown = str(one(cluster.server, "SHOW server_version"))
    assert shown.split(maxsplit=1)[0] == cluster.installation.version  # Debian adds its package's version
    query = "SELECT system_identifier::text FROM pg_control_system()"
    assert one(cluster.server, query) == one(cluster.server_on_socket, query)
    assert one(cluster.server_on_socket, "SHOW server_encoding") == "UTF8"


def test_nobody_gets_in_without_the_password(cluster: ScratchCluster) -> None:
    """A drill's server holds the production data: other users of the machine must stay out."""
    for server in (cluster.server, cluster.server_on_socket):
        intruder = Server(host=server.host, port=server.port, user="postgres", password="guess")
        with pytest.raises(DatabaseError, match="authentication failed"), intruder.connect("postgres"):
            pass
    home = cluster.home.stat()
    assert home.st_uid == os.geteuid()
    assert stat.S_IMODE(home.st_mode) == (0o710 if os.geteuid() == 0 else 0o700)
    assert stat.S_IMODE(cluster.data_directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(cluster.log_path.stat().st_mode) == 0o600
    assert cluster.server.password not in repr(cluster.server)
    assert not (cluster.home / "password").exists()


def test_a_crash_loses_nothing_committed_and_a_restart_recovers(
    cluster: ScratchCluster, database: str
) -> None:
    """Fault tests mean nothing if the crash is a polite one, or loses more than a power cut would."""
    with cluster.server.connect(database) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS i")
    pid = postmaster_pid(cluster.data_directory)
    cluster.crash()
    assert not cluster.running
    wait_until_gone(pid)
    cluster.crash()  # a second time is no error
    cluster.restart()
    assert one(cluster.server, "SELECT count(*) FROM kept", database) == 1000
    assert "was not properly shut down" in cluster.log_tail(1 << 16)


def test_a_stopped_cluster_starts_again_with_new_settings(cluster: ScratchCluster) -> None:
    """WAL archiving is switched on by settings that need a restart."""
    value = "it's a 'quoted' \\ value"
    cluster.configure({"cluster_name": value})
    try:
        cluster.stop()
        assert not cluster.running
        cluster.restart()
        assert one(cluster.server, "SHOW cluster_name") == value
    finally:
        cluster.configure({"cluster_name": ""})
        cluster.restart()


def test_a_port_taken_meanwhile_is_not_the_end(
    installation: Installation, scratch_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two drills at once must not end in `could not bind`, nor in each other's server."""
    free_port = scratch._free_port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [taken.getsockname()[1]]
        monkeypatch.setattr(scratch, "_free_port", lambda: ports.pop() if ports else free_port())
        with ScratchCluster.start(installation, scratch_directory) as cluster:
            assert not ports
            assert cluster.server.port != taken.getsockname()[1]
            assert one(cluster.server, "SELECT 1") == 1


def test_whoever_takes_the_port_of_a_server_that_died_is_told_nothing(
    installation: Installation, scratch_directory: Path
) -> None:
    """Attack: the out-of-memory killer ends a drill's server, and another user's, which lets everybody in, takes its
    port: production's rows would go there, and its answers would be a proof.
    """
    with (
        ScratchCluster.start(installation, scratch_directory) as theirs,
        ScratchCluster.start(installation, scratch_directory) as ours,
    ):
        ours.crash()
        (theirs.data_directory / "pg_hba.conf").write_text("host all all all trust\n")
        theirs._port = ours.server.port
        theirs.restart()
        assert theirs.server.port == ours.server.port
        with pytest.raises(DatabaseError, match="scram-sha-256"), ours.server.connect("postgres"):
            pass


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(
    installation: Installation, scratch_directory: Path
) -> None:
    """A drill that fails must name the setting, not time out, and must not leave files behind."""
    place = scratch_directory / "fails"
    place.mkdir()
    place.chmod(0o1777)
    with (
        pytest.raises(ProgramFailed, match='"shared_buffers"'),
        ScratchCluster.start(installation, place, settings={"shared_buffers": "plenty"}),
    ):
        pass
    with pytest.raises(ProgramFailed, match="initdb failed"):
        ScratchCluster.start(installation, place, locale="tlh_QO.UTF-8").__enter__()
    place.rmdir()  # empty


def test_an_error_inside_the_block_still_ends_the_server(
    installation: Installation, scratch_directory: Path
) -> None:
    """A failed comparison must not leave a copy of production running."""
    started = []

    def fail(cluster: ScratchCluster) -> None:
        started.append((cluster.home, postmaster_pid(cluster.data_directory)))
        raise RuntimeError("mine")

    with (
        pytest.raises(RuntimeError, match="mine"),
        ScratchCluster.start(installation, scratch_directory) as cluster,
    ):
        fail(cluster)
    ((home, pid),) = started
    wait_until_gone(pid)
    assert not home.exists()


@pytest.mark.parametrize("pid_file", ["as it is", "fifo"])
def test_a_cluster_does_not_outlive_a_killed_owner(
    installation: Installation, scratch_directory: Path, pid_file: str
) -> None:
    """The out-of-memory killer must not leave a server with a copy of production, nor its files.

    Attack: the server's superuser laid a FIFO in the place of its pid file, for which the watchdog would wait for ever.
    """
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from recyclic_backups.postgres.discovery import inspect\n"
        "from recyclic_backups.postgres.scratch import ScratchCluster\n"
        "with ScratchCluster.start(inspect(Path(sys.argv[1])), Path(sys.argv[2])) as cluster:\n"
        "    print(cluster.data_directory, flush=True)\n"
        "    time.sleep(600)\n"
    )
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", script, str(installation.directory), str(scratch_directory)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
        text=True,
    ) as owner:
        assert owner.stdout is not None
        data_directory = Path(owner.stdout.readline().strip())
        pid = postmaster_pid(data_directory)
        if pid_file == "fifo":
            (data_directory / "postmaster.pid").unlink()
            os.mkfifo(data_directory / "postmaster.pid")
        owner.send_signal(signal.SIGKILL)
    if pid_file != "fifo":  # else it ends by itself when it finds its files gone, within a minute
        wait_until_gone(pid)
    deadline = time.monotonic() + 60
    while data_directory.exists():
        assert time.monotonic() < deadline, f"{data_directory} is still there"
        time.sleep(0.01)


def test_a_closed_directory_stays_closed_and_a_long_path_breaks_no_socket(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening a directory to everyone, to start a server, would give its files away.

    The system limits socket paths to about 100 bytes, and drills get long directories.
    """
    monkeypatch.setattr(account, "SOCKET_PATH_LIMIT_BYTES", 30)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with ScratchCluster.start(installation, closed) as cluster:
        assert cluster.socket_directory != cluster.home
        assert one(cluster.server_on_socket, "SELECT 1") == 1
        if os.geteuid() == 0:
            assert not cluster.home.is_relative_to(closed)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert not list(closed.iterdir())
    assert not cluster.socket_directory.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only root changes users")
def test_programs_that_the_servers_user_cannot_reach_are_copied(
    installations_by_major: dict[int, Installation], tmp_path: Path, scratch_directory: Path
) -> None:
    """A virtual environment below root's home is closed to the user that runs the server."""
    wheel = next(
        (each for each in installations_by_major.values() if "pginstall" in str(each.directory)), None
    )
    if wheel is None:
        pytest.skip("wheel: the embedded PostgreSQL is not installed here")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "install").symlink_to(wheel.directory.parent)
    hidden = Installation(closed / "install" / "bin", wheel.major, wheel.version, wheel.programs)
    with ScratchCluster.start(hidden, scratch_directory) as cluster:
        assert cluster.installation.directory.is_relative_to(cluster.home)
        assert one(cluster.server, "SHOW server_version") == wheel.version


def test_clients_alone_make_no_server(tmp_path: Path) -> None:
    """Many machines have postgresql-client only: the hint must name the package that is missing."""
    clients = Installation(tmp_path, 15, "15.18", frozenset({"pg_dump", "pg_restore"}))
    with pytest.raises(ProgramMissing, match="no initdb and no postgres") as caught:
        ScratchCluster.start(clients, tmp_path).__enter__()
    assert "postgresql-15" in caught.value.hint
