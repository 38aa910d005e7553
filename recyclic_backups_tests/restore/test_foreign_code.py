"""An owner without rights plants code in his database and waits for a superuser to restore it: he waits in vain.

Each of the ways in which PostgreSQL calls a function while a dump is put back, on each version that is here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from recyclic_backups.catalog.manifest import ServerFacts
from recyclic_backups.errors import DatabaseError, Refused
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups.restore import database as databases
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups.restore.loaders import Loaders
from recyclic_backups.restore.restore import RestoreReport, restore
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.strange.conftest import Servers
from recyclic_backups_tests.strange.conftest import servers as servers  # noqa: PLC0414 - a fixture

# What he does whenever any of his code is called: he tries all ways out of the role that he finds himself in, and makes
# himself superuser if he may. It never fails, so that nothing shows. What looks immutable calls what does the work.
TRAP = """
    CREATE SCHEMA m;
    CREATE FUNCTION m.act() RETURNS int LANGUAGE plpgsql AS $f$
    DECLARE way text;
    BEGIN
      FOREACH way IN ARRAY ARRAY['SELECT 1', 'RESET ROLE', 'RESET SESSION AUTHORIZATION', 'SET ROLE postgres',
          'SET SESSION AUTHORIZATION postgres'] LOOP
        BEGIN
          EXECUTE way;
          EXECUTE 'ALTER ROLE mallory SUPERUSER';
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
      END LOOP;
      RETURN 1;
    END $f$;
    CREATE FUNCTION m.one(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM m.act(); RETURN 1; END';
    CREATE FUNCTION m.same(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM m.act(); RETURN $1; END';
    CREATE FUNCTION m.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM m.act(); RETURN new; END';
"""

KINDS = {
    "a CHECK constraint": "CREATE TABLE m.t (a int CHECK (m.one(a) > 0)); INSERT INTO m.t VALUES (1)",
    "a CHECK constraint that is not valid": """
        CREATE TABLE m.t (a int); INSERT INTO m.t VALUES (1);
        ALTER TABLE m.t ADD CONSTRAINT c CHECK (m.one(a) > 0) NOT VALID""",
    "a CHECK constraint that calls what has its table's type": """
        CREATE TABLE m.t (a int); INSERT INTO m.t VALUES (1);
        CREATE FUNCTION m.whole(m.t) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM m.act(); RETURN true; END';
        ALTER TABLE m.t ADD CONSTRAINT c CHECK (m.whole(t))""",
    "a CHECK constraint of built-in functions alone": """
        CREATE TABLE m.t (a int CHECK (ts_rewrite('a'::tsquery,
            'SELECT ''a''::tsquery, ''b''::tsquery WHERE m.act() > 0') IS NOT NULL));
        INSERT INTO m.t VALUES (1)""",
    "a domain": """
        CREATE DOMAIN m.d AS int CHECK (m.one(value) > 0);
        CREATE TABLE m.t (a m.d[]); INSERT INTO m.t VALUES ('{1}')""",
    "a domain's CHECK constraint that is not valid": """
        CREATE DOMAIN m.d AS int; CREATE TABLE m.t (a m.d); INSERT INTO m.t VALUES (1);
        ALTER DOMAIN m.d ADD CONSTRAINT c CHECK (m.one(value) > 0) NOT VALID""",
    "a domain's CHECK constraint that calls what has the domain's type": """
        CREATE DOMAIN m.d AS int; CREATE TABLE m.t (a m.d); INSERT INTO m.t VALUES (1);
        CREATE FUNCTION m.whole(m.d) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM m.act(); RETURN true; END';
        ALTER DOMAIN m.d ADD CONSTRAINT c CHECK (m.whole(value))""",
    "a table of pg_database_owner, which is her": """
        CREATE TABLE m.t (a int CHECK (m.one(a) > 0)); INSERT INTO m.t VALUES (1);
        GRANT CREATE ON SCHEMA m TO pg_database_owner; ALTER TABLE m.t OWNER TO pg_database_owner""",
    "a domain with a constraint that is not valid": """
        CREATE DOMAIN m.d AS int; CREATE TABLE m.t (a m.d); INSERT INTO m.t VALUES (1);
        ALTER DOMAIN m.d ADD CONSTRAINT c CHECK (m.one(value) > 0 AND value > 1) NOT VALID""",
    "a default": "CREATE TABLE m.t (a int, b int DEFAULT m.act()); INSERT INTO m.t VALUES (1)",
    "a generated column": """
        CREATE TABLE m.t (a int, b int GENERATED ALWAYS AS (m.same(a)) STORED); INSERT INTO m.t VALUES (1)""",
    "a generated column with a constant": """
        CREATE TABLE m.t (a int, b int GENERATED ALWAYS AS (a + m.one(7)) STORED); INSERT INTO m.t VALUES (1)""",
    "a generated column of a table with grants and a comment": """
        CREATE TABLE m.t (a int, b int GENERATED ALWAYS AS (a + m.one(7)) STORED); INSERT INTO m.t VALUES (1);
        COMMENT ON TABLE m.t IS 'of hers'; REVOKE DELETE ON m.t FROM mallory; GRANT SELECT ON m.t TO PUBLIC""",
    "a partition key": """
        CREATE TABLE m.t (a int) PARTITION BY RANGE (m.same(a));
        CREATE TABLE m.t1 PARTITION OF m.t FOR VALUES FROM (0) TO (10); INSERT INTO m.t VALUES (1)""",
    "a partition key that became a constant later": """
        CREATE FUNCTION m.later(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';
        CREATE TABLE m.t (a int) PARTITION BY RANGE (m.later(a));
        CREATE OR REPLACE FUNCTION m.later(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + m.one(7) - 1'""",
    # The key is computed when the server looks up partitions: for each that is attached, its indexes, and triggers.
    "a partition key with a constant, an index and a trigger": """
        CREATE TABLE m.t (a int, b int) PARTITION BY RANGE ((a + m.one(7)));
        CREATE TABLE m.t1 PARTITION OF m.t FOR VALUES FROM (0) TO (10); INSERT INTO m.t VALUES (1, 2);
        CREATE INDEX ON m.t (b); CREATE TRIGGER t AFTER INSERT ON m.t FOR EACH ROW EXECUTE FUNCTION m.fire()""",
    "a partition that is attached when its rows are there": """
        CREATE TABLE m.later (a int); CREATE INDEX named_by_a_bound ON m.later (a);
        CREATE TABLE m.t (r regclass, a int) PARTITION BY RANGE (r, m.same(a));
        CREATE TABLE m.t1 PARTITION OF m.t FOR VALUES FROM ('-', 0) TO ('m.named_by_a_bound', 10);
        INSERT INTO m.t VALUES ('-', 1)""",
    "the check of a partition with a constant": """
        CREATE TABLE m.t (a int CHECK (m.one(7) > 0)) PARTITION BY LIST (a);
        CREATE TABLE m.t1 PARTITION OF m.t FOR VALUES IN (1); INSERT INTO m.t VALUES (1)""",
    "a cast in a foreign key": """
        CREATE TYPE m.e AS ENUM ('1', '2');
        CREATE FUNCTION m.cast(m.e) RETURNS int LANGUAGE plpgsql IMMUTABLE
            AS 'BEGIN PERFORM m.act(); RETURN $1::text::int; END';
        CREATE CAST (m.e AS int) WITH FUNCTION m.cast(m.e) AS IMPLICIT;
        CREATE TABLE m.parent (k int PRIMARY KEY); INSERT INTO m.parent VALUES (1);
        CREATE TABLE m.t (a m.e REFERENCES m.parent); INSERT INTO m.t VALUES ('1')""",
    "the initial value of an aggregate": """
        CREATE DOMAIN m.d AS int CHECK (m.one(value) > 0);
        CREATE FUNCTION m.add(m.d, int) RETURNS m.d LANGUAGE sql AS 'SELECT $1';
        CREATE AGGREGATE m.sum(int) (SFUNC = m.add, STYPE = m.d, INITCOND = '3')""",
    "an index": """
        CREATE TABLE m.t (a int); INSERT INTO m.t VALUES (1); CREATE INDEX ON m.t (m.same(a)) WHERE m.one(a) > 0""",
    "an index of a table with a foreign key": """
        CREATE TABLE m.parent (k int PRIMARY KEY); INSERT INTO m.parent VALUES (1);
        CREATE TABLE m.t (a int REFERENCES m.parent); INSERT INTO m.t VALUES (1);
        CREATE INDEX ON m.t ((a + m.one(7)))""",
    "an index of a table that a foreign key leads to": """
        CREATE TABLE m.parent (k int PRIMARY KEY); INSERT INTO m.parent VALUES (1);
        CREATE INDEX ON m.parent ((k + m.one(7)));
        CREATE TABLE m.t (a int REFERENCES m.parent); INSERT INTO m.t VALUES (1)""",
    "an index of a partition with a foreign key": """
        CREATE TABLE m.parent (k int PRIMARY KEY); INSERT INTO m.parent VALUES (1);
        CREATE TABLE m.t (a int REFERENCES m.parent) PARTITION BY LIST (a);
        CREATE TABLE m.piece PARTITION OF m.t FOR VALUES IN (1); INSERT INTO m.t VALUES (1);
        CREATE INDEX ON m.piece ((a + m.one(7)))""",
    "an exclusion": """
        CREATE TABLE m.t (a int, EXCLUDE USING btree (m.same(a) WITH =)); INSERT INTO m.t VALUES (1)""",
    "statistics": """
        CREATE TABLE m.t (a int); INSERT INTO m.t SELECT generate_series(1, 100);
        CREATE STATISTICS m.s ON (m.same(a)), a FROM m.t""",
    "a materialized view": "CREATE MATERIALIZED VIEW m.t AS SELECT m.act() AS a",
    "a trigger": """
        CREATE TABLE m.t (a int); INSERT INTO m.t VALUES (1);
        CREATE TRIGGER t BEFORE INSERT ON m.t FOR EACH ROW WHEN (m.act() > 0) EXECUTE FUNCTION m.fire();
        ALTER TABLE m.t ENABLE ALWAYS TRIGGER t""",
    "a rule": """
        CREATE TABLE m.t (a int); INSERT INTO m.t VALUES (1);
        CREATE RULE r AS ON INSERT TO m.t DO ALSO SELECT m.act()""",
    "a policy": """
        CREATE TABLE m.t (a int); INSERT INTO m.t VALUES (1);
        ALTER TABLE m.t ENABLE ROW LEVEL SECURITY; ALTER TABLE m.t FORCE ROW LEVEL SECURITY;
        CREATE POLICY p ON m.t USING (m.act() > 0) WITH CHECK (m.act() > 0)""",
    "a trigger of events": """
        CREATE FUNCTION m.event() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM m.act(); END'""",
    "a view": "CREATE VIEW m.t AS SELECT m.act() AS a",
    # The text of a constant is read when a statement is parsed, and an array of a domain checks its elements.
    "a default that is an array of a domain": """
        CREATE DOMAIN m.d AS int CHECK (m.one(value) > 0);
        CREATE TABLE m.t (a int, b m.d[] DEFAULT '{1}'); INSERT INTO m.t VALUES (1)""",
    "a default that is a composite type with a domain": """
        CREATE DOMAIN m.d AS int CHECK (m.one(value) > 0); CREATE TYPE m.pair AS (x m.d, y int);
        CREATE TABLE m.t (a int, b m.pair DEFAULT '(1,2)'); INSERT INTO m.t VALUES (1)""",
    # PostgreSQL writes the default of an inherited column apart: in a schema of this name it looks like a grant.
    "a default in a schema called ACL": """
        CREATE DOMAIN m.d AS int CHECK (m.one(value) > 0); CREATE SCHEMA "ACL"; CREATE TABLE "ACL".p (a int, b m.d[]);
        CREATE TABLE "ACL".t () INHERITS ("ACL".p); ALTER TABLE "ACL".t ALTER b SET DEFAULT '{1}'""",
    "a view with an array of a domain": """
        CREATE DOMAIN m.d AS int CHECK (m.one(value) > 0); CREATE VIEW m.t AS SELECT '{1}'::m.d[] AS a""",
    "a default of a function that is an array of a domain": """
        CREATE DOMAIN m.d AS int CHECK (m.one(value) > 0);
        CREATE FUNCTION m.g(a m.d[] DEFAULT '{1}') RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'""",
    "the domain of a partition's bound": """
        CREATE DOMAIN m.d AS int CHECK (m.one(value) > 0);
        CREATE TABLE m.t (a m.d) PARTITION BY LIST (a);
        CREATE TABLE m.t1 PARTITION OF m.t FOR VALUES IN (1); INSERT INTO m.t VALUES (1)""",
    "the predicate of an index with an array of a domain": """
        CREATE DOMAIN m.d AS int CHECK (m.one(value) > 0);
        CREATE TABLE m.t (a int, b int[]); INSERT INTO m.t VALUES (1);
        CREATE INDEX ON m.t (a) WHERE b::m.d[] = '{1}'::m.d[]""",
    "a trigger, a rule and a policy with an array of a domain": """
        CREATE DOMAIN m.d AS int CHECK (m.one(value) > 0);
        CREATE TABLE m.t (a m.d[]); ALTER TABLE m.t ENABLE ROW LEVEL SECURITY;
        CREATE TRIGGER t BEFORE INSERT ON m.t FOR EACH ROW WHEN (new.a <> '{1}'::m.d[]) EXECUTE FUNCTION m.fire();
        CREATE RULE r AS ON INSERT TO m.t WHERE new.a <> '{1}'::m.d[] DO ALSO SELECT 1;
        CREATE POLICY p ON m.t USING (a <> '{1}'::m.d[])""",
    "an index that a foreign key's query is planned with": """
        CREATE TABLE m.parent (k int PRIMARY KEY); INSERT INTO m.parent VALUES (1);
        CREATE TABLE m.t (a int REFERENCES m.parent); INSERT INTO m.t VALUES (1);
        CREATE INDEX ON m.t ((a + m.one(7)))""",
    # Its function is a superuser's, anybody may install it, and it makes a value of whatever type it is given.
    "a generated column in which hstore makes a value of a type with a domain": """
        CREATE EXTENSION hstore WITH SCHEMA m; CREATE DOMAIN m.d AS int CHECK (m.one(value) > 0);
        CREATE TYPE m.pair AS (x m.d, y int);
        CREATE TABLE m.t (a int, b int GENERATED ALWAYS AS (
            a + (m.populate_record(NULL::m.pair, m.hstore('x', '1'))).x) STORED);
        INSERT INTO m.t VALUES (1)""",
    "an index of a partition with a constant": """
        CREATE TABLE m.t (a int, b int) PARTITION BY LIST (a);
        CREATE TABLE m.t1 PARTITION OF m.t FOR VALUES IN (1); INSERT INTO m.t VALUES (1, 2);
        CREATE INDEX ON m.t ((b + m.one(7)))""",
}


@contextmanager
def _hers(cluster: ScratchCluster, name: str) -> Iterator[Server]:
    """A database of mallory's, who may do nothing but log in; afterwards all of it is gone."""
    with cluster.server.connect("postgres") as connection:
        connection.execute("DROP ROLE IF EXISTS mallory")
        connection.execute("CREATE ROLE mallory LOGIN PASSWORD 'mallory'")
        connection.execute(f"CREATE DATABASE {name} OWNER mallory TEMPLATE template0")
    try:
        yield Server(cluster.server.host, cluster.server.port, "mallory", "mallory")
    finally:
        with cluster.server.connect("postgres") as connection:
            query = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
            for (each,) in connection.execute(query, (name,)).fetchall():
                connection.execute(f'DROP DATABASE "{each}" WITH (FORCE)')
            connection.execute("DROP ROLE IF EXISTS mallory, victim")


def _put_back(cluster: ScratchCluster, name: str, **changes: object) -> RestoreReport:
    house = House(cluster.server, name, MemoryStore())
    house.back_up()
    return restore(
        house.repository,
        house.catalog.find("latest"),
        cluster.server,
        f"{name}_again",
        RestoreOptions(house.plan.options.installations, timeout_seconds=60, **changes),  # type: ignore[arg-type]
        clock=house.clock,
    )


def _superusers(cluster: ScratchCluster) -> list[str]:
    with cluster.server.connect("postgres") as connection:
        return [
            row[0] for row in connection.execute("SELECT rolname FROM pg_roles WHERE rolsuper ORDER BY 1")
        ]


def _our_roles(cluster: ScratchCluster) -> list[str]:
    with cluster.server.connect("postgres") as connection:
        query = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'recyclic_loads_%'"
        return [row[0] for row in connection.execute(query)]


def _is_available(connection: psycopg.Connection[tuple[Any, ...]], extension: str) -> bool:
    query = "SELECT 1 FROM pg_available_extensions WHERE name = %s"
    return connection.execute(query, (extension,)).fetchone() is not None


def test_the_code_of_an_owner_never_runs_as_superuser_all_kinds_at_once(servers: Servers) -> None:
    """Attack: as below, each kind in a schema of its own; which of them it was, the slow test tells."""
    cluster = servers[15]
    with _hers(cluster, "hers") as mallory:
        with mallory.connect("hers") as connection:
            for number, (kind, sql) in enumerate(KINDS.items()):
                if "hstore" not in kind or _is_available(connection, "hstore"):
                    connection.execute(re.sub(r"\bm\b", f"m{number}", TRAP + sql).encode())
            functions = connection.execute("SELECT count(*) FROM pg_proc WHERE proname = 'act'").fetchone()
        with cluster.server.connect("hers") as connection:
            number = list(KINDS).index("a trigger of events")
            connection.execute(
                f"CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION m{number}.event()".encode()
            )
        report = _put_back(cluster, "hers")
        assert functions is not None
        assert functions[0] >= len(KINDS) - 1
        assert _superusers(cluster) == ["postgres"]
        assert report.comparison.differences == ()
    assert _our_roles(cluster) == []


@pytest.mark.slow
@pytest.mark.parametrize("major", [15, 16, 18])
@pytest.mark.parametrize("kind", KINDS)
def test_the_code_of_an_owner_never_runs_as_superuser(servers: Servers, major: int, kind: str) -> None:
    """Attack: he owns a database, plants code in it, and is superuser of the server after somebody's restore."""
    cluster = servers[major]
    with _hers(cluster, "hers") as mallory:
        with mallory.connect("hers") as connection:
            if "hstore" in kind and not _is_available(connection, "hstore"):
                pytest.skip("contrib: hstore is not installed here")
            connection.execute((TRAP + KINDS[kind]).encode())
        if kind == "a trigger of events":
            with cluster.server.connect(
                "hers"
            ) as connection:  # by a superuser who did not look at what it calls
                connection.execute("CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION m.event()")
        report = _put_back(cluster, "hers")
        assert _superusers(cluster) == ["postgres"]
        assert report.comparison.differences == ()
        assert report.database == "hers_again"
    assert _our_roles(cluster) == []


def test_the_trap_works_where_somebody_loads_as_a_superuser(servers: Servers) -> None:
    """Prevents that the tests above pass because the trap does not shut."""
    with _hers(servers[15], "hers") as mallory:
        with mallory.connect("hers") as connection:
            connection.execute((TRAP + KINDS["a CHECK constraint"]).encode())
        _put_back(servers[15], "hers", trust_owners=True)
        assert _superusers(servers[15]) == ["mallory", "postgres"]


def test_a_domain_runs_nothing_as_superuser_in_a_database_without_functions(servers: Servers) -> None:
    """Attack: a domain's check that runs a text by functions of PostgreSQL's own, so that no function comes along."""
    cluster = servers[15]
    if_superuser = "CASE WHEN (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN"
    makes = "query_to_xml($x$SELECT lo_from_bytea(424242, ''::bytea)$x$, true, false, '')"
    asked = f"SELECT 'a'::tsquery, left({if_superuser} {makes}::text ELSE '' END, 0)::tsquery"
    with _hers(cluster, "hers") as mallory:
        with mallory.connect("hers") as connection:
            connection.execute(
                "CREATE SCHEMA m; CREATE DOMAIN m.d AS int CHECK ("
                f"ts_rewrite('a'::tsquery, $q${asked}$q$) IS NOT NULL);"
                "CREATE TABLE m.t (a int, b m.d[] DEFAULT '{1}')".encode()
            )
        report = _put_back(cluster, "hers")
        assert report.comparison.differences == (), "no large object that only a superuser makes"


@pytest.mark.parametrize(
    "kind", some(["a partition", "a foreign key", "an index of a partition"], {"a partition"})
)
def test_what_a_superuser_attached_to_a_strangers_table_does_not_run_her_functions(
    servers: Servers, kind: str
) -> None:
    """Attack: a superuser makes partitions of her table or refers to it, and what she wrote is computed as him."""
    cluster = servers[16]
    with _hers(cluster, "hers") as mallory:
        with mallory.connect("hers") as connection:
            connection.execute(
                (
                    TRAP
                    + "CREATE DOMAIN m.d AS int CHECK (m.one(value) > 0);"
                    + f"CREATE TABLE m.t (a {'m.d' if kind == 'a partition' else 'int'}, b int) PARTITION BY LIST (a);"
                    + "CREATE TABLE m.t1 PARTITION OF m.t FOR VALUES IN (1); CREATE TABLE m.key (a int PRIMARY KEY);"
                    + "INSERT INTO m.key VALUES (1)"
                ).encode()
            )
        with cluster.server.connect("hers") as connection:
            if kind == "a foreign key":
                connection.execute(
                    "CREATE TABLE public.his (a int REFERENCES m.key); INSERT INTO public.his VALUES (1)"
                )
            else:
                connection.execute("ALTER TABLE m.t1 OWNER TO postgres")
        with mallory.connect("hers") as connection:
            if kind == "a foreign key":
                connection.execute("CREATE INDEX ON m.key ((a + m.one(7)))")
        if kind == "an index of a partition":
            with cluster.server.connect("hers") as connection:
                connection.execute("ALTER TABLE m.t1 OWNER TO mallory")
            with mallory.connect("hers") as connection:
                connection.execute("CREATE INDEX ON m.t ((b + m.one(7)))")
            with cluster.server.connect("hers") as connection:
                connection.execute("ALTER TABLE m.t1 OWNER TO postgres")
        with pytest.raises(Refused, match="a function of another owner"):
            _put_back(cluster, "hers")
        assert _superusers(cluster) == ["postgres"]


def test_a_superusers_table_that_calls_a_strangers_function_is_loaded_without_rights(
    servers: Servers,
) -> None:
    """Attack: the table is the superuser's, so that he loads it himself; the function in its check is not his."""
    cluster = servers[16]
    with _hers(cluster, "hers") as mallory:
        with mallory.connect("hers") as connection:
            connection.execute(TRAP.encode())
        with cluster.server.connect("hers") as connection:
            connection.execute("CREATE TABLE m.his (a int); INSERT INTO m.his VALUES (1)")
            connection.execute("ALTER TABLE m.his ADD CHECK (m.one(a) > 0) NOT VALID")
            # What was not valid is dumped apart; this one is in the table itself.
            connection.execute("CREATE DOMAIN m.num AS int; ALTER DOMAIN m.num OWNER TO mallory")
            connection.execute("CREATE TABLE m.other (a m.num); INSERT INTO m.other VALUES (1)")
        with mallory.connect("hers") as connection:
            connection.execute("ALTER DOMAIN m.num ADD CHECK (m.act() > 0)")
        report = _put_back(cluster, "hers")
        assert _superusers(cluster) == ["postgres"]
        assert report.comparison.equal
        assert report.loaded_by == {"a role without rights": 1, "postgres": 1}


def test_a_trigger_that_her_code_makes_meanwhile_runs_on_no_rows_of_the_superuser(servers: Servers) -> None:
    """Attack: a superuser's table is granted to her with ALL, and her code gives it a trigger before its rows come.

    Her view fails at first, for want of a name that her path leads to, and when it is tried again the grants are there.
    """
    cluster = servers[15]
    with _hers(cluster, "hers") as mallory:
        with cluster.server.connect("hers") as connection:
            connection.execute("CREATE TABLE public.his (a int); INSERT INTO public.his VALUES (1)")
            connection.execute("GRANT ALL ON public.his TO mallory")
        plant = """
            CREATE FUNCTION m.plant() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN
              IF current_database() <> 'hers' THEN
                CREATE TRIGGER planted BEFORE INSERT ON public.his FOR EACH ROW EXECUTE FUNCTION m.fire();
              END IF; RETURN 1; EXCEPTION WHEN OTHERS THEN RETURN 1; END $f$;
            CREATE FUNCTION m.planted(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN m.plant(); END';
        """
        with mallory.connect("hers") as connection:
            connection.execute(
                (
                    TRAP
                    + plant
                    + "CREATE TABLE m.t (a int CHECK (m.planted(a) > 0)); INSERT INTO m.t VALUES (1)"
                ).encode()
            )
        report = _put_back(cluster, "hers")
        assert _superusers(cluster) == ["postgres"]
        assert report.comparison.differences == (
            "TRIGGER public.his planted was not there when the backup was taken",
        )
        with mallory.connect("hers") as connection:
            connection.execute(
                """
                CREATE FUNCTION m.seven() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 7';
                CREATE FUNCTION m.late(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
                    AS 'BEGIN PERFORM m.plant(); RETURN $1 + seven(); END';
                SET search_path = m;
                CREATE TABLE m.made_again (a int, b int GENERATED ALWAYS AS (a + m.late(7)) STORED);
                ALTER DATABASE hers SET search_path = m
                """
            )
        with pytest.raises(Refused, match="somebody's code made a trigger 'planted'"):
            _put_back(cluster, "hers")
        assert _superusers(cluster) == ["postgres"]


def test_functions_of_the_databases_owner_are_run_by_nobody_else(servers: Servers) -> None:
    """Attack: her check calls a function of pg_database_owner, and while a restore lasts that is the superuser."""
    cluster = servers[16]
    with _hers(cluster, "hers") as mallory:
        with mallory.connect("hers") as connection:
            connection.execute(
                (
                    TRAP
                    + "CREATE TABLE m.t (a int, b int GENERATED ALWAYS AS (m.same(a)) STORED);"
                    + "INSERT INTO m.t VALUES (1); GRANT CREATE ON SCHEMA m TO pg_database_owner;"
                    + "ALTER FUNCTION m.same OWNER TO pg_database_owner; ALTER TABLE m.t OWNER TO pg_database_owner"
                ).encode()
            )
        report = _put_back(cluster, "hers")
        assert _superusers(cluster) == ["postgres"]
        assert report.comparison.differences == ()


def test_a_superusers_domain_that_calls_a_strangers_function_is_not_validated(servers: Servers) -> None:
    """Attack: the domain is the superuser's, so that he validates its constraint; the function in it is not his."""
    cluster = servers[16]
    with _hers(cluster, "hers") as mallory:
        with cluster.server.connect("hers") as connection:
            connection.execute("CREATE DOMAIN d AS int; CREATE TABLE t (a d); INSERT INTO t VALUES (1)")
        with mallory.connect("hers") as connection:
            connection.execute(TRAP.encode())
            connection.execute(
                "CREATE FUNCTION m.whole(d) RETURNS boolean LANGUAGE plpgsql"
                " AS 'BEGIN PERFORM m.act(); RETURN true; END'"
            )
        with cluster.server.connect("hers") as connection:
            connection.execute("ALTER DOMAIN d ADD CONSTRAINT c CHECK (value > 0) NOT VALID")
        assert _put_back(cluster, "hers").comparison.equal
        with cluster.server.connect("postgres") as connection:
            connection.execute("DROP DATABASE hers_again")
        with cluster.server.connect("hers") as connection:
            connection.execute("SET session_replication_role = replica")
            # Written by hand: to add it would run her function now.
            connection.execute("CREATE OR REPLACE FUNCTION m.act() RETURNS int LANGUAGE sql AS 'SELECT 1'")
            connection.execute("ALTER DOMAIN d ADD CONSTRAINT whole CHECK (m.whole(value))")
        with pytest.raises(Refused, match="public d whole"):
            _put_back(cluster, "hers")


@pytest.mark.parametrize(
    "index", some(["k + m.one(7)", "k + m.one(7) + cardinality('{1}'::m.d[])"], {"k + m.one(7)"})
)
def test_a_superusers_foreign_key_to_a_table_with_a_strangers_index_is_not_validated(
    servers: Servers, index: str
) -> None:
    """Attack: the key is the superuser's, so that he validates it himself; the index on the other table is not his.

    An index with a constant of a domain's type is made late, by its owner: the key is looked at after that.
    """
    cluster = servers[15]
    with _hers(cluster, "hers") as mallory:
        with mallory.connect("hers") as connection:
            connection.execute(
                (
                    TRAP + "CREATE TABLE m.p (k int PRIMARY KEY); INSERT INTO m.p VALUES (1);"
                    "CREATE DOMAIN m.d AS int CHECK (m.one(value) > 0)"
                ).encode()
            )
        with cluster.server.connect("hers") as connection:
            connection.execute(
                "CREATE TABLE m.his (a int REFERENCES m.p); INSERT INTO m.his VALUES (1);"
                "CREATE FUNCTION m.own(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';"
                "CREATE INDEX ON m.his ((a + m.own(7)))"
            )
        _put_back(cluster, "hers")  # as long as there is none
        with cluster.server.connect("postgres") as connection:
            connection.execute("DROP DATABASE hers_again")
        with mallory.connect("hers") as connection:
            connection.execute(f"CREATE INDEX ON m.p (({index}))".encode())
        with pytest.raises(Refused, match="a function of another owner"):
            _put_back(cluster, "hers")
        assert _superusers(cluster) == ["postgres"]


def test_a_superusers_foreign_key_that_is_tried_again_is_judged_anew(servers: Servers) -> None:
    """Attack: her code has the key fail once, by taking a row away, and her index that planning computes come later.

    So when the key's rights were decided there was no such index yet; when it is tried again, row and index are there.
    """
    cluster = servers[15]
    with _hers(cluster, "hers") as mallory:
        with mallory.connect("hers") as connection:
            connection.execute(
                (
                    TRAP
                    + """
                CREATE TABLE m.parent (k int PRIMARY KEY); INSERT INTO m.parent VALUES (1);
                CREATE TABLE m.once (a int); INSERT INTO m.once VALUES (1);
                CREATE TABLE m.p (k int PRIMARY KEY); CREATE TABLE m.c (k int CONSTRAINT mark REFERENCES m.p);
                CREATE FUNCTION m.take() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN
                  IF current_database() <> 'hers' THEN DELETE FROM m.parent; END IF; RETURN 1; END $f$;
                CREATE FUNCTION m.give() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN
                  IF current_database() <> 'hers' THEN INSERT INTO m.parent VALUES (1); END IF; RETURN 1; END $f$;
                CREATE FUNCTION m.wait() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN
                  IF current_database() <> 'hers' AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'mark')
                  THEN RAISE EXCEPTION 'not yet'; END IF; RETURN 1; END $f$;
                CREATE FUNCTION m.taken(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
                    AS 'BEGIN PERFORM m.take(); RETURN $1; END';
                CREATE FUNCTION m.given(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
                    AS 'BEGIN PERFORM m.wait(); PERFORM m.give(); RETURN $1; END';
                CREATE FUNCTION m.later(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
                    AS 'BEGIN PERFORM m.wait(); PERFORM m.act(); RETURN 1; END';
                CREATE INDEX a_taken ON m.once (m.taken(a)); CREATE INDEX b_later ON m.parent ((k + m.later(7)));
                CREATE INDEX c_given ON m.once (m.given(a));
                GRANT USAGE ON SCHEMA m TO PUBLIC
                """
                ).encode()
            )
        with cluster.server.connect("hers") as connection:
            connection.execute("CREATE TABLE public.his (k int REFERENCES m.parent)")
            connection.execute("INSERT INTO public.his VALUES (1)")
        report = _put_back(cluster, "hers")
        assert _superusers(cluster) == ["postgres"]
        assert [each.name for each in report.missing] == ["FK CONSTRAINT public.his his_k_fkey"]


def test_code_that_changes_a_definition_while_it_is_restored_is_seen(servers: Servers) -> None:
    """Attack: her index changes her view, in the restored database and in the one that it would be compared with."""
    cluster = servers[15]
    with _hers(cluster, "hers") as mallory:
        with mallory.connect("hers") as connection:
            connection.execute(
                b"CREATE SCHEMA m; CREATE TABLE m.t (a int, secret boolean); INSERT INTO m.t VALUES (1, true);"
                b"CREATE VIEW m.v AS SELECT a FROM m.t WHERE NOT secret;"
                b"CREATE FUNCTION m.swap() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN"
                b" IF current_database() <> 'hers' THEN CREATE OR REPLACE VIEW m.v AS SELECT a FROM m.t; END IF;"
                b" RETURN 1; END $f$;"
                b"CREATE FUNCTION m.one(int) RETURNS int LANGUAGE plpgsql IMMUTABLE"
                b" AS 'BEGIN PERFORM m.swap(); RETURN 1; END';"
                b"CREATE INDEX ON m.t (a) WHERE a > m.one(7)"
            )
        report = _put_back(cluster, "hers")
        assert report.comparison.differences == ("VIEW m.v differs in its definition",)


def test_the_code_of_one_owner_does_not_reach_the_rows_of_another(servers: Servers) -> None:
    """Attack: while rows are loaded, his code reads what its owner was never allowed to read."""
    cluster = servers[15]
    with _hers(cluster, "hers") as mallory:
        with cluster.server.connect("hers") as connection:
            connection.execute("CREATE ROLE victim; CREATE SCHEMA v AUTHORIZATION victim; CREATE SCHEMA m")
            connection.execute("CREATE TABLE v.a (secret text); INSERT INTO v.a VALUES ('of the victim')")
            connection.execute("ALTER TABLE v.a OWNER TO victim; ALTER SCHEMA m OWNER TO mallory")
        with mallory.connect("hers") as connection:
            connection.execute(
                b"CREATE TABLE m.loot (secret text);"
                b"CREATE FUNCTION m.steal(int) RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN"
                b"  BEGIN EXECUTE 'SET ROLE victim'; EXCEPTION WHEN OTHERS THEN NULL; END;"
                b"  BEGIN INSERT INTO m.loot SELECT secret FROM v.a; EXCEPTION WHEN OTHERS THEN NULL; END;"
                b"  RETURN true; END $f$;"
                b"CREATE TABLE m.z (a int CHECK (m.steal(a))); INSERT INTO m.z VALUES (1)"
            )
        report = _put_back(cluster, "hers")
        assert report.comparison.differences == ()
        assert report.loaded_by == {"mallory": 2, "victim": 1}
        with cluster.server.connect("hers_again") as connection:
            assert connection.execute("SELECT count(*) FROM m.loot").fetchone() == (0,)


def test_a_loader_does_not_reach_functions_in_a_schema_that_its_owner_may_not_use(servers: Servers) -> None:
    """Attack: a superuser's SECURITY DEFINER functions, which everybody may call, lie in a schema that few may use."""
    cluster = servers[15]
    with _hers(cluster, "hers") as mallory:
        with cluster.server.connect("hers") as connection:
            connection.execute(
                "CREATE SCHEMA admin; CREATE FUNCTION admin.run(text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER"
                " AS 'BEGIN EXECUTE $1; END'"
            )
        with mallory.connect("hers") as connection:
            connection.execute(
                """
                CREATE SCHEMA m;
                CREATE FUNCTION m.fine(int) RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN
                  PERFORM admin.run('ALTER ROLE mallory SUPERUSER'); RETURN true;
                EXCEPTION WHEN OTHERS THEN RETURN true; END $f$;
                CREATE TABLE m.t (a int CHECK (m.fine(a))); INSERT INTO m.t VALUES (1)
                """
            )
        report = _put_back(cluster, "hers")
        assert _superusers(cluster) == ["postgres"]
        assert report.comparison.differences == ()


# A superuser's table, whose check looks for an operator in a schema of the superuser's.
LOOKS_IN_ITS_SCHEMA = """
    CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO PUBLIC; CREATE TABLE app.his (a varchar(9));
    CREATE FUNCTION app.good(varchar) RETURNS boolean LANGUAGE plpgsql SET search_path = app
        AS $f$ BEGIN RETURN $1 = 'x'::text; END $f$;
    ALTER TABLE app.his ADD CHECK (app.good(a)); INSERT INTO app.his VALUES ('x')
"""
# What she puts there, if she may make objects in it.
PLANTS_AN_OPERATOR = """
    CREATE FUNCTION m.equal(varchar, text) RETURNS boolean LANGUAGE plpgsql
        AS 'BEGIN PERFORM m.act(); RETURN true; END';
    CREATE FUNCTION m.plant() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN
      CREATE OPERATOR app.= (LEFTARG = varchar, RIGHTARG = text, FUNCTION = m.equal); RETURN 1;
    EXCEPTION WHEN OTHERS THEN RETURN 1; END $f$;
    CREATE FUNCTION m.planted(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
        AS 'BEGIN RETURN m.plant(); END'
"""


def test_an_owner_makes_nothing_in_the_schemas_of_others_while_her_tables_are_made(servers: Servers) -> None:
    """Attack: a superuser's function looks for names in his own schema; what she makes there meanwhile he would run."""
    cluster = servers[15]
    with _hers(cluster, "hers") as mallory:
        with cluster.server.connect("hers") as connection:
            connection.execute(LOOKS_IN_ITS_SCHEMA)
        with mallory.connect("hers") as connection:
            connection.execute((TRAP + PLANTS_AN_OPERATOR).encode())
            connection.execute(
                """
                CREATE TABLE m.t (a int, b int GENERATED ALWAYS AS (a + m.planted(7)) STORED);
                CREATE TABLE m.parted (a int, b int) PARTITION BY RANGE ((a + m.planted(7)));
                CREATE TABLE m.part PARTITION OF m.parted FOR VALUES FROM (0) TO (10)
                """
            )
        report = _put_back(cluster, "hers")
        assert _superusers(cluster) == ["postgres"]
        assert report.comparison.differences == ()


def test_what_she_makes_in_a_schema_that_is_lent_to_her_ends_the_restore(servers: Servers) -> None:
    """Attack: she was given a table in a superuser's schema. To make it she may make objects there, and plants one.

    The superuser's check looks for its operator in that schema, and would run hers when his rows are loaded.
    """
    cluster = servers[15]
    with _hers(cluster, "hers") as mallory:
        with cluster.server.connect("hers") as connection:
            connection.execute(LOOKS_IN_ITS_SCHEMA)
        with mallory.connect("hers") as connection:
            connection.execute((TRAP + PLANTS_AN_OPERATOR).encode())
        with cluster.server.connect("hers") as connection:
            connection.execute("CREATE TABLE app.hers (a int); ALTER TABLE app.hers OWNER TO mallory")
        _put_back(cluster, "hers")
        with cluster.server.connect("postgres") as connection:
            connection.execute("DROP DATABASE hers_again")
        with mallory.connect("hers") as connection:
            connection.execute("ALTER TABLE app.hers ADD b int GENERATED ALWAYS AS (a + m.planted(7)) STORED")
        with pytest.raises(Refused, match="somebody's code made 'app =' while"):
            _put_back(cluster, "hers")
        assert _superusers(cluster) == ["postgres"]


def test_a_superuser_does_not_become_the_owner_of_strangers_functions(servers: Servers) -> None:
    """Attack: with --no-owner all is the superuser's, and what an index calls runs as its table's owner."""
    cluster = servers[15]
    with _hers(cluster, "hers") as mallory:
        with mallory.connect("hers") as connection:
            connection.execute((TRAP + KINDS["an index"]).encode())
        with pytest.raises(Refused, match="functions of others"):
            _put_back(cluster, "hers", no_owner=True)
        assert _superusers(cluster) == ["postgres"]
        with cluster.server.connect("postgres") as connection:
            assert not connection.execute("SELECT FROM pg_database WHERE datname LIKE 'hers_%'").fetchall()
    assert _our_roles(cluster) == []


def test_an_error_message_does_not_have_other_entries_passed_over(servers: Servers) -> None:
    """Attack: her index fails with a message of lines like those by which pg_restore says at which entry it stopped.

    An entry farther back would be put aside in its place, and what lies between be missing without a word.
    """
    cluster = servers[15]
    with _hers(cluster, "hers") as mallory:
        with cluster.server.connect("hers") as connection:
            connection.execute("CREATE TABLE public.z (a int); CREATE INDEX last ON public.z (a)")
        with mallory.connect("hers") as connection:
            connection.execute(
                """
                CREATE SCHEMA m;
                CREATE FUNCTION m.stop(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $f$ BEGIN
                  IF current_database() <> 'hers' THEN
                    RAISE EXCEPTION E'x\n%', (SELECT string_agg(format(E'pg_restore: from TOC entry %s; 1 2 INDEX'
                      '\npg_restore: error: could not execute query: ERROR:  x does not exist', n), E'\n')
                      FROM generate_series(1, 9999) n);
                  END IF; RETURN $1; END $f$;
                CREATE TABLE m.t (a int); INSERT INTO m.t VALUES (1);
                CREATE INDEX first ON m.t (m.stop(a)); CREATE INDEX second ON m.t (a)
                """
            )
        report = _put_back(cluster, "hers")
        assert "INDEX m.first" in [each.name for each in report.missing]
        with cluster.server.connect(report.database) as connection:
            made = connection.execute(
                "SELECT relname FROM pg_class WHERE relkind = 'i' AND relname IN ('first', 'second', 'last')"
            ).fetchall()
            assert sorted(row[0] for row in made) == ["last", "second"]


@pytest.mark.parametrize(
    ("what", "sql"),
    [
        ("1 materialized views", "CREATE MATERIALIZED VIEW m.v AS SELECT 1 AS a"),
        ("1 domains", "CREATE TABLE m.t (a int, b m.d[] DEFAULT '{1}')"),
        ("1 domains", "CREATE TABLE m.t (a int); CREATE INDEX ON m.t ((a::m.d))"),
    ],
)
def test_a_superuser_does_not_become_the_owner_of_what_runs_a_text(
    servers: Servers, what: str, sql: str
) -> None:
    """Attack: with --no-owner her materialized view or domain would call functions that only superusers may call.

    Functions of PostgreSQL's own run what a text says, and the text may ask who is running it.
    """
    cluster = servers[15]
    with _hers(cluster, "hers") as mallory:
        with mallory.connect("hers") as connection:
            connection.execute(f"CREATE SCHEMA m; CREATE DOMAIN m.d AS int CHECK (value > 0); {sql}".encode())
        with pytest.raises(Refused, match=f"become the owner of {what} of others"):
            _put_back(cluster, "hers", no_owner=True)


# Makes a large object where it runs as a superuser; by functions of PostgreSQL's own.
RUNS_A_TEXT = """ts_rewrite('a'::tsquery, $q$SELECT 'a'::tsquery, left(CASE
    WHEN (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
    THEN query_to_xml($x$SELECT lo_from_bytea(424242, ''::bytea)$x$, true, false, '')::text ELSE '' END, 0)::tsquery$q$)
    IS NOT NULL"""


@pytest.mark.parametrize(
    ("what", "sql"),
    [
        (
            "statistics of expressions",
            f"CREATE TABLE m.t (a int); CREATE STATISTICS m.s ON ({RUNS_A_TEXT}), a FROM m.t",
        ),
        (
            "statistics of expressions",
            "CREATE TABLE m.t (a int); CREATE STATISTICS m.s ON ("
            f"{RUNS_A_TEXT} OR E'\nCREATE STATISTICS m.s ON a FROM m.t' <> ''), a FROM m.t",
        ),
        ("views or rules", "CREATE VIEW m.v AS SELECT rolname, rolsuper FROM pg_authid"),
        (
            "views or rules",
            "CREATE TABLE m.t (a int); CREATE RULE r AS ON INSERT TO m.t DO ALSO UPDATE pg_authid SET rolsuper = true",
        ),
    ],
)  # fmt: skip
def test_a_superuser_does_not_become_the_owner_of_what_acts_for_its_owner(
    servers: Servers, what: str, sql: str
) -> None:
    """Attack: what ANALYZE computes as a table's owner, and a view or rule by which its owner's rights are lent."""
    with _hers(servers[15], "hers") as mallory:
        with mallory.connect("hers") as connection:
            connection.execute(f"CREATE SCHEMA m; {sql}".encode())
        with pytest.raises(Refused, match=f"become the owner of 1 {what}"):
            _put_back(servers[15], "hers", no_owner=True)


def test_plain_statistics_and_views_keep_nobody_from_a_restore_without_owners(servers: Servers) -> None:
    """Loss prevented: as above, what computes nothing is no reason to refuse."""
    with _hers(servers[15], "hers") as mallory:
        with mallory.connect("hers") as connection:
            connection.execute(
                "CREATE SCHEMA m; CREATE TABLE m.t (a int, b int); CREATE VIEW m.v AS SELECT * FROM m.t;"
                "CREATE STATISTICS m.s ON a, b FROM m.t; CREATE STATISTICS m.of_kinds (mcv, ndistinct) ON a, b FROM m.t"
            )
        assert _put_back(servers[15], "hers", no_owner=True).comparison.differences == ()


@pytest.mark.parametrize("trusted", some([False, True], {True}))
def test_functions_with_powers_are_kept_from_everybody_in_a_restore_without_owners(
    servers: Servers, trusted: bool
) -> None:
    """Attack: without grants, what was taken from PUBLIC is PUBLIC's again: her check calls it while rows load."""
    cluster = servers[15]
    calls = "SELECT public.run($$ALTER ROLE mallory SUPERUSER$$)"
    runs = (
        "ts_rewrite('a'::tsquery, $q$SELECT 'a'::tsquery, left(query_to_xml(CASE WHEN current_database() = 'hers' "
        f"THEN 'SELECT 1' ELSE '{calls}' END, true, false, '')::text, 0)::tsquery$q$) IS NOT NULL"
    )
    with _hers(cluster, "hers") as mallory:
        with cluster.server.connect("hers") as connection:
            connection.execute(
                "CREATE FUNCTION public.run(text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER"
                " AS 'BEGIN EXECUTE $1; RETURN 1; END'; REVOKE ALL ON FUNCTION public.run(text) FROM PUBLIC"
            )
        if not trusted:
            with mallory.connect("hers") as connection:
                connection.execute(
                    f"CREATE SCHEMA m; CREATE TABLE m.t (a int CHECK ({runs})); INSERT INTO m.t VALUES (1)".encode()
                )
            with pytest.raises(DatabaseError, match="permission denied for function run"):
                _put_back(cluster, "hers", no_owner=True)
            assert _superusers(cluster) == ["postgres"]
            return
        report = _put_back(cluster, "hers", no_owner=True, trust_owners=True)
        assert any("public.run(text)" in note for note in report.notes)
        with cluster.server.connect("hers_again") as connection:
            query = "SELECT has_function_privilege('mallory', 'public.run(text)', 'EXECUTE')"
            assert connection.execute(query).fetchone() == (False,)


def test_a_domain_alone_keeps_nobody_from_a_restore_without_owners(servers: Servers) -> None:
    """Loss prevented: a superuser cannot restore with --no-owner because somebody has a domain for addresses."""
    cluster = servers[15]
    with _hers(cluster, "hers") as mallory:
        with mallory.connect("hers") as connection:
            connection.execute(
                "CREATE SCHEMA m; CREATE DOMAIN m.d AS text CHECK (value ~ '@');"
                "CREATE TABLE m.t (a m.d PRIMARY KEY, b int); INSERT INTO m.t VALUES ('a@b', 1);"
                "CREATE INDEX ON m.t (b)"
            )
        assert _put_back(cluster, "hers", no_owner=True).comparison.differences == ()


def test_a_superusers_materialized_view_is_not_filled_where_that_runs_a_strangers_code(
    servers: Servers,
) -> None:
    """Attack: she gives her table an index, which planning computes, and a superuser's view of that table is filled.

    Or he reads a view of hers that calls something which our list of harmless functions does not have.
    """
    cluster = servers[15]
    with _hers(cluster, "hers") as mallory:
        with mallory.connect("hers") as connection:
            connection.execute((TRAP + "CREATE TABLE m.t (a int); CREATE TABLE m.u (a int)").encode())
            connection.execute(
                "CREATE VIEW m.seen AS SELECT a FROM m.u WHERE current_setting('no.such', true) IS NULL"
            )
            connection.execute(
                "CREATE VIEW m.plain AS SELECT upper(a::text) AS a, count(*) FROM m.u GROUP BY 1"
            )
        with cluster.server.connect("hers") as connection:
            connection.execute("CREATE SCHEMA s; CREATE MATERIALIZED VIEW s.v AS SELECT count(*) FROM m.t")
            connection.execute("CREATE MATERIALIZED VIEW s.w AS SELECT count(*) FROM m.u")
            connection.execute("CREATE VIEW s.between AS SELECT a FROM m.seen")
            connection.execute("CREATE MATERIALIZED VIEW s.x AS SELECT count(*) FROM s.between")
            connection.execute("CREATE MATERIALIZED VIEW s.y AS SELECT * FROM m.plain")
        with mallory.connect("hers") as connection:
            connection.execute("CREATE INDEX ON m.t ((a + m.one(7)))")
        report = _put_back(cluster, "hers")
        assert _superusers(cluster) == ["postgres"]
        assert [each.name for each in report.missing] == [
            "MATERIALIZED VIEW DATA s.v",
            "MATERIALIZED VIEW DATA s.x",
        ]
        assert all("functions of others" in each.reason for each in report.missing)
        assert report.missing[0].statement == "REFRESH MATERIALIZED VIEW s.v;"


def test_a_server_that_lets_no_new_role_in_is_told_before_anything_is_loaded(
    servers: Servers, scratch_directory: object
) -> None:
    """Loss prevented: at 3 a.m., half a restore and a message about pg_hba.conf."""
    cluster = servers[15]
    rules = cluster.data_directory / "pg_hba.conf"
    before = rules.read_text()
    with _hers(cluster, "hers") as mallory:
        with mallory.connect("hers") as connection:
            connection.execute((TRAP + KINDS["a CHECK constraint"]).encode())
        try:
            rules.write_text("host all postgres,mallory 127.0.0.1/32 scram-sha-256\n")
            with cluster.server.connect("postgres") as connection:
                connection.execute("SELECT pg_reload_conf()")
            with pytest.raises(Refused, match="lets none in") as refused:
                _put_back(cluster, "hers")
            assert "--trust-owners" in refused.value.hint
        finally:
            rules.write_text(before)
            with cluster.server.connect("postgres") as connection:
                connection.execute("SELECT pg_reload_conf()")
    assert _our_roles(cluster) == []


def test_roles_of_a_killed_restore_are_dropped_by_the_next_one(servers: Servers) -> None:
    """Attack: roles that may log in as an owner, left behind one by one and forgotten."""
    cluster = servers[15]
    with _hers(cluster, "hers") as mallory:
        with mallory.connect("hers") as connection:
            connection.execute(KINDS["a view"].replace("m.act()", "1").replace("m.t", "t").encode())
        with cluster.server.connect("postgres") as connection:
            connection.execute("CREATE DATABASE hers_again TEMPLATE template0")
        Loaders(cluster.server, "hers_again", seconds=60).of("mallory")  # and then its process was killed
        with cluster.server.connect("postgres") as connection:
            connection.execute("DROP DATABASE hers_again")  # as the next restore does first
        with cluster.server.connect("postgres") as connection:
            connection.execute("CREATE ROLE recyclic_loads_of_somebody_else")
        assert len(_our_roles(cluster)) == 2
        try:
            report = _put_back(cluster, "hers")
            assert any(note.startswith("dropped the role") for note in report.notes), report.notes
            assert _our_roles(cluster) == ["recyclic_loads_of_somebody_else"], report.notes
        finally:
            with cluster.server.connect("postgres") as connection:
                connection.execute("DROP ROLE recyclic_loads_of_somebody_else")


def test_nobody_enters_the_database_beside_while_it_is_filled(servers: Servers) -> None:
    """Attack: whom production keeps out looks for the database that a restore works on, enters it, and stays."""
    cluster = servers[15]
    with _hers(cluster, "hers") as mallory:
        facts = ServerFacts("", "15.0", "", "UTF8", {}, "mallory")
        with cluster.server.connect("postgres") as connection:
            databases.create_database(connection, "hers_again", facts)
            with (
                pytest.raises(DatabaseError, match="permission denied for database"),
                mallory.connect("hers_again"),
            ):
                pass
            databases.let_everybody_in(connection, "hers_again")
        with mallory.connect("hers_again"):
            pass
