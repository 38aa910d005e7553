"""A restore that fails leaves nothing, and one that succeeds gives back everything."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey, RecoveryError, Refused, UsageError
from recyclic_backups.postgres.discovery import inspect
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups.restore.restore import RestoreReport, restore
from recyclic_backups.restore.selection import Request, select
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.programs import exchange


def _restore(house: House, into: str, **arguments: object) -> RestoreReport:
    return restore(
        house.repository,
        house.catalog.find("latest"),
        house.server,
        into,
        RestoreOptions(house.plan.options.installations, timeout_seconds=60),
        clock=house.clock,
        **arguments,  # type: ignore[arg-type]
    )


@contextmanager
def _dropped_afterwards(cluster: ScratchCluster, prefix: str) -> Iterator[None]:
    try:
        yield
    finally:
        with cluster.server.connect("postgres") as connection:
            for name in _databases(cluster, prefix):
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _databases(cluster: ScratchCluster, prefix: str) -> list[str]:
    with cluster.server.connect("postgres") as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (prefix,)
        ).fetchall()
    return sorted(str(row[0]) for row in rows)


def test_damage_in_the_middle_leaves_no_half_restored_database(
    house: House, cluster: ScratchCluster, memory: MemoryStore
) -> None:
    """Loss prevented: half of the sales under the name of all of them."""
    backup_id = house.back_up().backup.backup_id
    name = f"{house.repository.layout.backup(backup_id)}/main.dump.zst.sealed"
    data = bytearray(memory.get(name))
    data[-100] ^= 1
    memory.replace(name, bytes(data))
    with pytest.raises(DamagedData):
        _restore(house, f"{house.database}_again")
    assert _databases(cluster, f"{house.database}_") == []


def test_the_wrong_key_is_said_before_anything_is_made(house: House, cluster: ScratchCluster) -> None:
    """Loss prevented: an hour of restoring before the sentence that says it cannot work."""
    house.back_up()
    house.encrypt = False  # a keyring without passphrase
    with pytest.raises(NoUsableKey):
        _restore(house, f"{house.database}_again")
    assert _databases(cluster, f"{house.database}_") == []


def test_an_edited_manifest_is_never_restored_from(house: House, memory: MemoryStore) -> None:
    """Loss prevented: a fingerprint edited to fit a tampered dump (invariant 1, MAC)."""
    import json

    backup_id = house.back_up().backup.backup_id
    name = house.repository.layout.manifest(backup_id)
    document = json.loads(memory.get(name))
    document["late"] = not document["late"]
    memory.replace(name, json.dumps(document).encode())
    with pytest.raises(DamagedData, match=r"manifest\.json"):
        _restore(house, f"{house.database}_again")


def test_properties_of_the_database_come_back(house: House, cluster: ScratchCluster) -> None:
    """Loss prevented: a restored application that suddenly lives in another time zone and may not connect."""
    with cluster.server.connect(house.database) as connection:
        connection.execute(f"ALTER DATABASE {house.database} SET timezone TO 'Indian/Reunion'")
        connection.execute(f'ALTER DATABASE {house.database} SET search_path TO public, "$user", "odd name"')
        connection.execute(f"REVOKE ALL ON DATABASE {house.database} FROM PUBLIC")
        connection.execute(f"GRANT CONNECT ON DATABASE {house.database} TO pg_monitor")
        connection.execute(f"COMMENT ON DATABASE {house.database} IS 'la caisse'")
    house.back_up()
    into = f"{house.database}_again"
    query = (
        "SELECT (SELECT array_agg(x::text ORDER BY x::text) FROM unnest(datacl) x),"
        " shobj_description(d.oid, 'pg_database'),"
        " (SELECT setconfig::text FROM pg_db_role_setting s WHERE s.setdatabase = d.oid AND setrole = 0)"
        " FROM pg_database d WHERE datname = %s"
    )
    with _dropped_afterwards(cluster, into):
        assert _restore(house, into).comparison.equal
        with cluster.server.connect("postgres") as connection:
            source, copy = (connection.execute(query, (name,)).fetchone() for name in (house.database, into))
        assert source == copy
        assert source is not None
        assert "Indian/Reunion" in str(source)


def test_a_missing_role_is_created_with_its_password_and_memberships(
    house: House, cluster: ScratchCluster
) -> None:
    """Loss prevented: the application cannot log in after the restore (pgbackweb #170)."""
    with cluster.server.connect(house.database) as connection:
        connection.execute("CREATE ROLE \"la caisse's role\" LOGIN PASSWORD 'till-secret' CONNECTION LIMIT 7")
        connection.execute("CREATE ROLE readers")
        connection.execute('GRANT readers TO "la caisse\'s role"')
        connection.execute("GRANT SELECT ON member TO readers")
        connection.execute("ALTER ROLE \"la caisse's role\" SET statement_timeout TO '5s'")
        hashed = connection.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname LIKE 'la caisse%'"
        ).fetchone()
    house.back_up()
    into = f"{house.database}_again"
    with _dropped_afterwards(cluster, into):
        try:
            with cluster.server.connect(house.database) as connection:
                connection.execute('DROP OWNED BY readers, "la caisse\'s role"')
                connection.execute('DROP ROLE readers, "la caisse\'s role"')
            report = _restore(house, into)
            assert report.comparison.equal, report.comparison.differences
            assert report.created_roles == ["la caisse's role", "readers"]
            with cluster.server.connect("postgres") as connection:
                row = connection.execute(
                    "SELECT a.rolpassword, rolconnlimit, r.rolconfig, pg_has_role(rolname, 'readers', 'MEMBER')"
                    " FROM pg_authid a JOIN pg_roles r USING (rolname, rolconnlimit) WHERE rolname LIKE 'la caisse%'"
                ).fetchone()
            assert hashed is not None
            assert row == (hashed[0], 7, ["statement_timeout=5s"], True)
        finally:
            with cluster.server.connect("postgres") as connection:
                for name in _databases(cluster, into):
                    connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
                connection.execute('DROP ROLE IF EXISTS readers, "la caisse\'s role"')


