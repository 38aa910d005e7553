"""Code that we failed to see runs, if it runs, as a login that can do nothing but read.

Our looks at what a question would run, and what keeps names from moving, are switched off here: these tests are about
what is left when somebody finds the next expression that they do not know.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import psycopg
import pytest

from recyclic_backups.diagnose import constraints, live_counts
from recyclic_backups.diagnose.diagnose import diagnose
from recyclic_backups.drill.probes import load_probes
from recyclic_backups.dump import take
from recyclic_backups.dump.globals import read_globals
from recyclic_backups.errors import BackupError
from recyclic_backups.fingerprint import contents, sequences, snapshot
from recyclic_backups.fingerprint.read import read_fingerprint
from recyclic_backups.guard import live
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.reader import reading_login
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.temporary_roles import READS
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.restore.test_foreign_code import _hers
from recyclic_backups_tests.strange.conftest import Servers
from recyclic_backups_tests.strange.conftest import servers as servers  # noqa: PLC0414 - a fixture

# Tries what a superuser could, and says in the server's log as whom it ran and what it could do.
ACT = r"""
    CREATE SCHEMA m; GRANT USAGE ON SCHEMA m TO PUBLIC; CREATE TABLE m.noted (a int);
    CREATE FUNCTION m.act() RETURNS int LANGUAGE plpgsql AS $f$
    DECLARE way text; deed text; could text[] := '{}'; whose text := session_user;
    BEGIN
      IF whose = 'mallory' THEN RETURN 1; END IF;
      FOREACH way IN ARRAY ARRAY['SELECT 1', 'RESET ROLE', 'RESET SESSION AUTHORIZATION', 'SET ROLE postgres',
                                 'SET SESSION AUTHORIZATION postgres'] LOOP
        BEGIN EXECUTE way; EXCEPTION WHEN OTHERS THEN NULL; END;
        FOREACH deed IN ARRAY ARRAY[
            'COPY (SELECT 1) TO ''/tmp/owned''', 'COPY (SELECT 1) TO PROGRAM ''cat''',
            'SELECT pg_read_file(''PG_VERSION'')',
            'ALTER ROLE mallory SUPERUSER', 'CREATE ROLE another', 'GRANT pg_write_all_data TO mallory',
            format('ALTER ROLE %I PASSWORD ''known''', whose), 'INSERT INTO m.noted VALUES (1)',
            'CREATE TABLE m.n (a int)', 'SET transaction_read_only = off', 'CREATE TABLE public.n (a int)',
            'ALTER DATABASE hers OWNER TO mallory'] LOOP
          BEGIN
            EXECUTE deed;
            could := could || deed;
          EXCEPTION WHEN OTHERS THEN NULL;
          END;
        END LOOP;
      END LOOP;
      PERFORM set_config('default_transaction_read_only', 'off', false), set_config('search_path', 'm', false);
      RAISE LOG 'RAN as % and could %', whose, could;
      RETURN 1;
    END $f$;
    CREATE FUNCTION m.one(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM m.act(); RETURN 1; END';
    CREATE FUNCTION m.fine(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM m.act(); RETURN true; END';
    CREATE TYPE m.e AS ENUM ('t');
    CREATE FUNCTION m.cast(m.e) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM m.act(); RETURN true; END';
    CREATE CAST (m.e AS boolean) WITH FUNCTION m.cast(m.e) AS IMPLICIT;
    CREATE SCHEMA n;
"""
ARMED = "CREATE INDEX ON {0} ((a + m.one(7)));"
KINDS = {
    "an index": "CREATE TABLE n.t (a int PRIMARY KEY); CREATE TABLE n.u (a int REFERENCES n.t);"
    + ARMED.format("n.t")
    + ARMED.format("n.u"),
    "statistics": "CREATE TABLE n.t (a int); CREATE STATISTICS n.s ON (a + m.one(7)), a FROM n.t;",
    "a materialized view": "CREATE MATERIALIZED VIEW n.v AS SELECT 1 AS a;" + ARMED.format("n.v"),
    "a check": "CREATE TABLE n.t (a int, CHECK (m.fine(a))); INSERT INTO n.t VALUES (1);",
    "a domain": "CREATE DOMAIN m.d AS int CHECK (m.fine(value));"
    "CREATE TABLE n.t (a m.d); INSERT INTO n.t VALUES (1);",
    "a cast": "CREATE TABLE public.categories (id int, is_active m.e); INSERT INTO public.categories VALUES (1, 't');",
}


def _blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What judges beforehand knows nothing, and what holds names holds none."""

    @contextmanager
    def nothing_held(*_: object) -> Iterator[None]:
        yield

    for module in (contents, live_counts, constraints, live):
        monkeypatch.setattr(module, "run_by_planning", lambda *_: {})
    monkeypatch.setattr(constraints, "run_by_checks", lambda *_: {})
    monkeypatch.setattr(constraints, "run_by_joins", lambda *_: ())
    for module in (contents, live_counts, sequences):
        monkeypatch.setattr(module, "is_still", lambda *_: True)
    monkeypatch.setattr(snapshot, "_schemas_held", nothing_held)
    monkeypatch.setattr(snapshot, "hold_sequences", lambda *_: True)


def _conninfo(cluster: ScratchCluster) -> str:
    return f"host={cluster.server.host} port={cluster.server.port} user=mallory password=mallory dbname=hers"


def _as_mallory(cluster: ScratchCluster, text: str) -> None:
    with psycopg.connect(_conninfo(cluster), autocommit=True) as connection:
        connection.execute(text.encode())


def _read(what: str, cluster: ScratchCluster) -> None:
    house = House(cluster.server, "hers", MemoryStore())
    if what == "backup":
        house.back_up()
    elif what == "a comparison":
        read_fingerprint(cluster.server, "hers", level="content")
    elif what == "guard":
        with cluster.server.connect("postgres") as connection:
            connection.execute("ALTER ROLE mallory NOLOGIN")  # else they are asked by a login of her rights
        probes = [each for each in load_probes(None) if "till" in each.name]
        live.ask_live(cluster.server, "hers", probes, datetime.now(UTC))
    else:
        diagnose(
            house.catalog, cluster.server, "hers", timeout_seconds=60, lock_timeout_seconds=5, now=house.now
        )


def _ran(cluster: ScratchCluster, since_bytes: int) -> list[tuple[str, str]]:
    log = cluster.log_path.read_bytes()[since_bytes:].decode(errors="replace")
    return re.findall(r"LOG:  RAN as (\S+) and could (.*)", log)


def _require_harmless(cluster: ScratchCluster, ran: list[tuple[str, str]]) -> None:
    assert ran, "the attack did not even begin"
    for whose, could in ran:
        assert whose.startswith(READS)
        assert could == "{}"
    with cluster.server.connect("hers") as connection:
        found = connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolsuper OR starts_with(rolname, %s)", (READS,)
        )
        assert found.fetchall() == [("postgres",)]
        assert connection.execute("SELECT count(*) FROM m.noted").fetchone() == (0,)


@pytest.mark.parametrize("major", [15, *(pytest.param(each, marks=pytest.mark.slow) for each in (16, 18))])
@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("backup", "an index"),
        ("backup", "statistics"),
        ("backup", "a materialized view"),
        ("a comparison", "an index"),
        ("diagnose", "an index"),
        ("diagnose", "a materialized view"),
        ("diagnose", "a check"),
        ("diagnose", "a domain"),
        ("guard", "a cast"),
    ],
)
def test_code_that_we_do_not_see_runs_as_a_login_that_can_only_read(
    servers: Servers, major: int, what: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: she finds an expression that our looks do not know, and is superuser after the next backup."""
    cluster = servers[major]
    with _hers(cluster, "hers"):
        _as_mallory(cluster, ACT + KINDS[kind])
        _blind(monkeypatch)
        since_bytes = cluster.log_path.stat().st_size
        _read(what, cluster)
        _require_harmless(cluster, _ran(cluster, since_bytes))


def test_a_trigger_at_login_does_not_keep_the_reading_login_out(servers: Servers) -> None:
    """Loss prevented: no backup of a database whose superuser lets only some users in, or notes who came."""
    cluster = servers[18]
    with _hers(cluster, "hers"):
        with cluster.server.connect("hers") as connection:
            connection.execute(
                "CREATE FUNCTION public.came() RETURNS event_trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE EXCEPTION 'not you'; END $$;"
                "CREATE EVENT TRIGGER came ON login EXECUTE FUNCTION public.came()"
            )
        with reading_login(cluster.server, "hers") as login, login.connect("hers"):
            assert login.user.startswith(READS)
        assert House(cluster.server, "hers", MemoryStore()).back_up().fresh


def test_code_that_ran_in_a_reading_session_forges_nothing_that_a_restore_runs(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: her code, run by a backup, has the rest of its session call her operators, which write its roles' SQL."""
    cluster, said = servers[15], []

    def spied(connection: Connection) -> tuple[str, list[str]]:
        said.append(read_globals(connection))
        return said[0]

    with _hers(cluster, "hers"):
        _as_mallory(
            cluster,
            "CREATE SCHEMA m; GRANT USAGE ON SCHEMA m TO PUBLIC; CREATE TABLE m.t (a int);"
            "CREATE FUNCTION m.forged(text, anyelement) RETURNS text LANGUAGE sql AS $$ SELECT 'FORGED' $$;"
            "CREATE OPERATOR m.|| (LEFTARG = text, RIGHTARG = anyelement, FUNCTION = m.forged);"
            "CREATE FUNCTION m.forged(text, int) RETURNS text LANGUAGE sql AS $$ SELECT 'FORGED' $$;"
            "CREATE OPERATOR m.|| (LEFTARG = text, RIGHTARG = int, FUNCTION = m.forged);"
            "CREATE FUNCTION m.one(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $f$ BEGIN"
            " PERFORM set_config('search_path', 'm, pg_catalog', false);"
            " RAISE LOG 'RAN as % and could {}', session_user; RETURN 1; END $f$;" + ARMED.format("m.t"),
        )
        _blind(monkeypatch)
        monkeypatch.setattr(take, "read_globals", spied)
        since_bytes = cluster.log_path.stat().st_size
        backup = House(cluster.server, "hers", MemoryStore()).back_up().backup
        assert any(whose.startswith(READS) for whose, _ in _ran(cluster, since_bytes))
        assert "FORGED" not in str(said)
        assert "FORGED" not in str(backup.manifest.to_json())


SWAPS = {
    "a sequence": "ALTER SEQUENCE n.s RENAME TO o;",
    "a schema": "ALTER SCHEMA n RENAME TO o; CREATE SCHEMA n;",
}


@pytest.mark.parametrize("swap", SWAPS)
def test_a_table_in_the_place_of_a_sequence_runs_nothing_with_power(
    servers: Servers, swap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: pg_dump asks a sequence by a name that she has given to a table meanwhile, and nothing holds the name."""
    cluster = servers[15]
    armed = (
        "CREATE TABLE n.s AS SELECT 1::bigint AS a, 1::bigint AS last_value, true AS is_called;"
        + ARMED.format("n.s")
    )
    # She keeps a view from being read: pg_dump, which has seen all names, waits for it and asks sequences later.
    waited_for = "SELECT count(*) FROM pg_locks WHERE relation = 'n.v'::regclass AND NOT granted"
    swapped = threading.Event()

    def swapping(over: threading.Event) -> None:
        with psycopg.connect(_conninfo(cluster)) as holding:
            holding.execute("LOCK TABLE n.v IN ACCESS EXCLUSIVE MODE")
            held.set()
            with psycopg.connect(_conninfo(cluster), autocommit=True) as connection:
                while not over.wait(0.005):
                    if connection.execute(waited_for).fetchone() != (0,):
                        connection.execute((SWAPS[swap] + armed).encode())
                        swapped.set()
                        return

    _blind(monkeypatch)
    with _hers(cluster, "hers"):
        _as_mallory(cluster, ACT + "CREATE VIEW n.v AS SELECT 1 AS a; CREATE SEQUENCE n.s")
        since_bytes, held, over = cluster.log_path.stat().st_size, threading.Event(), threading.Event()
        with ThreadPoolExecutor() as pool:
            beside = pool.submit(swapping, over)
            held.wait(10)
            try:
                with suppress(BackupError):
                    House(cluster.server, "hers", MemoryStore()).back_up()
            finally:
                over.set()
            beside.result()
        assert swapped.is_set()
        _require_harmless(cluster, _ran(cluster, since_bytes))
