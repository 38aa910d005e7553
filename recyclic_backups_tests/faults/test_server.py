"""The server, the line to it and its programs fail in the middle of things."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recyclic_backups.errors import DatabaseError
from recyclic_backups.postgres import connection as connection_module
from recyclic_backups.postgres import opening
from recyclic_backups.postgres.discovery import find_installations
from recyclic_backups.postgres.lock import exclusive
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups_tests.faults.proxy import Proxy
from recyclic_backups_tests.faults.selection import slow, some
from recyclic_backups_tests.faults.site import MIDWAY_BYTES, Site, ended, processes_of, refused, wait_until
from recyclic_backups_tests.ports import nobody_on
from recyclic_backups_tests.programs import exchange


def _sound_afterwards(site: Site) -> None:
    """Nothing half stays, and the next backup is as good as ever."""
    site.require_nobody_at_work()
    if site.storage.is_dir():
        assert site.operator.stored() - {"recover.py", "RECOVERY.md"} == {
            name for name in site.expected_files() if name not in ("recover.py", "RECOVERY.md")
        }
    site.operator.variables.pop("BACKUP_RATE_LIMIT", None)
    site.require_next_backup()
    site.require_sound()


@pytest.mark.parametrize("how", some(["crash", "stop"], {"crash"}))
def test_a_server_that_goes_down_midway(
    fragile_cluster: ScratchCluster, fragile_site: Site, how: str
) -> None:
    """Loss prevented: the half that was dumped before a crash, taken for the night's backup (invariant 2)."""
    with fragile_site.held_midway() as (process, proxy):
        getattr(fragile_cluster, how)()
        proxy.let_go()
        outcome = ended(process)
    refused(outcome, 20)
    assert "hint: " in outcome.err
    assert fragile_site.operator.run("list", "--json").json == []
    fragile_cluster.restart()
    fragile_site.server = fragile_cluster.server
    fragile_site.operator.variables["POSTGRES_PORT"] = str(fragile_cluster.server.port)
    _sound_afterwards(fragile_site)


def test_a_server_that_is_not_there(fragile_cluster: ScratchCluster, fragile_site: Site) -> None:
    """Loss prevented: the storage's backups out of sight because the server is down: that is when they are needed."""
    backup_id = fragile_site.operator.backup_id(BACKUP_RATE_LIMIT="")
    fragile_cluster.stop()
    with nobody_on(fragile_site.server.port):
        for command in (("backup",), ("restore", "latest", "--into", "other")):
            outcome = fragile_site.run(*command)
            refused(outcome, 20)
            assert "POSTGRES_HOST" in outcome.err
    assert fragile_site.operator.must("list", "--json").json[0]["backup_id"] == backup_id
    assert fragile_site.operator.must("verify").code == 0


@pytest.mark.parametrize("command", some(["backup", "restore"], {"backup"}))
def test_a_line_that_is_cut_midway(bulky_site: Site, command: str) -> None:
    """Loss prevented: a firewall that forgets an idle connection, and a dump that stops there and counts."""
    backup_id = bulky_site.operator.backup_id(BACKUP_RATE_LIMIT="") if command == "restore" else None
    before = bulky_site.databases()
    into = f"{bulky_site.database}_restored"
    # Of a restore, the rows are what goes to the server: 5 MB.
    with Proxy.to(
        bulky_site.server.port,
        cut_after_bytes=2_000_000 if backup_id else None,
        hold_after_bytes=None if backup_id else MIDWAY_BYTES,
    ) as proxy:
        arguments = ("restore", "latest", "--into", into) if backup_id else ("backup",)
        with bulky_site.start(*arguments, POSTGRES_PORT=str(proxy.port)) as process:
            if not backup_id:
                bulky_site.dumping(process)
                proxy.cut()
            outcome = ended(process)
    refused(outcome, 20)
    assert bulky_site.databases() == before
    _sound_afterwards(bulky_site)


@pytest.mark.parametrize("moment", some(["at the start", "during the dump"], ()))
def test_a_line_that_goes_silent(bulky_site: Site, moment: str) -> None:
    """Loss prevented: a nightly run that hangs for weeks and holds the lock: no backup, and nobody is told."""
    limits = {"BACKUP_TIMEOUT": "3", "POSTGRES_CONNECT_TIMEOUT": "2"}
    if moment == "during the dump":  # as far as that it has to come, on a busy machine too
        limits = {"BACKUP_TIMEOUT": "20", "POSTGRES_CONNECT_TIMEOUT": "20"}
    with Proxy.to(bulky_site.server.port, hold_after_bytes=MIDWAY_BYTES) as proxy:
        if moment == "at the start":
            proxy.go_silent()
        with bulky_site.start("backup", POSTGRES_PORT=str(proxy.port), **limits) as process:
            if moment == "during the dump":
                bulky_site.dumping(process)
                proxy.go_silent()
            outcome = ended(process)
    refused(outcome, 20)
    _sound_afterwards(bulky_site)


