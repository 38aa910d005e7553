"""What surrounds a dump: properties of the database, memberships of roles, grants on parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from psycopg import sql

from recyclic_backups.catalog.manifest import ServerFacts
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.rescue import recover
from recyclic_backups.restore import database as databases
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups.restore.restore import RestoreReport, restore
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.strange.conftest import Servers

INTO = "zq_surroundings"
_PROPERTIES = """
    SELECT datconnlimit, datistemplate, datcollate, pg_catalog.shobj_description(oid, 'pg_database'),
        (SELECT pg_catalog.array_agg(setconfig::text) FROM pg_catalog.pg_db_role_setting WHERE setdatabase = d.oid)
    FROM pg_catalog.pg_database d WHERE datname = %s
"""


@contextmanager
def _restored(house: House, server: ScratchCluster, roles: tuple[str, ...] = ()) -> Iterator[RestoreReport]:
    """The newest backup, restored beside; it and the roles are gone afterwards."""
    try:
        yield restore(
            house.repository,
            house.catalog.find("latest"),
            server.server,
            INTO,
            RestoreOptions(house.plan.options.installations, timeout_seconds=60),
            clock=house.clock,
        )
    finally:
        databases.drop_database(server.server, INTO)
        _drop_roles(server, roles)


def _drop_roles(server: ScratchCluster, roles: tuple[str, ...]) -> None:
    with server.server.connect("postgres") as connection:
        for role in roles:
            found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
            if found is not None:
                connection.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}".encode())


def test_limits_settings_and_the_template_flag_come_back(house: House, cluster: ScratchCluster) -> None:
    """Loss prevented: a database that let 20 in and lets everybody in; a template that is none any more."""
    with cluster.server.connect("postgres") as connection:
        for change in (
            "CONNECTION LIMIT 20",
            "IS_TEMPLATE true",
            "SET search_path = ''",
            "SET temp_tablespaces = 'a b', c",
        ):
            connection.execute(f"ALTER DATABASE {house.database} {change}".encode())
        connection.execute(f"COMMENT ON DATABASE {house.database} IS 'the cash desk'".encode())
    try:
        house.back_up()
        with _restored(house, cluster) as report, cluster.server.connect("postgres") as connection:
            assert report.comparison.equal
            properties = [
                connection.execute(_PROPERTIES, (name,)).fetchone() for name in (house.database, INTO)
            ]
            assert properties[0] == properties[1]
            assert properties[1] is not None
            assert properties[1][:2] == (20, True)
    finally:
        with cluster.server.connect("postgres") as connection:
            connection.execute(f"ALTER DATABASE {house.database} IS_TEMPLATE false".encode())


def test_a_template_can_be_replaced(house: House, cluster: ScratchCluster) -> None:
    """Loss prevented: a restore in place that works for every database but a template."""
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"ALTER DATABASE {house.database} IS_TEMPLATE true".encode())
    house.back_up()
    report = restore(
        house.repository,
        house.catalog.find("latest"),
        cluster.server,
        house.database,
        RestoreOptions(house.plan.options.installations, timeout_seconds=60),
        clock=house.clock,
        replace=True,
    )
    assert report.kept_as is not None
    databases.drop_database(cluster.server, report.kept_as)
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"ALTER DATABASE {house.database} IS_TEMPLATE false".encode())


@pytest.mark.parametrize("fingerprint", ["content", "off"])
def test_a_database_without_plpgsql_comes_back_without_it(
    house: House, cluster: ScratchCluster, fingerprint: str
) -> None:
    """Loss prevented: every restore and drill of such a database differs, for ever."""
    house.options(fingerprint=fingerprint)
    with cluster.server.connect(house.database) as connection:
        connection.execute("DROP EXTENSION plpgsql")
    house.back_up()
    with _restored(house, cluster) as report, cluster.server.connect(INTO) as connection:
        assert report.comparison.equal is (True if fingerprint == "content" else None)
        assert not connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'plpgsql'").fetchall()


def test_grants_on_parameters_come_back_with_the_role(house: House, cluster: ScratchCluster) -> None:
    """Loss prevented: an application that may set a parameter and no longer can; one set for all, on another server."""
    roles = ("zq_setter",)
    with cluster.server.connect("postgres") as connection:
        connection.execute(
            "CREATE ROLE zq_setter;"
            "GRANT SET, ALTER SYSTEM ON PARAMETER log_min_duration_statement TO zq_setter WITH GRANT OPTION;"
            "GRANT SET ON PARAMETER zq.unknown TO zq_setter;"
            "GRANT SET ON PARAMETER zq.everybody TO PUBLIC"
        )
        query = (
            "SELECT parname, privilege_type, is_grantable FROM pg_parameter_acl, aclexplode(paracl)"
            " WHERE grantee = 'zq_setter'::regrole ORDER BY 1, 2"
        )
        before = connection.execute(query).fetchall()
    try:
        house.back_up()
        assert any("zq.everybody" in note for note in house.catalog.backups[0].manifest.notes)
        _drop_roles(cluster, roles)
        with _restored(house, cluster, roles) as report, cluster.server.connect("postgres") as connection:
            assert report.created_roles == ["zq_setter"]
            assert connection.execute(query).fetchall() == before
            assert len(before) == 3
    finally:
        with cluster.server.connect("postgres") as connection:
            connection.execute("REVOKE SET ON PARAMETER zq.everybody FROM PUBLIC")


_MEMBERSHIPS = """
    SELECT a.roleid::regrole::text, a.member::regrole::text, a.grantor::regrole::text,
        admin_option, inherit_option, set_option
    FROM pg_auth_members a WHERE a.member::regrole::text ~ '^zq_' ORDER BY 1, 2, 3
