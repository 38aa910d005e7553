"""Reading a database runs nobody's functions: not even those that its tables' indexes and statistics call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from recyclic_backups.fingerprint.contents import table_query
from recyclic_backups.fingerprint.foreign_code import run_by_checks, run_by_generated_columns, run_by_planning
from recyclic_backups.fingerprint.read import read_fingerprint
from recyclic_backups.fingerprint.relations import columns_of, list_tables
from recyclic_backups.fingerprint.session import cannot_refuse_views, reading_session
from recyclic_backups.fingerprint.unplanned import read_unplanned
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.strange.conftest import Servers, create
from recyclic_backups_tests.strange.conftest import servers as servers  # noqa: PLC0414 - a fixture

_ROWS = r"""
CREATE TYPE public.mood AS ENUM ('so so', 'fine, "really"');
CREATE TYPE public.pair AS (a int, b text);
CREATE TABLE public.odd (id int PRIMARY KEY, "a,b" text, t text[], j jsonb, b bytea, p public.pair, m public.mood,
    r numrange, n numeric, d timestamptz, g int GENERATED ALWAYS AS (id * 2) STORED, "%s" xml, c "char");
INSERT INTO public.odd (id, "a,b", t, j, b, p, m, r, n, d, "%s", c) VALUES
    (1, '', '{}', '{"a": "\"x\\y"}', '\x00ff5c', ROW(1, 'x "y" \ (z),'),
     'fine, "really"', '[1,2)', 1.00, now(), '<a/>', 'x'),
    (2, E'tab\tnew\nline\rback\\slash\b\f\v', ARRAY['a,b', NULL, '', 'NULL', E'\\'], NULL, '', ROW(NULL, NULL), 'so so',
     'empty', 'NaN', 'infinity', NULL, ''),
    (3, NULL, NULL, 'null', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (4, E'\u00a0\u2028 \\N \\. «été» \U0001F600', NULL, '[]', NULL, ROW(1, E'\n'), NULL, NULL, -0.0,
     '-infinity', NULL, ' ');
INSERT INTO public.odd (id, "a,b") SELECT n, repeat(chr(33 + n % 90), n % 200) FROM generate_series(10, 3000) n;
CREATE TABLE public.bare (); INSERT INTO public.bare DEFAULT VALUES; INSERT INTO public.bare DEFAULT VALUES;
CREATE TABLE public.empty (a int);
"""


@pytest.fixture
def hostile(cluster: ScratchCluster, database: str) -> Iterator[str]:
    """A database whose owner is no superuser, with traps in everything that planning a query computes."""
    role = f"mallory_{database}"
    with cluster.server.connect(database) as connection:
        connection.execute(f"CREATE ROLE {role}; GRANT CREATE ON SCHEMA public TO {role}")
        connection.execute("CREATE TABLE public.called (what text); GRANT ALL ON public.called TO public")
        connection.execute(f"SET ROLE {role}")
        connection.execute(
            "CREATE FUNCTION public.trap(what text) RETURNS int IMMUTABLE LANGUAGE plpgsql AS"
            " $$ BEGIN IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN"
            " RAISE EXCEPTION 'called as a superuser: %', what; END IF; RETURN 1; END $$;"
            "CREATE FUNCTION public.trap_of(a int, what text) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS"
            " $$ BEGIN RETURN public.trap(what) = a; END $$;"
            "CREATE OPERATOR public.@@@ (LEFTARG = int, RIGHTARG = text, FUNCTION = public.trap_of);"
            "CREATE TABLE public.indexed (a int); INSERT INTO public.indexed VALUES (1), (2), (2);"
            "CREATE INDEX ON public.indexed ((a + public.trap('index')));"
            "CREATE TABLE public.partly (a int); INSERT INTO public.partly VALUES (1);"
            "CREATE INDEX ON public.partly (a) WHERE 1 OPERATOR(public.@@@) 'predicate';"
            "CREATE TABLE public.counted (a int, b int); INSERT INTO public.counted VALUES (1, 1);"
            "CREATE STATISTICS public.guess ON (a + public.trap('statistics')), b FROM public.counted;"
            "CREATE TABLE public.parted (a int) PARTITION BY RANGE ((a + public.trap('partition key')));"
            "CREATE TABLE public.part PARTITION OF public.parted FOR VALUES FROM (0) TO (9);"
            "INSERT INTO public.parted VALUES (1);"
            "CREATE MATERIALIZED VIEW public.seen AS SELECT 1 AS a;"
            "CREATE INDEX ON public.seen ((a + public.trap('materialized view')))"
        )
        connection.execute("RESET ROLE")
    yield database
    with cluster.server.connect(database) as connection:
        connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_rows_read_without_a_query_have_the_figures_of_those_read_by_one(
    cluster: ScratchCluster, database: str
) -> None:
    """Loss prevented: a backup called different from itself because its table was read in the other way."""
    with cluster.server.connect(database) as connection:
        connection.execute(_ROWS.replace("%s", "odd \\ name").encode())
    with (
        reading_session(cluster.server, database) as connection,
        reading_session(cluster.server, database) as beside,
    ):
        for level in ("content", "counts"):
            for table in list_tables(connection):
                columns = columns_of(connection, [table])[table.oid]
                (planned,) = connection.execute(table_query(table, columns, level)).fetchall()
                unplanned = read_unplanned(connection, beside, table, columns, level)
                assert sorted(planned[2] or ()) == sorted(unplanned[2] or ())
                assert (*planned[:2], *planned[3:]) == (*unplanned[:2], *unplanned[3:]), table.qualified


def test_planning_a_query_on_such_a_table_is_what_runs_the_owner_s_code(
    cluster: ScratchCluster, hostile: str
) -> None:
    """The attack itself: were this not so, the next test would show nothing."""
    for table in ("indexed", "partly", "counted", "seen"):
        with (
            pytest.raises(Exception, match="called as a superuser"),
            cluster.server.connect(hostile) as connection,
        ):
            connection.execute(f"SELECT count(*) FROM public.{table}")


def test_a_fingerprint_runs_nobody_s_functions(cluster: ScratchCluster, hostile: str) -> None:
    """Attack prevented: an index on his own function makes a database's owner superuser at the next backup."""
    fingerprint = read_fingerprint(cluster.server, hostile, level="content")
    rows = {name.removeprefix("public."): table.rows for name, table in fingerprint.tables.items()}
    assert rows == {"called": 0, "indexed": 3, "partly": 1, "counted": 1, "parted": 0, "part": 1}
    assert fingerprint.materialized_views["public.seen"].populated
    assert fingerprint.materialized_views["public.seen"].rows is None


def test_a_fingerprint_makes_no_value_of_the_owner_s_types(servers: Servers) -> None:
    """Attack prevented: hstore makes a value of his type in an index, whose domain's check runs as a superuser.

    The function is hstore's, which a superuser owns and which whoever owns a database may install; it is immutable, so
    that planning computes it, and nothing in the index names a function of his.
    """
    cluster, role = servers[15], "mallory_of_types"
    database = create(cluster, "types")
    with cluster.server.connect(database) as connection:
        if not connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'hstore'").fetchone():
            pytest.skip("contrib: hstore is not installed here")
        connection.execute(
            "CREATE EXTENSION hstore WITH SCHEMA public;"
            f"CREATE ROLE {role}; GRANT CREATE ON SCHEMA public TO {role}; SET ROLE {role};"
            "CREATE FUNCTION public.trap(int) RETURNS bool LANGUAGE plpgsql AS"
            " $$ BEGIN IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN"
            " RAISE EXCEPTION 'called as a superuser'; END IF; RETURN true; END $$;"
            "CREATE DOMAIN public.guarded AS int CHECK (public.trap(value));"
            "CREATE TYPE public.pair AS (x public.guarded, y int); CREATE TYPE public.mood AS ENUM ('so so', 'fine');"
            "CREATE TABLE public.indexed (a int); INSERT INTO public.indexed VALUES (1);"
            "CREATE INDEX ON public.indexed"
            " ((a + (public.populate_record(NULL::public.pair, public.hstore('x', '1'))).y));"
            "CREATE TABLE public.counted (a int); INSERT INTO public.counted VALUES (1);"
            "CREATE STATISTICS public.guess ON ((NULL::public.pair OPERATOR(public.#=) public.hstore('x', '1')).y), a"
            " FROM public.counted;"
            "CREATE TABLE public.rowed (a int); INSERT INTO public.rowed VALUES (1);"
            "CREATE INDEX ON public.rowed ((public.hstore(ROW((NULL::public.pair).x)"
            " OPERATOR(public.#=) public.hstore('f1', '1')) OPERATOR(public.->) 'f1'), a);"
            "CREATE TABLE public.plain (m public.mood); CREATE INDEX ON public.plain (m) WHERE m = 'fine';"
            "RESET ROLE"
        )
    try:
        for table in ("indexed", "counted", "rowed"):
            with (
                pytest.raises(Exception, match="called as a superuser"),
                cluster.server.connect(database) as connection,
            ):
                connection.execute(f"SELECT count(*) FROM public.{table}")
        fingerprint = read_fingerprint(cluster.server, database, level="content")
        read = {name: fingerprint.tables[f"public.{name}"].rows for name in ("indexed", "counted", "rowed")}
        assert read == {"indexed": 1, "counted": 1, "rowed": 1}
        with cluster.server.connect(database) as connection:
            assert set(run_by_planning(connection).values()) == {(role,)}
            every = run_by_planning(connection)
            assert len(every) == 3, "an enumeration costs nothing"
            assert run_by_planning(connection, *every) == every, "asked of some tables alone"
            (one, *_) = every
            assert run_by_planning(connection, one) == {one: (role,)}
            domains = connection.execute(
                "SELECT oid::bigint FROM pg_type WHERE typtype = 'd' AND oid > 16383"
            )
            checks = run_by_checks(connection, *(oid for (oid,) in domains.fetchall()))
            assert set(checks.values()) == {(role,)}
            assert checks == run_by_checks(connection)
    finally:
        with cluster.server.connect(database) as connection:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_checks_whose_text_or_caller_makes_the_difference_count_as_the_owner_s(
    cluster: ScratchCluster, database: str
) -> None:
    """Attack prevented: a check that holds nothing of his when it is made runs what he likes when a superuser asks.

    ``diagnose`` puts the text of a check to the rows: a cast and a nearer function that came later are found by that.
    And a superuser's function that he may not call himself, or that logs in elsewhere (dblink), does it for us.
    """
    role = f"eve_{database}"
    with cluster.server.connect(database) as connection:
        connection.execute(
            "CREATE FUNCTION public.any_of(anyelement) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS"
            " $$ BEGIN RETURN true; END $$;"
            "CREATE FUNCTION public.even(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS"
            " $$ BEGIN RETURN true; END $$;"
            "CREATE FUNCTION public.kept(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN true; END $$;"
            "REVOKE EXECUTE ON FUNCTION public.kept FROM PUBLIC;"
            "CREATE FUNCTION public.acting(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN true; END $$;"
            f"CREATE ROLE {role}; GRANT CREATE ON SCHEMA public TO {role};"
            "CREATE TABLE public.mine (a int, CONSTRAINT of_superuser CHECK (public.acting(a) AND public.kept(a)));"
            f"SET ROLE {role};"
            "CREATE TYPE public.mood AS ENUM ('so so', 'fine');"
            "CREATE TABLE public.checked (a int, m public.mood, t text,"
            " CONSTRAINT cast_later CHECK (m::text <> 'x'), CONSTRAINT nearer_later CHECK (public.any_of(a)),"
            " CONSTRAINT not_his_to_call CHECK (public.kept(a)), CONSTRAINT acts CHECK (public.acting(a)),"
            " CONSTRAINT harmless CHECK (public.even(a) AND lower(t) <> 'x'));"
            "RESET ROLE"
        )
    try:
        with cluster.server.connect(database) as connection:
            foreign = run_by_checks(connection)
            names = dict(
                connection.execute("SELECT conname, oid::bigint FROM pg_constraint WHERE contype = 'c'")
            )
        found = {name for name, oid in names.items() if oid in foreign}
        assert found == {"cast_later", "nearer_later", "not_his_to_call", "acts"}
        assert {owner for owners in foreign.values() for owner in owners} == {role}
    finally:
        with cluster.server.connect(database) as connection:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_json_that_is_read_as_the_owner_s_domain_counts_as_his_code(servers: Servers) -> None:
    """Attack: the type behind RETURNING stands in a field of another name; its check is called for each row."""
    cluster = servers[18]
    with cluster.server.connect("postgres") as connection:
        connection.execute("CREATE ROLE mallory_of_json")
        connection.execute("CREATE DATABASE of_json OWNER mallory_of_json")
    try:
        with cluster.server.connect("of_json") as connection:
            value = "JSON_VALUE(js, '$.a' RETURNING m.d) IS NULL"
            connection.execute(
                "CREATE SCHEMA m AUTHORIZATION mallory_of_json; SET ROLE mallory_of_json; CREATE DOMAIN m.d AS text;"
                f"CREATE TABLE m.t (js jsonb, CHECK ({value}), g bool GENERATED ALWAYS AS ({value}) STORED);"
                f"CREATE INDEX ON m.t (({value})); RESET ROLE"
            )
            owners = [("mallory_of_json",)]
            assert list(run_by_checks(connection).values()) == owners
            assert list(run_by_generated_columns(connection).values()) == owners
            assert list(run_by_planning(connection).values()) == owners
    finally:
        with cluster.server.connect("postgres") as connection:
            connection.execute("DROP DATABASE of_json")
            connection.execute("DROP ROLE mallory_of_json")


def test_functions_of_superusers_and_postgresql_s_own_cost_nothing(
    cluster: ScratchCluster, database: str
) -> None:
    """Loss prevented: every table with an index on ``lower(name)`` read twice over the network."""
    with cluster.server.connect(database) as connection:
        connection.execute(
            "CREATE FUNCTION public.mine(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN $1; END $$;"
            "CREATE TABLE public.t (a text, b int);"
            "CREATE INDEX ON public.t (lower(a)); CREATE INDEX ON public.t (public.mine(b)) WHERE b > 0"
        )
        assert not run_by_planning(connection)


def test_an_index_whose_function_relies_on_a_path_stops_no_backup(
    cluster: ScratchCluster, database: str
) -> None:
    """Loss prevented: no backup of a database with the usual ``f_unaccent``, or with earthdistance."""
    with cluster.server.connect(database) as connection:
        connection.execute(
            "CREATE FUNCTION public.inner_one(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS"
            " $$ BEGIN RETURN $1; END $$;"
            "CREATE FUNCTION public.outer_one(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT inner_one($1) $$;"
            "CREATE TABLE public.t (a text); INSERT INTO public.t VALUES ('é');"
            "CREATE INDEX ON public.t (public.outer_one(a))"
        )
    assert read_fingerprint(cluster.server, database, level="content").tables["public.t"].rows == 1


def test_servers_on_which_a_view_may_take_a_sequences_place_are_known_by_their_version() -> None:
    """Attack: CVE-2024-7348 on a server that nobody has updated since August 2024; validate warns of those."""
    assert all(cannot_refuse_views(version) for version in (110022, 120019, 130015, 140012, 150007, 160003))
    assert not any(
        cannot_refuse_views(version) for version in (120020, 140013, 150008, 160004, 170000, 180004)
    )
