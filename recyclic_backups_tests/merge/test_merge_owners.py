"""An owner without rights plants code in his live tables and waits for a superuser to put their rows back.

Each of the ways in which PostgreSQL calls a function while rows are compared, staged and written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from recyclic_backups.errors import Refused
from recyclic_backups.merge.merge import MergeReport, merge_backup
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups.restore import left_behind
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups.restore.loaders import Loaders
from recyclic_backups.restore.selection import Request
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.restore.test_foreign_code import TRAP
from recyclic_backups_tests.strange.conftest import Servers
from recyclic_backups_tests.strange.conftest import servers as servers  # noqa: PLC0414 - a fixture

# What he has done to his table m.t, of rows (1, 1), (2, 2), (3, 3), by the time that its rows are put back.
KINDS = {
    "a CHECK constraint": "ALTER TABLE m.t ADD CHECK (m.one(a) > 0)",
    "a CHECK constraint of built-in functions alone": """
        ALTER TABLE m.t ADD CHECK (ts_rewrite('a'::tsquery,
            'SELECT ''a''::tsquery, ''b''::tsquery WHERE m.act() > 0') IS NOT NULL)""",
    "a domain": "ALTER DOMAIN m.d ADD CHECK (m.one(value) > 0)",
    "a default": "ALTER TABLE m.t ALTER b SET DEFAULT m.act()",
    "a generated column": """
        ALTER TABLE m.t ADD c int GENERATED ALWAYS AS (m.same(a) + m.one(7)) STORED""",
    "an index": "CREATE INDEX ON m.t (m.same(a)) WHERE m.one(a) > 0",
    "an index with a constant": "CREATE INDEX ON m.t ((a + m.one(7)))",
    "statistics": "CREATE STATISTICS m.s ON (m.same(a) + m.one(7)), a FROM m.t",
    "a rule": "CREATE RULE r AS ON INSERT TO m.t DO ALSO SELECT m.act(); ALTER TABLE m.t ENABLE ALWAYS RULE r",
    "a trigger": """
        CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON m.t FOR EACH ROW WHEN (m.act() > 0)
            EXECUTE FUNCTION m.fire();
        ALTER TABLE m.t ENABLE ALWAYS TRIGGER t""",
    "a trigger that waits for the commit": """
        CREATE CONSTRAINT TRIGGER later AFTER INSERT OR UPDATE OR DELETE ON m.t DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION m.fire();
        ALTER TABLE m.t ENABLE ALWAYS TRIGGER later;
        ALTER TABLE m.t ADD CHECK (m.one(a) > 0)""",
    "a policy": """
        CREATE POLICY p ON m.t USING (m.act() > 0) WITH CHECK (m.act() > 0);
        ALTER TABLE m.t ENABLE ROW LEVEL SECURITY; ALTER TABLE m.t FORCE ROW LEVEL SECURITY""",
    "a cast in a foreign key": """
        CREATE TYPE m.e AS ENUM ('1', '2', '3');
        CREATE FUNCTION m.cast(m.e) RETURNS int LANGUAGE plpgsql IMMUTABLE
            AS 'BEGIN PERFORM m.act(); RETURN $1::text::int; END';
        CREATE CAST (m.e AS int) WITH FUNCTION m.cast(m.e) AS IMPLICIT;
        CREATE TABLE m.child (a m.e REFERENCES m.t); INSERT INTO m.child VALUES ('1')""",
    "an index of a table that refers to it": """
        CREATE TABLE m.other (a int REFERENCES m.t ON DELETE CASCADE); INSERT INTO m.other VALUES (1);
        CREATE INDEX ON m.other ((a + m.one(7)))""",
}
# Some whose code runs, as the owner, while rows are put back. (That of a domain would wait for itself here: two
# sessions, in one of which it is to become superuser while the other has not ended.)
_RUN = ("a CHECK constraint", "a generated column", "an index with a constant")

WRONG = "DELETE FROM m.t WHERE a = 2; UPDATE m.t SET b = 77 WHERE a = 3"


@dataclass
class Hers:
    """A database ``hers`` of mallory's, who may do nothing but log in."""

    cluster: ScratchCluster
    house: House

    def do(self, statements: str, user: str = "mallory") -> list[tuple[object, ...]]:
        """What somebody does in it."""
        server = self.cluster.server
        if user != "postgres":
            server = Server(server.host, server.port, user, user)
        with server.connect("hers") as connection:
            cursor = connection.execute(statements.encode())
            return cursor.fetchall() if cursor.description else []

    def put_back(self, *tables: str, throwaway: bool = False, **changes: object) -> MergeReport:
        """``restore latest --merge-into hers --yes``, by the superuser."""
        installations = self.house.plan.options.installations
        return merge_backup(
            self.house.repository,
            self.house.catalog.find("latest"),
            self.cluster.server,
            "hers",
            Request(tables),
            RestoreOptions(installations, timeout_seconds=60, **changes),  # type: ignore[arg-type]
            clock=self.house.clock,
            throwaway=throwaway,
        )

    def superusers(self) -> list[object]:
        """Who could do anything by now."""
        return [
            row[0] for row in self.do("SELECT rolname FROM pg_roles WHERE rolsuper ORDER BY 1", "postgres")
        ]