def test_a_role_that_exists_is_left_as_it_is(house: House, cluster: ScratchCluster) -> None:
    """Loss prevented: a drill on staging that gives production's passwords and rights to staging's roles."""
    with cluster.server.connect(house.database) as connection:
        connection.execute("CREATE ROLE clerk NOLOGIN")
        connection.execute("GRANT SELECT ON member TO clerk")
    house.back_up()
    into = f"{house.database}_again"
    with _dropped_afterwards(cluster, into):
        try:
            with cluster.server.connect("postgres") as connection:
                connection.execute("ALTER ROLE clerk LOGIN CONNECTION LIMIT 1")
            report = _restore(house, into)
            assert report.created_roles == []
            with cluster.server.connect("postgres") as connection:
                row = connection.execute(
                    "SELECT rolcanlogin, rolconnlimit FROM pg_roles WHERE rolname = 'clerk'"
                ).fetchone()
            assert row == (True, 1)
            assert any("clerk" in note for note in report.comparison.notes)
        finally:
            with cluster.server.connect("postgres") as connection:
                for name in (*_databases(cluster, into), house.database):
                    connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
                connection.execute("DROP ROLE clerk")


def test_a_database_that_cannot_be_swapped_stays_and_the_restored_one_too(
    house: House, cluster: ScratchCluster
) -> None:
    """Loss prevented: neither the old database nor the new one under the name the application uses."""
    house.back_up()
    stop = threading.Event()

    def application() -> None:
        while not stop.is_set():
            try:
                with cluster.server.connect(house.database) as connection:
                    connection.execute("SELECT pg_sleep(0.05)")
            except BackupError:
                time.sleep(0.01)

    clients = [threading.Thread(target=application) for _ in range(3)]
    for client in clients:
        client.start()
    with _dropped_afterwards(cluster, f"{house.database}_before"):
        try:
            report = _restore(house, house.database, replace=True)
        finally:
            stop.set()
            for client in clients:
                client.join()
        assert report.comparison.equal
        assert report.kept_as is not None
        assert _databases(cluster, house.database) == sorted([house.database, report.kept_as])


