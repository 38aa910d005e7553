"""What is looked at is asked for by its name: an owner gives that to something else meanwhile, and gains nothing."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from recyclic_backups.diagnose.diagnose import diagnose
from recyclic_backups.drill.probes import load_probes
from recyclic_backups.drill.server import DrillServer
from recyclic_backups.drill.simple import DrillContext, run_simple
from recyclic_backups.errors import BackupError
from recyclic_backups.guard.live import ask_live
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.restore.test_foreign_code import _hers
from recyclic_backups_tests.strange.conftest import Servers
from recyclic_backups_tests.strange.conftest import servers as servers  # noqa: PLC0414 - a fixture

# Writes a file on the server if a superuser, or who could be one again, calls it; in a read-only transaction too.
ACT = """
    CREATE SCHEMA m; GRANT USAGE ON SCHEMA m TO PUBLIC;
    CREATE FUNCTION m.act() RETURNS int LANGUAGE plpgsql AS $f$
    DECLARE way text;
    BEGIN
      FOREACH way IN ARRAY ARRAY['SELECT 1', 'RESET ROLE', 'RESET SESSION AUTHORIZATION'] LOOP
        BEGIN
          EXECUTE way;
          EXECUTE format('COPY (SELECT 1) TO %L', current_setting('data_directory') || '/owned');
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
      END LOOP;
      RETURN 1;
    END $f$;
    CREATE FUNCTION m.one(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM m.act(); RETURN 1; END';
"""
TABLES = """
    CREATE SCHEMA n; CREATE TABLE n.a AS SELECT g, repeat('x', 300) AS t FROM generate_series(1, 40000) g;
    CREATE TABLE n.t (a int); CREATE MATERIALIZED VIEW n.v AS SELECT 1 AS a; CREATE SEQUENCE n.s
"""
INSTEAD = "CREATE TABLE n.{0} AS SELECT 1::bigint AS a, 1::bigint AS last_value, true AS is_called;"
SWAPS = {
    "a schema": "ALTER SCHEMA n RENAME TO o; CREATE SCHEMA n;" + INSTEAD.format("t") + INSTEAD.format("s"),
    "a materialized view": "ALTER MATERIALIZED VIEW n.v RENAME TO o;" + INSTEAD.format("v"),
    "a sequence": "ALTER SEQUENCE n.s RENAME TO o;" + INSTEAD.format("s"),
}

_QUICK = {
    ("diagnose", "a materialized view"),
    ("backup", "a schema"),
    ("pg_dump", "a schema"),
    ("pg_dump", "a sequence"),
}


def _owned(cluster: ScratchCluster) -> Path:
    with cluster.server.connect("postgres") as connection:
        (directory,) = connection.execute("SELECT current_setting('data_directory')").fetchone() or ("",)
    return Path(directory) / "owned"


def _sql(cluster: ScratchCluster, text: str) -> psycopg.Connection[tuple[object, ...]]:
    where = {"host": cluster.server.host, "port": str(cluster.server.port), "dbname": "hers"}
    connection = psycopg.connect(user="mallory", password="mallory", autocommit=True, **where)  # type: ignore[arg-type]
    connection.execute(text.encode())
    return connection


def _swap(cluster: ScratchCluster, swap: str, readers: int, over: threading.Event) -> None:
    """As soon as that many sessions of others hold a lock on her first table."""
    query = "SELECT count(*) FROM pg_locks WHERE relation = 'n.a'::regclass AND granted AND pid <> pg_backend_pid()"
    # Where we hold the name she gives up, so that the test does not last as long as a backup may.
    with _sql(cluster, "SET lock_timeout = '3s'") as connection:
        while not over.is_set():
            found = connection.execute(query).fetchone()
            if found is not None and int(str(found[0])) >= readers:
                armed = [
                    f"CREATE INDEX ON n.{each} ((a + m.one(7)))" for each in "tvs" if f"n.{each} AS" in swap
                ]
                with suppress(psycopg.Error):
                    connection.execute("; ".join([swap, *armed]).encode())
                return
            time.sleep(0.005)


@pytest.mark.parametrize("major", [15, *(pytest.param(each, marks=pytest.mark.slow) for each in (16, 18))])
@pytest.mark.parametrize(
    ("what", "swap"),
    some([(what, swap) for what in ("diagnose", "backup", "pg_dump") for swap in SWAPS], _QUICK),
)
def test_what_an_owner_gives_the_name_of_something_else_runs_nothing(
    servers: Servers, major: int, what: str, swap: str
) -> None:
    """Attack: behind us she puts a table whose planning runs her code in the place of what we have looked at."""
    cluster = servers[major]
    owned = _owned(cluster)
    owned.unlink(missing_ok=True)
    with _hers(cluster, "hers"):
        _sql(cluster, ACT + TABLES).close()
        house, over = House(cluster.server, "hers", MemoryStore()), threading.Event()
        readers = 2 if what == "pg_dump" else 1
        swapping = threading.Thread(target=_swap, args=(cluster, SWAPS[swap], readers, over))
        swapping.start()
        try:
            with suppress(BackupError):
                if what == "diagnose":
                    diagnose(
                        house.catalog,
                        cluster.server,
                        "hers",
                        timeout_seconds=60,
                        lock_timeout_seconds=5,
                        now=house.now,
                    )
                else:
                    house.back_up()
        finally:
            over.set()
            with cluster.server.connect("postgres") as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'mallory'"
                )
            swapping.join()
        assert not owned.exists()


CATEGORIES = (
    "CREATE TABLE public.categories (id int, is_active {0}); INSERT INTO public.categories VALUES (1, 't');"
)
POLICY = (
    CATEGORIES.format("boolean")
    + "ALTER TABLE public.categories ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
    "CREATE POLICY p ON public.categories USING ({0})"
)
PROBED = {
    "a policy": POLICY.format("m.act() > 0"),
    "a policy that reads another table": "CREATE TABLE m.other (a int); CREATE INDEX ON m.other ((a + m.one(7)));"
    + POLICY.format("NOT EXISTS (SELECT FROM m.other WHERE a = id)"),
    "a cast": "CREATE TYPE m.e AS ENUM ('t');"
    + CATEGORIES.format("m.e")
    + "CREATE FUNCTION m.cast(m.e) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM m.act(); RETURN true; END';"
    "CREATE CAST (m.e AS boolean) WITH FUNCTION m.cast(m.e) AS IMPLICIT",
    "a view": "CREATE VIEW public.categories AS SELECT 1 AS id, m.act() > 0 AS is_active",
}


@pytest.mark.parametrize("what", PROBED)
@pytest.mark.parametrize(
    "where",
    some(["guard", "a staging server", "a staging server without its logins"], {"guard", "a staging server"}),
)
def test_a_probe_runs_nothing_of_an_owner_as_a_superuser(servers: Servers, what: str, where: str) -> None:
    """Attack: of a table that a probe asks she makes what runs her code, and that takes off the role that we put on."""
    cluster, staging = servers[15], servers[16]
    owned = _owned(cluster if where == "guard" else staging)
    owned.unlink(missing_ok=True)
    with _hers(cluster, "hers"):
        _sql(cluster, ACT + PROBED[what]).close()
        probes = [each for each in load_probes(None) if "till" in each.name]
        if where == "guard":
            answers = [
                each.passed for each in ask_live(cluster.server, "hers", probes, datetime.now(UTC)).answers
            ]
        else:
            house = House(cluster.server, "hers", MemoryStore())
            house.back_up()
            options = RestoreOptions(
                house.plan.options.installations, timeout_seconds=60, disarm_roles="without" in where
            )
            means = DrillContext(
                house.repository, DrillServer(staging.server, "staging", None), options, probes, house.clock
            )
            try:
                probed = run_simple(means, house.catalog.find("latest")).details["probes"]
            finally:
                with staging.server.connect("postgres") as connection:
                    connection.execute("DROP ROLE IF EXISTS mallory")
            answers = [each["passed"] for each in probed]
        assert not owned.exists()
        # No role reads a table there, and of a view a backup's fingerprint has no columns.
        assert answers == [None if what == "a view" else True]
