"""A database whose owner wants our rights: none of our commands runs his code, whatever he has prepared.

He may do in it what PostgreSQL lets an owner do who is no superuser. Traps stand in the place of every operator that
PostgreSQL has for the types of its catalogs, of every function that this software's sources call by name, of casts and
catalogs, and in indexes and statistics of his tables; the settings of the database lead to them. What a trap that was
called by a superuser says is in the server's log.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import recyclic_backups
from recyclic_backups.errors import DatabaseError
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.operator import PASSPHRASE, Operator, Outcome, variables_of

DATABASE = "recyclic"

_OWNER = """
CREATE ROLE mallory LOGIN;
CREATE DATABASE recyclic OWNER mallory TEMPLATE template0;
"""
_TRAPS = r"""
SET ROLE mallory;
CREATE SCHEMA trap;
CREATE FUNCTION trap.spring(what text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $f$ BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RAISE LOG 'SPRUNG % by %', what, left(current_query(), 300);
        RAISE EXCEPTION 'trap %', what;
    END IF; END $f$;
CREATE FUNCTION trap.yes(what text) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $f$
    BEGIN PERFORM trap.spring(what); RETURN 1; END $f$;

-- Operators: of PostgreSQL's own types as they are, and of each pair of its catalogs' types, which match more exactly.
DO $do$
DECLARE
    o record; made bigint := 0; name text;
    types text[] := '%TYPES%';
BEGIN
    FOR o IN
        SELECT oprname AS op, format_type(oprleft, NULL) AS l, format_type(oprright, NULL) AS r FROM pg_operator
        WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprleft <> 0 AND oprright <> 0 AND NOT %FEW%
        UNION
        SELECT op, l, r FROM unnest('%OPERATORS%'::text[]) op,
            unnest(types) l, unnest(types) r
    LOOP
        made := made + 1; name := 'op_' || made;
        BEGIN
            EXECUTE format('CREATE FUNCTION trap.%I(%s, %s) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS '
                '$t$ BEGIN PERFORM trap.spring(%L); RETURN true; END $t$',
                name, o.l, o.r, o.op || ' ' || o.l || ',' || o.r);
            EXECUTE format('CREATE OPERATOR trap.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = trap.%I)',
                o.op, o.l, o.r, name);
        EXCEPTION WHEN OTHERS THEN NULL;  -- what plpgsql does not take nobody can shadow
        END;
    END LOOP;
END $do$;

-- Functions that the product calls by name.
DO $do$
DECLARE f record;
BEGIN
    FOR f IN SELECT DISTINCT proname, pg_get_function_identity_arguments(oid) AS arguments FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind IN ('f', 'a', 'w')
          AND proname = ANY (string_to_array('%NAMES%', ',')) LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION trap.%I(%s) RETURNS text IMMUTABLE LANGUAGE plpgsql AS '
                '$t$ BEGIN PERFORM trap.spring(%L); RETURN NULL; END $t$',
                f.proname, regexp_replace(f.arguments, 'ORDER BY', ','), f.proname || '()');
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
END $do$;

-- Catalogs of other content, types of other meaning.
CREATE VIEW trap.pg_class AS SELECT trap.yes('pg_class') AS oid;
CREATE VIEW trap.pg_roles AS SELECT trap.yes('pg_roles') AS oid;
CREATE FUNCTION trap.forbidden(what text, value text) RETURNS bool LANGUAGE plpgsql AS
    $f$ BEGIN PERFORM trap.spring(what); RETURN true; END $f$;
CREATE DOMAIN trap.regclass AS text CHECK (trap.forbidden('regclass', VALUE));
CREATE DOMAIN trap.oid AS text CHECK (trap.forbidden('oid', VALUE));

-- Types of his own, with casts.
CREATE TYPE trap.kind AS ENUM ('a', 'b');
CREATE TYPE trap.pair AS (a int, b text);
CREATE FUNCTION trap.as_text(trap.kind) RETURNS text LANGUAGE plpgsql AS
    $f$ BEGIN PERFORM trap.spring('cast of an enum'); RETURN ''; END $f$;
