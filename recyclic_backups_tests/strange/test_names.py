"""Everything that can have a name, called as strangely as PostgreSQL allows."""

from __future__ import annotations

import pytest

from recyclic_backups.merge.merge import merge_backup
from recyclic_backups.postgres.names import qualified_name
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups.restore.selection import Request
from recyclic_backups_tests.house import House
from recyclic_backups_tests.strange.conftest import Servers, back_up, create, dump_lines, put

# Every ASCII character but NUL, in names of the longest length; what is not ASCII; what looks like something else.
NAMES = {
    "control characters and signs": "".join(map(chr, range(1, 63))),
    "signs and letters": "".join(map(chr, range(63, 126))),
    "the rest and not ASCII": "~\x7f é€😀 ﷽ \u0301 \u2028\u0085 ñ İ",
    "options and placeholders": "--table=%s {0} {} %(x)s $1 :x \\N \\. ${HOME} `id` ; -- /*",
    "a connection string of 63 bytes": "postgresql://nowhere/x?dbname=template1 host='x' ééééééé",
    "a header": "x; Type: TABLE; Schema: -; Owner: y",
    "lines of a dump": "a\n--\n-- Name: b; Type: TABLE; Schema: -; Owner: c\n--\n\\.\r\n",
}

EVERYTHING_CALLED = """
CREATE SCHEMA {n} AUTHORIZATION {n};
CREATE TABLE {n}.{n} ({n} int CONSTRAINT {n} CHECK ({n} > 0), other text DEFAULT {t}, PRIMARY KEY ({n}));
ALTER TABLE {n}.{n} OWNER TO {n};
INSERT INTO {n}.{n} SELECT n FROM generate_series(1, 20) n;
INSERT INTO {n}.{n} VALUES (99, NULL);
GRANT SELECT, UPDATE ({n}) ON {n}.{n} TO {n}, PUBLIC;
COMMENT ON TABLE {n}.{n} IS {t};
COMMENT ON COLUMN {n}.{n}.{n} IS {t};
CREATE TYPE public.{n} AS ENUM ({t}, 'x');
ALTER TYPE public.{n} OWNER TO {n};
CREATE FUNCTION public.{n}({n} int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT 1';
COMMENT ON FUNCTION public.{n} IS {t};
CREATE SCHEMA seq;
CREATE SEQUENCE seq.{n};
CREATE TABLE seq.owner ({n} bigint);
ALTER SEQUENCE seq.{n} OWNED BY seq.owner.{n};
ALTER TABLE {n}.{n} ALTER COLUMN {n} SET DEFAULT nextval({sequence});
SELECT setval({sequence}, 99);
CREATE SCHEMA views;
CREATE VIEW views.{n} AS SELECT {n} AS {n}, {t} AS "x" FROM {n}.{n};
ALTER VIEW views.{n} OWNER TO {n};
CREATE SCHEMA kept;
CREATE MATERIALIZED VIEW kept.{n} AS SELECT * FROM views.{n};
CREATE SCHEMA indexes;
CREATE TABLE indexes.t ({n} text);
CREATE INDEX {n} ON indexes.t ({n}) WHERE {n} <> {t};
CREATE SCHEMA keys;
CREATE SCHEMA parents;
CREATE TABLE parents.parent (id int CONSTRAINT {n} PRIMARY KEY);
CREATE TABLE keys.child (id int CONSTRAINT {n} REFERENCES {n}.{n} ON DELETE CASCADE) PARTITION BY LIST (id);
CREATE TABLE keys.{n} PARTITION OF keys.child FOR VALUES IN (1, 2);
INSERT INTO keys.child VALUES (1), (2);
CREATE FUNCTION keys.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER {n} BEFORE INSERT ON {n}.{n} FOR EACH ROW EXECUTE FUNCTION keys.note({t});
CREATE POLICY {n} ON {n}.{n} TO {n} USING (other <> {t});
CREATE RULE {n} AS ON DELETE TO parents.parent DO INSTEAD NOTHING;
CREATE STATISTICS keys.{n} ON {n}, other FROM {n}.{n};
CREATE PUBLICATION {n} FOR TABLE {n}.{n};
CREATE EVENT TRIGGER {n} ON sql_drop WHEN TAG IN ('DROP EXTENSION') EXECUTE FUNCTION public.on_drop();
ALTER DEFAULT PRIVILEGES FOR ROLE {n} IN SCHEMA {n} GRANT SELECT ON TABLES TO {n};
"""


def quoted(name: str) -> str:
    """The name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """The text as SQL."""
    return "'" + text.replace("'", "''") + "'"


# Characters of these are in the others too, or in the names of other tests.
_SELDOM = (
    "signs and letters",
    "the rest and not ASCII",
    "options and placeholders",
    "a connection string of 63 bytes",
    "a header",
)


@pytest.fixture(
    params=[pytest.param(each, marks=pytest.mark.slow if each in _SELDOM else ()) for each in NAMES]
)
def named(request: pytest.FixtureRequest, servers: Servers) -> House:
    """A backup of a database that is called so, owned by a role that is, full of what is."""
    name = NAMES[request.param]
    # psql would take the signs after a colon for its variables: this goes over a connection.
    database = create(servers[15], name)
    with servers[15].server.connect(database) as connection:
        connection.execute(f"CREATE ROLE {quoted(name)}".encode())
        connection.execute(
            "CREATE FUNCTION public.on_drop() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'"
        )
        sequence = literal(f"seq.{quoted(name)}")
        for statement in EVERYTHING_CALLED.split(";\n"):
            filled = statement.replace("{n}", quoted(name)).replace("{t}", literal(name))
            connection.execute(filled.replace("{sequence}", sequence).encode())
        connection.execute(f"ALTER DATABASE {quoted(name)} OWNER TO {quoted(name)}".encode())
        connection.execute(f"COMMENT ON DATABASE {quoted(name)} IS {literal(name)}".encode())
    return back_up(servers[15], database, encrypt=True)


def test_any_name_comes_back(named: House, servers: Servers) -> None:
    """Loss prevented: the one table with a quote in its name, left out or put somewhere else."""
    name = named.database
    before = dump_lines(servers[15], name)
    report = put(named, servers[15], name, replace=True)
    assert report.comparison.differences == ()
    assert dump_lines(servers[15], name) == before
    if "; Type: " not in name:  # in the head of a dump's entry nobody can tell it from what follows
        unowned = put(named, servers[15], f"{name[:20]} again", no_owner=True)
        assert unowned.comparison.differences == ()
    table = qualified_name(name, name)

    with servers[15].server.connect(name) as connection:
        connection.execute(f"DELETE FROM {quoted(name)}.{quoted(name)} WHERE {quoted(name)} > 9".encode())
        connection.execute(f"UPDATE {quoted(name)}.{quoted(name)} SET other = 'y'".encode())
    options = RestoreOptions(named.plan.options.installations, timeout_seconds=60)
    merged = merge_backup(
        named.repository,
        named.catalog.find("latest"),
        named.server,
        name,
        Request([table]),
        options,
        clock=named.clock,
    ).merged
    assert merged is not None
    assert [(each.inserted, each.updated, each.deleted) for each in merged.tables] == [(12, 9, 0)]
    assert dump_lines(servers[15], name) == before
