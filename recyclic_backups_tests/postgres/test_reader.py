"""The login that reads in a superuser's place: what it may, for how long it is there, and what happens without it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from recyclic_backups.dump.take import _needs_superuser
from recyclic_backups.errors import BackupError, DatabaseError
from recyclic_backups.fingerprint.read import snapshot
from recyclic_backups.postgres import reader as readers
from recyclic_backups.postgres.reader import reading_login
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.operator import Operator

_ROLES = "SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'recyclic_reads_')"


def _roles(server: Server) -> list[str]:
    with server.connect("postgres") as connection:
        return [row[0] for row in connection.execute(_ROLES)]


@pytest.fixture
def kept_out(cluster: ScratchCluster) -> Iterator[None]:
    """The server lets nobody in but its superuser."""
    rules = cluster.data_directory / "pg_hba.conf"
    before = rules.read_text()
    try:
        rules.write_text("host all postgres 127.0.0.1/32 scram-sha-256\n")
        with cluster.server.connect("postgres") as connection:
            connection.execute("SELECT pg_reload_conf()")
        yield
    finally:
        rules.write_text(before)
        with cluster.server.connect("postgres") as connection:
            connection.execute("SELECT pg_reload_conf()")


def test_it_may_read_and_nothing_else_and_is_gone_afterwards(cluster: ScratchCluster, database: str) -> None:
    """Attack: whoever finds the login of a backup does with it what the backup's own login could."""
    with cluster.server.connect(database) as connection:
        connection.execute(
            "CREATE TABLE t (a int); INSERT INTO t VALUES (1); ALTER TABLE t ENABLE ROW LEVEL SECURITY"
        )
    with reading_login(cluster.server, database) as login:
        assert login.user.startswith("recyclic_reads_")
        with login.connect(database) as connection:
            assert connection.execute("SELECT a FROM public.t").fetchall() == [(1,)]
            (*powers, bypass, limit, until) = connection.execute(
                "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolconnlimit,"
                " rolvaliduntil < now() + interval '25 hours' FROM pg_roles WHERE rolname = session_user"
            ).fetchone() or (True,)
            assert (powers, bypass, limit, until) == ([False] * 4, True, 8, True)
            granted = "SELECT roleid::regrole::text FROM pg_auth_members WHERE member = session_user::regrole"
            assert connection.execute(granted).fetchall() == [("pg_read_all_data",)]
            for attempt in (
                "INSERT INTO public.t VALUES (2)",
                "CREATE ROLE x",
                "COPY (SELECT 1) TO '/tmp/x'",
                "SET ROLE postgres",
                "ALTER ROLE postgres PASSWORD 'x'",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(attempt.encode())
    assert _roles(cluster.server) == []


def test_no_backup_has_it_and_its_right_to_connect(cluster: ScratchCluster, database: str) -> None:
    """Loss prevented: a restored server with a role that nobody has made, and grants that nobody has given."""
    with cluster.server.connect(database) as connection:
        connection.execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC; CREATE TABLE t (a int)")
    house = House(cluster.server, database, MemoryStore(), encrypt=False)
    manifest = house.back_up().backup.manifest
    assert manifest.server.acl is not None
    assert all("recyclic" not in str(each) for each in manifest.server.acl)
    assert "recyclic_reads_" not in str(manifest.to_json())
    with cluster.server.connect(database) as connection:
        acl = connection.execute("SELECT datacl::text FROM pg_database WHERE datname = current_database()")
        assert "recyclic" not in str(acl.fetchone())
    assert _roles(cluster.server) == []


def test_the_role_of_a_killed_reading_is_dropped_by_the_next_one(
    cluster: ScratchCluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: roles that may read everything, left behind one by one and forgotten."""
    with monkeypatch.context() as killed:
        killed.setattr(readers, "_drop", lambda *_: None)
        with reading_login(cluster.server, database):
            pass
    assert len(_roles(cluster.server)) == 1
    with reading_login(cluster.server, database) as first, reading_login(cluster.server, database) as second:
        assert sorted(_roles(cluster.server)) == sorted([first.user, second.user]), "those at work stay"
    assert _roles(cluster.server) == []


def test_what_somebody_granted_it_does_not_keep_it_on_the_server(
    cluster: ScratchCluster, database: str
) -> None:
    """Attack: grants in another database, and a policy on a table kept locked, so that each backup leaves a role."""
    with cluster.server.connect("postgres") as connection:
        connection.execute("CREATE TABLE public.elsewhere (a int)")
    with (
        cluster.server.connect("postgres") as elsewhere,
        cluster.server.connect(database) as here,
        cluster.server.connect(database, autocommit=False) as keeping,
    ):
        here.execute("CREATE TABLE public.t (a int)")
        with reading_login(cluster.server, database) as login:
            elsewhere.execute(f"GRANT SELECT ON public.elsewhere TO {login.user}".encode())
            here.execute(f"CREATE POLICY p ON public.t TO {login.user}".encode())
            keeping.execute("LOCK TABLE public.t")
        rights = (
            "SELECT rolcanlogin, rolbypassrls, pg_has_role(oid, 'pg_read_all_data', 'MEMBER') FROM pg_roles"
            " WHERE rolname = %s"
        )
        assert here.execute(rights, (login.user,)).fetchone() == (False, False, False)
        keeping.rollback()
        elsewhere.execute("DROP TABLE IF EXISTS public.other")
        with reading_login(cluster.server, database):
            pass
        elsewhere.execute("DROP TABLE public.elsewhere")
    assert _roles(cluster.server) == []


def test_a_server_that_lets_no_new_role_in_is_backed_up_all_the_same_and_validate_tells(
    cluster: ScratchCluster, operator: Operator, kept_out: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Loss prevented: no backup at all, since an update, behind a pg_hba.conf that names its users."""
    with caplog.at_level(logging.WARNING):
        operator.backup_id()
    assert "pg_hba.conf" in caplog.text
    findings = operator.must("validate", "--json").json
    (said,) = [each for each in findings if each["check"] == "privileges"]
    assert said["status"] == "warning"
    assert "recyclic_reads_" in said["hint"]
    assert _roles(cluster.server) == []


def test_validate_says_nothing_where_a_backup_is_read_without_power(operator: Operator) -> None:
    """Loss prevented: a warning every day, which teaches to pass over warnings."""
    assert [each for each in operator.must("validate", "--json").json if each["check"] == "privileges"] == []


def test_a_limit_that_the_database_s_owner_sets_does_not_make_a_superuser_read(
    cluster: ScratchCluster, database: str
) -> None:
    """Attack: she allows no session in her database, and what may only read is turned away, but no superuser."""
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"ALTER DATABASE {database} CONNECTION LIMIT 0")
    with (
        pytest.raises(DatabaseError, match="too many connections for database") as told,
        reading_login(cluster.server, database),
    ):
        raise AssertionError("read as a superuser")
    assert told.value.retryable
    assert "CONNECTION LIMIT" in told.value.hint
    assert _roles(cluster.server) == []


def test_a_right_that_the_database_s_owner_takes_away_does_not_make_a_superuser_read(
    cluster: ScratchCluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: she takes the right to connect away between our grant and our login."""
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
    monkeypatch.setattr(readers, "_let_connect", lambda *_: None)
    with (
        pytest.raises(DatabaseError, match="though it is elsewhere"),
        reading_login(cluster.server, database),
    ):
        raise AssertionError("read as a superuser")
    assert _roles(cluster.server) == []


def test_a_role_that_owns_something_is_not_dropped_whatever_it_is_called(
    cluster: ScratchCluster, database: str
) -> None:
    """Attack: an application's role, renamed as one of ours, so that the next backup drops it and its tables."""
    role = "recyclic_reads_0123456789ab"
    whose = database.encode().hex()
    with cluster.server.connect(database) as connection:
        connection.execute(f"CREATE ROLE {role} VALID UNTIL '2001-01-01'; CREATE TABLE public.t (a int)")
        connection.execute(
            f"COMMENT ON ROLE {role} IS 'recyclic_backups: reads {whose} as 0123456789ab. Dropped at its end.';"
            f"ALTER TABLE public.t OWNER TO {role}"
        )
        try:
            with reading_login(cluster.server, database):
                pass
            assert connection.execute("SELECT count(*) FROM public.t").fetchone() == (0,)
            assert _roles(cluster.server) == [role]
        finally:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_role_without_power_reads_as_itself(cluster: ScratchCluster, database: str) -> None:
    """Loss prevented: a backup that fails because its role may make none."""
    with cluster.server.connect(database) as connection:
        connection.execute(f"CREATE ROLE weak_{database} LOGIN PASSWORD 'x' IN ROLE pg_read_all_data")
    try:
        weak = replace(cluster.server, user=f"weak_{database}", password="x")
        with reading_login(weak, database) as login:
            assert login is weak
    finally:
        with cluster.server.connect(database) as connection:
            connection.execute(f"DROP ROLE weak_{database}")


def test_a_rename_that_waits_for_a_sequence_does_not_keep_a_backup_until_its_time_limit(
    cluster: ScratchCluster, database: str
) -> None:
    """Attack, or a migration at night: pg_dump waits behind who waits behind us, for hours.

    No race: pg_dump waits for a view, which it reads before the sequence, until the rename waits for our snapshot.
    """
    server = cluster.server
    with server.connect(database) as connection:
        connection.execute("CREATE SEQUENCE s; CREATE VIEW v AS SELECT 1 AS a")
    house = House(server, database, MemoryStore())
    house.options(lock_timeout_seconds=1)
    holds, over = threading.Event(), threading.Event()

    def rename() -> None:
        with server.connect(database) as connection:
            connection.execute("SET lock_timeout = '20s'")
            connection.execute("ALTER SEQUENCE public.s RENAME TO o; ALTER SEQUENCE public.o RENAME TO s")

    def hold(beside: ThreadPoolExecutor) -> None:
        with server.connect(database, autocommit=False) as holding, server.connect(database) as looking:

            def until_somebody_waits_for(relation: str) -> None:
                query = "SELECT count(*) FROM pg_locks WHERE relation = %s::regclass AND NOT granted"
                while looking.execute(query, (relation,)).fetchone() == (0,) and not over.wait(0.005):
                    pass

            holding.execute("LOCK TABLE public.v IN ACCESS EXCLUSIVE MODE")
            holds.set()
            until_somebody_waits_for("public.v")
            renaming = beside.submit(rename)
            until_somebody_waits_for("public.s")
            holding.rollback()
        renaming.result()

    with ThreadPoolExecutor(2) as beside:
        holding = beside.submit(hold, beside)
        assert holds.wait(30)
        began = time.monotonic()
        try:
            with pytest.raises(BackupError) as told:
                house.back_up()
        finally:
            took_seconds = time.monotonic() - began
            over.set()
        holding.result()
    assert took_seconds < 20
    assert told.value.retryable
    assert "BACKUP_LOCK_TIMEOUT" in told.value.hint


def test_what_only_a_superuser_dumps_is_dumped_by_one(cluster: ScratchCluster, database: str) -> None:
    """Loss prevented: subscriptions and passwords of user mappings missing from every backup, without a word."""
    with cluster.server.connect(database) as connection:
        with (
            reading_login(cluster.server, database) as login,
            snapshot(login, database, lock_timeout_seconds=5) as held,
        ):
            assert not _needs_superuser(held)
        connection.execute(
            "CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false, slot_name = NONE)"
        )
        try:
            with (
                reading_login(cluster.server, database) as login,
                snapshot(login, database, lock_timeout_seconds=5) as held,
            ):
                assert _needs_superuser(held)
        finally:
            connection.execute("DROP SUBSCRIPTION s")
