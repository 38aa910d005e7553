"""Sites for faults: a tiny database, one whose dump takes a moment, and a server that a test may crash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.faults.site import Site
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.operator import Operator, variables_of

_BULK = """
    CREATE TABLE bulk (id int PRIMARY KEY, noise text NOT NULL);
    INSERT INTO bulk SELECT n, (SELECT string_agg(md5((n * 40 + m)::text), '') FROM generate_series(1, 40) m)
    FROM generate_series(1, 4000) n;
    CREATE TABLE note (id int PRIMARY KEY, text text);
    INSERT INTO note SELECT n, 'note ' || n FROM generate_series(1, 100) n;
"""


@pytest.fixture
def site(
    cluster: ScratchCluster, small_database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Site]:
    """Two small tables, encrypted; the storage is empty."""
    yield from _site(cluster, small_database, tmp_path, capsys)


@pytest.fixture
def bulky_site(
    cluster: ScratchCluster, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Site]:
    """A table of 5 MB: its dump, at 2 MB a second, leaves time to be interrupted."""
    with cluster.server.connect(database) as connection:
        connection.execute(_BULK)
    yield from _site(cluster, database, tmp_path, capsys, BACKUP_RATE_LIMIT="2MB")


@pytest.fixture(scope="module")
def fragile_cluster(installation: Installation, scratch_directory: Path) -> Iterator[ScratchCluster]:
    """A server that tests may crash and stop."""
    with ScratchCluster.start(installation, scratch_directory) as running:
        with running.server.connect("postgres") as connection:
            connection.execute("CREATE DATABASE till TEMPLATE template0")
        with running.server.connect("till") as connection:
            connection.execute(_BULK)
        yield running


@pytest.fixture
def fragile_site(
    fragile_cluster: ScratchCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Site]:
    """The bulky database on a server of its own, which is running again when the next test begins."""
    if not fragile_cluster.running:
        fragile_cluster.restart()
    yield from _site(fragile_cluster, "till", tmp_path, capsys, BACKUP_RATE_LIMIT="2MB")


def _site(
    cluster: ScratchCluster,
    database: str,
    directory: Path,
    capture: pytest.CaptureFixture[str],
    **variables: str,
) -> Iterator[Site]:
    operator = Operator(
        directory,
        capture,
        {
            **variables_of(cluster.server, database),
            "BACKUP_ENCRYPTION": "true",
            "BACKUP_ENCRYPTION_KEY": KEY,
            "BACKUP_LOCK_WAIT": "15",
            **variables,
        },
    )
    yield Site(operator, cluster.server, database)
