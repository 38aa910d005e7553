"""Where drills happen: never on production, and without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from recyclic_backups.catalog.read_once import FOLDER
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups_tests.operator import Operator


@pytest.fixture(scope="module")
def staging(installation: Installation, scratch_directory: Path) -> Iterator[ScratchCluster]:
    """Another server, as an association's staging machine has one."""
    with ScratchCluster.start(installation, scratch_directory) as running:
        yield running


def _url(server: Server) -> str:
    return f"postgresql://{server.user}:{server.password}@{server.host}:{server.port}/"


def _databases_and_roles(server: Server) -> set[str]:
    with server.connect("postgres") as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles"
        ).fetchall()
    return {str(name) for (name,) in rows}


@pytest.mark.parametrize("scenario", [pytest.param("simple", marks=pytest.mark.slow), "partial", "full"])
def test_a_drill_on_a_staging_server_leaves_nothing_there(
    small_operator: Operator, staging: ScratchCluster, scenario: str
) -> None:
    """Prevents members' data from staying on a staging server after every Sunday."""
    small_operator.backup_id()
    before = _databases_and_roles(staging.server)
    report = small_operator.must("drill", scenario, "--json", DRILL_SERVER_URL=_url(staging.server)).json
    assert report["passed"], report["reasons"]
    assert "staging" in report["ground"]
    assert _databases_and_roles(staging.server) == before


def test_a_drill_refuses_the_production_server_by_address_and_by_identity(
    small_operator: Operator, cluster: ScratchCluster
) -> None:
    """Prevents a drill from writing to production because somebody copied the wrong URL."""
    small_operator.backup_id()
    before = _databases_and_roles(cluster.server)
    same = small_operator.run("drill", "simple", DRILL_SERVER_URL=_url(cluster.server))
    assert same.code == 70
    assert "production" in same.err
    # Under another address it is still the same cluster.
    other_name = _url(cluster.server).replace("127.0.0.1", "localhost")
    alias = small_operator.run("drill", "simple", DRILL_SERVER_URL=other_name)
    assert alias.code == 70
    assert "the server that the backups are of" in alias.err
    assert _databases_and_roles(cluster.server) == before
    assert all(
        check["check"] != "drill" for check in small_operator.must("show", "latest", "--json").json["checks"]
    )


def test_a_drill_does_not_even_connect_to_production(
    operator: Operator, installation: Installation, scratch_directory: Path
) -> None:
    """Prevents a drill that works only while the server is there which it is rehearsed for to lose."""
    with ScratchCluster.start(installation, scratch_directory) as production:
        with production.server.connect("postgres") as connection:
            connection.execute("CREATE DATABASE till TEMPLATE template0")
        with production.server.connect("till") as connection:
            connection.execute(
                "CREATE TABLE t (id int PRIMARY KEY, x text); INSERT INTO t SELECT n, n FROM generate_series(1, 50) n"
            )
        operator.variables |= {
            "POSTGRES_PORT": str(production.server.port),
            "POSTGRES_PASSWORD": production.server.password,
            "POSTGRES_DB": "till",
        }
        operator.backup_id()
        production.stop()
        for scenario in ("simple", "full"):
            assert operator.must("drill", scenario, "--json").json["passed"]


def test_what_a_killed_drill_left_on_staging_is_dropped_by_the_next(
    small_operator: Operator, staging: ScratchCluster
) -> None:
    """Prevents copies of the members' data from piling up on staging, one for each drill that was killed."""
    small_operator.backup_id()
    with staging.server.connect("postgres") as connection:
        connection.execute("CREATE DATABASE recyclic_drill_simple_0a1b2c TEMPLATE template0")
    small_operator.must("drill", "simple", DRILL_SERVER_URL=_url(staging.server))
    assert not any(name.startswith("recyclic_drill_") for name in _databases_and_roles(staging.server))


@pytest.mark.parametrize(
    ("scenario", "after_seconds"),
    [
        ("simple", 1.2),
        ("full", 2.5),
        *(
            pytest.param(scenario, after, marks=pytest.mark.slow)
            for scenario in ("simple", "partial", "full")
            for after in (0.4, 0.8, 1.6, 2.0, 3.0, 4.5)
        ),
    ],
)
def test_a_drill_killed_at_any_moment_leaves_no_server_and_no_file(
    small_operator: Operator, scratch_directory: Path, scenario: str, after_seconds: float
) -> None:
    """Prevents a copy of the members' data, readable without any key, from staying in a temporary directory."""
    with _killed(
        small_operator, scratch_directory / f"drill-{scenario}-{after_seconds}", scenario
    ) as scratch:
        time.sleep(after_seconds)
    _require_nothing_left(scratch)


def test_what_a_killed_drill_had_extracted_goes_too(
    small_operator: Operator, scratch_directory: Path
) -> None:
    """Prevents the same where the drill is root's and its server is not: files that its keeper may not remove."""
    with _killed(small_operator, scratch_directory / "drill-extracted", "full") as scratch:
        deadline = time.monotonic() + 60
        while not any(scratch.glob("recyclic-*/drill-*/*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    _require_nothing_left(scratch)


@contextmanager
def _killed(operator: Operator, scratch: Path, scenario: str) -> Iterator[Path]:
    """A drill with that directory for its server, killed at the end of the block."""
    operator.backup_id()
    scratch.mkdir()
    scratch.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "recyclic_backups", "drill", scenario],
        cwd=operator.directory,
        env={**os.environ, **operator.variables, "BACKUP_SCRATCH": str(scratch)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield scratch
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _require_nothing_left(scratch: Path) -> None:
    deadline = time.monotonic() + 60
    while (left := _left_in(scratch)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, left


def _left_in(scratch: Path) -> list[str]:
    """Servers that run from the directory, and files in it, but for what is remembered of the storage's documents."""
    running = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = command.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(scratch) in text:
            running.append(text)
    # os.walk passes over directories that go away while it looks.
    files = [f"{folder}/{name}" for folder, _, names in os.walk(scratch) for name in names]
    return [*running, *(each for each in files if Path(each).parent != scratch / FOLDER)]


def test_a_drill_without_server_programs_is_an_error_and_no_verdict(
    small_operator: Operator, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a machine with the client programs only from looking as if its backups were proven, or broken."""
    backup_id = small_operator.backup_id()
    clients = replace(installation, programs=frozenset({"pg_dump", "pg_restore", "psql"}))
    monkeypatch.setattr("recyclic_backups.postgres.discovery.find_installations", lambda *_: [clients])
    outcome = small_operator.run("drill", "simple")
    assert outcome.code == 20
    assert "DRILL_SERVER_URL" in outcome.err
    assert all(c["check"] != "drill" for c in small_operator.must("show", backup_id, "--json").json["checks"])


def test_a_drill_without_space_is_refused_before_it_begins(
    small_operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a drill from filling the disk that the next backup needs."""
    from recyclic_backups.drill import server

    small_operator.backup_id()
    monkeypatch.setattr(server, "_SPACE_FACTOR", 1e12)
    outcome = small_operator.run("drill", "simple")
    assert outcome.code == 70
    assert "BACKUP_SCRATCH" in outcome.err


@pytest.mark.small
def test_a_drill_of_an_empty_storage_says_that_there_is_nothing(operator: Operator) -> None:
    """Prevents a drill of nothing from passing."""
    (operator.directory / "backups").mkdir()
    assert operator.run("drill", "full").code == 60
