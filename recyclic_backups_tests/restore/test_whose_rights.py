"""What belongs to several owners, and to superusers beside them, comes back: each makes what is his."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from recyclic_backups.errors import DatabaseError
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups.restore.contents import Entry
from recyclic_backups.restore.loaders import NOBODY, loaders
from recyclic_backups.restore.owners import Roles
from recyclic_backups.restore.restore import RestoreReport, restore
from recyclic_backups.restore.whose_rights import (
    SUPERUSER,
    Turn,
    by_kind,
    in_order,
    in_turns,
    keeping_functions,
    turn_of,
)
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.strange.conftest import Servers
from recyclic_backups_tests.strange.conftest import servers as servers  # noqa: PLC0414 - a fixture

ROLES = Roles({"postgres": "postgres"}, {"anna": "anna", "bert": "bert"})
ANNA, BERT = Turn("anna", as_owner=True), Turn("bert", as_owner=True)


def test_what_nobody_knows_is_made_by_its_owner() -> None:
    """Attack: a kind of object that a newer pg_dump writes and no list of ours has, made by the superuser."""
    assert turn_of(Entry(1, "", "SOMETHING NEW m x anna"), ROLES) == ANNA
    assert turn_of(Entry(1, "", "SOMETHING NEW m x of somebody gone"), ROLES) == Turn(NOBODY)
    assert turn_of(Entry(1, "", "SOMETHING NEW m x postgres"), ROLES) == SUPERUSER
    assert turn_of(Entry(1, "FK CONSTRAINT", "m t k anna"), ROLES) == Turn("anna")


def test_grants_come_last_but_for_those_that_making_the_others_needs() -> None:
    """Loss prevented: tables that their owner cannot make, since he may not use the schema of their columns' types."""
    entries = [
        Entry(1, "SCHEMA", "- m postgres"),
        Entry(2, "TABLE", "m t anna"),
        Entry(3, "ACL", "m TABLE t anna"),
        Entry(4, "VIEW", "m v anna"),
        Entry(5, "ACL", "- SCHEMA m postgres"),
    ]
    assert [entry.number for entry in in_order(entries)] == [1, 5, 2, 4, 3]


def test_a_comment_takes_no_turn_of_its_own() -> None:
    """Loss prevented: a restore that starts a program for each of ten thousand comments."""
    entries = [
        Entry(1, "EXTENSION", "- hstore "),
        Entry(2, "COMMENT", "- EXTENSION hstore "),
        Entry(3, "TABLE", "m a anna"),
        Entry(4, "COMMENT", "m TABLE a anna"),
        Entry(5, "TABLE", "m b bert"),
    ]
    found = [(turn, [entry.number for entry in run]) for turn, run in in_turns(entries, ROLES)]
    assert found == [(SUPERUSER, [1, 2]), (ANNA, [3, 4]), (BERT, [5])]


def test_tables_of_owners_that_alternate_are_made_owner_by_owner() -> None:
    """Loss prevented: minutes for starting a program for each of a thousand tables."""
    kinds = ("TABLE", "COMMENT", "SEQUENCE", "VIEW", "COMMENT")
    entries = [
        Entry(10 * n + place, kind, f"m {kind}{n} {'anna' if n % 2 else 'bert'}")
        for n in range(1, 5)
        for place, kind in enumerate(kinds)
    ]
    found = [(turn, [entry.number for entry in run]) for turn, run in in_turns(entries, ROLES)]
    assert found == [
        (ANNA, [10, 11, 12, 30, 31, 32]),
        (BERT, [20, 21, 22, 40, 41, 42]),
        (ANNA, [13, 14]),
        (BERT, [23, 24]),
        (ANNA, [33, 34]),
        (BERT, [43, 44]),
    ]


def test_after_the_rows_each_owner_has_one_turn_for_a_kind() -> None:
    """Loss prevented: a program started for each trigger, where the tables of two owners alternate."""
    entries = [Entry(n, "TRIGGER", f"m t{n} x {'anna' if n % 2 else 'bert'}") for n in range(1, 5)]
    entries += [Entry(n, "MATERIALIZED VIEW DATA", f"m v{n} anna") for n in (5, 6)]
    found = [
        (kind, [(turn, [entry.number for entry in run]) for turn, run in turns])
        for kind, turns in by_kind(entries, ROLES)
    ]
    assert found == [
        ("TRIGGER", [(ANNA, [1, 3]), (BERT, [2, 4])]),
        ("MATERIALIZED VIEW DATA", [(ANNA, [5])]),
        ("MATERIALIZED VIEW DATA", [(ANNA, [6])]),
    ]


