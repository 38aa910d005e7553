"""Which programs to use, and how they are called."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from recyclic_backups.errors import ProgramMissing, UsageError
from recyclic_backups.postgres.programs import (
    Installation,
    choose,
    conninfo_dbname,
    dump_argv,
    parse_version,
    restore_argv,
)

CLIENTS = frozenset({"pg_dump", "pg_restore"})


def installed(major: int, directory: str = "", programs: frozenset[str] = CLIENTS) -> Installation:
    """An installation that is nowhere."""
    return Installation(Path(directory or f"/pg/{major}/bin"), major, f"{major}.1", programs)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", (15, "15.18")),
        ("postgres (PostgreSQL) 18.4\n", (18, "18.4")),
        ("psql (PostgreSQL) 19beta1\n", (19, "19beta1")),
        ("pg_dump (PostgreSQL) 19devel\n", (19, "19devel")),
        ("pg_dump (PostgreSQL) 18rc1 (Ubuntu 18~rc1-1.pgdg24.04+1)\n", (18, "18rc1")),
        ("pg_dump (PostgreSQL) 9.6.24\n", (9, "9.6.24")),
    ],
)
def test_versions_are_read_from_what_programs_print(text: str, expected: tuple[int, str]) -> None:
    """A version misread chooses a program that refuses the server."""
    assert parse_version(text) == expected


@pytest.mark.parametrize("text", ["", "pg_dump 15", "bash: pg_dump: not found"])
def test_what_names_no_version_is_no_program(text: str) -> None:
    """An unrelated program called pg_dump must not be used for backups."""
    with pytest.raises(ProgramMissing):
        parse_version(text)


@given(
    st.lists(st.tuples(st.integers(12, 20), st.booleans(), st.integers(0, 9)), max_size=8),
    st.integers(12, 20),
)
def test_the_choice_is_never_older_than_the_server(
    machines: list[tuple[int, bool, int]], server_major: int
) -> None:
    """An older pg_dump refuses the server: the night's backup would be lost."""
    found = [
        installed(major, f"/{number}/{major}", CLIENTS if complete else frozenset({"pg_dump"}))
        for major, complete, number in machines
    ]
    suitable = [each for each in found if each.major >= server_major and each.programs == CLIENTS]
    if not suitable:
        with pytest.raises(ProgramMissing) as caught:
            choose(found, server_major, CLIENTS)
        assert all(str(each.directory) in caught.value.message for each in found)
        return
    chosen = choose(found, server_major, CLIENTS)
    assert chosen.major == min(each.major for each in suitable)
    # The first among equals: PG_BIN is looked at first.
    assert chosen is next(each for each in found if each.major == chosen.major and each.programs == CLIENTS)


def test_what_is_missing_is_named() -> None:
    """The operator has to know which package to install."""
    with pytest.raises(ProgramMissing, match=r"17 or newer; found 15\.1 in /pg/15/bin") as caught:
        choose([installed(15)], 17, {"pg_dump"})
    assert "postgresql-client-17" in caught.value.hint
    assert "PG_BIN" in caught.value.hint
    with pytest.raises(ProgramMissing, match="found none at all"):
        choose([], 17, {"pg_dump"})
    with pytest.raises(ProgramMissing, match="without pg_basebackup"):
        choose([installed(17)], 17, {"pg_basebackup"})
    with pytest.raises(ProgramMissing, match="no initdb in /pg/17/bin"):
        installed(17).path("initdb")


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=63))
def test_any_name_of_a_database_stays_a_name(name: str) -> None:
    """A name with `=` in it, read as a connection string, would dump another server's database."""
    assert conninfo_to_dict(conninfo_dbname(name)) == {"dbname": name}


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_a_name_no_database_can_have_is_refused(name: str) -> None:
    """libpq replaces an empty name by the user's: the wrong database would be dumped."""
    with pytest.raises(UsageError):
        conninfo_dbname(name)


def test_a_dump_reads_one_snapshot_and_never_asks_for_a_password() -> None:
    """A prompt would hang the nightly run; a snapshot of its own would not match the fingerprint."""
    argv = dump_argv(installed(15), database="recyclic", snapshot="00000003-1B-1", lock_wait_seconds=60)
    assert argv[0] == "/pg/15/bin/pg_dump"
    assert {"--format=custom", "--compress=0", "--no-password", "--lock-wait-timeout=60000"} <= set(argv)
    assert "--snapshot=00000003-1B-1" in argv
    assert argv[-1] == "--dbname=dbname='recyclic'"
    assert "--schema-only" not in argv


def test_a_restore_stops_at_the_first_error() -> None:
    """A restore that goes on after errors reports success over a half database."""
    argv = restore_argv(
        installed(15),
        database="it's",
        section="data",
        list_file=Path("/x/list"),
        no_owner=True,
        archive=Path("/x/-archive"),
        jobs=2,
    )
    assert argv == [
        "/pg/15/bin/pg_restore",
        "--format=custom",
        "--exit-on-error",
        "--no-password",
        "--section=data",
        "--use-list=/x/list",
        "--no-owner",
        "--no-privileges",
        "--jobs=2",
        "--dbname=dbname='it\\'s'",
        "/x/-archive",
    ]
    assert restore_argv(installed(15), database=None)[-1] == "--file=-"


def test_parallel_jobs_need_a_file() -> None:
    """pg_restore cannot seek in a pipe: better refused before the database is created."""
    with pytest.raises(UsageError):
        restore_argv(installed(15), database="d", jobs=2)
