"""Whoever becomes superuser of a throwaway server finds nothing there: no shell, no file, no network, no key."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from recyclic_backups.errors import ConfigurationError, DatabaseError, Refused
from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.confined import abi
from recyclic_backups.postgres.confinement import lacking
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster

needs_landlock = pytest.mark.skipif(
    sys.platform != "linux" or abi() < 4,
    reason="landlock: this kernel cannot shut a process in: validate says so",
)


def refusal(cluster: ScratchCluster, statement: str) -> str:
    """Why the server's superuser may not do something."""
    with pytest.raises(DatabaseError) as refused, cluster.server.connect("postgres") as connection:
        connection.execute(statement.encode())
    return refused.value.message


@needs_landlock
def test_its_superuser_has_no_shell(cluster: ScratchCluster, scratch_directory: Path) -> None:
    """Attack: COPY TO PROGRAM by code of a restored database, where the key of all backups is."""
    loot = scratch_directory / "loot"
    assert "could not execute" in refusal(cluster, f"COPY (SELECT 1) TO PROGRAM 'id > {loot}'")
    assert "could not execute" in refusal(
        cluster, f"COPY (SELECT 1) TO PROGRAM '{sys.executable} -V > {loot}'"
    )
    assert not loot.exists()


@needs_landlock
def test_its_superuser_reads_and_writes_nothing_of_ours(
    cluster: ScratchCluster, scratch_directory: Path
) -> None:
    """Attack: the environment of the process that holds the key, the storage, the home of the user."""
    ours = scratch_directory / "storage"
    ours.write_text("a manifest")
    ours.chmod(0o644)
    for path in (
        f"/proc/{os.getpid()}/environ",
        "/proc/self/environ",
        "/proc/1/environ",
        str(ours),
        "/etc/fstab",
    ):
        assert "Permission denied" in refusal(cluster, f"SELECT pg_read_file('{path}')"), path
    written = scratch_directory / "written"
    assert "Permission denied" in refusal(cluster, f"COPY (SELECT 1) TO '{written}'")
    # Nor what drills put beside it: the script that will be run with the key.
    assert "Permission denied" in refusal(cluster, f"COPY (SELECT 1) TO '{cluster.home}/recover.py'")
    with cluster.server.connect("postgres") as connection:
        connection.execute("SELECT lo_from_bytea(7, 'x')")
    assert "Permission denied" in refusal(cluster, "SELECT lo_export(7, '/tmp/exported')")
    with cluster.server.connect("postgres") as connection:
        connection.execute("SELECT lo_unlink(7)")
    assert not written.exists()