SHARED = """
    CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO zt_anna, zt_bert; CREATE SCHEMA hidden;
    CREATE TYPE s.kind AS ENUM ('a', 'b'); CREATE TYPE hidden.pair AS (x int, y int); CREATE SEQUENCE hidden.counter;
    CREATE FUNCTION s.low(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN lower($1); END';
    CREATE TABLE s.a (id int PRIMARY KEY, k s.kind DEFAULT 'a', t text, p hidden.pair DEFAULT '(1,2)');
    CREATE TABLE s.b (id int PRIMARY KEY DEFAULT nextval('hidden.counter'), a int REFERENCES s.a);
    CREATE TABLE s.c (id int PRIMARY KEY, a int REFERENCES s.a, b int REFERENCES s.b);
    CREATE TABLE s.parted (id int, day int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE s.parted_1 PARTITION OF s.parted FOR VALUES FROM (0) TO (10);
    CREATE TABLE s.parted_2 PARTITION OF s.parted FOR VALUES FROM (10) TO (20);
    CREATE INDEX ON s.parted (day); CREATE INDEX ON s.a (s.low(t)); CREATE TABLE s.child (more int) INHERITS (s.a);
    CREATE VIEW s.v AS SELECT a.id, b.id AS other FROM s.a JOIN s.b ON b.a = a.id;
    CREATE MATERIALIZED VIEW s.m AS SELECT id FROM s.a; CREATE UNIQUE INDEX ON s.m (id);
    CREATE FUNCTION s.noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
    CREATE TRIGGER noted BEFORE INSERT ON s.b FOR EACH ROW EXECUTE FUNCTION s.noted();
    CREATE FUNCTION s.absolute(int) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'int4abs';
    CREATE TABLE s.counted (a int CHECK (s.absolute(a) > 0), EXCLUDE USING btree (a WITH =));
    CREATE STATISTICS s.st ON id, a FROM s.b; ALTER TABLE s.b ENABLE ROW LEVEL SECURITY;
    CREATE POLICY p ON s.b TO zt_anna USING (id > 0); CREATE RULE r AS ON DELETE TO s.c DO INSTEAD NOTHING;
    COMMENT ON TABLE s.b IS 'hers'; GRANT SELECT ON s.b TO PUBLIC; REVOKE ALL ON FUNCTION s.low(text) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION s.low(text) TO zt_anna; GRANT SELECT ON s.a TO zt_bert;
    CREATE PUBLICATION zt FOR TABLE s.a, s.b;
    INSERT INTO s.a VALUES (1, 'a', 'X'), (2, 'b', 'Y'); INSERT INTO s.b (a) VALUES (1), (2), (NULL);
    INSERT INTO s.c VALUES (1, 1, 1); INSERT INTO s.parted VALUES (1, 1), (2, 11); INSERT INTO s.counted VALUES (1);
    INSERT INTO s.child (id, more) VALUES (3, 4); REFRESH MATERIALIZED VIEW s.m;
"""
OWNED = {
    "zt_anna": (
        "TABLE s.a",
        "TABLE s.c",
        "TABLE s.parted",
        "TABLE s.parted_2",
        "VIEW s.v",
        "FUNCTION s.noted()",
    ),
    "zt_bert": (
        "TABLE s.b",
        "TABLE s.parted_1",
        "TABLE s.child",
        "MATERIALIZED VIEW s.m",
        "FUNCTION s.absolute(int)",
    ),
    "pg_database_owner": ("TABLE s.counted", "FUNCTION s.low(text)", "TYPE s.kind"),
}