CREATE FUNCTION trap.as_text(trap.pair) RETURNS text LANGUAGE plpgsql AS
    $f$ BEGIN PERFORM trap.spring('cast of a composite'); RETURN ''; END $f$;
CREATE CAST (trap.kind AS text) WITH FUNCTION trap.as_text(trap.kind) AS ASSIGNMENT;
CREATE CAST (trap.pair AS text) WITH FUNCTION trap.as_text(trap.pair) AS IMPLICIT;
CREATE TABLE public.thing (id int PRIMARY KEY, kind trap.kind, pair trap.pair, name text, amount numeric);
CREATE FUNCTION trap.as_text(public.thing) RETURNS text LANGUAGE plpgsql AS
    $f$ BEGIN PERFORM trap.spring('cast of a row'); RETURN ''; END $f$;
CREATE CAST (public.thing AS text) WITH FUNCTION trap.as_text(public.thing) AS IMPLICIT;
INSERT INTO public.thing SELECT n, 'a', ROW(n, 'x')::trap.pair, 'n' || n, n FROM generate_series(1, 200) n;
CREATE TABLE public.part_of (id int PRIMARY KEY, thing int REFERENCES public.thing, kind trap.kind);
INSERT INTO public.part_of SELECT n, n, 'b' FROM generate_series(1, 100) n;
CREATE TABLE public.keyed (kind trap.kind PRIMARY KEY); INSERT INTO public.keyed VALUES ('a');
CREATE TABLE public.of_keyed (kind trap.kind REFERENCES public.keyed); INSERT INTO public.of_keyed VALUES ('a');

-- What planning computes.
CREATE TABLE public.planned (a int, b int); INSERT INTO public.planned VALUES (1, 1);
CREATE INDEX ON public.planned ((a + trap.yes('index')));
CREATE INDEX ON public.planned (a) WHERE b OPERATOR(pg_catalog.=) trap.yes('predicate');
CREATE STATISTICS public.guess ON (a + trap.yes('statistics')), b FROM public.planned;
CREATE MATERIALIZED VIEW public.seen AS SELECT 1 AS a, 'a'::trap.kind AS kind;
CREATE INDEX ON public.seen ((a + trap.yes('index of a materialized view')));
CREATE FUNCTION trap.as_text(public.seen) RETURNS text LANGUAGE plpgsql AS
    $f$ BEGIN PERFORM trap.spring('cast of a view''s row'); RETURN ''; END $f$;
