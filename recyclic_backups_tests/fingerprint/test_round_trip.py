"""What went through pg_dump and pg_restore is equal to what it was: also into another major version."""

from __future__ import annotations

from pathlib import Path

import pytest

from recyclic_backups.fingerprint.compare import compare
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.fingerprint.read import read_fingerprint, read_sequences, reading_session, snapshot
from recyclic_backups.postgres.process import run
from recyclic_backups.postgres.programs import Installation, dump_argv, restore_argv
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups_tests.fingerprint.conftest import CLUB, NO_ROLES, ROLES, Club


def _dump_and_restore(club: Club, programs: Installation, server: Server, database: str) -> None:
    dump = run(
        dump_argv(programs, database=club.database, snapshot="", lock_wait_seconds=10),
        club.server.environment(club.database),
        timeout_seconds=60,
    ).stdout
    run(
        restore_argv(programs, database=database),
        server.environment(database),
        timeout_seconds=60,
        input=dump,
    )


def test_a_restored_dump_is_equal(club_template: Club, intact: Fingerprint, database: str) -> None:
    """A comparison that finds fault with a perfect restore makes every drill red, until nobody looks.

    The club has a CHECK with IN on a varchar column, which PostgreSQL writes differently after a restore.
    """
    _dump_and_restore(club_template, club_template.installation, club_template.server, database)
    restored = Club(club_template.installation, club_template.server, database).fingerprint()
    for same_major in (True, False):
        comparison = compare(intact, restored, same_major=same_major)
        assert comparison.differences == ()
        assert comparison.equal
    assert restored.tables["public.visits"].rows == 0
    assert restored.rows == intact.rows == 50 + 20 + 40 + 3 + 5 + 1 + 1


def test_the_time_zone_of_a_database_is_no_difference(club: Club, intact: Fingerprint) -> None:
    """Settings of a database come back after its definitions: partitions by time must not look changed till then."""
    club.execute(f"ALTER DATABASE {club.database} SET timezone = 'Europe/Paris'")
    assert compare(intact, club.fingerprint(), same_major=True).equal


def test_a_restore_into_a_newer_version_is_equal(
    installations_by_major: dict[int, Installation], tmp_path: Path
) -> None:
    """A backup is restored into what there is years later: the listing has to mean the same there."""
    majors = sorted(major for major in installations_by_major if major >= 15)
    if len(majors) < 2:
        pytest.skip("versions: only one major version of PostgreSQL is here")
    old, new = installations_by_major[majors[0]], installations_by_major[majors[-1]]
    with ScratchCluster.start(old, tmp_path) as source, ScratchCluster.start(new, tmp_path) as target:
        for cluster in (source, target):
            with cluster.server.connect("postgres") as connection:
                connection.execute(ROLES)
                connection.execute("CREATE DATABASE club TEMPLATE template0")
        club = Club(old, source.server, "club")
        club.execute(CLUB)
        _dump_and_restore(club, new, target.server, "club")
        expected = club.fingerprint(schema=False)
        restored = read_fingerprint(target.server, "club", level="content")
    comparison = compare(expected, restored, same_major=False)
    assert comparison.differences == ()
    assert len(restored.listing) == len(expected.listing)


def test_a_backup_s_fingerprint_is_of_its_snapshot(club: Club) -> None:
    """Rows written while pg_dump runs are not in the dump: a fingerprint of later rows would call it damaged."""
    told: list[tuple[str, int]] = []
    with reading_session(club.server, club.database) as connection:
        before = read_sequences(connection)
        with snapshot(club.server, club.database, lock_timeout_seconds=10) as held:
            club.execute("INSERT INTO public.sales (sold_at) VALUES (now()); DELETE FROM public.things")
            dumped = read_fingerprint(
                club.server,
                club.database,
                level="content",
                held=held,
                sequences_before=before,
                progress=lambda name, rows: told.append((name, rows)),
            )
            imported = read_fingerprint(
                club.server,
                club.database,
                level="content",
                snapshot_identifier=held.identifier,
                sequences_before=before,
            )
        after = read_sequences(connection)
    assert dumped == imported
    assert told == [(name, table.rows) for name, table in dumped.tables.items()]
    assert dumped.tables["public.sales"].rows == 20
    fingerprint = dumped.with_sequences_after(after)
    sequence = fingerprint.sequences["public.sale_number"]
    assert [each.next_value for each in (sequence.before, sequence.after) if each] == [120, 121]
    now = club.fingerprint(schema=False)
    assert compare(fingerprint, now, same_major=True).differences == (
        "public.boats: 1 row missing (1 expected, 0 found)",
        "public.sales: 1 row too many (20 expected, 21 found)",
        "public.things: 2 rows missing (2 expected, 0 found)",
    )


def test_only_roles_the_database_refers_to_are_in_its_backup(club: Club) -> None:
    """A manifest is no list of everybody on the server; a role that matters must not be missing from it."""
    with club.server.connect("postgres") as connection:
        connection.execute("CREATE ROLE stranger")
    try:
        with snapshot(club.server, club.database, lock_timeout_seconds=10) as held:
            fingerprint = read_fingerprint(club.server, club.database, level="counts", held=held)
    finally:
        with club.server.connect("postgres") as connection:
            connection.execute("DROP ROLE stranger")
    assert set(fingerprint.roles) == {"club_owner", "club_reader", "club_staff", club.server.user}
    assert fingerprint.roles["club_reader"].member_of == ("club_staff",)
    assert fingerprint.roles["club_owner"].attributes == ("inherit", "createdb", "login")
    assert set(fingerprint.roles["club_reader"].settings) == {"work_mem"}
    assert NO_ROLES.count(",") == len(fingerprint.roles) - 2


def test_rows_of_an_extension_s_configuration_are_those_a_dump_holds(club: Club) -> None:
    """What an extension ships with is not in a dump: counting it would make every restore look short of rows."""
    club.execute("""
        SET allow_system_table_mods = on;
        CREATE TABLE public.shipped (name text, own boolean);
        INSERT INTO public.shipped VALUES ('theirs', false), ('ours, 100 %', true);
        CREATE TABLE public.theirs_alone (n integer);
        ALTER EXTENSION plpgsql ADD TABLE public.shipped;
        ALTER EXTENSION plpgsql ADD TABLE public.theirs_alone;
        UPDATE pg_extension SET extconfig = ARRAY['public.shipped'::regclass::oid],
               extcondition = ARRAY['WHERE own AND name LIKE ''%'''] WHERE extname = 'plpgsql';
    """)
    fingerprint = club.fingerprint(schema=False)
    assert fingerprint.tables["public.shipped"].rows == 1
    assert "public.theirs_alone" not in fingerprint.tables
    assert "TABLE public.shipped" not in fingerprint.listing


def test_a_table_of_1600_columns_can_be_read(club: Club) -> None:
    """PostgreSQL allows 1600 columns (limits.html): such a table must not be the one that stops the backup."""
    columns = ", ".join(f"c{number} smallint DEFAULT {number % 7}" for number in range(1600))
    club.execute(f"CREATE TABLE public.wide ({columns}); INSERT INTO public.wide DEFAULT VALUES")
    wide = club.fingerprint(schema=False).tables["public.wide"]
    assert wide.rows == 1
    assert len(wide.non_null) == 1600


def test_names_that_look_like_placeholders_or_quotes_are_read(intact: Fingerprint) -> None:
    """A table is backed up whatever it is called."""
    table = intact.tables['odd schema."Dot.ted ""table"""']
    assert table.rows == 1
    assert table.non_null == {'a %s "column"': 1, "select": 1}