"""


def test_memberships_come_back_with_every_grantor_and_option(
    servers: Servers,
) -> None:
    """Loss prevented: of two grants of one membership the second took the first one's place, and its options."""
    source, roles = servers[16], ("zq_member", "zq_deputy", "zq_boss", "zq_group")
    with source.server.connect("postgres") as connection:
        connection.execute("CREATE DATABASE zq_members TEMPLATE template0")
        connection.execute(
            "CREATE ROLE zq_group; CREATE ROLE zq_boss; CREATE ROLE zq_deputy; CREATE ROLE zq_member;"
            "GRANT zq_group TO zq_boss WITH ADMIN OPTION;"
            "GRANT zq_group TO zq_member WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;"
            "SET ROLE zq_boss; GRANT zq_group TO zq_deputy WITH ADMIN OPTION; RESET ROLE;"
            "SET ROLE zq_deputy; GRANT zq_group TO zq_member WITH ADMIN FALSE, INHERIT TRUE; RESET ROLE"
        )
        before = connection.execute(_MEMBERSHIPS).fetchall()
    try:
        house = House(source.server, "zq_members", MemoryStore())
        house.back_up()
        with source.server.connect("postgres") as connection:
            connection.execute("REVOKE zq_group FROM zq_boss CASCADE")
        _drop_roles(source, roles)
        with _restored(house, source, roles), source.server.connect("postgres") as connection:
            assert connection.execute(_MEMBERSHIPS).fetchall() == before
            assert len(before) == 4
            # A grantor who is there already, and may not grant it, ends nothing.
            connection.execute("DROP ROLE zq_member; REVOKE ADMIN OPTION FOR zq_group FROM zq_boss CASCADE")
            databases.drop_database(source.server, INTO)
            with _restored(house, source) as again:
                assert again.created_roles == ["zq_member"]
                granted = connection.execute(_MEMBERSHIPS).fetchall()
            assert ("zq_group", "zq_member") in {row[:2] for row in granted}
    finally:
        databases.drop_database(source.server, "zq_members")
        _drop_roles(source, roles)


class _Listening:
    """A connection that keeps what it is told: no programs with ICU and its rules (16) are on every machine."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def execute(self, statement: sql.Composed) -> None:
        """Keep the statement."""
        self.said.append(statement.as_string(None))


def test_icu_rules_come_back() -> None:
    """Loss prevented: a database that sorts otherwise than its indexes and unique keys were made for."""
    locale = {"provider": "icu", "collate": "C", "ctype": "C", "locale": "und", "rules": "&a < 'g'"}
    facts = ServerFacts("1", "16.4", "0/1", "UTF8", locale, "postgres")
    listening = _Listening()
    databases.create_database(cast(Any, listening), "shop", facts)
    assert listening.said[0].endswith("LOCALE_PROVIDER icu ICU_LOCALE 'und' ICU_RULES '&a < ''g'''")
    command = recover.createdb("shop", {"encoding": "UTF8", "locale": locale})
    assert "--icu-rules=&a < 'g'" in command