CREATE CAST (public.seen AS text) WITH FUNCTION trap.as_text(public.seen);
CREATE VIEW public.shown AS SELECT trap.yes('view') AS a;
RESET ROLE;
"""
_CONSTRAINTS = r"""
SET ROLE mallory;
CREATE TABLE public.checked (a text CHECK (trap.forbidden('check', a)), b int CHECK (ts_rewrite(
    'a'::tsquery, 'SELECT ''a''::tsquery, left(trap.yes(''PostgreSQL''''s'')::text, 0)::tsquery') IS NOT NULL));
INSERT INTO public.checked VALUES ('x', 1);
CREATE DOMAIN public.fine AS text CHECK (trap.forbidden('domain', VALUE));
CREATE DOMAIN public.finer AS public.fine CHECK (VALUE <> '');
CREATE TABLE public.bounded (a public.finer); INSERT INTO public.bounded VALUES ('x');
CREATE DOMAIN public.unseen AS text CHECK (trap.forbidden('domain of a constant', VALUE));
CREATE TABLE public.listed (a public.unseen[] CONSTRAINT listed_check CHECK (a <> '{x}'));
CREATE TYPE public.boxed AS (x int);
CREATE FUNCTION trap.unboxed(public.boxed) RETURNS int LANGUAGE plpgsql IMMUTABLE
    AS 'BEGIN PERFORM trap.forbidden(''cast'', ''y''); RETURN 1; END';
CREATE TABLE public.keys (a int PRIMARY KEY); INSERT INTO public.keys VALUES (1);
CREATE CAST (public.boxed AS int) WITH FUNCTION trap.unboxed(public.boxed) AS IMPLICIT;
CREATE TABLE public.refers (a public.boxed CONSTRAINT refers_key REFERENCES public.keys);
INSERT INTO public.refers VALUES (ROW(1));
RESET ROLE;
"""
_SETTINGS = """
ALTER DATABASE recyclic SET search_path = trap, pg_catalog, public;
ALTER DATABASE recyclic SET role = 'mallory';
ALTER DATABASE recyclic SET default_transaction_read_only = on;
ALTER DATABASE recyclic SET default_transaction_isolation = 'serializable';
ALTER DATABASE recyclic SET statement_timeout = '20ms';
ALTER DATABASE recyclic SET lock_timeout = '1ms';
ALTER DATABASE recyclic SET idle_in_transaction_session_timeout = '20ms';
ALTER DATABASE recyclic SET idle_session_timeout = '20ms';
ALTER DATABASE recyclic SET "DateStyle" = 'German';
ALTER DATABASE recyclic SET "IntervalStyle" = 'iso_8601';
ALTER DATABASE recyclic SET constraint_exclusion = 'on';
ALTER DATABASE recyclic SET standard_conforming_strings = off;
ALTER DATABASE recyclic SET transform_null_equals = on;
ALTER DATABASE recyclic SET quote_all_identifiers = on;
ALTER DATABASE recyclic SET array_nulls = off;
ALTER DATABASE recyclic SET client_min_messages = 'debug5';
ALTER DATABASE recyclic SET bytea_output = 'escape';
ALTER DATABASE recyclic SET xmlbinary = 'hex';
ALTER DATABASE recyclic SET extra_float_digits = -15;
"""
_LOGIN = """
CREATE FUNCTION public.at_the_door() RETURNS event_trigger LANGUAGE plpgsql AS
    $f$ BEGIN IF session_user <> 'mallory' THEN PERFORM trap.spring('login'); END IF; END $f$;
CREATE EVENT TRIGGER at_the_door ON login EXECUTE FUNCTION public.at_the_door();
ALTER EVENT TRIGGER at_the_door ENABLE ALWAYS;
"""


@dataclass
class Trapped:
    """A server with such a database, and the operator whose commands must not spring a trap."""

    cluster: ScratchCluster
    operator: Operator
    read: int = 0

    def sprung(self) -> list[str]:
        """Which traps were called since the last time."""
        log = self.cluster.log_path.read_bytes()
        found = re.findall(rb"SPRUNG .*", log[self.read :])
        self.read = len(log)
        return [line.decode(errors="replace") for line in found]

    def must_not_spring(self, *arguments: str, **overrides: str) -> Outcome:
        """Run a command that has to succeed without calling any."""
        outcome = self.operator.run(*arguments, **overrides)
        assert not self.sprung(), arguments
        assert outcome.code == 0, f"{arguments}: {outcome.code} {outcome.out[-1500:]} {outcome.err[-1500:]}"
        return outcome


def _called_in_the_sources() -> str:
    """Every name that is followed by a parenthesis anywhere in the product: more than the functions its SQL calls."""
    sources = Path(recyclic_backups.__file__).parent.rglob("*.py")
    return ",".join(
        sorted({name for path in sources for name in re.findall(r"\b([a-z_0-9]+)\(", path.read_text())})
    )


_ALL = {
    "%FEW%": "false",
    "%OPERATORS%": "{=,<>,<,>,<=,>=,~,!~,~~,||,+,-,*,/,&,>>,->,->>,@>,&&}",
    "%TYPES%": '{name,text,oid,integer,bigint,smallint,"\\"char\\"",regclass,boolean,"name[]","oid[]","text[]"}',
}
# Each has to be restored, some times over.
_FEW = {
    "%FEW%": "true",
    "%OPERATORS%": "{=,<>,!~,||,/}",
    "%TYPES%": "{name,text,oid,integer}",
    "%NAMES%": "count,set_config,current_setting,format_type,current_database,quote_ident,starts_with",
}


@pytest.fixture(scope="module")
def prepared(
    request: pytest.FixtureRequest,
    installations_by_major: dict[int, Installation],
    scratch_directory: Path,
) -> Iterator[ScratchCluster]:
    """The server, once for all commands: of the oldest or newest version here, with all traps or a few."""
    which, traps = request.param
    major = (min if which == "oldest" else max)(installations_by_major)
    statements = _TRAPS
    for name, value in {"%NAMES%": _called_in_the_sources(), **traps}.items():
        statements = statements.replace(name, value)
    with ScratchCluster.start(installations_by_major[major], scratch_directory) as cluster:
        with cluster.server.connect("postgres") as connection:
            for statement in _OWNER.strip().split("\n"):
                connection.execute(statement)
        with cluster.server.connect(DATABASE) as connection:
            connection.execute(statements.encode())
            (operators, functions) = connection.execute(
                "SELECT (SELECT count(*) FROM pg_operator WHERE oid > 16384), (SELECT count(DISTINCT proname)"
                " FROM pg_proc WHERE pronamespace = 'trap'::regnamespace AND proname !~ '^op_')"
            ).fetchone() or (0, 0)
            if traps is _ALL:
                assert operators > 2000
                assert functions > 100
            if major >= 17:
                connection.execute(_LOGIN)
        with cluster.server.connect("postgres") as connection:
            connection.execute(_SETTINGS)
        yield cluster


@pytest.fixture
def trapped(prepared: ScratchCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Trapped:
    """An operator with an empty storage beside it."""
    variables = {
        **variables_of(prepared.server, DATABASE),
        "BACKUP_ENCRYPTION": "true",
        "BACKUP_ENCRYPTION_KEY": PASSPHRASE,
    }
    found = Trapped(prepared, Operator(tmp_path, capsys, variables))
    found.sprung()
    return found


_ON_NEWEST = pytest.mark.parametrize("prepared", [("newest", _FEW)], indirect=True, ids=["newest"])
_ON_BOTH = pytest.mark.parametrize(
    "prepared", [("oldest", _ALL), ("newest", _FEW)], indirect=True, ids=["oldest", "newest"]
)


@_ON_BOTH
def test_the_traps_are_set(trapped: Trapped) -> None:
    """Were they not, the others would show nothing: a superuser at psql springs them at the first question."""
    settings = {"search_path": "trap, pg_catalog, public", "role": "none"}
    for question in ("SELECT 1 = 1", "SELECT kind::text FROM public.keyed", "SELECT * FROM public.planned"):
        with (
            pytest.raises(DatabaseError, match="trap"),
            trapped.cluster.server.connect(DATABASE, settings=settings) as connection,
        ):
            connection.execute(question)
    assert len(trapped.sprung()) == 3


@_ON_BOTH
def test_no_command_on_production_runs_the_owner_s_code(trapped: Trapped) -> None:
    """Attack prevented: whoever owns one database of a server, without being superuser, becomes it by its backup."""
    for arguments in (
        ("validate",),
        ("backup",),
        ("verify", "latest"),
        ("diagnose", DATABASE),
        ("guard", "--", "true"),
        ("expire", "--yes"),
    ):
        trapped.must_not_spring(*arguments)


def _commit_when_waited_for(connection: Any, relation: str, holds: threading.Event) -> None:
    """Say that a lock is held, and let go of it when somebody waits for the relation."""
    (oid,) = connection.execute("SELECT %s::regclass::oid", (relation,)).fetchone() or (0,)
    holds.set()
    waiting = "SELECT count(*) > 0 FROM pg_locks WHERE relation = %s AND NOT granted"
    for _ in range(600):
        if connection.execute(waiting, (oid,)).fetchone() == (True,):
            break
        time.sleep(0.05)
    else:
        raise AssertionError(f"nobody waited for {relation}")
    connection.commit()


@_ON_NEWEST
def test_a_sequence_that_becomes_a_view_while_a_backup_waits_for_it_runs_nothing(trapped: Trapped) -> None:
    """Attack prevented: he keeps his sequence locked until a backup waits for it, and lets it find a view there.

    No race: the name means the sequence when the question begins, and the view once the lock is had.
    """
    server = trapped.cluster.server
    with server.connect(DATABASE) as connection:
        connection.execute("SET ROLE mallory; CREATE SEQUENCE public.swapped")
    holds = threading.Event()

    def swap() -> None:
        with server.connect(DATABASE, autocommit=False) as connection:
            connection.execute(
                "SET ROLE mallory; ALTER SEQUENCE public.swapped RENAME TO swapped_away;"
                "CREATE VIEW public.swapped AS"
                " SELECT trap.yes('in the place of a sequence')::bigint AS last_value, true AS is_called"
            )
            _commit_when_waited_for(connection, "public.swapped_away", holds)

    try:
        with ThreadPoolExecutor(1) as beside:
            swapping = beside.submit(swap)
            assert holds.wait(30)
            trapped.must_not_spring("backup")
            swapping.result()
    finally:
        with server.connect(DATABASE) as connection:
            connection.execute(
                "DROP VIEW IF EXISTS public.swapped; DROP SEQUENCE IF EXISTS public.swapped_away"
            )


@_ON_NEWEST
def test_an_index_that_appears_while_a_diagnosis_waits_for_its_table_runs_nothing(trapped: Trapped) -> None:
    """Attack prevented: he keeps his table locked until a diagnosis waits for it, having made an index meanwhile.

    What planning would run was looked at before the wait, and that waited for nobody.
    """
    server = trapped.cluster.server
    with server.connect(DATABASE) as connection:
        connection.execute(
            "SET ROLE mallory; CREATE TABLE public.locked (a int); INSERT INTO public.locked VALUES (1)"
        )
    trapped.must_not_spring("backup")
    holds = threading.Event()

    def index() -> None:
        with server.connect(DATABASE, autocommit=False) as connection:
            connection.execute(
                "SET ROLE mallory; LOCK TABLE public.locked IN ACCESS EXCLUSIVE MODE;"
                "CREATE INDEX ON public.locked ((trap.yes('in an index that is late')))"
            )
            _commit_when_waited_for(connection, "public.locked", holds)

    try:
        with ThreadPoolExecutor(1) as beside:
            indexing = beside.submit(index)
            assert holds.wait(30)
            trapped.must_not_spring("diagnose")
            indexing.result()
    finally:
        with server.connect(DATABASE) as connection:
            connection.execute("DROP TABLE IF EXISTS public.locked")


@_ON_NEWEST
def test_no_command_that_restores_runs_the_owner_s_code(trapped: Trapped) -> None:
    """Attack prevented: the same by what he has left in the backup, beside production, in it or in a drill."""
    trapped.must_not_spring("backup")
    with trapped.cluster.server.connect(DATABASE, settings={"role": "none"}) as connection:
        connection.execute("UPDATE public.thing SET amount = 0 WHERE id OPERATOR(pg_catalog.<) 9")
        connection.execute("DELETE FROM public.of_keyed")
    tables = ("--table", "public.thing", "--table", "public.of_keyed")
    trapped.must_not_spring("restore", "latest", *tables, "--merge-into", DATABASE, "--yes")
    trapped.must_not_spring("restore", "latest", "--into", "beside")
    trapped.must_not_spring("drill", "simple")
    trapped.must_not_spring("restore", "latest", "--replace", "--yes")
    with trapped.cluster.server.connect("postgres") as connection:
        connection.execute("DROP DATABASE beside")
        connection.execute(_SETTINGS)


@_ON_NEWEST
def test_diagnose_computes_no_check_of_somebody_else_s_functions(trapped: Trapped) -> None:
    """Attack prevented: a CHECK or a domain that calls its owner's function, put to every row by a superuser."""
    trapped.must_not_spring("backup")  # without a storage there is no diagnosis
    with trapped.cluster.server.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE checked TEMPLATE {DATABASE} OWNER mallory")
    with trapped.cluster.server.connect("checked") as connection:
        connection.execute(_CONSTRAINTS.encode())
    with (
        pytest.raises(DatabaseError, match="trap"),
        trapped.cluster.server.connect("checked") as connection,
    ):
        connection.execute("INSERT INTO public.checked VALUES ('y', 2)")
    assert trapped.sprung()
    report = trapped.must_not_spring("diagnose", "checked", "--json", POSTGRES_DB="checked").json
    said = " ".join(report["notes"])
    for name in (
        "checked_a_check",
        "checked_check",
        "public.finer of public.bounded.a",
        "public.seen",
        "listed_check",
        "refers_key",
    ):
        assert name in said
    assert "functions of mallory" in said
    with trapped.cluster.server.connect("postgres") as connection:
        connection.execute("DROP DATABASE checked")
