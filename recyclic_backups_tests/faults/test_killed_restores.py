"""Restores killed at every statement they send: no half database under a good name, nothing that stays for ever."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from recyclic_backups.restore.left_behind import mark, token_of, under_way
from recyclic_backups_tests.faults.proxy import Proxy
from recyclic_backups_tests.faults.selection import slow, some
from recyclic_backups_tests.faults.site import Site, ended, killed, wait_until
from recyclic_backups_tests.house import NOON

STATEMENTS = 100
"""More than a restore of the small database sends."""


def _rows(site: Site, database: str, query: str) -> list[tuple[object, ...]]:
    with site.server.connect(database) as connection:
        return connection.execute(query).fetchall()


@contextmanager
def _leaving_only_what_was_there(site: Site) -> Iterator[set[str]]:
    before = site.databases()
    try:
        yield before
    finally:
        site.drop(*(site.databases() - before - {site.database}))


def _require_next_restore(site: Site, before: set[str], into: str) -> None:
    """It succeeds whatever the killed one left, and drops that."""
    site.require_nobody_at_work()
    wait_until(lambda: not site.sessions("%\\_restoring\\_%"))
    report = site.operator.must("restore", "latest", "--into", into, "--json").json
    assert report["equal"]
    unfinished = {name for name in site.databases() - before if re.search(r"_(restoring|merged)_", name)}
    assert unfinished == set()
    (comment,) = _rows(
        site,
        "postgres",
        f"SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{into}'",
    )
    assert token_of(str(comment[0])) is None


@pytest.mark.parametrize("step", some(range(STATEMENTS), {17, 45}))
def test_a_restore_killed_at_any_statement(site: Site, step: int) -> None:
    """Loss prevented: half a database under the name somebody asked for, opened by the application next morning."""
    site.operator.backup_id()
    into = f"{site.database}_restored"
    fault = {"FAULT_AT": "sql", "FAULT_STEP": str(step), "FAULT": "kill-after" if step % 2 else "kill"}
    with _leaving_only_what_was_there(site) as before:
        killed(site.run("restore", "latest", "--into", into, **fault))
        if into in site.databases():
            assert _rows(site, into, "SELECT count(*) FROM sale") == [(500,)]
        _require_next_restore(site, before, f"{into}_again")
        site.require_sound()


@pytest.mark.parametrize("step", some(range(STATEMENTS), {77}))
def test_a_replacing_restore_killed_at_any_statement(site: Site, step: int) -> None:
    """Loss prevented: production closed to everybody because the restore died while it swapped the names."""
    site.operator.backup_id()
    _rows(site, site.database, "WITH gone AS (DELETE FROM sale RETURNING 1) SELECT count(*) FROM gone")
    fault = {"FAULT_AT": "sql", "FAULT_STEP": str(step), "FAULT": "kill-after" if step % 2 else "kill"}
    with _leaving_only_what_was_there(site) as before:
        killed(site.run("restore", "latest", "--replace", "--yes", **fault))
        wait_until(lambda: site.database in site.databases())
        (found,) = _rows(site, site.database, "SELECT count(*) FROM sale")
        kept = [name for name in site.databases() - before if "_before_" in name]
        assert found == ((500,) if kept else (0,))
        for name in kept:
            assert _rows(site, name, "SELECT count(*) FROM sale") == [(0,)]
        _require_next_restore(site, before, f"{site.database}_again")


@pytest.mark.parametrize("step", some(range(STATEMENTS), {62}))
def test_putting_tables_back_killed_at_any_statement(site: Site, step: int) -> None:
    """Loss prevented: a live table half put back, or the rows that were replaced dropped as rubbish."""
    site.operator.backup_id()
    _rows(site, site.database, "UPDATE sale SET total = -1 WHERE id > 250 RETURNING 1")
    fault = {"FAULT_AT": "sql", "FAULT_STEP": str(2 * step), "FAULT": "kill" if step % 2 else "kill-after"}
    with _leaving_only_what_was_there(site) as before:
        killed(
            site.run(
                "restore", "latest", "--merge-into", site.database, "--table", "public.sale", "--yes", **fault
            )
        )
        site.require_nobody_at_work()
        ((wrong,),) = _rows(site, site.database, "SELECT count(*) FROM sale WHERE total = -1")
        assert wrong in (0, 250)
        site.operator.must("restore", "latest", "--into", f"{site.database}_again")
        left = [name for name in site.databases() - before if "_merged_" in name or "_restoring_" in name]
        if wrong == 0:  # it was committed, and the rows as they were are still there
            (kept,) = left
            assert _rows(site, kept, 'SELECT count(*) FROM replaced."public.sale"') == [(250,)]
        for name in left:
            assert "replaced" in {
                str(row[0]) for row in _rows(site, name, "SELECT nspname FROM pg_namespace")
            }


@pytest.mark.parametrize("number", some([signal.SIGTERM, signal.SIGINT], {signal.SIGTERM}))
@pytest.mark.parametrize("jobs", some(["1", "3"], {"3"}))
def test_a_restore_ended_politely_cleans_up_at_once(
    bulky_site: Site, jobs: str, number: signal.Signals
) -> None:
    """Loss prevented: a restore that cannot be stopped, or leaves half a database when it is."""
    bulky_site.operator.backup_id(BACKUP_RATE_LIMIT="")
    before = bulky_site.databases()
    into = f"{bulky_site.database}_restored"
    # Of a restore, the rows are what goes to the server: 5 MB. It is held in the middle of them.
    with (
        Proxy.to(bulky_site.server.port, hold_after_bytes=2_000_000) as proxy,
        bulky_site.start(
            *("restore", "latest", "--into", into, "--jobs", jobs), POSTGRES_PORT=str(proxy.port)
        ) as process,
    ):
        wait_until(proxy.holding.is_set)
        assert bulky_site.sessions("%\\_restoring\\_%")
        process.send_signal(number)
        proxy.let_go()
        outcome = ended(process)
    assert outcome.code == (130 if number == signal.SIGINT else 128 + number)
    assert bulky_site.databases() == before
    bulky_site.require_nobody_at_work()


@slow
def test_a_database_of_a_restore_that_is_alive_is_left_alone(site: Site) -> None:
    """Loss prevented: two restores at once, of which one drops the other's database under it."""
    site.operator.backup_id()
    theirs = f"{site.database}_theirs"
    with _leaving_only_what_was_there(site) as before:
        with site.server.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {theirs}")
            text = mark("20261122T010003Z-K3X7QA", theirs, NOON).replace("'", "''")
            connection.execute(f"COMMENT ON DATABASE {theirs} IS '{text}'")
        with under_way(site.server, theirs):
            site.operator.must("restore", "latest", "--into", f"{site.database}_one")
            assert theirs in site.databases()
        with site.server.connect(theirs):  # somebody looks at it
            report = site.operator.must("restore", "latest", "--into", f"{site.database}_two", "--json").json
        assert any(theirs in note and "stays" in note for note in report["notes"])
        report = site.operator.must("restore", "latest", "--into", f"{site.database}_three", "--json").json
        assert any(theirs in note and "dropped" in note for note in report["notes"])
        assert theirs not in site.databases()
        assert before < site.databases()


