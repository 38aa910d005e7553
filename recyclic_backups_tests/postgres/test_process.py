"""Programs: their bytes, their end, and what is told of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recyclic_backups.errors import DatabaseError, ProgramFailed, ProgramMissing
from recyclic_backups.postgres.process import PipedProcess, failure, first_complaint, run
from recyclic_backups.postgres.programs import dump_argv
from recyclic_backups.postgres.scratch import ScratchCluster

SHELL = ["/bin/sh", "-c"]


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    """Fails if a process is still there after a minute."""
    deadline = time.monotonic() + 60
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)


def test_a_program_that_fails_after_its_output_is_not_believed() -> None:
    """Prevents the half dump that ends in an ordinary end of file."""
    with PipedProcess([*SHELL, "echo half; exit 3"], {}, timeout_seconds=30) as process:
        assert process.read(100) == b"half\n"
        assert process.read(100) == b""
        with pytest.raises(ProgramFailed, match=r"sh failed \(exit code 3\)"):
            process.wait_ok()


def test_a_killed_program_names_its_signal() -> None:
    """The out-of-memory killer must not look like success, nor like a riddle."""
    with PipedProcess([*SHELL, "kill -KILL $$"], {}, timeout_seconds=30) as process:
        assert process.read(100) == b""
        with pytest.raises(ProgramFailed, match="sh was ended by SIGKILL") as caught:
            process.wait_ok()
    assert caught.value.retryable


def test_bytes_pass_both_ways_unchanged() -> None:
    """A pipe larger than its buffer must lose nothing and never deadlock."""
    sent = os.urandom(3 << 20)
    received = bytearray()
    with PipedProcess(["cat"], {}, timeout_seconds=30, stdin=True) as process:

        def drain() -> None:
            buffer = bytearray(1 << 16)
            while size := process.readinto(buffer):
                received.extend(buffer[:size])

        reader = threading.Thread(target=drain)
        reader.start()
        process.write(sent)
        process.close_stdin()
        reader.join(30)
        assert process.wait_ok() == ""
    assert bytes(received) == sent


def test_a_chatty_program_neither_blocks_nor_fills_the_memory() -> None:
    """Thousands of warnings must not stop a dump halfway."""
    script = "i=0; while [ $i -lt 20000 ]; do echo warning $i >&2; i=$((i+1)); done; echo last >&2"
    with PipedProcess([*SHELL, script], {}, timeout_seconds=30) as process:
        assert process.read(1) == b""
        said = process.wait_ok()
    assert len(said) <= 64 << 10
    assert said.endswith("last\n")


def test_leaving_early_ends_the_program_and_its_children() -> None:
    """A dump nobody reads any more would hold its locks on production."""
    with PipedProcess([*SHELL, "sleep 60 & echo $!; wait"], {}, timeout_seconds=30) as process:
        child = int(process.read(100))
        pid = process.pid
    assert not alive(pid)
    wait_until_gone(child)


def test_a_program_deaf_to_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hanging program must not hang the backup."""
    monkeypatch.setattr("recyclic_backups.postgres.process._GRACE_SECONDS", 0.1)
    with PipedProcess(
        [*SHELL, "trap '' TERM; echo ready; while :; do sleep 0.1; done"], {}, timeout_seconds=30
    ) as process:
        assert process.read(100) == b"ready\n"
    assert not alive(process.pid)


def read_from_sleeper() -> None:
    """Reads what never comes."""
    with PipedProcess(["sleep", "60"], {}, timeout_seconds=0.2) as process:
        process.read(1)


def write_to_sleeper() -> None:
    """Writes more than the pipe holds."""
    with PipedProcess(["sleep", "60"], {}, timeout_seconds=0.2, stdin=True) as process:
        process.write(bytes(4 << 20))


def wait_for_sleeper() -> None:
    """Waits for the end."""
    with PipedProcess(["sleep", "60"], {}, timeout_seconds=0.2) as process:
        process.wait_ok()


