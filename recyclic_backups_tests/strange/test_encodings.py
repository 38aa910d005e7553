"""Databases whose texts are not UTF-8, or not what they say they are."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.confinement import Confinement
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.restore.selection import Request
from recyclic_backups_tests.strange.conftest import (
    Servers,
    back_up,
    create,
    put,
    round_trip,
    run_sql,
)

LATIN = """
SET client_encoding = UTF8;
CREATE SCHEMA "été";
CREATE TABLE "été"."prénoms" ("prénom" text DEFAULT 'Zoé' PRIMARY KEY);
INSERT INTO "été"."prénoms" VALUES ('Amélie'), (E'\u00ff\u0080');
CREATE TABLE "été"."façons" (id int GENERATED ALWAYS AS IDENTITY, "prénom" text REFERENCES "été"."prénoms");
INSERT INTO "été"."façons" ("prénom") VALUES ('Amélie');
CREATE VIEW "été"."aînés" AS SELECT * FROM "été"."prénoms" WHERE "prénom" IN ('é', 'à'::varchar);
CREATE FUNCTION "été".dire() RETURNS text LANGUAGE sql AS $$ SELECT 'où ?' $$;
COMMENT ON TABLE "été"."prénoms" IS 'les prénoms';
"""

# What programs of the 1990s have left: some rows are UTF-8, some Latin-1, some neither.
BYTES = b"""
CREATE SCHEMA "\xe9t\xe9";
CREATE TABLE "\xe9t\xe9"."\xff\xfe 100 %" ("\xc3\xa9" text DEFAULT '\xe9\xff', "\xe9" text COLLATE "C");
INSERT INTO "\xe9t\xe9"."\xff\xfe 100 %" VALUES ('Am\xe9lie', 'Am\xc3\xa9lie'), ('\xff\xfe\x80', NULL), (DEFAULT, '');
COMMENT ON TABLE "\xe9t\xe9"."\xff\xfe 100 %" IS '\xe9\xc3\xa9';
CREATE FUNCTION public."\xe9"() RETURNS text LANGUAGE sql AS 'SELECT ''\xff''::text';
CREATE VIEW public."\xff" AS SELECT '\xfe'::text AS "\xfd";
CREATE ROLE "r\xc3\xb4le";
ALTER TABLE "\xe9t\xe9"."\xff\xfe 100 %" OWNER TO "r\xc3\xb4le";
CREATE TYPE public.kind AS ENUM ('\xff');
"""


def test_a_latin1_database_comes_back(servers: Servers) -> None:
    """Loss prevented: a backup of an old database that cannot be taken, or has question marks in it."""
    database = create(servers[15], "latin", "ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'")
    run_sql(servers[15], database, LATIN)
    round_trip(servers[15], database, servers[15], "latin again")
    house = back_up(servers[15], database)
    some = put(house, servers[15], "latin some", request=Request(["été.façons"]))
    assert some.comparison.differences == ()
    assert {table.name: table.rows_actual for table in some.comparison.tables} == {
        "été.façons": 1,
        "été.prénoms": 2,
    }


def test_bytes_that_are_no_text_come_back(servers: Servers) -> None:
    """Loss prevented: an SQL_ASCII database, which takes any bytes, whose backup fails at the first odd one."""
    database = create(servers[15], "bytes", "ENCODING SQL_ASCII LC_COLLATE 'C' LC_CTYPE 'C'")
    run_sql(servers[15], database, BYTES)
    run_sql(
        servers[15], "postgres", "ALTER DATABASE bytes OWNER TO \"rôle\"; COMMENT ON DATABASE bytes IS 'été'"
    )
    round_trip(servers[15], database, servers[15], "bytes again")
    house = back_up(servers[15], database, encrypt=True)
    assert house.catalog.find("latest").manifest.server.owner == "rôle"
    some = put(house, servers[15], "bytes some", request=Request(["\xe9t\xe9.\xff\xfe 100 %"]))
    assert some.comparison.differences == ()
    assert [table.rows_actual for table in some.comparison.tables] == [3]
    elsewhere = put(house, servers[16], "bytes")
    assert elsewhere.comparison.differences == ()
    assert "rôle" in elsewhere.created_roles


def test_a_database_with_another_encoding_for_its_clients_comes_back(servers: Servers) -> None:
    """Loss prevented: pg_dump speaks what the database tells its clients to, and fails at the first euro sign."""
    database = create(servers[15], "clients")
    run_sql(servers[15], database, 'CREATE TABLE "€ 😀" (price text); INSERT INTO "€ 😀" VALUES (\'3 €\')')
    run_sql(servers[15], "postgres", "ALTER DATABASE clients SET client_encoding TO LATIN1")
    round_trip(servers[15], database, servers[15], "clients again")


@pytest.mark.skipif(
    not (shutil.which("localedef") and Path("/usr/share/i18n/locales/de_DE").exists()),
    reason="locales: localedef and its sources are not here",
)
@pytest.mark.slow
def test_money_is_worth_the_same_elsewhere(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: 1.234,56 read as 123456 or 1.23 by a server with another locale."""
    locales = Path(servers.directory) / "locales"
    locales.mkdir()
    subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", str(locales / "de_DE.UTF-8")], check=False)
    popen = Account.popen

    env = Path(shutil.which("env") or "/usr/bin/env").resolve()

    def with_locales(self: Account, argv: list[str], *args: object, **kwargs: object) -> object:
        confinement = kwargs.get("confinement")
        if isinstance(confinement, Confinement):  # which knows neither this program nor these locales
            kwargs["confinement"] = replace(
                confinement,
                read=(*confinement.read, locales),
                execute=(*confinement.execute, env),
            )
        return popen(self, [str(env), f"LOCPATH={locales}", *argv], *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Account, "popen", with_locales)
    settings = {"lc_monetary": "de_DE.UTF-8"}
    with ScratchCluster.start(servers.installations[15], servers.directory, settings=settings) as german:
        database = create(german, "kasse")
        run_sql(
            german,
            database,
            "CREATE TABLE sales (price money DEFAULT 12.5, paid money[]); INSERT INTO sales VALUES (1234.56, '{1}')",
        )
        # As its application sees it: sessions of ours have the locale C for amounts.
        with german.server.connect(database, settings=settings) as connection:
            text = connection.execute("SELECT price::text FROM sales").fetchone()
        assert text is not None
        assert text[0].startswith("1.234,56")
        report = put(back_up(german, database), servers[15], "kasse")
    assert report.comparison.differences == ()
    with servers[15].server.connect("kasse") as connection:
        assert connection.execute("SELECT price::numeric FROM sales").fetchone() == (Decimal("1234.56"),)
