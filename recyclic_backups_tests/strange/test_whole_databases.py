"""Databases that are strange as wholes: empty, the server's own, without an owner's rights, in tablespaces."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recyclic_backups.errors import DatabaseError, Refused
from recyclic_backups_tests.strange.conftest import Servers, back_up, create, put, round_trip, run_sql

PROPERTIES = """
SELECT pg_get_userbyid(datdba), shobj_description(d.oid, 'pg_database'), encoding, datcollate, datctype,
       (SELECT array_agg(x::text ORDER BY x::text) FROM unnest(datacl) x),
       (SELECT array_agg(setrole::regrole || ' ' || setting ORDER BY setrole::regrole::text, setting)
        FROM pg_db_role_setting s, unnest(setconfig) setting WHERE s.setdatabase = d.oid)
FROM pg_database d WHERE datname = %s
"""


@pytest.mark.parametrize("major", [15, 18])
def test_an_empty_database_comes_back(servers: Servers, major: int) -> None:
    """Loss prevented: a first backup, taken before there are tables, that fails or cannot be verified."""
    database = create(servers[major], "empty")
    house = back_up(servers[major], database)
    assert all(verification.passed for verification in house.verify())
    assert put(house, servers[major], "empty again").comparison.equal


def test_what_belongs_to_the_database_itself_comes_back(servers: Servers) -> None:
    """Loss prevented: settings with quotes, a comment of two lines, rights to connect that nobody has any more."""
    zoo = servers.zoo(15)
    put(back_up(servers[15], zoo), servers[15], "zoo properties")
    with servers[15].server.connect("postgres") as connection:
        before, after = (
            connection.execute(PROPERTIES, (name,)).fetchone() for name in (zoo, "zoo properties")
        )
    assert before == after
    assert before is not None


def test_the_database_that_restores_work_from_can_be_replaced(servers: Servers) -> None:
    """Loss prevented: whoever keeps their tables in "postgres" learns at the restore that it cannot be swapped."""
    cluster = servers[16]
    run_sql(cluster, "postgres", "CREATE TABLE mine (n int); INSERT INTO mine VALUES (1)")
    house = back_up(cluster, "postgres")
    run_sql(cluster, "postgres", "DELETE FROM mine")
    report = put(house, cluster, "postgres", replace=True)
    assert report.comparison.equal
    assert report.kept_as is not None
    with cluster.server.connect("postgres") as connection:
        assert connection.execute("SELECT n FROM mine").fetchall() == [(1,)]
        connection.execute("DROP TABLE mine")


def test_an_owner_who_is_no_superuser(servers: Servers) -> None:
    """Loss prevented: on hosted servers nobody is superuser; their backups must be taken and put back all the same."""
    cluster = servers[15]
    servers.zoo(15)  # for its roles
    database = create(cluster, "owned", "OWNER zoo_owner")
    owner = replace(cluster.server, user="zoo_owner", password="zoo-secret")
    with owner.connect(database) as connection:
        connection.execute(
            "CREATE SCHEMA own; CREATE TABLE own.sales (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t text);"
            "INSERT INTO own.sales (t) SELECT 'sale ' || n FROM generate_series(1, 50) n;"
            "CREATE MATERIALIZED VIEW own.totals AS SELECT count(*) FROM own.sales;"
            "GRANT SELECT ON own.sales TO zoo_keepers;"
            "SELECT lo_from_bytea(7001, 'mine')"
        )
    house = back_up(cluster, database, server=owner)
    with pytest.raises(Refused, match="no superuser"):
        put(house, cluster, "owned again", server=owner)
    report = put(house, cluster, "owned again", server=owner, no_owner=True)
    assert report.comparison.differences == ()
    # By a superuser all of it, but for the passwords that only one may read.
    report = put(house, cluster, "owned by a superuser")
    assert report.comparison.differences == ()
    assert any("password" in note for note in house.catalog.find("latest").manifest.notes)

    with cluster.server.connect(database) as connection:
        connection.execute("CREATE TABLE public.theirs (n int)")
    with pytest.raises(DatabaseError, match=r"may not read public\.theirs"):
        house.back_up()
    with cluster.server.connect(database) as connection:
        connection.execute("DROP TABLE public.theirs; ALTER TABLE own.sales FORCE ROW LEVEL SECURITY")
        connection.execute("ALTER TABLE own.sales ENABLE ROW LEVEL SECURITY")
    with pytest.raises(DatabaseError, match="does not see all rows"):
        house.back_up()


def test_tablespaces_are_left_behind(servers: Servers) -> None:
    """Loss prevented: a restore that needs the disks of the server that burned down."""
    cluster = servers[15]
    directory = cluster.socket_directory / "elsewhere"  # the only other place that the server may write to
    directory.mkdir()
    cluster._account.own(directory)
    with cluster.server.connect("postgres") as connection:
        connection.execute("SET allow_in_place_tablespaces = on")
        connection.execute(f"CREATE TABLESPACE elsewhere LOCATION '{directory}'")
    database = create(cluster, "spread")
    run_sql(
        cluster,
        database,
        "CREATE TABLE far (n int PRIMARY KEY USING INDEX TABLESPACE elsewhere) TABLESPACE elsewhere;"
        "INSERT INTO far VALUES (1); CREATE INDEX ON far ((n + 1)) TABLESPACE elsewhere;"
        "CREATE MATERIALIZED VIEW seen TABLESPACE elsewhere AS SELECT * FROM far;"
        "CREATE TABLE parts (n int) PARTITION BY LIST (n) TABLESPACE elsewhere",
    )
    for target in (servers[15], servers[16]):
        report = put(back_up(cluster, database), target, "spread again")
        assert report.comparison.differences == ()
        with target.server.connect("spread again") as connection:
            assert connection.execute("SELECT FROM pg_class WHERE reltablespace > 9999").fetchall() == []


def test_other_sessions_temporary_tables_are_not_in_it(servers: Servers) -> None:
    """Loss prevented: a backup that fails, or is never equal, because somebody was working."""
    database = create(servers[15], "at work")
    with servers[15].server.connect(database) as session:
        session.execute(
            "CREATE TEMPORARY TABLE mine AS SELECT 1 AS n; CREATE TEMPORARY SEQUENCE s; CREATE TABLE t ()"
        )
        session.execute("CREATE TYPE pg_temp.kind AS ENUM ('x'); CREATE TEMPORARY VIEW v AS SELECT 1")
        report = round_trip(servers[15], database, servers[15], "at work again")
    assert [table.name for table in report.comparison.tables] == ["public.t"]
