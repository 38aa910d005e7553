"""What the server's counter of sessions really counts: on it rests whether somebody's work is undone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from recyclic_backups.guard import watch as watches
from recyclic_backups.guard.counted import CountedServer
from recyclic_backups.guard.session_count import Names
from recyclic_backups.guard.watch import watching
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.guard.conftest import SEEN

NAMES = Names("recyclic_guard_test", "recyclic_guard_test_own")
OTHERS = [pytest.param(major, marks=pytest.mark.slow) for major in (16, 18)]


@dataclass
class Shop:
    """A server of one version with a database, and sessions of ours and of others."""

    cluster: ScratchCluster

    @property
    def ours(self) -> CountedServer:
        """The server as the guard uses it."""
        return CountedServer.of(self.cluster.server, "shop", NAMES.own)

    def psql(self, name: str, statement: str, code: int = 0) -> None:
        """A session of that application name."""
        environment = {**self.cluster.server.environment("shop"), "PGAPPNAME": name, "PATH": os.defpath}
        argv = [self.cluster.installation.path("psql"), "-X", "-q", "-o", os.devnull, "-c", statement]
        done = subprocess.run(argv, env=environment, check=False, capture_output=True)
        assert done.returncode == code, done.stderr

    def administer(self, *statements: str) -> None:
        """From another database."""
        with self.cluster.server.connect("postgres") as connection:
            for statement in statements:
                connection.execute(statement.encode())


@pytest.fixture(scope="module", params=[15, *OTHERS])
def shop(
    request: pytest.FixtureRequest, installations_by_major: dict[int, Installation], scratch_directory: Path
) -> Iterator[Shop]:
    """One server for the module: it is thrown away."""
    if request.param not in installations_by_major:
        pytest.skip(f"versions: PostgreSQL {request.param} is not here")
    with ScratchCluster.start(installations_by_major[request.param], scratch_directory) as cluster:
        made = Shop(cluster)
        made.administer("CREATE DATABASE shop TEMPLATE template0")
        made.psql("", "CREATE TABLE t AS SELECT generate_series(1, 20000) i")
        yield made


def test_commands_and_our_own_sessions_are_accounted_for(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a guard that always refuses: parallel workers, vacuum and refused passwords are no sessions."""
    monkeypatch.setattr(watches, "_SETTLE_SECONDS", 60)  # a busy server ends sessions slowly
    ours = shop.ours
    with watching(shop.cluster.server, "shop", NAMES) as watch:
        with ours.connect("shop") as connection:
            connection.execute("SELECT 1")
        dump = [
            shop.cluster.installation.path("pg_dump"),
            "--no-password",
            f"--file={os.devnull}",
            "--no-sync",
        ]
        environment = {**ours.environment("shop"), "PATH": os.defpath}
        subprocess.run(dump, env=environment, check=True)
        for _ in range(3):
            shop.psql(
                NAMES.command,
                "SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; "
                f"SELECT count(*) FROM t; {SEEN}",
            )
        shop.psql(NAMES.command, f"{SEEN}; SELECT 1/0", code=1)
        shop.psql(NAMES.command, f"{SEEN}; SET application_name = 'alembic'; VACUUM", code=1)
        assert watch.objections(ours.tally) == ()
        assert ours.tally.sessions == 2


def test_one_short_session_of_somebody_else_is_an_objection(shop: Shop) -> None:
    """Prevents a sale that took ten milliseconds from being undone."""
    with watching(shop.cluster.server, "shop", NAMES) as watch:
        shop.psql(NAMES.command, SEEN)
        shop.psql("till", "DELETE FROM t WHERE i = 1")
        assert len(watch.objections(shop.ours.tally)) == 1


def test_a_counter_that_began_anew_is_an_objection(shop: Shop) -> None:
    """Prevents everybody who was there before from being forgotten."""
    with watching(shop.cluster.server, "shop", NAMES) as watch:
        shop.psql(NAMES.command, f"SELECT pg_stat_reset(); {SEEN}")
        (objection,) = watch.objections(shop.ours.tally)
        assert "reset" in objection


def test_a_database_that_was_made_anew_is_an_objection(shop: Shop) -> None:
    """Prevents the counter of another database from vouching for the one that was guarded."""
    with watching(shop.cluster.server, "shop", NAMES) as watch:
        shop.administer("ALTER DATABASE shop RENAME TO shut", "CREATE DATABASE shop")
        try:
            (objection,) = watch.objections(shop.ours.tally)
            assert "dropped, or made anew" in objection
        finally:
            shop.administer("DROP DATABASE shop", "ALTER DATABASE shut RENAME TO shop")


def test_a_watch_that_was_interrupted_is_an_objection(shop: Shop) -> None:
    """Prevents a guard that slept from saying that it saw nobody."""
    with watching(shop.cluster.server, "shop", NAMES) as watch:
        with shop.cluster.server.connect("template1") as connection:
            connection.execute(
                "SELECT pg_terminate_backend(%s)", (watch.connection.info.backend_pid,)
            ).fetchone()
        assert watch.thread is not None
        watch.thread.join(60)
        (objection,) = watch.objections(shop.ours.tally)
        assert objection.startswith("the watch was interrupted")
