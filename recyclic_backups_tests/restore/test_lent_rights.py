"""What a restore lends, looks at too early or makes from a text: a hostile owner gets nobody's rights by it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from recyclic_backups.errors import Refused
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.restore.loaders import loaders
from recyclic_backups.restore.restore import RestoreReport
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.restore.test_foreign_code import TRAP, _hers, _put_back, _superusers
from recyclic_backups_tests.strange.conftest import Servers
from recyclic_backups_tests.strange.conftest import servers as servers  # noqa: PLC0414 - a fixture

MAJORS = [15, *(pytest.param(major, marks=pytest.mark.slow) for major in (16, 18))]

# Makes in a restore what ``{}`` says, once, and does not fail.
PLANTED = """
    CREATE FUNCTION m.plant() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN
      IF current_database() <> 'hers' THEN {} END IF; RETURN 1;
    EXCEPTION WHEN OTHERS THEN RETURN 1; END $f$;
    CREATE FUNCTION m.planting(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM m.plant(); RETURN 1; END';
"""


def _sql(cluster: ScratchCluster, user: str, text: str) -> None:
    with psycopg.connect(
        host=cluster.server.host,
        port=cluster.server.port,
        user=user,
        password=cluster.server.password if user == "postgres" else user,
        dbname="hers",
    ) as connection:
        connection.execute(text.encode())


@contextmanager
def _restored(cluster: ScratchCluster) -> Iterator[RestoreReport | None]:
    """The report of a restore, None if it was refused; the restored database is dropped, whatever its name."""
    try:
        try:
            yield _put_back(cluster, "hers")
        except Refused:
            yield None
    finally:
        with cluster.server.connect("postgres") as connection:
            query = "SELECT datname FROM pg_database WHERE datname ~ '^hers_again'"
            for (name,) in connection.execute(query).fetchall():
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@pytest.mark.parametrize("major", MAJORS)
def test_an_owner_refers_to_no_table_of_a_superuser_by_what_a_restore_lends(
    servers: Servers, major: int
) -> None:
    """Attack: while foreign keys are made she refers to his table by a type whose cast is her function.

    The row is looked up with the rights of the table that is referred to, and so is the cast called.
    """
    cluster = servers[major]
    planted = "CREATE TABLE m.x (a m.e REFERENCES public.his); INSERT INTO m.x VALUES ('1'); DROP TABLE m.x;"
    with _hers(cluster, "hers"):
        _sql(
            cluster,
            "postgres",
            "CREATE TABLE public.his (k int PRIMARY KEY); INSERT INTO public.his VALUES (1);"
            "CREATE SCHEMA s; CREATE TABLE s.his (k int PRIMARY KEY); INSERT INTO s.his VALUES (1)",
        )
        _sql(
            cluster,
            "mallory",
            TRAP
            + PLANTED.format(planted)
            + """
            CREATE TYPE m.e AS ENUM ('1', '2');
            CREATE FUNCTION m.cast(m.e) RETURNS int LANGUAGE plpgsql IMMUTABLE
                AS 'BEGIN PERFORM m.act(); RETURN $1::text::int; END';
            CREATE CAST (m.e AS int) WITH FUNCTION m.cast(m.e) AS IMPLICIT;
            CREATE TABLE m.parent (k int PRIMARY KEY); INSERT INTO m.parent VALUES (1);
            CREATE TABLE m.t (a int REFERENCES m.parent); INSERT INTO m.t VALUES (1);
            CREATE INDEX ON m.t ((a + m.planting(7)))""",
        )
        with _restored(cluster) as report:
            assert report is not None
            assert report.comparison.differences == ()
            assert _superusers(cluster) == ["postgres"]


def test_a_foreign_key_to_the_table_of_another_owner_comes_back(servers: Servers) -> None:
    """Loss prevented: an owner has no right to refer to a superuser's table, and did not make the key herself."""
    cluster = servers[15]
    with _hers(cluster, "hers"):
        _sql(
            cluster,
            "mallory",
            "CREATE SCHEMA m; CREATE TABLE m.t (a int); INSERT INTO m.t VALUES (1)",
        )
        _sql(
            cluster,
            "postgres",
            "CREATE SCHEMA s; CREATE TABLE s.his (k int PRIMARY KEY); INSERT INTO s.his VALUES (1);"
            "ALTER TABLE m.t ADD FOREIGN KEY (a) REFERENCES s.his",
        )
        with _restored(cluster) as report:
            assert report is not None
            assert report.comparison.differences == ()


def test_what_is_tried_again_before_the_rows_is_judged_anew(servers: Servers) -> None:
    """Attack: she has a superuser's partition fail at first, and gives its parent an index before it is tried again."""
    cluster = servers[15]
    planted = """
        IF NOT EXISTS (SELECT FROM pg_class WHERE relname = 'z') THEN
          ALTER TABLE m.t ADD CONSTRAINT stop CHECK (a < 1000);
        ELSE
          ALTER TABLE m.t DROP CONSTRAINT stop; CREATE INDEX arm ON m.t ((a + m.one(7)));
        END IF;"""
    with _hers(cluster, "hers"):
        _sql(
            cluster,
            "mallory",
            TRAP
            + PLANTED.format(planted)
            + """
            CREATE TABLE m.t (a int) PARTITION BY LIST (a); CREATE TABLE m.t1 PARTITION OF m.t FOR VALUES IN (1);
            CREATE TABLE m.u (a int, b int GENERATED ALWAYS AS (a + m.planting(7)) STORED);
            CREATE TABLE m.w (a int) PARTITION BY LIST ((a + m.planting(7)));
            CREATE TABLE m.w1 PARTITION OF m.w FOR VALUES IN (1); CREATE TABLE m.z (a int)""",
        )
        _sql(cluster, "postgres", "ALTER TABLE m.t1 OWNER TO postgres")
        with _restored(cluster) as report:
            assert _superusers(cluster) == ["postgres"]
            assert report is None or report.comparison.equal is False


@pytest.mark.parametrize("major", MAJORS)
def test_a_session_that_has_itself_kept_waiting_is_not_there_while_the_superuser_works(
    servers: Servers, major: int
) -> None:
    """Attack: he logs in as his loader with ``post_auth_delay``: until that is over no list of sessions has him."""
    server = servers[major].server
    with _hers(servers[major], "hers"), loaders(server, "hers", seconds=60) as made:
        login = made.of("mallory")
        found: list[object] = []

        def enter() -> None:
            try:
                with psycopg.connect(
                    host=login.host,
                    port=login.port,
                    user=login.user,
                    password=login.password,
                    dbname="hers",
                    options="-c post_auth_delay=3",
                ) as connection:
                    found.append(connection.execute("SELECT session_user").fetchone())
            except psycopg.OperationalError as refused:
                found.append(refused)

        entering = threading.Thread(target=enter)
        entering.start()
        _wait_until_entering(login.user)
        with made.absent():
            entering.join()
            assert isinstance(found[0], psycopg.OperationalError)
        with login.connect("hers") as connection:
            assert connection.execute("SELECT session_user").fetchone() == (login.user,)


def _wait_until_entering(user: str) -> None:
    """Wait for a session of the user that has shown its password and is none yet: no server tells, but its title."""
    deadline = time.monotonic() + 60
    while True:
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                title = command.read_text(errors="replace")
                if user in title and "startup" in title:
                    return
        assert time.monotonic() < deadline, "nobody came"
        time.sleep(0.01)


def test_members_of_a_loader_are_not_there_while_the_superuser_works(servers: Servers) -> None:
    """Attack: before PostgreSQL 15 a loader may make others its members, who enter as themselves."""
    server = servers[15].server
    with _hers(servers[15], "hers"):
        with server.connect("hers") as connection:
            connection.execute("ALTER DATABASE hers OWNER TO postgres")  # as while a restore lasts
            connection.execute("REVOKE ALL ON DATABASE hers FROM PUBLIC")
            connection.execute("CREATE ROLE victim LOGIN PASSWORD 'victim'")
        with loaders(server, "hers", seconds=60) as made:
            role = made.of("mallory").user
            with server.connect("hers") as connection:
                connection.execute(f"GRANT {role} TO victim".encode())
            other = psycopg.connect(
                host=server.host, port=server.port, user="victim", password="victim", dbname="hers"
            )
            with other, made.absent():
                with pytest.raises(psycopg.OperationalError):
                    other.execute("SELECT 1")
                with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                    psycopg.connect(
                        host=server.host, port=server.port, user="victim", password="victim", dbname="hers"
                    )


@pytest.mark.parametrize("major", MAJORS)
def test_a_superusers_materialized_view_does_not_read_a_strangers_view(servers: Servers, major: int) -> None:
    """Attack: behind a superuser's materialized view she changes her view to what runs a text and is no function."""
    cluster = servers[major]
    with _hers(cluster, "hers"):
        _sql(cluster, "mallory", TRAP + "CREATE VIEW m.v AS SELECT 'a'::tsquery AS a")
        _sql(cluster, "postgres", "CREATE SCHEMA s; CREATE MATERIALIZED VIEW s.mv AS SELECT a FROM m.v")
        runs = "SELECT ''a''::tsquery, ''b''::tsquery WHERE m.act() > 5"
        _sql(
            cluster,
            "mallory",
            f"CREATE OR REPLACE VIEW m.v AS SELECT ts_rewrite('a'::tsquery, '{runs}') AS a",
        )
        with _restored(cluster) as report:
            assert _superusers(cluster) == ["postgres"]
            assert report is not None
            assert [each.name for each in report.missing] == ["MATERIALIZED VIEW DATA s.mv"]


# What is read as a type of hers, or turned into JSON, while no function of hers stands in her view; since when.
MADE_BY_A_VIEW = {
    "a text as a type that holds a domain": (15, "SELECT t::m.pair IS NULL AS a FROM m.src"),
    "a text as an array of a domain": (15, "SELECT ('{' || t || '}')::m.d[] IS NULL AS a FROM m.src"),
    "a text as a range of a domain": (15, """SELECT ('["' || t || '",]')::m.r IS NULL AS a FROM m.src"""),
    "a row as JSON": (15, "SELECT row_to_json(s)::text AS a FROM m.src s"),
    "rows as JSON": (15, "SELECT jsonb_agg(s)::text AS a FROM m.src s"),
    "a domain by its number": (15, "SELECT domain_in('z', to_regtype('m.d')::oid, -1) IS NULL AS a"),
    "a record by its number": (15, "SELECT record_in('(z)', to_regtype('m.pair')::oid, -1) IS NULL AS a"),
    "an array by its number": (15, "SELECT array_in('{z}', to_regtype('m.d')::oid, -1) IS NULL AS a"),
    "a range by its number": (15, "SELECT range_in('[z,]', to_regtype('m.r')::oid, -1) IS NULL AS a"),
    "a type by its name": (16, "SELECT pg_input_is_valid('z', 'm.d') AS a"),
    "an error of a type": (16, "SELECT message AS a FROM pg_input_error_info('z', 'm.d')"),
    "an object of JSON": (16, "SELECT JSON_OBJECT('a': e)::text AS a FROM m.src"),
    "a value of JSON": (17, "SELECT JSON_VALUE(js, '$.x' RETURNING m.d) IS NULL AS a FROM m.src"),
    "a part of JSON": (17, "SELECT JSON_QUERY(js, '$' RETURNING m.pair) IS NULL AS a FROM m.src"),
}


@pytest.mark.parametrize("major", MAJORS)
@pytest.mark.parametrize(
    ("since", "view"),
    [
        # None of them is on the list of what is harmless: one of them shows it.
        pytest.param(*each, id=name, marks=() if name == "rows as JSON" else pytest.mark.slow)
        for name, each in MADE_BY_A_VIEW.items()
    ],
)
def test_a_superusers_materialized_view_makes_no_value_of_a_strangers_type(
    servers: Servers, major: int, since: int, view: str
) -> None:
    """Attack: her view names no function of hers, but a type that has one called, deep inside, or a cast of hers."""
    if major < since:
        pytest.skip(f"versions: PostgreSQL {since} is the first that knows this")
    cluster = servers[major]
    with _hers(cluster, "hers"):
        _sql(
            cluster,
            "mallory",
            TRAP
            + """
            CREATE DOMAIN m.d AS text; CREATE TYPE m.pair AS (x m.d); CREATE TYPE m.r AS RANGE (subtype = m.d);
            CREATE TYPE m.e AS ENUM ('x'); CREATE TABLE m.src (t text, js jsonb, e m.e);
            INSERT INTO m.src VALUES ('(z)', '{"x": "z"}', 'x'); CREATE VIEW m.v AS """
            + view,
        )
        _sql(cluster, "postgres", "CREATE SCHEMA s; CREATE MATERIALIZED VIEW s.mv AS SELECT a FROM m.v")
        armed = """
            CREATE FUNCTION m.ok(text) RETURNS boolean LANGUAGE plpgsql
                AS 'BEGIN PERFORM m.act(); RETURN true; END';
            ALTER DOMAIN m.d ADD CHECK (m.ok(VALUE))"""
        if "row" in view or "agg" in view or "OBJECT" in view:
            armed = """
                CREATE FUNCTION m.cast(m.e) RETURNS json LANGUAGE plpgsql IMMUTABLE
                    AS 'BEGIN PERFORM m.act(); RETURN ''1''::json; END';
                CREATE CAST (m.e AS json) WITH FUNCTION m.cast(m.e)"""
        _sql(cluster, "mallory", armed)
        with _restored(cluster) as report:
            assert _superusers(cluster) == ["postgres"]
            assert report is not None
            assert [each.name for each in report.missing] == ["MATERIALIZED VIEW DATA s.mv"]


def test_a_superusers_materialized_view_fills_no_row_of_a_stranger_by_an_extension(servers: Servers) -> None:
    """Attack: hstore makes a row of whatever table it is given, with the checks of the domains of its columns."""
    cluster = servers[15]
    with _hers(cluster, "hers"):
        _sql(cluster, "postgres", "CREATE EXTENSION hstore")
        _sql(
            cluster,
            "mallory",
            TRAP
            + """
            CREATE DOMAIN m.d AS text; CREATE TABLE m.src (d m.d); INSERT INTO m.src VALUES ('z');
            CREATE VIEW m.v AS SELECT populate_record(s, hstore('d', 'y')) IS NULL AS a FROM m.src s""",
        )
        _sql(cluster, "postgres", "CREATE SCHEMA s; CREATE MATERIALIZED VIEW s.mv AS SELECT a FROM m.v")
        _sql(
            cluster,
            "mallory",
            """CREATE FUNCTION m.ok(text) RETURNS boolean LANGUAGE plpgsql
                AS 'BEGIN PERFORM m.act(); RETURN true; END';
            ALTER DOMAIN m.d ADD CHECK (m.ok(VALUE))""",
        )
        with _restored(cluster) as report:
            assert _superusers(cluster) == ["postgres"]
            assert report is not None
            assert [each.name for each in report.missing] == ["MATERIALIZED VIEW DATA s.mv"]


@pytest.mark.parametrize("major", MAJORS)
def test_a_check_of_a_part_of_a_table_is_not_computed_while_a_superusers_query_is_planned(
    servers: Servers, major: int
) -> None:
    """Attack: whether a part can hold what is asked for, the planner finds out by computing its checks."""
    cluster = servers[major]
    with _hers(cluster, "hers"):
        _sql(cluster, "mallory", TRAP + "CREATE TABLE m.t (a int); INSERT INTO m.t VALUES (1)")
        _sql(
            cluster,
            "postgres",
            "CREATE SCHEMA s; CREATE MATERIALIZED VIEW s.mv AS SELECT a FROM m.t WHERE a < 5",
        )
        _sql(
            cluster,
            "mallory",
            "CREATE TABLE m.part () INHERITS (m.t); ALTER TABLE m.part ADD CHECK (m.one(7) = 1)",
        )
        with _restored(cluster) as report:
            assert _superusers(cluster) == ["postgres"]
            assert report is not None
            assert not report.missing


def test_code_of_a_materialized_view_that_changes_a_definition_is_seen(servers: Servers) -> None:
    """Attack: what her materialized view calls changes her view, in the database too that hers is compared with."""
    cluster = servers[15]
    with _hers(cluster, "hers"):
        _sql(
            cluster,
            "mallory",
            "CREATE SCHEMA m; CREATE TABLE m.t (a int, secret boolean); INSERT INTO m.t VALUES (1, true);"
            "CREATE VIEW m.v AS SELECT a FROM m.t WHERE NOT secret;"
            + PLANTED.format("CREATE OR REPLACE VIEW m.v AS SELECT a FROM m.t;")
            + "CREATE MATERIALIZED VIEW m.mv AS SELECT m.planting(1) AS a",
        )
        with _restored(cluster) as report:
            assert report is not None
            assert report.comparison.differences == ("VIEW m.v differs in its definition",)


@pytest.mark.parametrize("right", some(["SELECT", "SELECT (v)"], {"SELECT"}))
def test_rows_that_a_policy_keeps_from_an_owner_are_not_shown_to_her_by_a_view_before_the_policy_is_there(
    servers: Servers, right: str
) -> None:
    """Attack: his policy holds for him too, and so for whoever reads his view; grants on that came before it."""
    cluster = servers[15]
    with cluster.server.connect("postgres") as connection:
        connection.execute("CREATE ROLE victim LOGIN PASSWORD 'victim'")
    planted = """
        IF EXISTS (SELECT v FROM s.shown) THEN
          EXECUTE format('ALTER ROLE mallory SET application_name = %L', (SELECT string_agg(v, ',') FROM s.shown));
        END IF;"""
    with _hers(cluster, "hers"):
        _sql(
            cluster,
            "postgres",
            "CREATE SCHEMA s AUTHORIZATION victim; GRANT USAGE ON SCHEMA s TO mallory;"
            "CREATE TABLE s.secrets (who name, v text); INSERT INTO s.secrets VALUES ('victim', 'secret');"
            "ALTER TABLE s.secrets OWNER TO victim; ALTER TABLE s.secrets ENABLE ROW LEVEL SECURITY;"
            "ALTER TABLE s.secrets FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY p ON s.secrets USING (who = current_user);"
            "CREATE VIEW s.shown AS SELECT v FROM s.secrets; ALTER VIEW s.shown OWNER TO victim;"
            f"GRANT {right} ON s.shown TO mallory",
        )
        _sql(
            cluster,
            "mallory",
            "CREATE SCHEMA m;"
            + PLANTED.format(planted)
            + "CREATE TABLE m.t (a int); INSERT INTO m.t VALUES (1); CREATE INDEX ON m.t ((a + m.planting(7)))",
        )
        with _restored(cluster) as report:
            assert report is not None
            assert report.comparison.differences == ()
        with cluster.server.connect("postgres") as connection:
            query = "SELECT setconfig FROM pg_db_role_setting WHERE setrole = 'mallory'::regrole"
            assert connection.execute(query).fetchall() == []


KEY = """
    CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO mallory; CREATE TABLE s.orders (a text);
    INSERT INTO s.orders VALUES ('A');
    CREATE FUNCTION {0}.key_of({1}) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1::text)';
    CREATE INDEX ON s.orders ({0}.key_of(a));
"""
HERS = """
    CREATE FUNCTION {}.key_of(text) RETURNS text LANGUAGE plpgsql IMMUTABLE
        AS 'BEGIN PERFORM m.act(); RETURN lower($1); END';
"""


@pytest.mark.parametrize("others", some(["anyelement", "text, int DEFAULT 1"], {"anyelement"}))
def test_a_function_that_fits_better_is_not_called_for_a_superusers_index(
    servers: Servers, others: str
) -> None:
    """Attack: she owns the schema of a function, and makes one of its name: a dump's text means hers from then on."""
    cluster = servers[15]
    with _hers(cluster, "hers"):
        _sql(cluster, "postgres", KEY.format("public", others))
        _sql(cluster, "mallory", TRAP + HERS.format("public"))
        with _restored(cluster) as report:
            assert _superusers(cluster) == ["postgres"]
            assert report is None


@pytest.mark.parametrize(
    "function",
    [
        "s.f(a text) RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT public.key_of(a); END",
        "s.f(a text, b text DEFAULT public.key_of('A'::text)) RETURNS text LANGUAGE sql AS 'SELECT $2'",
    ],
)
def test_a_function_that_fits_better_is_not_called_by_a_superusers_function(
    servers: Servers, function: str
) -> None:
    """Attack: of a function, a body that is parsed at once and defaults of arguments mean hers from then on."""
    cluster = servers[15]
    with _hers(cluster, "hers"):
        _sql(
            cluster,
            "postgres",
            "CREATE SCHEMA s; CREATE FUNCTION public.key_of(anyelement) RETURNS text LANGUAGE sql IMMUTABLE"
            f" AS 'SELECT lower($1::text)'; CREATE FUNCTION {function}",
        )
        _sql(cluster, "mallory", TRAP + HERS.format("public"))
        with _restored(cluster) as report:
            assert report is None


def test_a_function_of_the_same_name_as_a_superusers_is_restored_where_nothing_of_his_means_it(
    servers: Servers,
) -> None:
    """Loss prevented: his function has that name itself, and in its body, which is looked up when it is called."""
    cluster = servers[15]
    with _hers(cluster, "hers"):
        _sql(
            cluster,
            "postgres",
            "CREATE FUNCTION public.key_of(anyelement, int DEFAULT 1) RETURNS text LANGUAGE sql IMMUTABLE"
            " AS 'SELECT lower($1::text)';"
            "CREATE FUNCTION public.uses() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN public.key_of(1); END'",
        )
        _sql(cluster, "mallory", TRAP + HERS.format("public"))
        with _restored(cluster) as report:
            assert report is not None
            assert report.comparison.differences == ()


def test_a_cast_that_came_later_is_not_called_for_a_superusers_check(servers: Servers) -> None:
    """Attack: he compares her enumeration as text; she makes a cast to text, which the text of his check then means."""
    cluster = servers[15]
    with _hers(cluster, "hers"):
        _sql(cluster, "mallory", TRAP + "GRANT USAGE ON SCHEMA m TO PUBLIC; CREATE TYPE m.e AS ENUM ('1');")
        _sql(
            cluster,
            "postgres",
            "CREATE SCHEMA s; CREATE TABLE s.t (a m.e, b text, CHECK (a::text <> 'x'::text))",
        )
        _sql(
            cluster,
            "mallory",
            "CREATE FUNCTION m.cast(m.e) RETURNS text LANGUAGE plpgsql"
            " AS 'BEGIN PERFORM m.act(); RETURN 1; END'; CREATE CAST (m.e AS text) WITH FUNCTION m.cast(m.e)",
        )
        with _restored(cluster) as report:
            assert report is None


@pytest.mark.parametrize("major", MAJORS)
@pytest.mark.parametrize("schema", some(["s", "m"], {"m"}))
def test_a_type_that_she_makes_in_the_place_of_a_superusers_is_not_read_by_him(
    servers: Servers, major: int, schema: str
) -> None:
    """Attack: in a schema of hers, or one that is lent to her, she makes a superuser's domain before he does."""
    cluster = servers[major]
    planted = f"EXECUTE 'CREATE DOMAIN {schema}.b AS int CHECK (m.act() > 0)';"
    with _hers(cluster, "hers"):
        _sql(
            cluster,
            "mallory",
            TRAP + PLANTED.format(planted) + "CREATE DOMAIN m.d AS int CHECK (m.act() > 0 AND m.plant() > 0);"
            "CREATE DOMAIN m.a AS m.d[] DEFAULT '{1}'",
        )
        _sql(
            cluster,
            "postgres",
            "CREATE SCHEMA s; CREATE FUNCTION s.ok(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';"
            f"CREATE DOMAIN {schema}.b AS int CHECK (s.ok(value));"
            f"CREATE TABLE s.t (x int, y {schema}.b[] DEFAULT '{{1}}')"
            + ("; ALTER DOMAIN m.a SET SCHEMA s" if schema == "s" else ""),
        )
        with _restored(cluster) as report:
            assert _superusers(cluster) == ["postgres"]
            assert report is None


def test_a_function_that_fits_better_is_not_called_for_a_neighbours_index(servers: Servers) -> None:
    """Attack: a neighbour's index calls a superuser's function; hers of the same name would run with his rights."""
    cluster = servers[15]
    with cluster.server.connect("postgres") as connection:
        connection.execute("CREATE ROLE victim LOGIN PASSWORD 'victim'")
    with _hers(cluster, "hers"):
        _sql(
            cluster,
            "postgres",
            "CREATE FUNCTION public.key_of(anyelement) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1::text)';"
            "CREATE SCHEMA v AUTHORIZATION victim",
        )
        _sql(
            cluster,
            "victim",
            "CREATE TABLE v.t (a text); INSERT INTO v.t VALUES ('A'); CREATE INDEX ON v.t (public.key_of(a))",
        )
        with _restored(cluster) as report:
            assert report is not None
            assert report.comparison.differences == ()
        _sql(
            cluster,
            "mallory",
            "CREATE FUNCTION public.key_of(text) RETURNS text LANGUAGE plpgsql IMMUTABLE"
            " AS $$BEGIN EXECUTE 'ALTER ROLE CURRENT_USER SET application_name = hers'; RETURN lower($1); END$$",
        )
        with _restored(cluster) as report:
            assert report is None
        with cluster.server.connect("postgres") as connection:
            assert connection.execute("SELECT count(*) FROM pg_db_role_setting").fetchone() == (0,)


@pytest.mark.parametrize("others", some(["anyelement", "text"], {"text"}))
def test_a_function_made_while_a_restore_lends_its_schema_is_not_called_for_a_superusers_index(
    servers: Servers, others: str
) -> None:
    """Attack: something of hers lies in a superuser's schema, and while it is made so is a function of her choice."""
    cluster = servers[15]
    made = HERS.format("s").replace("$1", "$x1").replace("'", "''")
    with _hers(cluster, "hers"):
        _sql(cluster, "postgres", KEY.format("s", others))
        _sql(
            cluster,
            "mallory",
            TRAP
            + PLANTED.format(f"EXECUTE '{made}';").replace("$x1", "$1")
            + "CREATE DOMAIN m.d AS int CHECK (m.planting(value) > 0);"
            "CREATE FUNCTION m.a(a m.d[] DEFAULT '{1}') RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';",
        )
        _sql(cluster, "postgres", "ALTER FUNCTION m.a SET SCHEMA s")
        with _restored(cluster) as report:
            assert _superusers(cluster) == ["postgres"]
            assert report is None


@pytest.mark.parametrize("major", MAJORS)
def test_a_function_that_only_grants_keep_from_an_owner_is_kept_from_her_in_a_restore(
    servers: Servers, major: int
) -> None:
    """Attack: a superuser's function that acts as himself was taken from PUBLIC; a dump says so at its very end."""
    cluster = servers[major]
    planted = 'PERFORM public."Run"($$ALTER ROLE mallory SUPERUSER$$);'
    with _hers(cluster, "hers"):
        _sql(
            cluster,
            "postgres",
            'CREATE FUNCTION public."Run"(IN cmd text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER'
            " AS 'BEGIN EXECUTE $1; END';"
            'REVOKE ALL ON FUNCTION public."Run"(text) FROM PUBLIC',
        )
        _sql(
            cluster,
            "mallory",
            "CREATE SCHEMA m;"
            + PLANTED.format(planted)
            + "CREATE TABLE m.t (a int, b int GENERATED ALWAYS AS (a + m.planting(7)) STORED)",
        )
        with _restored(cluster) as report:
            assert _superusers(cluster) == ["postgres"]
            assert report is not None
            assert report.comparison.differences == ()


@pytest.mark.parametrize("right", some(["SELECT", "INSERT"], {"SELECT"}))
def test_rows_that_only_a_policy_keeps_from_an_owner_are_kept_from_her_in_a_restore(
    servers: Servers, right: str
) -> None:
    """Attack: she may read a table but for rows of others; policies come after the rows, grants before."""
    cluster = servers[15]
    planted = """
        IF EXISTS (SELECT v FROM s."My secrets") THEN
          EXECUTE format('ALTER ROLE mallory SET application_name = %L',
            (SELECT string_agg(v, ',') FROM s."My secrets"));
        END IF;"""
    with _hers(cluster, "hers"):
        _sql(
            cluster,
            "postgres",
            'CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO mallory; CREATE TABLE s."My secrets" (who name, v text);'
            'INSERT INTO s."My secrets" VALUES ($$postgres$$, $$secret$$);'
            'GRANT SELECT (v) ON s."My secrets" TO mallory;'
            f'GRANT {right} ON s."My secrets" TO mallory; ALTER TABLE s."My secrets" ENABLE ROW LEVEL SECURITY;'
            'CREATE POLICY p ON s."My secrets" USING (who = current_user)',
        )
        _sql(
            cluster,
            "mallory",
            "CREATE SCHEMA m;"
            + PLANTED.format(planted)
            + "CREATE TABLE m.t (a int); INSERT INTO m.t VALUES (1); CREATE INDEX ON m.t ((a + m.planting(7)))",
        )
        with _restored(cluster) as report:
            assert report is not None
            assert report.comparison.differences == ()
        with cluster.server.connect("postgres") as connection:
            query = "SELECT setconfig FROM pg_db_role_setting WHERE setrole = 'mallory'::regrole"
            assert connection.execute(query).fetchall() == []


@pytest.mark.parametrize("major", MAJORS)
@pytest.mark.parametrize("code", ["CREATE INDEX ON m.t (({}))", "CREATE STATISTICS m.st ON ({}), a FROM m.t"])
@pytest.mark.parametrize(
    ("since", "text"),
    [
        (15, "'x' || 'a'::m.e"),
        (15, "quote_literal('a'::m.e)"),
        (16, "JSON_OBJECT('k': 'a'::m.e RETURNING text)"),
    ],
)
def test_a_cast_that_only_a_function_of_postgresql_looks_for_is_not_called_while_a_query_is_planned(
    servers: Servers, major: int, code: str, since: int, text: str
) -> None:
    """Attack: her index names no function of hers; ``||`` turns a value of her enumeration to text by her cast."""
    if major < since:
        pytest.skip(f"versions: PostgreSQL {since} is the first that knows this")
    cluster = servers[major]
    with _hers(cluster, "hers"):
        _sql(
            cluster,
            "mallory",
            TRAP
            + """
            CREATE TYPE m.e AS ENUM ('a'); CREATE TABLE m.t (a int, e m.e); INSERT INTO m.t VALUES (1, 'a');
            CREATE FUNCTION m.cast(m.e) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT
                AS 'BEGIN PERFORM m.act(); RETURN ''q''; END';
            CREATE CAST (m.e AS text) WITH FUNCTION m.cast(m.e);
            CREATE FUNCTION m.json(m.e) RETURNS json LANGUAGE plpgsql IMMUTABLE STRICT
                AS 'BEGIN PERFORM m.act(); RETURN ''1''; END';
            CREATE CAST (m.e AS json) WITH FUNCTION m.json(m.e)""",
        )
        _sql(cluster, "postgres", "CREATE SCHEMA s; CREATE MATERIALIZED VIEW s.mv AS SELECT a FROM m.t")
        _sql(cluster, "mallory", code.format(text))
        with _restored(cluster) as report:
            assert _superusers(cluster) == ["postgres"]
            assert report is not None
            assert [each.name for each in report.missing] == ["MATERIALIZED VIEW DATA s.mv"]


@pytest.mark.parametrize("major", MAJORS)
@pytest.mark.parametrize("owner", ["mallory", "postgres"])
@pytest.mark.parametrize("text", ["'x' || e", "quote_nullable(e)", "to_json(e)::text"])
def test_a_superusers_materialized_view_converts_nothing_by_a_strangers_cast(
    servers: Servers, major: int, text: str, owner: str
) -> None:
    """Attack: ``||`` in the superuser's own view looks for a cast to text, and she made one for her enumeration."""
    cluster = servers[major]
    with _hers(cluster, "hers"):
        _sql(
            cluster,
            "mallory",
            TRAP + "CREATE TYPE m.e AS ENUM ('a')",
        )
        _sql(
            cluster,
            owner,
            "CREATE SCHEMA s; CREATE TABLE s.t (e m.e); INSERT INTO s.t VALUES ('a')",
        )
        _sql(
            cluster,
            "postgres",
            f"CREATE SCHEMA n; CREATE MATERIALIZED VIEW n.mv AS SELECT {text} AS a FROM s.t",
        )
        target = "json" if "json" in text else "text"
        _sql(
            cluster,
            "mallory",
            f"""CREATE FUNCTION m.cast(m.e) RETURNS {target} LANGUAGE plpgsql IMMUTABLE STRICT
                AS 'BEGIN PERFORM m.act(); RETURN ''1''; END';
            CREATE CAST (m.e AS {target}) WITH FUNCTION m.cast(m.e)""",
        )
        with _restored(cluster) as report:
            assert _superusers(cluster) == ["postgres"]
            assert report is not None
            assert [each.name for each in report.missing] == ["MATERIALIZED VIEW DATA n.mv"]