@needs_landlock
def test_its_server_reaches_no_other_server(cluster: ScratchCluster) -> None:
    """Attack: the production server, which knows this machine, through a foreign table or a subscription."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        said = refusal(
            cluster,
            f"CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port={port} dbname=x connect_timeout=2' PUBLICATION p",
        )
    assert "Permission denied" in said, said  # and not a timeout: nobody answers there
    with cluster.server.connect("postgres") as connection:
        assert connection.execute("SELECT count(*) FROM pg_subscription").fetchone() == (0,)


def test_it_knows_nothing_of_our_environment(cluster: ScratchCluster) -> None:
    """Attack: the key in the server's own environment."""
    assert cluster._process is not None
    environment = Path(f"/proc/{cluster._process.pid}/environ").read_bytes()
    names = {each.partition(b"=")[0] for each in environment.split(b"\0") if each}
    assert names <= {b"PATH", b"HOME", b"LC_ALL", b"TZ"}, names
    status = Path(f"/proc/{cluster._process.pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Max core file size        0 " in Path(f"/proc/{cluster._process.pid}/limits").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only root chooses another user")
def test_it_never_runs_as_the_owner_of_production(
    cluster: ScratchCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: on a database's own host, user postgres may read and write all of production."""
    assert cluster._process is not None
    assert Path(f"/proc/{cluster._process.pid}").stat().st_uid != 0
    users = {"recyclic-scratch": 990, "postgres": 991, "nobody": 992}

    def known(name: str) -> pwd.struct_passwd:
        return pwd.struct_passwd((name, "x", users[name], users[name], "", "/", ""))

    monkeypatch.setattr(pwd, "getpwnam", known)
    assert (Account.for_servers().uid, Account.for_servers().shared) == (990, False)
    del users["recyclic-scratch"]
    assert (Account.for_servers().uid, Account.for_servers().shared) == (992, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only he has another user's server")
def test_another_program_of_the_servers_user_gets_no_file_of_ours(
    installation: Installation, scratch_directory: Path
) -> None:
    """Attack: a daemon of ``nobody`` lays a link in the new server's directory; root writes there, and gives it away.

    ``/etc/shadow`` in the place of the file of the password became that user's own; what the server logs, with words
    of whoever connects to it, was appended to any file.
    """
    victim = scratch_directory / "shadow"
    victim.write_text("of root")
    victim.chmod(0o600)
    with ScratchCluster.start(installation, scratch_directory) as cluster:
        account = cluster._account

        def as_the_user(command: str) -> int:
            return subprocess.run(
                ["/bin/sh", "-c", command], user=account.uid, group=account.gid, extra_groups=[], check=False
            ).returncode

        home, data = cluster.home, cluster.data_directory
        for name in ("password", "programs", "server.log.1", "drill-x"):
            assert as_the_user(f"ln -s {victim} {home}/{name} 2>/dev/null"), name
        for name in ("data", "server.log", "socket"):
            assert as_the_user(f"mv {home}/{name} {home}/away 2>/dev/null"), name
        for lay in (f"ln -s {victim}", "mkfifo", "ln conf"):
            assert not as_the_user(f"cd {data}; mv postgresql.conf conf; {lay} postgresql.conf")
            with pytest.raises(Refused, match="in the place of"):
                cluster.configure({"cluster_name": "x"})
            assert not as_the_user(f"cd {data}; rm -f postgresql.conf; mv conf postgresql.conf")
    assert (victim.read_text(), victim.stat().st_uid) == ("of root", 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only he gives files away")
def test_whoever_owns_the_scratch_directory_gets_no_program_of_his_run() -> None:
    """Loss prevented: he renames our directory while root drills, and root runs his modules with the key."""
    account = Account.for_servers()
    above = Path(tempfile.mkdtemp())  # where everybody may go
    above.chmod(0o755)
    place = above / "scratch"
    place.mkdir(0o755)
    try:
        shutil.rmtree(account.private_directory(place))
        os.chown(place, 65534, 65534)
        with pytest.raises(ConfigurationError, match=f"the owner of {place} could put something else"):
            account.private_directory(place)
        os.chown(place, 0, 0)
        for directory in (place, above):
            directory.chmod(0o777)
            with pytest.raises(ConfigurationError, match=f"who may write to {directory} could put something"):
                account.private_directory(place)
            directory.chmod(0o1777)
            shutil.rmtree(account.private_directory(place))
        assert os.listdir(place) == []
    finally:
        shutil.rmtree(above)


def test_what_a_kernel_cannot_do_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: an operator who believes in a wall that is not there."""
    monkeypatch.setattr("recyclic_backups.postgres.confined.abi", lambda: 0)
    assert "no Landlock" in lacking(same_user=True)
    monkeypatch.setattr("recyclic_backups.postgres.confined.abi", lambda: 3)
    assert "use the network" in lacking(same_user=False)
    monkeypatch.setattr("recyclic_backups.postgres.confined.abi", lambda: 6)
    assert lacking(same_user=True) == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="linux: prctl is Linux's")
def test_our_own_environment_cannot_be_read_by_others_of_our_user() -> None:
    """Attack: any other process of the same user, a server with restored code in it too, reads /proc/PID/environ."""
    code = (
        "import ctypes, resource; from recyclic_backups.postgres.process import keep_to_ourselves; keep_to_ourselves();"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert finished.stdout.split() == ["0", "0"]  # PR_GET_DUMPABLE: below /proc it is root's


def test_what_its_superuser_puts_in_the_place_of_its_pid_file_makes_us_neither_wait_nor_remove(
    installation: Installation, scratch_directory: Path
) -> None:
    """Attack: a FIFO there, or the number of somebody else's shared memory, which root would remove for him."""
    libc = ctypes.CDLL(None, use_errno=True)
    segment = libc.shmget(0, 4096, 0o1600)  # IPC_PRIVATE, IPC_CREAT
    assert segment >= 0
    try:
        for in_its_place in ("fifo", "number"):
            with ScratchCluster.start(installation, scratch_directory) as cluster:
                pid_file = cluster.data_directory / "postmaster.pid"
                lines = pid_file.read_text().splitlines()
                pid_file.unlink()
                if in_its_place == "fifo":
                    os.mkfifo(pid_file)
                else:
                    pid_file.write_text("\n".join([*lines[:6], f"0 {segment}", *lines[7:]]))
                cluster.crash()
        if os.geteuid() == 0:  # else the server is our own user, whose memory it is
            assert libc.shmctl(segment, 2, ctypes.create_string_buffer(256)) == 0
    finally:
        libc.shmctl(segment, 0, None)
