"""Real servers for the tests: one throwaway cluster per process, and a fresh database per test.

``RECYCLIC_TEST_PG_MAJOR`` chooses the version of PostgreSQL (default: the first present of 15, 16, 18).
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from itertools import count
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from recyclic_backups.postgres.discovery import find_installations
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.operator import PASSPHRASE, Operator, variables_of
from recyclic_backups_tests.prepared_clusters import prepared
from recyclic_backups_tests.skipping import pytest_runtest_makereport  # noqa: F401 - pytest finds it here

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a shell. Dagster then lets SIGTERM be what SIGINT is, and every program that a test
    # starts afterwards would ignore both.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and under nohup, which programs pass on to theirs

# Whether a change may land is not left to chance, nor to how busy the machine is: the same examples in every run, each
# with all the time it needs. ``HYPOTHESIS_PROFILE=search`` looks for new ones, and remembers those that failed.
settings.register_profile(
    "landing", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", settings.get_profile("landing"), derandomize=False, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "landing"))

ENCRYPTED = {"BACKUP_ENCRYPTION": "true", "BACKUP_ENCRYPTION_KEY": PASSPHRASE}

PREFERRED_MAJORS = (15, 16, 18)


def _in_memory() -> Path | None:
    """Where files lie in memory, if there is plenty of it and programs may be run there; a container's is small."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or not os.access(memory, os.W_OK) or os.statvfs(memory).f_flag & os.ST_NOEXEC:
        return None
    return memory if disk_usage(memory).free > 4 << 30 else None


# Storages sync each object and its directory, and a disk takes milliseconds for each of tens of thousands. So the
# directories of tests, and those that programs ask the system for, are in memory, unless TMPDIR says where to put them.
if "TMPDIR" not in os.environ and (_memory := _in_memory()) is not None:
    os.environ["TMPDIR"] = str(_memory)
    tempfile.tempdir = None  # to be read anew

_numbers = count(1)

_connect, _environment = Server.connect, Server.environment
_OF_PEOPLE = {"search_path": '"$user", public', "row_security": "on"}


def _asked_by_a_test() -> bool:
    return str(sys._getframe(2).f_globals.get("__name__", "")).startswith("recyclic_backups_tests")


def _connect_as_asked(self: Server, *arguments: Any, **options: Any) -> Any:
    """A test that connects by itself is a person at psql, or the application: it finds tables in ``public``.

    What the product connects is left as it is: its sessions have ``pg_catalog`` alone as their search path.
    """
    if _asked_by_a_test():
        options["settings"] = {**_OF_PEOPLE, **(options.get("settings") or {})}
    return _connect(self, *arguments, **options)


def _environment_as_asked(self: Server, database: str, settings: Mapping[str, str] | None = None) -> Any:
    """The same for programs."""
    if _asked_by_a_test():
        settings = {**_OF_PEOPLE, **(settings or {})}
    return _environment(self, database, settings)


