"""What an archive says of itself, held against what pg_restore says of it."""

from __future__ import annotations

import re
import subprocess
from contextlib import suppress
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.adopt.header import ArchiveHeader, parse_header
from recyclic_backups.adopt.preamble import facts_of
from recyclic_backups.errors import DamagedData, UsageError
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.adopt import old_script

HEADER = ArchiveHeader("recyclic", None, False, "15.18", "15.18")


def test_the_header_says_what_pg_restore_lists(cluster: ScratchCluster, archive: bytes) -> None:
    """Loss prevented: a version misread, and a program chosen that cannot read the archive."""
    argv = [cluster.installation.path("pg_restore"), "--list"]
    listed = subprocess.run(argv, input=archive, check=True, capture_output=True).stdout.decode()

    def said(pattern: str) -> str:
        found = re.search(pattern, listed)
        assert found is not None
        return found[1]

    header = parse_header(archive[:4096])
    assert header.created == datetime.fromisoformat(said(r"Archive created at (\S+ \S+)"))
    assert header.database == said(r"dbname: (.*)")
    assert header.server_version == said(r"Dumped from database version: (\S+)")
    assert header.pg_dump_version == said(r"Dumped by pg_dump version: (\S+)")


@given(st.integers(0, 5), st.integers(0, 60))
def test_a_header_cut_short_is_damage(start: int, end: int) -> None:
    """Loss prevented: a traceback on the file that needs an explanation."""
    head = b"PGDMP\x01\x0e\x00\x04\x08\x01" + bytes(60)
    with pytest.raises((DamagedData, UsageError)):
        parse_header(head[start:end])


@given(st.binary(max_size=200))
def test_any_bytes_behind_the_magic_are_read_or_refused(data: bytes) -> None:
    """Loss prevented: memory or time without end, because a length says so."""
    with suppress(DamagedData, UsageError):
        parse_header(b"PGDMP" + data)


def test_other_formats_of_pg_dump_are_named(cluster: ScratchCluster, archive: bytes) -> None:
    """Loss prevented: an operator who does not learn which format to use."""
    tar = bytearray(archive[:4096])
    tar[10] = 3
    with pytest.raises(UsageError, match="tar format"):
        parse_header(bytes(tar))
    old = bytearray(archive[:4096])
    old[6] = 5
    with pytest.raises(UsageError, match=r"version 1\.5"):
        parse_header(bytes(old))


def test_what_belongs_to_the_database_is_read(cluster: ScratchCluster, database: str) -> None:
    """Loss prevented: a restored database that sorts, searches and belongs otherwise than the one that was dumped."""
    with cluster.server.connect(database) as connection:
        connection.execute(
            f"CREATE ROLE adopt_owner; ALTER DATABASE {database} OWNER TO adopt_owner;"
            f'ALTER DATABASE {database} SET search_path TO app, "we ird", public;'
            f"ALTER DATABASE {database} SET application_name TO 'l''été; \\ or';"
            f"ALTER ROLE adopt_owner IN DATABASE {database} SET work_mem TO '5MB';"
            f"COMMENT ON DATABASE {database} IS 'of the\nre-use centre';"
        )
        try:
            data = old_script.dump(cluster.installation, cluster.server, database)
            (encoding, collate, ctype) = connection.execute(
                "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database"
                " WHERE datname = current_database()"
            ).fetchone() or ("", "", "")
        finally:
            connection.execute(f"ALTER DATABASE {database} OWNER TO CURRENT_USER")
            connection.execute("DROP OWNED BY adopt_owner; DROP ROLE adopt_owner")
    argv = [cluster.installation.path("pg_restore"), "--create", "--file=-"]
    sql = subprocess.run(argv, input=data, check=True, capture_output=True).stdout.decode()
    facts = facts_of(parse_header(data), sql)
    assert (facts.encoding, facts.locale["collate"], facts.locale["ctype"]) == (encoding, collate, ctype)
    assert (facts.owner, facts.comment) == ("adopt_owner", "of the\nre-use centre")
    assert list(facts.settings) == [
        {"name": "search_path", "value": '"app", "we ird", "public"'},
        {"name": "application_name", "value": "l'été; \\ or"},
        {"name": "work_mem", "value": "5MB", "role": "adopt_owner"},
    ]