@contextmanager
def _hers(cluster: ScratchCluster) -> Iterator[Hers]:
    with cluster.server.connect("postgres") as connection:
        connection.execute("DROP ROLE IF EXISTS mallory, victim")
        for role in ("mallory", "victim"):
            connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{role}'")
        connection.execute("CREATE DATABASE hers OWNER mallory TEMPLATE template0")
    hers = Hers(cluster, House(cluster.server, "hers", MemoryStore()))
    try:
        hers.do(
            TRAP + "CREATE DOMAIN m.d AS int; CREATE TABLE m.t (a int PRIMARY KEY, b m.d);"
            "INSERT INTO m.t SELECT n, n FROM generate_series(1, 3) n"
        )
        yield hers
        left = hers.do("SELECT rolname FROM pg_roles WHERE rolname LIKE 'recyclic_loads_%'", "postgres")
        assert left == []
    finally:
        with cluster.server.connect("postgres") as connection:
            for (name,) in connection.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE 'hers%'"
            ).fetchall():
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            connection.execute("DROP ROLE IF EXISTS mallory, victim")


def _clean(report: MergeReport, by: str) -> None:
    assert report.merged is not None, report.restored.comparison.differences
    assert report.merged.broken == ()
    assert report.merged.written_by == by


def _attacked(hers: Hers, *kinds: str) -> None:
    """His code is in the live table and in the restored one, whose rows are read and kept."""
    hers.do(";".join(KINDS[kind] for kind in kinds))
    hers.house.back_up()
    hers.do("ALTER TABLE m.t DISABLE TRIGGER USER; ALTER TABLE m.t NO FORCE ROW LEVEL SECURITY;" + WRONG)
    hers.do("ALTER TABLE m.t FORCE ROW LEVEL SECURITY; ALTER TABLE m.t ENABLE TRIGGER USER")
    for name in hers.do("SELECT tgname FROM pg_trigger WHERE tgrelid = 'm.t'::regclass AND NOT tgisinternal"):
        hers.do(f"ALTER TABLE m.t ENABLE ALWAYS TRIGGER {name[0]}")
    _clean(hers.put_back("m.t"), by="mallory")
    assert hers.superusers() == ["postgres"]
    assert hers.do("SELECT a, b FROM m.t ORDER BY 1", "postgres") == [(1, 1), (2, 2), (3, 3)]
    assert hers.do("SELECT relforcerowsecurity FROM pg_class WHERE oid = 'm.t'::regclass") == [(True,)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_code_of_an_owner_never_runs_as_superuser_while_rows_are_put_back(
    servers: Servers, kind: str
) -> None:
    """Attack: he is superuser of production after a superuser has put rows of his table back into it."""
    with _hers(servers[15]) as hers:
        _attacked(hers, kind)


@pytest.mark.parametrize("major", [15, *(pytest.param(major, marks=pytest.mark.slow) for major in (16, 18))])
def test_nor_does_all_of_it_at_once(servers: Servers, major: int) -> None:
    """Attack: the same on newer servers, whose memberships of roles are others."""
    with _hers(servers[major]) as hers:
        _attacked(hers, *KINDS)


@pytest.mark.parametrize("kind", some(_RUN, _RUN[:1]))
def test_the_trap_works_where_somebody_merges_as_a_superuser(servers: Servers, kind: str) -> None:
    """Prevents that the tests above pass because the trap does not shut."""
    with _hers(servers[15]) as hers:
        hers.do(KINDS[kind])
        hers.house.back_up()
        hers.do(WRONG)
        _clean(hers.put_back("m.t", trust_owners=True), by="postgres")
        assert hers.superusers() == ["mallory", "postgres"]


def test_a_superusers_table_with_a_strangers_code_is_refused(servers: Servers) -> None:
    """Attack: the table is the superuser's, so that he writes it himself; its domain is somebody else's."""
    with _hers(servers[15]) as hers:
        hers.do("CREATE TABLE m.his (a int PRIMARY KEY, b m.d); INSERT INTO m.his VALUES (1, 1)", "postgres")
        hers.house.back_up()
        hers.do("UPDATE m.his SET b = NULL", "postgres")
        hers.do("ALTER DOMAIN m.d ADD CHECK (m.one(value) > 0) NOT VALID")
        with pytest.raises(Refused, match="code of mallory") as refused:
            hers.put_back("m.his")
        assert "--trust-owners" in refused.value.hint
        assert hers.do("SELECT b FROM m.his", "postgres") == [(None,)]
        assert hers.superusers() == ["postgres"]
        # In a drill, on a server of ours, that is no reason to refuse; everything else is done as above.
        _clean(hers.put_back("m.his", throwaway=True), by="postgres")


def test_a_table_of_the_databases_owner_is_put_back_only_without_code(servers: Servers) -> None:
    """Attack: pg_database_owner is whoever owns the database, and of it nobody who writes the rows can be a member."""
    with _hers(servers[15]) as hers:
        hers.do(
            "GRANT CREATE ON SCHEMA m TO pg_database_owner; CREATE TABLE m.plain (a int PRIMARY KEY, b int);"
            "INSERT INTO m.plain VALUES (1, 1); ALTER TABLE m.plain OWNER TO pg_database_owner"
        )
        hers.do(KINDS["a CHECK constraint"] + ";ALTER TABLE m.t OWNER TO pg_database_owner")
        hers.house.back_up()
        hers.do("UPDATE m.plain SET b = 2;" + WRONG)
        _clean(hers.put_back("m.plain"), by="postgres")
        assert hers.do("SELECT b FROM m.plain") == [(1,)]
        with pytest.raises(Refused, match="nobody logs in with those of pg_database_owner") as refused:
            hers.put_back("m.t")
        assert "OWNER TO" in refused.value.hint
        assert hers.superusers() == ["postgres"]


def test_tables_of_several_owners_go_together_only_without_code(servers: Servers) -> None:
    """Attack: one role with the rights of both would let the code of one read and write what is the other's."""
    with _hers(servers[15]) as hers:
        hers.do(
            "CREATE SCHEMA v AUTHORIZATION victim; CREATE TABLE v.a (k int PRIMARY KEY, secret text);"
            "INSERT INTO v.a VALUES (1, 'of the victim'); ALTER TABLE v.a OWNER TO victim",
            "postgres",
        )
        hers.do("CREATE TABLE m.plain (a int PRIMARY KEY, b int); INSERT INTO m.plain VALUES (1, 1)")
        hers.do(KINDS["a CHECK constraint"])
        hers.do(
            "ALTER TABLE m.plain ADD CHECK (length(btrim(b::text)) > 0 AND b::text ~ '^[0-9]+$' AND b < 9 * 9)"
        )
        hers.house.back_up()
        hers.do("UPDATE m.plain SET b = 2;" + WRONG)
        hers.do("DELETE FROM v.a", "victim")
        with pytest.raises(Refused, match="several roles: mallory, victim") as refused:
            hers.put_back("m.t", "v.a")
        assert "of each owner" in refused.value.hint
        assert hers.do("SELECT FROM v.a", "victim") == []
        _clean(hers.put_back("m.plain", "v.a"), by="postgres")
        assert hers.do("SELECT secret FROM v.a", "victim") == [("of the victim",)]
        _clean(hers.put_back("m.t"), by="mallory")
        assert hers.superusers() == ["postgres"]


@pytest.mark.parametrize(
    ("major", "check"),
    [
        (15, "domain_in('x', to_regtype('m.j')::oid, -1) IS NOT NULL"),
        (18, "pg_input_is_valid(js ->> 'a', 'm.j')"),
        (18, "JSON_VALUE(js, '$.a' RETURNING m.j) IS NOT NULL"),
        (15, "current_setting('nobody.knows', true) IS NULL"),
    ],
    ids=["by its number", "by its name", "as JSON", "a function that our list does not have"],
)
def test_a_check_that_makes_a_value_of_a_strangers_domain_counts_as_his_code(
    servers: Servers, major: int, check: str
) -> None:
    """Attack: no function and no type of his is in the table, and the domain in no field where types stand."""
    with _hers(servers[major]) as hers:
        hers.do(
            "CREATE SCHEMA v AUTHORIZATION victim; CREATE TABLE v.a (k int PRIMARY KEY, secret text);"
            "INSERT INTO v.a VALUES (1, 'of the victim'); ALTER TABLE v.a OWNER TO victim",
            "postgres",
        )
        hers.do(
            f"CREATE DOMAIN m.j AS text; CREATE TABLE m.plain (a int PRIMARY KEY, b int, js jsonb, CHECK ({check}));"
            """INSERT INTO m.plain VALUES (1, 1, '{"a": "x"}');"""
            "CREATE FUNCTION m.ok(text) RETURNS boolean LANGUAGE plpgsql"
            "  AS 'BEGIN PERFORM m.act(); RETURN true; END'; ALTER DOMAIN m.j ADD CHECK (m.ok(VALUE))"
        )
        hers.house.back_up()
        hers.do("UPDATE m.plain SET b = 2")
        hers.do("DELETE FROM v.a", "victim")
        with pytest.raises(Refused, match="code of mallory"):
            hers.put_back("m.plain", "v.a")
        assert hers.superusers() == ["postgres"]


def test_a_superusers_function_that_a_check_calls_is_not_called_for_its_owner(servers: Servers) -> None:
    """Attack: nothing that is computed is hers, but what she has called (dblink) does more for whoever may do more."""
    with _hers(servers[15]) as hers:
        hers.do(
            "CREATE SCHEMA v AUTHORIZATION victim; CREATE TABLE v.a (k int PRIMARY KEY, secret text);"
            "INSERT INTO v.a VALUES (1, 'of the victim'); ALTER TABLE v.a OWNER TO victim;"
            "CREATE FUNCTION public.acts(int) RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN"
            "  ALTER ROLE mallory SUPERUSER; RETURN true;"
            "  EXCEPTION WHEN insufficient_privilege THEN RETURN true; END $f$",
            "postgres",
        )
        hers.do("CREATE TABLE m.plain (a int PRIMARY KEY, b int); INSERT INTO m.plain VALUES (1, 1)")
        hers.do("ALTER TABLE m.plain ADD CHECK (public.acts(a))")
        hers.house.back_up()
        hers.do("UPDATE m.plain SET b = 2")
        hers.do("DELETE FROM v.a", "victim")
        with pytest.raises(Refused, match="code of mallory"):
            hers.put_back("m.plain", "v.a")
        assert hers.superusers() == ["postgres"]
        _clean(hers.put_back("m.plain"), by="mallory")
        assert hers.superusers() == ["postgres"]


def test_the_code_of_one_owner_does_not_reach_the_rows_of_another(servers: Servers) -> None:
    """Attack: while rows of his are put back, his code reads and changes what is somebody else's."""
    with _hers(servers[16]) as hers:
        hers.do(
            "CREATE SCHEMA v AUTHORIZATION victim; CREATE TABLE v.a (secret text);"
            "INSERT INTO v.a VALUES ('of the victim'); ALTER TABLE v.a OWNER TO victim;"
            "GRANT USAGE ON SCHEMA v TO mallory",
            "postgres",
        )
        hers.do(
            "CREATE TABLE m.loot (secret text);"
            "CREATE FUNCTION m.steal(int) RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN"
            "  BEGIN EXECUTE 'SET ROLE victim'; EXCEPTION WHEN OTHERS THEN NULL; END;"
            "  BEGIN INSERT INTO m.loot SELECT secret FROM v.a; EXCEPTION WHEN OTHERS THEN NULL; END;"
            "  RETURN true; END $f$; ALTER TABLE m.t ADD CHECK (m.steal(a))"
        )
        hers.house.back_up()
        hers.do(WRONG)
        _clean(hers.put_back("m.t"), by="mallory")
        assert hers.do("SELECT * FROM m.loot") == []


def test_the_code_of_a_neighbour_runs_neither_as_superuser_nor_as_the_tables_owner(servers: Servers) -> None:
    """Attack: his table refers to another one's; comparing keys plans a question on it, and that runs his code."""
    with _hers(servers[15]) as hers:
        hers.do(
            "CREATE SCHEMA v AUTHORIZATION victim; CREATE TABLE v.a (k int PRIMARY KEY, secret text);"
            "INSERT INTO v.a VALUES (1, 'x'); ALTER TABLE v.a OWNER TO victim;"
            "GRANT USAGE ON SCHEMA v TO mallory; GRANT REFERENCES ON v.a TO mallory;"
            "GRANT USAGE ON SCHEMA m TO victim",
            "postgres",
        )
        hers.do("CREATE TABLE m.child (a int REFERENCES v.a); INSERT INTO m.child VALUES (1)")
        hers.do("GRANT SELECT ON m.child TO victim")
        hers.house.back_up()
        hers.do("CREATE INDEX ON m.child ((a + m.one(7)))")
        hers.do("UPDATE v.a SET secret = 'y'", "victim")
        with pytest.raises(Refused, match=r"'mallory' has code in m\.child, beyond a foreign key"):
            hers.put_back("v.a")
        assert hers.superusers() == ["postgres"]


def test_rows_that_were_replaced_are_kept_where_their_owner_cannot_exchange_them(servers: Servers) -> None:
    """Attack: whoever looks at the kept rows as a superuser finds a view that calls a function."""
    with _hers(servers[15]) as hers:
        hers.do(KINDS["a domain"] + "; CREATE SCHEMA replaced")
        hers.house.back_up()
        hers.do(WRONG)
        report = hers.put_back("m.t")
        assert report.merged is not None
        with hers.cluster.server.connect(report.merged.kept_in) as connection:
            kept = connection.execute('SELECT a, b FROM replaced."m.t" ORDER BY 1').fetchall()
            owners = connection.execute(
                "SELECT relowner::regrole::text, nspowner::regrole::text FROM pg_class c"
                " JOIN pg_namespace n ON n.oid = relnamespace WHERE relname = 'm.t'"
            ).fetchall()
        assert kept == [(3, 77)]
        assert owners == [("postgres", "postgres")]


def test_a_server_that_lets_no_new_role_in_is_told_before_anything_is_written(servers: Servers) -> None:
    """Loss prevented: a table half put back, or put back as a superuser because nothing else went."""
    cluster = servers[15]
    rules = cluster.data_directory / "pg_hba.conf"
    before = rules.read_text()

    def reload(text: str) -> None:
        rules.write_text(text)
        with cluster.server.connect("postgres") as connection:
            connection.execute("SELECT pg_reload_conf()")

    with _hers(cluster) as hers:
        hers.house.back_up()
        hers.do(WRONG)
        try:
            # Into the restored database they get, into the live one they do not.
            reload(
                "host all postgres,mallory 127.0.0.1/32 scram-sha-256\n"
                "host hers all 127.0.0.1/32 reject\nhost all all 127.0.0.1/32 scram-sha-256\n"
            )
            with pytest.raises(Refused, match="lets none in") as refused:
                hers.put_back("m.t")
            assert "--trust-owners" in refused.value.hint
        finally:
            reload(before)
        assert hers.do("SELECT a, b FROM m.t ORDER BY 1") == [(1, 1), (3, 77)]


def test_roles_of_a_killed_merge_are_dropped_and_those_of_one_alive_are_not(servers: Servers) -> None:
    """Attack: roles that may log in as an owner, left behind. Loss prevented: one dropped under a merge under way."""
    with _hers(servers[15]) as hers:
        server = hers.cluster.server
        Loaders(server, "hers", seconds=60, on_behalf_of="hers_merged_abcdef").of("mallory")
        with left_behind.under_way(server, "hers_merged_abcdef"):
            assert left_behind.drop_left_behind(server) == []
        (note,) = left_behind.drop_left_behind(server)
        assert note.startswith("dropped the role")


def test_numbers_that_came_back_are_not_given_again(servers: Servers) -> None:
    """Loss prevented: the owner's session sees the sequences of his own tables only, and moves them on all the same."""
    with _hers(servers[16]) as hers:
        hers.do("CREATE SEQUENCE public.not_hers; CREATE TABLE public.x (a int)", "postgres")
        hers.do("CREATE TABLE m.n (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int)")
        hers.do("INSERT INTO m.n (a) SELECT 1 FROM generate_series(1, 5)")
        hers.house.back_up()
        hers.do("DELETE FROM m.n; ALTER TABLE m.n ALTER id RESTART")
        _clean(hers.put_back("m.n"), by="mallory")
        assert hers.do("INSERT INTO m.n (a) VALUES (1) RETURNING id") == [(6,)]
