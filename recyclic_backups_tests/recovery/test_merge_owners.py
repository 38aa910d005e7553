"""An owner without rights plants code in his live tables and waits for a superuser to put their rows back.

Each of the ways in which PostgreSQL calls a function while rows are compared, staged and written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from recyclic_backups.errors import Refused
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups.recovery import beside
from recyclic_backups.recovery.loaders import Loaders
from recyclic_backups.recovery.put_back import PutBackReport, put_back
from recyclic_backups.recovery.restore import RestoreOptions
from recyclic_backups.recovery.selection import Request
from recyclic_backups.storage.memory import MemoryStore
from recyclic_backups_tests.house import House
from recyclic_backups_tests.recovery.test_foreign_code import TRAP
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
        CREATE CONSTRAINT TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON m.t DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION m.fire();
        ALTER TABLE m.t ENABLE ALWAYS TRIGGER t;
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
        CREATE TABLE m.child (a int REFERENCES m.t ON DELETE CASCADE); INSERT INTO m.child VALUES (1);
        CREATE INDEX ON m.child ((a + m.one(7)))""",
}
# Those whose code runs, as the owner, while rows are put back; the others are switched off or not needed.
_RUN = {"a CHECK constraint", "a domain", "a generated column", "an index", "an index with a constant"}

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

    def put_back(self, *tables: str, throwaway: bool = False, **changes: object) -> PutBackReport:
        """``restore latest --merge-into hers --yes``, by the superuser."""
        installations = self.house.plan.options.installations
        return put_back(
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


def _clean(report: PutBackReport, by: str) -> None:
    assert report.merged is not None, report.restored.comparison.differences
    assert report.merged.broken == ()
    assert report.merged.written_by == by


@pytest.mark.parametrize("major", [15, 16, 18])
@pytest.mark.parametrize("planted", ["before the backup", "after it"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_code_of_an_owner_never_runs_as_superuser_while_rows_are_put_back(
    servers: Servers, kind: str, planted: str, major: int
) -> None:
    """Attack: he is superuser of production after a superuser has put rows of his table back into it.

    Planted before the backup, his code is in the restored database too, whose tables are read and filled.
    """
    if kind == "a generated column" and planted == "after it":
        pytest.skip("a table with another column than the backup's is refused")
    with _hers(servers[major]) as hers:
        if planted == "before the backup":
            hers.do(KINDS[kind])
        hers.house.back_up()
        if planted == "after it":
            hers.do(KINDS[kind])
        hers.do(f"SET row_security = on; SET session_replication_role = DEFAULT; {WRONG}") if False else None
        hers.do("ALTER TABLE m.t DISABLE TRIGGER USER; ALTER TABLE m.t NO FORCE ROW LEVEL SECURITY;" + WRONG)
        if kind.startswith("a trigger"):
            hers.do("ALTER TABLE m.t ENABLE ALWAYS TRIGGER t")
        if kind == "a policy":
            hers.do("ALTER TABLE m.t FORCE ROW LEVEL SECURITY")
        _clean(hers.put_back("m.t"), by="mallory")
        assert hers.superusers() == ["postgres"]
        rows = hers.do("SELECT a, b FROM m.t ORDER BY 1", "postgres")
        assert rows == [(1, 1), (2, 2), (3, 3)]
        if kind == "a policy":
            forced = hers.do("SELECT relforcerowsecurity FROM pg_class WHERE oid = 'm.t'::regclass")
            assert forced == [(True,)]


@pytest.mark.parametrize("kind", sorted(_RUN))
def test_the_trap_works_where_somebody_merges_as_a_superuser(servers: Servers, kind: str) -> None:
    """Prevents that the tests above pass because the trap does not shut."""
    with _hers(servers[15]) as hers:
        hers.do(KINDS[kind])
        hers.house.back_up()
        hers.do(WRONG)
        _clean(hers.put_back("m.t", trust_owners=True), by="postgres")
        assert hers.superusers() == ["mallory", "postgres"]