def run_sleeper() -> None:
    """Runs it whole."""
    run(["sleep", "60"], {}, timeout_seconds=0.2)


@pytest.mark.parametrize("use", [read_from_sleeper, write_to_sleeper, wait_for_sleeper, run_sleeper])
def test_a_program_that_takes_too_long_is_ended(use: Callable[[], None]) -> None:
    """A server that stopped answering must not block every later backup."""
    with pytest.raises(ProgramFailed, match=r"did not finish within 0\.2 s") as caught:
        use()
    assert caught.value.retryable
    assert "BACKUP_TIMEOUT" in caught.value.hint


def test_writing_to_a_program_that_gave_up_tells_its_own_reason() -> None:
    """`Broken pipe` hides why pg_restore stopped."""
    argv = [*SHELL, "echo 'pg_restore: error: could not read from input file' >&2; exit 1"]
    with (
        PipedProcess(argv, {}, timeout_seconds=30, stdin=True) as process,
        pytest.raises(ProgramFailed, match="could not read from input file"),
    ):
        process.write(bytes(8 << 20))  # more than any pipe holds


def test_a_program_does_not_outlive_us() -> None:
    """When the backup is killed, pg_dump must let go of its locks on production."""
    script = (
        "import os, time\n"
        "from recyclic_backups.postgres.process import PipedProcess\n"
        "with PipedProcess(['sleep', '60'], {}, timeout_seconds=90) as process:\n"
        "    print(process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        while Path(f"/proc/{child}/comm").read_text() != "sleep\n":
            time.sleep(0.01)  # until then it is setpriv, which may not have asked yet to die with us
        parent.send_signal(signal.SIGKILL)
    wait_until_gone(child)


def test_a_child_sees_nothing_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys in a child's environment end in its core dumps; PGSERVICE would send it to another server."""
    monkeypatch.setenv("BACKUP_ENCRYPTION_KEY", "correct horse battery staple")
    monkeypatch.setenv("PGSERVICE", "elsewhere")
    printed = run(["env"], {"PGHOST": "here"}, timeout_seconds=30).stdout.decode()
    assert "correct horse" not in printed
    assert "PGSERVICE" not in printed
    assert "PGHOST=here\n" in printed
    assert "LC_ALL=C\n" in printed


def test_a_nice_program_is_nice() -> None:
    """Compression beside production multiplies its latency."""
    with PipedProcess(["cat"], {}, timeout_seconds=30, stdin=True, nice=True) as process:
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 10
        process.wait_ok()


def test_input_and_output_of_a_short_program() -> None:
    """The list of an archive's contents passes this way: nothing may be cut off."""
    text = b"z\na\n" * 50_000
    assert run(["sort", "-u"], {}, timeout_seconds=30, input=text).stdout == b"a\nz\n"


def test_a_missing_program_is_named() -> None:
    """A backup that never ran for want of pg_dump must say so."""
    with pytest.raises(ProgramMissing, match="/nowhere/pg_dump"):
        run(["/nowhere/pg_dump"], {}, timeout_seconds=5)


@pytest.mark.parametrize(
    ("stderr", "sentence"),
    [
        (
            'pg_dump: error: connection to server at "127.0.0.1", port 5432 failed: FATAL:  password '
            'authentication failed for user "bob"\n',
            'connection to server at "127.0.0.1", port 5432 failed: password authentication failed for '
            'user "bob"',
        ),
        (
            "pg_restore: while PROCESSING TOC:\n"
            "pg_restore: from TOC entry 3; 1 2 TABLE DATA t bob\n"
            'pg_restore: error: COPY failed for table "t": ERROR:  duplicate key value violates unique '
            'constraint "t_pkey"\nDETAIL:  Key (email)=(zoe@example.org) already exists.\n'
            'CONTEXT:  COPY t, line 2: "zoe@example.org"\n',
            'COPY failed for table "t": duplicate key value violates unique constraint "t_pkey"',
        ),
        (
            'pg_dump: error: Dumping the contents of table "t" failed: PQgetCopyData() failed.\n'
            "pg_dump: detail: Error message from server: FATAL:  terminating connection due to administrator "
            "command\npg_dump: detail: Command was: COPY t TO stdout;\n",
            'Dumping the contents of table "t" failed: terminating connection due to administrator command',
        ),
        ("pg_dump: warning: there are circular foreign keys\n", "warning: there are circular foreign keys"),
        ("sh: 1: nonsense: not found\n", "1: nonsense: not found"),
        ("pg_restore: [archiver (db)] connection failed\n", "connection failed"),
        ("", ""),
    ],
)
def test_the_reason_is_told_and_the_rows_are_not(stderr: str, sentence: str) -> None:
    """Error messages land in logs and mail: DETAIL and CONTEXT would carry personal data there."""
    assert first_complaint(stderr) == sentence


@pytest.mark.parametrize(
    ("said", "retryable"),
    [
        ("FATAL:  the database system is starting up", True),
        ("FATAL:  sorry, too many clients already", True),
        ("server closed the connection unexpectedly", True),
        ("ERROR:  canceling statement due to lock timeout", True),
        ('FATAL:  password authentication failed for user "bob"', False),
        ("ERROR:  unterminated quoted string", False),
        ("ERROR:  permission denied for table users", False),
    ],
)
def test_only_what_may_pass_by_itself_is_retried(said: str, retryable: bool) -> None:
    """Retrying a wrong password locks accounts; not retrying a restart loses the night's backup."""
    error = failure("pg_dump", 1, f"pg_dump: error: {said}\n")
    assert error.retryable is retryable
    assert isinstance(error, DatabaseError)


def test_a_wrong_password_is_told_without_the_password(cluster: ScratchCluster) -> None:
    """The sentence must lead to the setting, and never show the secret."""
    environment = {**cluster.server.environment("postgres"), "PGPASSWORD": "wrong-secret"}
    argv = dump_argv(cluster.installation, database="postgres", snapshot="", lock_wait_seconds=5)
    with PipedProcess(argv, environment, timeout_seconds=30) as process:
        assert process.read(1) == b""
        with pytest.raises(ProgramFailed, match="password authentication failed") as caught:
            process.wait_ok()
    assert "POSTGRES_PASSWORD" in caught.value.hint
    assert not caught.value.retryable
    assert "wrong-secret" not in f"{caught.value!r}"


def test_a_server_that_hangs_up_during_a_dump_fails_it_retryably(
    cluster: ScratchCluster, database: str
) -> None:
    """The archive read so far looks complete to its reader; only the exit code tells.

    A server that is stopped while it waits to send cannot say why any more: its client then sees the
    line end and nothing else.
    """
    with cluster.server.connect(database) as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT repeat(md5(i::text), 50) FROM generate_series(1, 9000) i"
        )
        argv = dump_argv(cluster.installation, database=database, snapshot="", lock_wait_seconds=5)
        with PipedProcess(argv, cluster.server.environment(database), timeout_seconds=60) as process:
            assert process.read(1 << 16)
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            while process.read(1 << 20):
                pass
            with pytest.raises(
                ProgramFailed, match=r"terminating connection|closed the connection"
            ) as caught:
                process.wait_ok()
    assert caught.value.retryable


def test_a_dump_of_a_database_with_a_hostile_name(cluster: ScratchCluster) -> None:
    """libpq reads `dbname=other` or a URL as a connection string: another database would be dumped."""
    name = "host=/nowhere 'quoted\\' dbname=postgres"
    quoted = '"' + name + '"'
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {quoted} TEMPLATE template0")
    try:
        with cluster.server.connect(name) as connection:
            connection.execute("CREATE TABLE only_here (i int)")
        argv = dump_argv(
            cluster.installation, database=name, snapshot="", lock_wait_seconds=5, schema_only=True
        )
        dumped = run(argv, cluster.server.environment("postgres"), timeout_seconds=60).stdout
        assert b"only_here" in dumped
    finally:
        with cluster.server.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE {quoted} WITH (FORCE)")
