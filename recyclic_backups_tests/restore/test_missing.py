"""One object that cannot be made keeps nothing else away: it is tried again, and if that does not help it is named."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from recyclic_backups.errors import ProgramFailed
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups.restore.restore import RestoreReport, restore
from recyclic_backups.restore.selection import Request
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.strange.conftest import Servers
from recyclic_backups_tests.strange.conftest import servers as servers  # noqa: PLC0414 - a fixture

FALSE_BY_NOW = """
    CREATE FUNCTION fine(int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    {}
    CREATE OR REPLACE FUNCTION fine(int) RETURNS boolean LANGUAGE sql AS 'SELECT $1 > 100'
"""


class Bench:
    """A database with some definitions in it, and restores of its backup."""

    def __init__(self, house: House, cluster: ScratchCluster) -> None:
        self.house, self.cluster = house, cluster

    def make(self, sql: str) -> None:
        """Run SQL in the database and back it up."""
        with self.cluster.server.connect(self.house.database) as connection:
            connection.execute(sql.encode())
        self.house.back_up()

    def restore(self, request: Request | None = None, **options: object) -> RestoreReport:
        """Restore the backup beside, or some tables of it."""
        return restore(
            self.house.repository,
            self.house.catalog.find("latest"),
            self.house.server,
            f"{self.house.database}_again",
            RestoreOptions(self.house.plan.options.installations, timeout_seconds=60, jobs=2, **options),  # type: ignore[arg-type]
            clock=self.house.clock,
            request=request,
        )

    def value(self, database: str, query: str) -> object:
        """One value of a query."""
        with self.cluster.server.connect(database) as connection:
            row = connection.execute(query.encode()).fetchone()
        return row and row[0]


@pytest.fixture
def bench(house: House, cluster: ScratchCluster) -> Iterator[Bench]:
    """A database to be filled; whatever was restored is dropped."""
    yield Bench(house, cluster)
    with cluster.server.connect("postgres") as connection:
        names = connection.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (f"{house.database}_",)
        ).fetchall()
        for (name,) in names:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param(
            "CREATE EXTENSION ltree; CREATE TABLE a (id int, path ltree); GRANT SELECT ON a TO PUBLIC;"
            "CREATE FUNCTION aa() RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE ALL ON FUNCTION aa() FROM PUBLIC;"
            "CREATE VIEW b AS SELECT path IS DISTINCT FROM 'x'::ltree AS other FROM a; GRANT SELECT ON b TO PUBLIC;"
            "COMMENT ON VIEW b IS 'made later'",
            id="grants of what stands before and after a view that is tried again",
        ),
        pytest.param(
            "CREATE EXTENSION ltree; CREATE TABLE node (id int PRIMARY KEY, path ltree);"
            "CREATE FUNCTION casc() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN null; END';"
            "CREATE TRIGGER node_casc AFTER UPDATE ON node FOR EACH ROW"
            " WHEN (old.path IS DISTINCT FROM new.path) EXECUTE FUNCTION casc();"
            "COMMENT ON TRIGGER node_casc ON node IS 'tried again by itself, with the trigger'",
            id="an operator of an extension that is written without its schema",
        ),
        pytest.param(
            "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1';"
            "CREATE FUNCTION positive(int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN $1 >= one(); END';"
            "CREATE DOMAIN amount AS int CHECK (positive(value));"
            "CREATE TABLE paid (a amount); INSERT INTO paid VALUES (1), (2)",
            id="a domain whose function names another one without its schema",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "CREATE TABLE z_dict (v text PRIMARY KEY); INSERT INTO z_dict VALUES ('a');"
            "CREATE FUNCTION known(text) RETURNS boolean LANGUAGE sql STABLE"
            " AS 'SELECT EXISTS (SELECT FROM public.z_dict WHERE v = $1)';"
            "CREATE TABLE a_data (v text CHECK (known(v))); INSERT INTO a_data VALUES ('a')",
            id="a check that reads a table which is loaded later",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "CREATE TABLE egg (v int); CREATE TABLE hen (v int);"
            "CREATE FUNCTION egg() RETURNS boolean LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.egg)';"
            "CREATE FUNCTION hen() RETURNS boolean LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.hen)';"
            "INSERT INTO egg VALUES (1); INSERT INTO hen VALUES (1);"
            "ALTER TABLE egg ADD CHECK (v > 0 AND hen()); ALTER TABLE hen ADD CHECK (v > 0 AND egg())",
            id="two tables whose checks each read the other",
        ),
        pytest.param(
            "CREATE FUNCTION nothing_new() RETURNS event_trigger LANGUAGE plpgsql"
            " AS 'BEGIN RAISE EXCEPTION ''frozen''; END';"
            "CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM sale;"
            "CREATE EVENT TRIGGER frozen ON ddl_command_start EXECUTE FUNCTION nothing_new();"
            "SET session_replication_role = replica; COMMENT ON EVENT TRIGGER frozen IS 'nothing new'",
            id="an event trigger that forbids everything",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "CREATE DOMAIN amount AS int; CREATE TABLE paid (a amount); INSERT INTO paid VALUES (-1);"
            "ALTER DOMAIN amount ADD CONSTRAINT positive CHECK (value > 0) NOT VALID;"
            "COMMENT ON CONSTRAINT positive ON DOMAIN amount IS 'from now on';"
            "CREATE FOREIGN DATA WRAPPER none; CREATE SERVER far FOREIGN DATA WRAPPER none;"
            "CREATE FOREIGN TABLE elsewhere (a int) SERVER far;"
            "ALTER FOREIGN TABLE elsewhere ADD CHECK (a > 0) NOT VALID",
            id="a constraint of a domain or a foreign table that holds for new values only",
        ),
        pytest.param(
            "CREATE FUNCTION fine(int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';"
            "CREATE TABLE settings (a int CHECK (fine(a))); INSERT INTO settings VALUES (1);"
            "GRANT CREATE ON SCHEMA public TO pg_database_owner;"
            "ALTER TABLE settings OWNER TO pg_database_owner",
            id="a table of whoever owns the database",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_failed_for_its_order_or_its_path_comes_back(bench: Bench, sql: str) -> None:
    """Loss prevented: a whole database that stays away for one definition of a kind that real applications have."""
    bench.make(sql)
    report = bench.restore()
    assert report.comparison.differences == ()
    assert report.missing == []
    assert report.database == f"{bench.house.database}_again"


WRITTEN_OTHERWISE = """
    CREATE VIEW a AS SELECT id FROM sale WHERE EXISTS (SELECT 'x' FROM sale);
    CREATE VIEW b AS SELECT id FROM sale WHERE EXISTS (SELECT null FROM sale) UNION SELECT null;
    CREATE MATERIALIZED VIEW c AS SELECT id FROM sale WHERE id NOT IN (SELECT 5 UNION SELECT 'x'::text::int)
        WITH NO DATA;
    CREATE POLICY p ON sale USING (EXISTS (SELECT 'x' FROM sale s));
    CREATE RULE r AS ON UPDATE TO sale WHERE EXISTS (SELECT 'x' FROM sale) DO NOTHING;
    CREATE FUNCTION f() RETURNS boolean BEGIN ATOMIC SELECT EXISTS (SELECT 'x' FROM sale); END
"""


def test_what_postgresql_writes_otherwise_after_a_reload_is_equal(bench: Bench) -> None:
    """Loss prevented: every backup of a database with such a view called bad, so that nobody believes the word."""
    bench.make(WRITTEN_OTHERWISE)
    assert bench.restore().comparison.differences == ()


def test_a_definition_that_was_changed_is_not_taken_for_one_that_is_written_otherwise(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a comparison with what the stored definitions give when loaded again that believes anything."""
    from recyclic_backups.restore.attempt import Attempt

    bench.make("CREATE VIEW v AS SELECT id FROM sale WHERE EXISTS (SELECT 'x' FROM sale)")
    compare_with = Attempt.compare_with

    def changed(attempt: Attempt, name: str, *how: object) -> object:
        with attempt.server.connect(name) as connection:
            connection.execute(
                "CREATE OR REPLACE VIEW v AS SELECT id FROM sale WHERE EXISTS (SELECT 'y' FROM sale)"
            )
        return compare_with(attempt, name, *how)  # type: ignore[arg-type]

    monkeypatch.setattr(Attempt, "compare_with", changed)
    assert bench.restore().comparison.differences == ("VIEW public.v differs in its definition",)


ORPHAN = """
    CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (p int REFERENCES p); CREATE TABLE other (a int);
    INSERT INTO other VALUES (1); SET session_replication_role = replica; INSERT INTO c VALUES (7)
"""


def test_rows_that_break_a_key_come_back_and_the_key_is_named_with_its_sql(bench: Bench) -> None:
    """Loss prevented: everything, for one row that a switched-off trigger let in years ago."""
    bench.make(ORPHAN)
    report = bench.restore()
    assert report.comparison.differences == (
        'FK CONSTRAINT public.c c_p_fkey cannot be made: insert or update on table "c" violates foreign key '
        'constraint "c_p_fkey"',
    )
    assert "ADD CONSTRAINT c_p_fkey FOREIGN KEY (p) REFERENCES public.p(id);" in report.missing[0].statement
    assert report.database != f"{bench.house.database}_again"
    assert bench.value(report.database, "SELECT count(*) FROM public.c, public.other") == 1
    assert bench.value(report.database, "SELECT count(*) FROM pg_constraint WHERE conname = 'p_pkey'") == 1


def test_a_view_of_a_system_view_that_changed_is_named_and_so_is_what_reads_it(
    servers: Servers, memory: MemoryStore
) -> None:
    """Loss prevented: the move to a newer version, stopped by one view for a dashboard that nobody uses any more."""
    older, newer = servers[15], servers[18]
    with older.server.connect("postgres") as connection:
        connection.execute("CREATE DATABASE shop")
    try:
        with older.server.connect("shop") as connection:
            connection.execute(
                "CREATE TABLE t (a int); INSERT INTO t VALUES (1);"
                "CREATE VIEW written AS SELECT buffers_backend FROM pg_stat_bgwriter;"  # gone since 17
                "CREATE VIEW half AS SELECT buffers_backend / 2 FROM written; COMMENT ON VIEW half IS 'of it'"
            )
        house = House(older.server, "shop", memory)
        house.back_up()
        options = RestoreOptions(house.plan.options.installations, timeout_seconds=60)
        report = restore(
            house.repository, house.catalog.find("latest"), newer.server, "shop", options, clock=house.clock
        )
        assert [each.name for each in report.missing] == [
            "VIEW public.written",
            "VIEW public.half",
            "COMMENT VIEW public.half",
        ]
        assert all("cannot be made" in sentence for sentence in report.comparison.differences)
        with newer.server.connect(report.database) as connection:
            assert connection.execute("SELECT a FROM t").fetchall() == [(1,)]
    finally:
        for cluster in (older, newer):
            with cluster.server.connect("postgres") as connection:
                for (name,) in connection.execute(
                    "SELECT datname FROM pg_database WHERE starts_with(datname, 'shop')"
                ).fetchall():
                    connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_what_is_accepted_as_missing_stands_in_nobodys_way_and_proves_nothing(bench: Bench) -> None:
    """Loss prevented: an application that cannot be put back, or a proof of a backup that lost a key on the way."""
    bench.make(ORPHAN)
    report = bench.restore(accept_missing=["FK CONSTRAINT public.c c_p_fkey"])
    assert report.comparison.differences == ()
    assert [each.name for each in report.missing] == ["FK CONSTRAINT public.c c_p_fkey"]
    assert report.database == f"{bench.house.database}_again"
    assert [check for check in bench.house.catalog.find("latest").checks if check.kind == "restore"] == []


def test_rows_that_no_longer_fulfil_a_check_come_back_and_the_check_holds_for_new_ones(bench: Bench) -> None:
    """Loss prevented: rows that were there, kept away by a function that was changed after them."""
    bench.make(
        FALSE_BY_NOW.format(
            "CREATE TABLE old (a int CONSTRAINT fine CHECK (fine(a))); INSERT INTO old VALUES (1);"
        )
    )
    report = bench.restore()
    assert [each.name for each in report.missing] == ["CHECK CONSTRAINT public.old fine"]
    assert bench.value(report.database, "SELECT sum(a) FROM public.old") == 1
    assert (
        bench.value(report.database, "SELECT convalidated FROM pg_constraint WHERE conname = 'fine'") is False
    )


def test_rows_that_cannot_be_loaded_end_a_restore_by_name(bench: Bench) -> None:
    """Loss prevented: a database without some of its rows under the name of one that has them."""
    bench.make(
        FALSE_BY_NOW.format(
            "CREATE DOMAIN d AS int CHECK (fine(value)); CREATE TABLE old (a d); INSERT INTO old VALUES (1);"
        )
    )
    with pytest.raises(
        ProgramFailed, match=r"TABLE DATA public old .* cannot be loaded: .*violates check"
    ) as failed:
        bench.restore()
    assert "--table" in failed.value.hint
    assert bench.value("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE '%\\_again%'") == 0


def test_a_table_whose_type_lost_its_library_is_named_with_it_and_other_tables_come_back(
    bench: Bench,
) -> None:
    """Loss prevented: hours spent on a type that "is only a shell", and every other table kept away by it."""
    bench.make(
        """
        CREATE TYPE lost; CREATE FUNCTION lost_in(cstring) RETURNS lost LANGUAGE internal STRICT AS 'int4in';
        CREATE FUNCTION lost_out(lost) RETURNS cstring LANGUAGE internal STRICT AS 'int4out';
        CREATE TYPE lost (INPUT = lost_in, OUTPUT = lost_out, INTERNALLENGTH = 4, PASSEDBYVALUE);
        CREATE TABLE odd (a lost, id serial); INSERT INTO odd VALUES ('7');
        CREATE TABLE plain (id int PRIMARY KEY); INSERT INTO plain VALUES (1);
        UPDATE pg_proc SET prolang = (SELECT oid FROM pg_language WHERE lanname = 'c'), probin = '/gone/lost.so'
        WHERE proname = 'lost_in'
        """
    )
    with pytest.raises(
        ProgramFailed, match=r'TABLE public.odd .*lost_in\(cstring\) could not .*"/gone/lost.so"'
    ) as failed:
        bench.restore()
    assert "install the library" in failed.value.hint
    report = bench.restore(request=Request(tables=["public.plain"]))
    assert report.comparison.differences == ()
    assert any("lost_in(cstring) cannot be made" in note for note in report.notes)
    assert bench.value(report.database, "SELECT count(*) FROM public.plain") == 1


def test_a_superuser_never_gets_a_search_path_in_which_somebody_else_decides(
    bench: Bench, cluster: ScratchCluster
) -> None:
    """Attack: a superuser's function calls ``one()``; hers is in public, where a second try would find and run it."""
    with cluster.server.connect("postgres") as connection:
        connection.execute("CREATE ROLE eve")
    try:
        bench.make(
            "CREATE FUNCTION one() RETURNS int LANGUAGE plpgsql AS"
            " 'BEGIN ALTER ROLE eve SUPERUSER; RETURN 1; EXCEPTION WHEN OTHERS THEN RETURN 1; END';"
            "CREATE FUNCTION positive(int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN $1 >= one(); END';"
            "CREATE TABLE his (a int CHECK (positive(a))); SET check_function_bodies = off;"
            "CREATE DOMAIN amount AS int CHECK (positive(value)); CREATE TABLE paid (a amount);"
            "ALTER FUNCTION one() OWNER TO eve; INSERT INTO paid VALUES (1); ALTER ROLE eve NOSUPERUSER"
        )
        with pytest.raises(ProgramFailed, match="TABLE DATA public paid"):
            bench.restore()
        assert bench.value("postgres", "SELECT rolsuper FROM pg_roles WHERE rolname = 'eve'") is False
    finally:
        with cluster.server.connect(bench.house.database) as connection:
            connection.execute("DROP OWNED BY eve CASCADE")
            connection.execute("DROP ROLE eve")


def test_a_table_that_belongs_to_an_extension_is_named_by_the_backup_that_does_not_have_it(
    bench: Bench, cluster: ScratchCluster
) -> None:
    """Attack: ALTER EXTENSION … ADD TABLE takes a table out of every dump, and every command says that all is well."""
    with cluster.server.connect("postgres") as connection:
        connection.execute("CREATE ROLE zq_hides")
    try:
        bench.make(
            "CREATE EXTENSION ltree; CREATE TABLE hidden (a int); ALTER TABLE hidden OWNER TO zq_hides;"
            "ALTER EXTENSION ltree ADD TABLE hidden"
        )
        (note,) = bench.house.catalog.find("latest").manifest.notes
        assert "not in the backup" in note
        assert "public.hidden" in note
    finally:
        with cluster.server.connect(bench.house.database) as connection:
            connection.execute("DROP EXTENSION ltree CASCADE; DROP ROLE zq_hides")


def test_an_extension_that_lives_in_one_database_comes_back_under_its_name_and_is_left_out_elsewhere(
    servers: Servers,
) -> None:
    """Loss prevented: a database with pg_cron, which cannot be restored beside at all."""
    cluster = servers[18]
    extensions = cluster.data_directory / "own" / "extension"  # elsewhere its server may not read
    extensions.mkdir(parents=True)
    for path in (extensions.parent, extensions):
        path.chmod(0o755)
    (extensions / "only_here.control").write_text(
        "default_version = '1'\nrelocatable = false\nschema = pg_catalog\n"
    )
    (extensions / "only_here--1.sql").write_text(
        "DO $$ BEGIN IF current_database() <> 'shop' THEN"
        " RAISE EXCEPTION 'can only create extension in database shop'; END IF; END $$;\n"
        "CREATE SCHEMA here; CREATE TABLE here.job (id serial, what text);\n"
        "SELECT pg_extension_config_dump('here.job', '');\n"
        "SELECT pg_extension_config_dump('here.job_id_seq', '');\n"
    )
    for path in extensions.iterdir():
        path.chmod(0o644)
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"ALTER SYSTEM SET extension_control_path = '$system:{extensions.parent}'")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("CREATE DATABASE shop")
    try:
        with cluster.server.connect("shop") as connection:
            connection.execute("CREATE EXTENSION only_here; COMMENT ON EXTENSION only_here IS 'clock'")
            connection.execute("INSERT INTO here.job (what) VALUES ('clean up'); CREATE TABLE t (a int)")
            connection.execute("INSERT INTO t VALUES (1)")
        house = House(cluster.server, "shop", MemoryStore())
        house.back_up()

        def again(into: str, *, replace: bool) -> RestoreReport:
            return restore(
                house.repository,
                house.catalog.find("latest"),
                house.server,
                into,
                RestoreOptions(house.plan.options.installations, timeout_seconds=60),
                clock=house.clock,
                replace=replace,
            )

        beside = again("shop_2", replace=False)
        assert beside.comparison.equal
        assert any("only_here cannot be in this database" in note for note in beside.notes)
        with cluster.server.connect("shop_2") as connection:
            assert connection.execute("SELECT a FROM t").fetchall() == [(1,)]
        replaced = again("shop", replace=True)
        assert replaced.comparison.equal
        assert any("only_here was made when the database had its name" in note for note in replaced.notes)
        with cluster.server.connect("shop") as connection:
            assert connection.execute("SELECT id, what FROM here.job").fetchall() == [(1, "clean up")]
            assert connection.execute("SELECT nextval('here.job_id_seq')").fetchone() == (2,)
    finally:
        with cluster.server.connect("postgres") as connection:
            for (name,) in connection.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, 'shop')"
            ).fetchall():
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            shutil.rmtree(extensions.parent)
            connection.execute("ALTER SYSTEM RESET extension_control_path")
            connection.execute("SELECT pg_reload_conf()")