def test_selection_follows_references_and_names_what_is_missing(house: House) -> None:
    """Loss prevented: sales without their members, or a typing error that restores nothing."""
    from recyclic_backups.fingerprint.model import Fingerprint

    fingerprint = Fingerprint.from_json(house.back_up().backup.manifest.fingerprint)
    chosen = select(Request(("sale",)), fingerprint)
    assert chosen.wanted == ("public.sale",)
    assert chosen.tables == ("public.member", "public.sale")
    assert chosen.brought_along == ("public.member",)
    assert chosen.sequences == ("public.member_id_seq",)
    with pytest.raises(RecoveryError) as unknown:
        select(Request(("sales",)), fingerprint)
    assert "public.sale" in unknown.value.hint
    with pytest.raises(RecoveryError):
        select(Request(schemas=("nowhere",)), fingerprint)
    with pytest.raises(RecoveryError, match="no fingerprint"):
        select(Request(("sale",)), None)


@pytest.mark.parametrize("name", ["", "x" * 64, "é" * 32])
def test_a_name_that_cannot_be_one_is_refused_before_anything_is_made(house: House, name: str) -> None:
    """Loss prevented: the server cuts long names, and the restored database is not where the report says."""
    house.back_up()
    with pytest.raises(UsageError):
        _restore(house, name)


def test_an_older_server_is_refused(house: House, installations_by_major: dict[int, object]) -> None:
    """Loss prevented: a restore that fails after an hour over syntax the old server does not know."""
    from dataclasses import replace

    house.back_up()
    backup = house.catalog.find("latest")
    newer = replace(
        backup.manifest,
        server=replace(backup.manifest.server, version="99.1"),
        document=backup.manifest.document,
    )
    with pytest.raises(Refused, match="never restored into an older version"):
        restore(
            house.repository,
            replace(backup, manifest=newer),
            house.server,
            f"{house.database}_again",
            RestoreOptions(house.plan.options.installations, timeout_seconds=60),
            clock=house.clock,
        )


def test_a_view_that_cannot_be_computed_takes_nothing_else_with_it(
    house: House, cluster: ScratchCluster
) -> None:
    """Prevents one materialized view from keeping a whole database away at 3 a.m."""
    with cluster.server.connect(house.database) as connection:
        connection.execute(
            "CREATE FUNCTION members() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN"
            f" IF current_database() <> ''{house.database}'' THEN RAISE EXCEPTION ''only there''; END IF;"
            " RETURN 5; END';"
            "CREATE MATERIALIZED VIEW good AS SELECT count(*) FROM sale;"
            "CREATE MATERIALIZED VIEW broken AS SELECT members();"
            "CREATE MATERIALIZED VIEW above AS SELECT * FROM broken;"
        )
    house.back_up()
    with _dropped_afterwards(cluster, house.database):
        report = _restore(house, f"{house.database}_views")
        assert report.database != f"{house.database}_views"
        assert report.comparison.differences == (
            "MATERIALIZED VIEW DATA public.broken cannot be made: only there",
            "MATERIALIZED VIEW DATA public.above cannot be made: "
            'materialized view "broken" has not been populated',
        )
        assert "REFRESH MATERIALIZED VIEW public.broken;" in report.missing[0].statement
        with cluster.server.connect(report.database) as connection:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM sale), (SELECT count FROM good)"
            ).fetchone()
        assert row == (500, 500)


def test_a_restore_has_no_file_that_would_stay_if_it_were_killed(
    house: House, cluster: ScratchCluster, tmp_path: Path
) -> None:
    """Loss prevented: a scratch directory that fills, one file for each restore that was killed."""
    house.back_up()
    scratch, seen = tmp_path / "scratch", tmp_path / "seen"
    scratch.mkdir()
    real = cluster.installation.directory
    look = f'ls -A {scratch} >>{seen}; exec "{real}/pg_restore" "$@"'
    options = RestoreOptions(
        [inspect(exchange(real, tmp_path, "pg_restore", look))], timeout_seconds=60, jobs=2, scratch=scratch
    )
    with _dropped_afterwards(cluster, f"{house.database}_again"):
        report = restore(
            house.repository,
            house.catalog.find("latest"),
            house.server,
            f"{house.database}_again",
            options,
            clock=house.clock,
        )
    assert report.comparison.equal
    assert seen.read_text() == ""