@slow
def test_databases_that_only_look_like_ours_are_never_dropped(site: Site) -> None:
    """Loss prevented: somebody's database, called by chance as ours are, dropped as rubbish."""
    site.operator.backup_id()
    names = {
        f"{site.database}_restoring_abc123": "CREATE TABLE precious (id int)",
        f"{site.database}_restoring_abc124": "CREATE SCHEMA precious",
        f"{site.database}_restoring_abc125": "CREATE FUNCTION precious() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    }
    with _leaving_only_what_was_there(site):
        for name, statement in names.items():
            with site.server.connect("postgres") as connection:
                connection.execute(f"CREATE DATABASE {name}")
            with site.server.connect(name) as connection:
                connection.execute(statement)
        site.operator.must("restore", "latest", "--into", f"{site.database}_restored")
        assert names.keys() <= site.databases()


def test_an_application_that_keeps_connecting_does_not_stop_the_swap(site: Site) -> None:
    """Loss prevented: a pool that reconnects faster than its sessions are ended, and a restore that gives up."""
    site.operator.backup_id()
    connect = (
        "import psycopg, sys\n"
        "while True:\n"
        "    try:\n"
        "        with psycopg.connect(sys.argv[1]) as line:\n"
        "            while True: line.execute('SELECT 1')\n"
        "    except psycopg.Error: pass\n"
    )
    server = site.server
    url = f"postgresql://{server.user}:{server.password}@{server.host}:{server.port}/{site.database}"
    with _leaving_only_what_was_there(site):
        application = [subprocess.Popen([sys.executable, "-c", connect, url]) for _ in range(3)]
        try:
            report = site.operator.must("restore", "latest", "--replace", "--yes", "--json").json
        finally:
            for each in application:
                each.kill()
                each.wait()
        assert report["kept_as"] in site.databases()