Server.connect = _connect_as_asked  # type: ignore[method-assign]
Server.environment = _environment_as_asked  # type: ignore[method-assign]


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: the garbage collector need not look at it again and again."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running() -> Iterator[None]:
    """No test may leave a process behind: on an operator's machine it would be a server with their data."""
    before = set(_descendants())
    yield
    # Long: a busy machine ends orphans slowly, and the last test would have the blame.
    deadline = time.monotonic() + 30
    while (left := _left(before)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"processes left running: {left}"


@pytest.fixture(scope="session")
def installations_by_major() -> dict[int, Installation]:
    """Every installation that has a server, by major version."""
    found = find_installations(os.environ.get("PG_BIN"), os.environ.get("PATH"))
    return {each.major: each for each in reversed(found) if each.has_server}


@pytest.fixture(scope="session")
def installation(installations_by_major: dict[int, Installation]) -> Installation:
    """The installation that tests use when the version does not matter to them."""
    wished = os.environ.get("RECYCLIC_TEST_PG_MAJOR")
    for major in (int(wished),) if wished else (*PREFERRED_MAJORS, *sorted(installations_by_major)):
        if major in installations_by_major:
            return installations_by_major[major]
    raise AssertionError(
        f"no PostgreSQL {wished or ''} server programs; found {sorted(installations_by_major)}"
    )


@pytest.fixture(scope="session")
def scratch_directory() -> Iterator[Path]:
    """Where scratch clusters of tests live.

    Open to all, unlike pytest's own directories, which a server that must not run as root cannot enter.
    """
    with TemporaryDirectory(prefix="recyclic-tests-") as name:
        Path(name).chmod(0o1777)
        yield Path(name)


@pytest.fixture(scope="session", autouse=True)
def prepared_clusters(scratch_directory: Path) -> Iterator[None]:
    """See :mod:`recyclic_backups_tests.prepared_clusters`."""
    with prepared(scratch_directory):
        yield


@pytest.fixture(scope="session")
def cluster(installation: Installation, scratch_directory: Path) -> Iterator[ScratchCluster]:
    """A running server shared by this process's tests: leave its roles and settings as you found them."""
    with ScratchCluster.start(installation, scratch_directory) as running:
        yield running


@pytest.fixture
def database(cluster: ScratchCluster) -> Iterator[str]:
    """The name of a new, empty database; dropped afterwards, whoever is still connected."""
    with _temporary_database(cluster, "template0") as name:
        yield name


@pytest.fixture(scope="session")
def recyclic_template(cluster: ScratchCluster) -> str:
    """A database filled with the demonstration's data, small: to be copied, never changed."""
    from recyclic_backups.demo.dataset import fill

    name = "recyclic_template"
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    fill(cluster.server, name, scale=0.02, today=date(2026, 11, 22))
    return name


@pytest.fixture
def recyclic_database(cluster: ScratchCluster, recyclic_template: str) -> Iterator[str]:
    """The name of a fresh copy of the demonstration's database, at a tiny scale."""
    from recyclic_backups.demo.dataset import set_database_properties

    with _temporary_database(cluster, recyclic_template) as name:
        set_database_properties(cluster.server, name)
        yield name


@contextmanager
def _temporary_database(cluster: ScratchCluster, template: str) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with cluster.server.connect("postgres") as connection:
        # Half the work of the default strategy, which writes each page to the log (sql-createdatabase.html).
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    try:
        yield name
    finally:
        with cluster.server.connect("postgres") as connection:
            # A test may have renamed or dropped it: that is what restores do.
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _descendants() -> Iterator[int]:
    """Processes started, at whatever remove, by this one; none where /proc does not tell."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = status.read_text(errors="replace").rpartition(")")[2].split()
            parents[int(status.parent.name)] = int(fields[1])
    own = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in own} - own:
        yield from grown
        own |= grown


def _left(before: set[int]) -> list[str]:
    left = []
    for pid in set(_descendants()) - before:
        with suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            # Python's own, ended by the interpreter.
            if "resource_tracker" not in command and "forkserver" not in command:
                left.append(f"{pid} {command.strip()}")
    return left


@pytest.fixture
def operator(
    request: pytest.FixtureRequest,
    cluster: ScratchCluster,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Operator:
    """The command line beside a copy of the demonstration's database, encryption on, an empty storage.

    Beside two small tables where a test or its file is marked ``small``: what is in them is no matter there.
    """
    is_small = request.node.get_closest_marker("small") is not None
    database: str = request.getfixturevalue("small_database" if is_small else "recyclic_database")
    variables = variables_of(cluster.server, database)
    return Operator(tmp_path, capsys, {**variables, **ENCRYPTED})


@pytest.fixture
def small_database(cluster: ScratchCluster, database: str) -> str:
    """A database that dumps in no time: two tables, a sequence, a secret to look for."""
    with cluster.server.connect(database) as connection:
        connection.execute(
            "CREATE TABLE member (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);"
            "INSERT INTO member (name) SELECT 'Amélie Plaintext-Marker ' || n FROM generate_series(1, 500) n;"
            "CREATE TABLE sale (id int PRIMARY KEY, member_id int REFERENCES member, total numeric(12,2));"
            "INSERT INTO sale SELECT n, n, n * 1.5 FROM generate_series(1, 500) n"
        )
    return database


@pytest.fixture
def small_operator(
    cluster: ScratchCluster, small_database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Operator:
    """The command line beside two small tables."""
    variables = variables_of(cluster.server, small_database)
    return Operator(tmp_path, capsys, {**variables, **ENCRYPTED})


@pytest.fixture
def memory() -> MemoryStore:
    """A storage in RAM into which faults can be put."""
    return MemoryStore()


@pytest.fixture
def house(cluster: ScratchCluster, small_database: str, memory: MemoryStore) -> House:
    """The small database, a storage in RAM, encryption on."""
    return House(cluster.server, small_database, memory)