def _drop_databases(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    query = "SELECT datname FROM pg_database WHERE datname ~ '^zt(_|$)'"
    for (name,) in connection.execute(query).fetchall():
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@pytest.fixture
def owners(servers: Servers) -> Iterator[ScratchCluster]:
    """A server with three people on it and the database ``zt``, which one of them owns; afterwards they are gone."""
    cluster = servers[15]
    with cluster.server.connect("postgres") as connection:
        for role in ("zt_anna", "zt_bert", "zt_carl"):
            connection.execute(f"CREATE ROLE {role} {'NOINHERIT' if role == 'zt_bert' else ''}".encode())
        connection.execute("CREATE DATABASE zt TEMPLATE template0 OWNER zt_carl")
    try:
        yield cluster
    finally:
        with cluster.server.connect("postgres") as connection:
            _drop_databases(connection)
            connection.execute("DROP ROLE zt_anna, zt_bert, zt_carl")


def _again(cluster: ScratchCluster) -> RestoreReport:
    house = House(cluster.server, "zt", MemoryStore())
    house.back_up()
    options = RestoreOptions(house.plan.options.installations, timeout_seconds=60, jobs=2)
    return restore(
        house.repository, house.catalog.find("latest"), cluster.server, "zt_again", options, clock=house.clock
    )


def test_a_database_of_many_owners_comes_back(owners: ScratchCluster) -> None:
    """Loss prevented: a database that grew over years, in which everything was given to somebody, and to others later.

    A partition of one owner in a table of another, a heir, a type and a sequence in a schema that its user may not
    use, a function that only a superuser may make, a table of whoever owns the database.
    """
    with owners.server.connect("zt") as connection:
        connection.execute(SHARED.encode())
        connection.execute("GRANT CREATE, USAGE ON SCHEMA s TO pg_database_owner")
        for owner, objects in OWNED.items():
            for each in objects:
                connection.execute(f"ALTER {each} OWNER TO {owner}".encode())
    report = _again(owners)
    assert report.missing == []
    assert report.comparison.differences == ()
    assert report.loaded_by == {"pg_database_owner": 1, "zt_anna": 3, "zt_bert": 3}
    with owners.server.connect("zt_again") as connection:
        query = "SELECT relowner::regrole::text FROM pg_class WHERE oid = 's.counted'::regclass"
        assert connection.execute(query).fetchone() == ("pg_database_owner",)
        owned = "SELECT datdba::regrole::text FROM pg_database WHERE datname = 'zt_again'"
        assert connection.execute(owned).fetchone() == ("zt_carl",)
        assert connection.execute("SELECT id FROM s.m ORDER BY 1").fetchall() == [(1,), (2,), (3,)]


def test_what_an_owner_may_not_make_any_more_is_missing_and_no_superuser_makes_it(
    owners: ScratchCluster,
) -> None:
    """Attack: an owner who lost a right, so that the superuser makes her view, with her code in it, in her place."""
    with owners.server.connect("zt") as connection:
        connection.execute(
            """
            CREATE SCHEMA hidden; CREATE FUNCTION hidden.one() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
            CREATE SCHEMA s; CREATE DOMAIN s.d AS int; ALTER DOMAIN s.d OWNER TO zt_anna;
            GRANT USAGE ON SCHEMA s TO zt_anna;
            CREATE VIEW s.v AS SELECT hidden.one(), '{1}'::s.d[] AS x; ALTER VIEW s.v OWNER TO zt_anna;
            CREATE TABLE s.t (a int); INSERT INTO s.t VALUES (1)
            """
        )
    report = _again(owners)
    assert [each.name for each in report.missing] == ["VIEW s.v"]
    assert "permission denied for schema hidden" in report.missing[0].reason
    assert "--trust-owners" in report.missing[0].reason
    with owners.server.connect(report.database) as connection:
        assert connection.execute("SELECT a FROM s.t").fetchall() == [(1,)]


def test_nobody_who_got_in_as_a_loader_is_there_while_the_superuser_works(owners: ScratchCluster) -> None:
    """Attack: his code gives his loader another password, enters by it, and makes an index at the right moment."""
    server = owners.server
    with loaders(server, "zt", seconds=60, database_owner="zt_carl") as made:
        login = made.of("zt_anna")
        other = psycopg.connect(
            host=login.host, port=login.port, user=login.user, password=login.password, dbname="zt"
        )
        with other:
            other.execute("ALTER ROLE CURRENT_USER PASSWORD 'mine'")
        with made.absent():
            with pytest.raises(psycopg.OperationalError):
                other.execute("SELECT 1")
            for password in ("mine", login.password):
                with pytest.raises(
                    psycopg.OperationalError, match=r"not permitted to log in|password authentication"
                ):
                    psycopg.connect(
                        host=login.host, port=login.port, user=login.user, password=password, dbname="zt"
                    )
        with login.connect("zt") as connection:
            assert connection.execute("SELECT session_user").fetchone() == (login.user,)


def test_an_owner_sees_no_schema_with_functions_that_have_powers_of_others(owners: ScratchCluster) -> None:
    """Attack: he fails once, so that he may look into schemas that he may not use, and calls what lies in one."""
    server = owners.server
    with server.connect("zt") as connection:
        connection.execute(
            """
            CREATE SCHEMA tools; CREATE FUNCTION tools.run() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
            CREATE SCHEMA plain; CREATE FUNCTION plain.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE SCHEMA own;
            CREATE FUNCTION own.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION own.f() OWNER TO zt_anna
            """
        )
    with loaders(server, "zt", seconds=60) as made:
        with made.creating("zt_bert", ["own"], as_owner=True), server.connect("zt") as connection:
            lent = "SELECT has_schema_privilege('zt_bert', 'own', 'CREATE'), nspacl::text FROM pg_namespace"
            (may, _) = connection.execute(f"{lent} WHERE nspname = 'own'").fetchone() or (None, None)
            assert may, "although zt_bert inherits nothing"
        for lending in (False, True):
            with (
                made.creating("zt_anna", [], as_owner=True, lending=lending),
                made.of("zt_anna").connect("zt") as connection,
            ):
                query = "SELECT has_schema_privilege(nspname, 'USAGE') FROM pg_namespace WHERE nspname = %s"
                seen = [
                    connection.execute(query, (schema,)).fetchone() for schema in ("tools", "plain", "own")
                ]
                assert seen == [(False,), (lending,), (lending,)]
    with server.connect("zt") as connection:
        query = "SELECT nspname FROM pg_namespace, aclexplode(nspacl) x WHERE nspname IN ('own', 'plain', 'tools')"
        assert connection.execute(f"{query} AND x.grantee <> nspowner").fetchall() == []


def test_an_extension_that_failed_is_not_made_among_the_objects_of_others(
    servers: Servers,
) -> None:
    """Attack: the script of an extension runs as the superuser, and finds what others put into its schema meanwhile."""
    cluster = servers[18]
    extensions = cluster.data_directory / "late" / "extension"
    extensions.mkdir(parents=True)
    for path in (extensions.parent, extensions):
        path.chmod(0o755)
    (extensions / "comes_late.control").write_text("default_version = '1'\nrelocatable = false\n")
    (extensions / "comes_late--1.sql").write_text(
        "DO $$ BEGIN IF pg_catalog.to_regclass('public.t') IS NULL THEN RAISE EXCEPTION 'no table yet'; END IF; END $$;"
    )
    for path in extensions.iterdir():
        path.chmod(0o644)
    with cluster.server.connect("postgres") as connection:
        connection.execute(
            f"ALTER SYSTEM SET extension_control_path = '$system:{extensions.parent}'".encode()
        )
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("CREATE ROLE zt_anna")
        connection.execute("CREATE DATABASE zt TEMPLATE template0")
    try:
        with cluster.server.connect("zt") as connection:
            connection.execute("CREATE TABLE public.t (a int); CREATE EXTENSION comes_late SCHEMA public")
        assert _again(cluster).missing == [], "as long as all is the superuser's"
        with cluster.server.connect("zt") as connection:
            connection.execute("DROP DATABASE zt_again")
            connection.execute("ALTER TABLE public.t OWNER TO zt_anna")
        assert [each.name for each in _again(cluster).missing] == ["EXTENSION comes_late"]
    finally:
        with cluster.server.connect("postgres") as connection:
            _drop_databases(connection)
            connection.execute("DROP ROLE zt_anna")
            shutil.rmtree(extensions.parent)
            connection.execute("ALTER SYSTEM RESET extension_control_path")
            connection.execute("SELECT pg_reload_conf()")


def test_a_server_says_no_to_a_loader_of_an_owner_that_is_not_there(owners: ScratchCluster) -> None:
    """Loss prevented: a restore that goes on as somebody else, because whoever owned a table is not on this server."""
    with (
        loaders(owners.server, "zt", seconds=60) as made,
        pytest.raises(DatabaseError, match="does not exist"),
    ):
        made.of("zt_nobody_of_that_name")


def test_grants_on_functions_come_before_the_turn_of_anybody_else() -> None:
    """Attack: what was taken from PUBLIC is everybody's until then, and acts with its owner's rights."""
    entries = [
        Entry(1, "FUNCTION", "a b run(text) postgres"),
        Entry(2, "FUNCTION", "m f() anna"),
        Entry(3, "FUNCTION", "m g() anna"),
        Entry(4, "AGGREGATE", "m h(integer) bert"),
        Entry(5, "TABLE", "m t anna"),
        Entry(6, "ACL", "m FUNCTION f() anna"),
        Entry(7, "ACL", "a b FUNCTION run(text) postgres"),
        Entry(8, "ACL", "m FUNCTION of_an_extension() "),
        Entry(9, "ACL", "m FUNCTION h(integer) bert"),
        Entry(10, "ACL", "m TABLE t anna"),
    ]
    runs = keeping_functions([(SUPERUSER, []), *in_turns(entries, ROLES)])
    found = [(turn, [entry.number for entry in run]) for turn, run in runs]
    assert found == [
        (SUPERUSER, [8]),
        (SUPERUSER, [1, 7]),
        (ANNA, [2, 3]),
        (SUPERUSER, [6]),
        (BERT, [4]),
        (SUPERUSER, [9]),
        (ANNA, [5]),
        (SUPERUSER, [10]),
    ]
