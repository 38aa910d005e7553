"""A partial drill of tables that are unusual and legitimate passes, or says that there is nothing to damage."""

from __future__ import annotations

from typing import Any

import pytest

from recyclic_backups.drill.inject_damage import add_newer_rows
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.operator import Operator

_SERIES = "SELECT g, g FROM generate_series(1, 50) g"
_APPEND_ONLY = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
    AS $$BEGIN RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'append only'; END$$;
"""

HURT = {
    "a subscription to another server": f"""
        CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t {_SERIES};
        CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1 dbname=x' PUBLICATION p
            WITH (connect = false, slot_name = 's')""",
    "a key that is generated": """
        CREATE TABLE t (v int, id int PRIMARY KEY GENERATED ALWAYS AS (v + 1000) STORED);
        INSERT INTO t (v) SELECT g FROM generate_series(1, 50) g""",
    "a key that includes a column without order": """
        CREATE TABLE t (id int, area box, PRIMARY KEY (id) INCLUDE (area));
        INSERT INTO t SELECT g, box(point(g, g), point(1, 1)) FROM generate_series(1, 50) g""",
    "a trigger that always forbids changes": f"""{_APPEND_ONLY}
        CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t {_SERIES};
        CREATE TRIGGER t BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON t EXECUTE FUNCTION refuse();
        ALTER TABLE t ENABLE ALWAYS TRIGGER t""",
    "rules that do something else instead, always": f"""
        CREATE TABLE other (id int, v int); CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t {_SERIES};
        CREATE RULE i AS ON INSERT TO t DO INSTEAD INSERT INTO other VALUES (new.*) RETURNING *;
        CREATE RULE d AS ON DELETE TO t DO INSTEAD NOTHING; CREATE RULE u AS ON UPDATE TO t DO INSTEAD NOTHING;
        ALTER TABLE t ENABLE ALWAYS RULE d; ALTER TABLE t ENABLE ALWAYS RULE i""",
    "an exclusion constraint": """
        CREATE TABLE t (id int PRIMARY KEY, during tsrange, EXCLUDE USING gist (during WITH &&));
        INSERT INTO t SELECT g, tsrange('2026-01-01'::timestamp + g * '1 h'::interval,
            '2026-01-01'::timestamp + (g + 1) * '1 h'::interval) FROM generate_series(1, 50) g""",
    "no key": f"CREATE TABLE t (id int, v int); INSERT INTO t {_SERIES}",
    "one column": "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 50)",
    "an identity that is always generated": """
        CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
        INSERT INTO t (v) SELECT g FROM generate_series(1, 50) g;
        CREATE TABLE u (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t int REFERENCES t);
        INSERT INTO u (t) SELECT g FROM generate_series(1, 50) g""",
    "domains that are not null": """
        CREATE DOMAIN filled AS text NOT NULL CHECK (VALUE <> ''); CREATE TABLE t (id int PRIMARY KEY, v filled);
        INSERT INTO t SELECT g, g FROM generate_series(1, 50) g""",
    "partitions of partitions": """
        CREATE TABLE t (id int, day date, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
        CREATE TABLE t1 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-02-01') PARTITION BY LIST (id);
        CREATE TABLE t1a PARTITION OF t1 DEFAULT;
        CREATE TABLE t2 PARTITION OF t DEFAULT;
        INSERT INTO t SELECT g, '2026-01-01'::date + g, g FROM generate_series(1, 60) g;
        CREATE TABLE u (id int PRIMARY KEY, t int, day date, FOREIGN KEY (t, day) REFERENCES t);
        INSERT INTO u SELECT id, id, day FROM t""",
    "inheritance": f"""
        CREATE TABLE parent (id int PRIMARY KEY, v int); INSERT INTO parent {_SERIES};
        CREATE TABLE child (more text, PRIMARY KEY (id)) INHERITS (parent);
        INSERT INTO child SELECT g + 100, g, g FROM generate_series(1, 50) g""",
    "foreign keys both ways": """
        CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
        ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b DEFERRABLE INITIALLY DEFERRED;
        INSERT INTO a SELECT g, NULL FROM generate_series(1, 50) g;
        INSERT INTO b SELECT g, g FROM generate_series(1, 50) g; UPDATE a SET b = id WHERE id > 25""",
    "a reference to itself": """
        CREATE TABLE t (id int PRIMARY KEY, above int REFERENCES t, v int);
        INSERT INTO t SELECT g, NULLIF(g - 1, 0), g FROM generate_series(1, 50) g""",
    "a key of an own type and one generated column": """
        CREATE TYPE kind AS ENUM ('a', 'b'); CREATE DOMAIN number AS int;
        CREATE TABLE t (id number PRIMARY KEY, k kind, twice int GENERATED ALWAYS AS (v * 2) STORED, v int);
        INSERT INTO t (id, k, v) SELECT g, 'a', g FROM generate_series(1, 50) g""",
    "a publication that needs keys": f"""
        CREATE TABLE log (id int, v int); INSERT INTO log {_SERIES};
        CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t {_SERIES};
        CREATE PUBLICATION p FOR TABLE log, t""",
    "heirs whose rows their parent's key is not about": """
        CREATE TABLE t (id int PRIMARY KEY, v int);
        INSERT INTO t SELECT g, g FROM generate_series(1, 50) g;
        CREATE TABLE u (id int PRIMARY KEY, t int REFERENCES t); CREATE TABLE heir () INHERITS (u);
        INSERT INTO u SELECT g, g FROM generate_series(1, 50) g; INSERT INTO heir VALUES (1, 777)""",
    "a table of pg_database_owner": f"""
        GRANT CREATE ON SCHEMA public TO pg_database_owner; CREATE TABLE t (id int PRIMARY KEY, v int CHECK (v > 0));
        INSERT INTO t {_SERIES}; ALTER TABLE t OWNER TO pg_database_owner""",
    "checks that raise, in functions": f"""
        CREATE FUNCTION public.strict(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
            AS $$BEGIN IF $1 IS NULL THEN RAISE feature_not_supported; END IF; RETURN true; END$$;
        CREATE TABLE t (id int PRIMARY KEY, v int CHECK (public.strict(v))); INSERT INTO t {_SERIES}""",
}

UNHARMED = {
    "nothing": "SELECT",
    "tables without rows": "CREATE TABLE t (id int PRIMARY KEY)",
    "only generated columns": "CREATE TABLE t (y int GENERATED ALWAYS AS (1) STORED); INSERT INTO t DEFAULT VALUES",
    "no columns": "CREATE TABLE t (); INSERT INTO t DEFAULT VALUES",
    "parents that others inherit from": f"""
        CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t {_SERIES};
        CREATE TABLE u () INHERITS (t)""",
    "rows that break a check which holds for new ones only": f"""
        CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t {_SERIES};
        ALTER TABLE t ADD CHECK (v > 100) NOT VALID""",
    "a log in a publication that needs keys": f"""
        CREATE TABLE log (id int, v int); INSERT INTO log {_SERIES}; CREATE PUBLICATION p FOR TABLE log""",
}


_QUICK = (
    "a key that includes a column without order",
    "a trigger that always forbids changes",
    "nothing",
    "only generated columns",
)


def _each(cases: dict[str, str]) -> list[Any]:
    """A case each; most of them in `make test-all` only, as a drill takes seconds."""
    return [pytest.param(what, marks=() if what in _QUICK else pytest.mark.slow) for what in cases]


@pytest.mark.parametrize("what", _each(HURT))
def test_legitimate_tables_are_damaged_and_put_back(
    operator: Operator, cluster: ScratchCluster, database: str, what: str
) -> None:
    """Prevents a good backup from being called bad, or not drilled at all, for tables that are only unusual."""
    report = _drilled(operator, cluster, database, HURT[what])

    assert report["passed"], report["reasons"]
    assert report["wounds"]
    assert all(table["equal"] for table in report["tables"])


@pytest.mark.parametrize("what", _each(UNHARMED))
def test_where_nothing_can_be_damaged_the_drill_passes_and_says_so(
    operator: Operator, cluster: ScratchCluster, database: str, what: str
) -> None:
    """Prevents a red drill every Sunday for a database that has nothing to be hurt."""
    report = _drilled(operator, cluster, database, UNHARMED[what])

    assert report["passed"], report["reasons"]
    assert any("nothing was damaged" in note for note in report["notes"])
    assert operator.must("list", "--json").json[0]["proven_at"]


def _drilled(operator: Operator, cluster: ScratchCluster, database: str, sql: str) -> dict[str, Any]:
    with cluster.server.connect(database, settings={"search_path": "public"}) as connection:
        connection.execute(sql.encode())
    operator.variables["POSTGRES_DB"] = database
    operator.backup_id()
    try:
        report: dict[str, Any] = operator.must("drill", "partial", "--json").json
    finally:
        if "SUBSCRIPTION" in sql:  # or nobody could drop the database
            with cluster.server.connect(database) as connection:
                connection.execute("ALTER SUBSCRIPTION s SET (slot_name = NONE)")
                connection.execute("DROP SUBSCRIPTION s")
    return report


def test_work_goes_on_although_what_rows_refer_to_was_deleted(cluster: ScratchCluster, database: str) -> None:
    """Loss prevented: a drill that proves of no newer row that it survives, since every table refers to a company."""
    with cluster.server.connect(database) as connection:
        connection.execute(
            "CREATE TABLE company (id int PRIMARY KEY); INSERT INTO company VALUES (1);"
            "CREATE TABLE t (id int PRIMARY KEY, company int REFERENCES company); INSERT INTO t VALUES (1, 1);"
            "CREATE TABLE u (id int PRIMARY KEY, company int NOT NULL REFERENCES company); INSERT INTO u VALUES (1, 1);"
            "SET session_replication_role = replica; DELETE FROM company; RESET session_replication_role"
        )
        assert add_newer_rows(connection, ["public.company"], "seed") == {"public.t": 1}
        assert connection.execute("SELECT id, company FROM t ORDER BY id").fetchall() == [(1, 1), (2, None)]