@pytest.mark.parametrize("seconds", some([0.3, 0.5, 0.7, 0.9], ()))
def test_a_line_that_goes_silent_between_two_questions(site: Site, seconds: float) -> None:
    """Loss prevented: the same, where no pg_dump runs whose time is up."""
    with Proxy.to(site.server.port) as proxy:
        timer = threading.Timer(seconds, proxy.go_silent)
        timer.start()
        limits = {"BACKUP_TIMEOUT": "3", "POSTGRES_CONNECT_TIMEOUT": "2"}
        outcome = site.run("backup", POSTGRES_PORT=str(proxy.port), **limits)
        timer.join()
    if outcome.code:
        refused(outcome, 20)
    _sound_afterwards(site)


def test_a_question_that_is_never_answered_is_given_up(site: Site) -> None:
    """Loss prevented: hanging for ever on a server that took the question and does not answer."""
    with Proxy.to(site.server.port) as proxy:
        server = replace(site.server, port=proxy.port).answering_within(0.4)
        with pytest.raises(DatabaseError, match=r"did not answer within 0\.4 s") as failed:
            _ask_twice(server, site.database, between=proxy.go_silent)
        assert failed.value.retryable


def test_a_first_session_whose_settings_are_never_answered_is_given_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: whoever is between us and the server lets a session begin, and then is silent: no backup for weeks.

    What a server knows is set after the session began only where nothing was known of it before: the first time.
    """
    make_up_for = opening._make_up_for
    with Proxy.to(site.server.port) as proxy:

        def silent(*given: Any) -> None:
            proxy.go_silent()
            make_up_for(*given)

        monkeypatch.setattr(opening, "_make_up_for", silent)
        server = replace(site.server, port=proxy.port).answering_within(0.4)
        began = time.monotonic()
        with pytest.raises(DatabaseError) as failed, server.connect(opening.NEUTRAL_DATABASE):
            pass
        assert failed.value.retryable
        assert time.monotonic() - began < 30


def test_an_answer_without_end_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: whoever answers in the server's place fills our memory, until the machine ends the till beside us."""
    monkeypatch.setattr(connection_module, "MOST_ANSWER_BYTES", 8 << 20)
    server = site.server.answering_within(60)
    with pytest.raises(DatabaseError, match="answered without end") as failed:
        _ask_for_much(server, site.database)
    assert not failed.value.retryable


def _ask_for_much(server: Server, database: str) -> None:
    """Answers of some size, then one that is too much."""
    with server.connect(database) as connection:
        for _ in range(4):
            connection.execute("SELECT repeat('x', 3000000)").fetchall()
        connection.execute("SELECT repeat('x', 1000) FROM generate_series(1, 4000000)").fetchall()


def _ask_twice(server: Server, database: str, between: Callable[[], None]) -> None:
    with server.connect(database) as connection:
        connection.execute("SELECT 1")
        between()
        connection.execute("SELECT 1")


@pytest.mark.parametrize("number", some([signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV], {signal.SIGKILL}))
def test_pg_dump_is_killed(bulky_site: Site, number: signal.Signals) -> None:
    """Loss prevented: the out-of-memory killer's choice is an ordinary end of file for whoever reads the pipe."""
    with bulky_site.held_midway() as (process, _):
        # Beside it another one writes the definitions down for the fingerprint, for a moment.
        (child,) = processes_of(process.pid, "pg_dump", "--format=custom")
        os.kill(child, number)
        outcome = ended(process)
    refused(outcome, 20, "terminated" if number == signal.SIGTERM else f"pg_dump was ended by {number.name}")
    _sound_afterwards(bulky_site)


def test_a_pg_restore_that_is_killed_says_nothing_about_the_backup(bulky_site: Site, tmp_path: Path) -> None:
    """Loss prevented: a good backup called damaged for ever because memory was short while it was verified."""
    backup_id = bulky_site.operator.backup_id(BACKUP_RATE_LIMIT="")
    real = Path(_programs(bulky_site))
    programs = exchange(real, tmp_path, "pg_restore", "kill -9 $$")
    outcome = bulky_site.run("verify", PG_BIN=str(programs), PATH=os.environ["PATH"])
    assert outcome.code == 20
    assert "pg_restore was ended by SIGKILL" in outcome.err
    (entry,) = bulky_site.operator.must("list", "--json").json
    assert (entry["backup_id"], entry["verified_at"] is None) == (backup_id, False)


def _programs(site: Site) -> str:
    with site.server.connect(site.database) as connection:
        row = connection.execute("SELECT current_setting('server_version_num')::int / 10000").fetchone()
    assert row is not None
    found = find_installations(os.environ.get("PG_BIN"), os.environ.get("PATH"))
    return str(next(each.directory for each in found if each.major == row[0] and each.has_server))


def test_a_table_that_somebody_locks_is_named(site: Site) -> None:
    """Loss prevented: a migration left open in a terminal, and a backup that waits for it until morning."""
    with site.server.connect(site.database, autocommit=False, application_name="migration") as connection:
        connection.execute("LOCK TABLE sale IN ACCESS EXCLUSIVE MODE")
        outcome = site.run("backup", BACKUP_LOCK_TIMEOUT="1")
        connection.rollback()
    refused(outcome, 20, "public.sale", "migration")
    assert "BACKUP_LOCK_TIMEOUT" in outcome.err
    _sound_afterwards(site)