def test_what_somebody_wrote_into_the_database_sets_nothing_of_it(
    cluster: ScratchCluster, database: str
) -> None:
    """Loss prevented: whoever may insert a row has a restore load his library into the server, and into our session."""
    lines = (
        "ALTER DATABASE shop SET session_preload_libraries TO '/tmp/evil.so';",
        "ALTER ROLE postgres IN DATABASE shop SET search_path TO 'evil', 'pg_catalog';",
        "ALTER DATABASE shop OWNER TO mallory;",
        "COMMENT ON DATABASE shop IS 'his';",
    )
    with cluster.server.connect(database) as connection:
        body = "\n".join(lines)
        connection.execute(
            f"CREATE FUNCTION evil() RETURNS text LANGUAGE sql AS $f$SELECT $g$\n{body}\n$g$$f$"
        )
        connection.execute("CREATE TABLE newsletter (email text)")
        for line in lines:
            connection.execute("INSERT INTO newsletter VALUES (%s)", (line,))
        text = f"he\n{body}".replace("'", "''")
        connection.execute(f"COMMENT ON DATABASE {database} IS '{text}'")
        connection.execute(f"ALTER DATABASE {database} SET application_name TO '{text}'")
        data = old_script.dump(cluster.installation, cluster.server, database)
    argv = [cluster.installation.path("pg_restore"), "--create", "--file=-"]
    sql = subprocess.run(argv, input=data, check=True, capture_output=True).stdout.decode()
    assert all(sql.count(f"\n{line}") >= 2 for line in lines), "the archive must say it as a statement would"
    facts = facts_of(parse_header(data), sql)
    assert list(facts.settings) == [{"name": "application_name", "value": f"he\n{body}"}]
    assert (facts.owner, facts.comment) == (cluster.server.user, f"he\n{body}")


@pytest.mark.parametrize(
    ("statement", "locale"),
    [
        (
            "ENCODING = 'UTF8' LC_COLLATE = 'fr_FR.UTF-8' LC_CTYPE = 'C'",
            {"provider": "libc", "collate": "fr_FR.UTF-8", "ctype": "C", "locale": None},
        ),
        (
            "ENCODING = 'UTF8' LOCALE_PROVIDER = icu LOCALE = 'C.UTF-8' ICU_LOCALE = 'fr'",
            {"provider": "icu", "collate": "C.UTF-8", "ctype": "C.UTF-8", "locale": "fr"},
        ),
        (
            "ENCODING = 'UTF8' LOCALE_PROVIDER = builtin LOCALE = 'C' BUILTIN_LOCALE = 'C.UTF-8'",
            {"provider": "builtin", "collate": "C", "ctype": "C", "locale": "C.UTF-8"},
        ),
        ("ENCODING = 'UTF8'", {}),
    ],
)
def test_locales_of_every_version_are_understood(statement: str, locale: dict[str, str]) -> None:
    """Loss prevented: an index of text in an order that its database does not have."""
    sql = f'CREATE DATABASE "re; cyclic" WITH TEMPLATE = template0 {statement};\n'
    facts = facts_of(HEADER, sql)
    assert (facts.encoding, facts.locale) == ("UTF8", locale)


def test_an_archive_that_says_little_is_known_little_of() -> None:
    """Loss prevented: facts made up, and a restore that insists on them."""
    facts = facts_of(HEADER, "SET client_encoding = 'LATIN1';\n")
    assert (facts.encoding, facts.locale, facts.owner, facts.settings) == ("LATIN1", {}, "", ())
    assert facts_of(HEADER, "").encoding == ""