def _as_reader(site: Site, prepare: str) -> dict[str, str]:
    with site.server.connect(site.database) as connection:
        connection.execute(f"CREATE ROLE reader_{os.getpid()} LOGIN PASSWORD 'reads'")
        connection.execute(prepare.replace("reader", f"reader_{os.getpid()}"))
    return {"POSTGRES_USER": f"reader_{os.getpid()}", "POSTGRES_PASSWORD": "reads"}


def _forget_reader(site: Site) -> None:
    with site.server.connect(site.database) as connection:
        connection.execute(f"DROP OWNED BY reader_{os.getpid()}")
        connection.execute(f"DROP ROLE reader_{os.getpid()}")


@slow
def test_a_table_that_may_not_be_read_is_named(site: Site) -> None:
    """Loss prevented: a backup without the one table that was added last month."""
    role = _as_reader(
        site, "GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO reader; GRANT SELECT ON member TO reader"
    )
    try:
        outcome = site.run("backup", **role)
        refused(outcome, 20, "public.sale")
        assert "pg_read_all_data" in outcome.err
    finally:
        _forget_reader(site)
    _sound_afterwards(site)


@slow
def test_rights_that_are_taken_away_midway(bulky_site: Site) -> None:
    """Loss prevented: a dump that quietly leaves out what it may not read any more."""
    role = _as_reader(bulky_site, "GRANT pg_read_all_data TO reader")
    try:
        with bulky_site.held_midway(**role) as (process, proxy):
            with bulky_site.server.connect(bulky_site.database) as connection:
                connection.execute(f"REVOKE pg_read_all_data FROM reader_{os.getpid()}")
                connection.execute("INSERT INTO note VALUES (1000, 'meanwhile')")
            proxy.let_go()
            outcome = ended(process)
        if outcome.code:  # rights are asked for statement by statement: pg_dump may have begun all of them
            refused(outcome, 20)
    finally:
        _forget_reader(bulky_site)
    _sound_afterwards(bulky_site)


def test_two_backups_at_once_take_turns(bulky_site: Site) -> None:
    """Loss prevented: two dumps at once slow the till down, and each sweeps what the other is writing."""
    with bulky_site.held_midway() as (first, proxy):
        busy = bulky_site.run("backup", BACKUP_LOCK_WAIT="0")
        assert first.poll() is None
        refused(busy, 70, "another backup")
        assert "BACKUP_LOCK_WAIT" in busy.err
        with bulky_site.start("backup", "--json", BACKUP_RATE_LIMIT=None, BACKUP_LOCK_WAIT="60") as second:
            wait_until(lambda: len(_about_the_lock(bulky_site)) > 1)
            proxy.let_go()
            assert ended(first).code == 0
            assert ended(second).code == 0
    first_taken, second_taken = sorted(backup.manifest.taken_at for backup in bulky_site.catalog)
    newest = bulky_site.catalog.backups[0]
    assert newest.as_of >= first_taken
    assert newest.manifest.taken_at == second_taken
    _sound_afterwards(bulky_site)


def _about_the_lock(site: Site) -> list[object]:
    """Sessions that hold the lock or wait for it."""
    return [name for name, _ in site.sessions() if name == "recyclic_backups backup lock"]


def test_a_backup_whose_lock_is_lost_does_not_count(bulky_site: Site) -> None:
    """Loss prevented: the session with the lock is ended, another backup sweeps our objects, then we name them."""
    with bulky_site.held_midway() as (process, proxy):
        with bulky_site.server.connect("postgres") as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
                " AND application_name = 'recyclic_backups backup lock'",
                (bulky_site.database,),
            )
        wait_until(lambda: not _about_the_lock(bulky_site))
        proxy.let_go()
        outcome = ended(process)
    refused(outcome, 20, "the lock against other runs was lost")
    _sound_afterwards(bulky_site)


@slow
def test_an_impatient_server_does_not_end_the_session_with_the_lock(bulky_site: Site) -> None:
    """Loss prevented: idle_session_timeout, set for an application, ends every backup that is longer than it."""
    with bulky_site.server.connect("postgres") as connection:
        row = connection.execute("SELECT current_setting('server_version_num')::int").fetchone()
        if row is not None and row[0] < 140000:
            return  # no such setting yet
        connection.execute(f"ALTER DATABASE {bulky_site.database} SET idle_session_timeout = '500ms'")
    assert bulky_site.run("backup").code == 0


@slow
def test_a_lock_is_free_as_soon_as_its_owner_is_killed(bulky_site: Site) -> None:
    """Loss prevented: a lock file that a killed run leaves, and no backup until somebody deletes it."""
    with bulky_site.held_midway() as (process, _):
        process.kill()
        ended(process)
    with exclusive(bulky_site.server, bulky_site.database, "backup", wait_seconds=30):
        pass
