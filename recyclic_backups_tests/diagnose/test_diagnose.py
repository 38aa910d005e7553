"""Real damage in real databases: found, named, and put right by the command that is proposed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.diagnose.diagnose import diagnose
from recyclic_backups.diagnose.report import NO_DAMAGE, Diagnosis
from recyclic_backups.errors import DatabaseError
from recyclic_backups.merge.merge import merge_backup
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups.restore.selection import Request
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore

WITHOUT_TRIGGERS = "SET session_replication_role = replica;"


@pytest.fixture
def live(house: House) -> Iterator[House]:
    """The small database, backed up and verified; what merges leave beside it is dropped afterwards."""
    _do(house, "ALTER TABLE member ADD COLUMN phone text; UPDATE member SET phone = '0' || id")
    house.back_up()
    house.now += timedelta(hours=9)
    yield house
    with house.server.connect("postgres") as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (f"{house.database}_",)
        ).fetchall()
        for (name,) in rows:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def _do(house: House, statements: str) -> None:
    with house.server.connect(house.database) as connection:
        connection.execute(statements.encode())


def _diagnosed(house: House, server: Server | None = None, *, catalog: Catalog | None = None) -> Diagnosis:
    return diagnose(
        house.catalog if catalog is None else catalog,
        server or house.server,
        house.database,
        timeout_seconds=60,
        lock_timeout_seconds=1,
        now=house.now,
    )


def _kinds(diagnosis: Diagnosis) -> set[tuple[str, str]]:
    return {(each.kind, each.name) for each in diagnosis.findings}


def _merge(house: House, *tables: str) -> str:
    words = ["recyclic-backups", "restore", house.catalog.find("latest").backup_id]
    for table in tables:
        words += ["--table", table]
    return shlex.join([*words, "--merge-into", house.database, "--yes"])


def _put_right(house: House, diagnosis: Diagnosis) -> None:
    """Bring back the tables that the diagnosis names."""
    merged = merge_backup(
        house.repository,
        house.catalog.find("latest"),
        house.server,
        house.database,
        Request(diagnosis.damaged_tables),
        RestoreOptions(house.plan.options.installations, timeout_seconds=60),
        clock=house.clock,
    ).merged
    assert merged is not None
    assert merged.clean


def test_an_intact_database_that_grew_is_clean(live: House) -> None:
    """Loss prevented: an alarm that means nothing, and the next one ignored."""
    _do(
        live,
        "INSERT INTO member (name) SELECT 'newer' FROM generate_series(1, 50); UPDATE sale SET total = 1",
    )
    diagnosis = _diagnosed(live)
    assert diagnosis.findings == ()
    assert diagnosis.commands == diagnosis.damaged_tables == ()
    assert diagnosis.verdict == NO_DAMAGE
    assert (diagnosis.tables, diagnosis.rows) == (2, 1050)


def test_deleted_rows_are_found_and_the_command_brings_them_back(live: House) -> None:
    """Loss prevented: a tenth of all sales, gone since this morning and noticed at the end of the year."""
    _do(live, "DELETE FROM sale WHERE id % 10 = 0; INSERT INTO sale VALUES (9001, 1, 1)")
    diagnosis = _diagnosed(live)
    (finding,) = diagnosis.findings
    assert (finding.kind, finding.table, finding.rows) == ("rows", "public.sale", 49)
    assert diagnosis.commands == (_merge(live, "public.sale"),)
    _put_right(live, diagnosis)
    assert _diagnosed(live).verdict == NO_DAMAGE


def test_emptied_values_are_found_while_new_rows_arrive(live: House) -> None:
    """Loss prevented: UPDATE … SET phone = NULL, and a day's new members who hide it."""
    _do(live, "UPDATE member SET phone = NULL WHERE id <= 250")
    _do(live, "INSERT INTO member (name, phone) SELECT 'newer', '1' FROM generate_series(1, 100)")
    diagnosis = _diagnosed(live)
    (finding,) = diagnosis.findings
    assert (finding.kind, finding.table, finding.column) == ("values", "public.member", "phone")
    assert finding.rows == 150
    assert diagnosis.damaged_tables == ("public.member",)


def test_orphans_of_deleted_parents_bring_the_parents_back(live: House) -> None:
    """Loss prevented: sales whose members are gone, with the sales taken for the damage."""
    _do(live, f"{WITHOUT_TRIGGERS} DELETE FROM member WHERE id = 7")
    diagnosis = _diagnosed(live)
    assert _kinds(diagnosis) == {("rows", "public.member"), ("foreign_key", "public.sale")}
    assert diagnosis.commands == (_merge(live, "public.member"),)
    _put_right(live, diagnosis)
    assert _diagnosed(live).clean


def test_orphans_whose_parents_are_as_they_were_are_the_childs_fault(live: House) -> None:
    """Loss prevented: newer rows of a table given up although nothing was wrong with it."""
    _do(live, f"{WITHOUT_TRIGGERS} UPDATE sale SET member_id = 77777 WHERE id < 4")
    diagnosis = _diagnosed(live)
    (finding,) = diagnosis.findings
    assert (finding.kind, finding.constraint, finding.rows) == ("foreign_key", "sale_member_id_fkey", 3)
    assert diagnosis.commands == (_merge(live, "public.sale"),)


def test_orphans_that_either_side_may_have_made_bring_both_back_in_one_command(live: House) -> None:
    """Loss prevented: a child put back whose parent is still missing."""
    _do(
        live,
        f"{WITHOUT_TRIGGERS} DELETE FROM member WHERE id = 7; INSERT INTO member (name, phone) VALUES ('x', '1')",
    )
    diagnosis = _diagnosed(live)
    assert _kinds(diagnosis) == {("foreign_key", "public.sale")}
    assert diagnosis.commands == (_merge(live, "public.member", "public.sale"),)
    _put_right(live, diagnosis)
    assert _diagnosed(live).clean


def test_keys_of_several_columns_follow_their_own_rules(house: House) -> None:
    """Loss prevented: a null taken for a missing parent, and half a key taken for none."""
    _do(
        house,
        "CREATE TABLE place (a int, b text, PRIMARY KEY (a, b)); INSERT INTO place VALUES (1, 'x');"
        "CREATE TABLE simple (a int, b text, FOREIGN KEY (a, b) REFERENCES place);"
        "CREATE TABLE entire (a int, b text, FOREIGN KEY (a, b) REFERENCES place MATCH FULL);"
        f"{WITHOUT_TRIGGERS}"
        "INSERT INTO simple VALUES (1, 'x'), (1, NULL), (NULL, 'x'), (NULL, NULL), (1, 'y');"
        "INSERT INTO entire VALUES (1, 'x'), (1, NULL), (NULL, 'x'), (NULL, NULL), (1, 'y')",
    )
    found = {(each.table, each.rows, "MATCH FULL" in each.sentence) for each in _diagnosed(house).findings}
    assert found == {("public.simple", 1, False), ("public.entire", 1, False), ("public.entire", 2, True)}


def test_partitions_are_the_rows_of_their_table(house: House) -> None:
    """Loss prevented: rows of partitions taken for orphans, and a whole table restored for nothing."""
    _do(
        house,
        "CREATE TABLE city (name text PRIMARY KEY); INSERT INTO city VALUES ('Lyon');"
        # Another collation than the parent's: nothing can be compared before one of them is chosen.
        'CREATE TABLE visit (id int, at date, city text COLLATE "C" REFERENCES city, PRIMARY KEY (id, at))'
        " PARTITION BY RANGE (at);"
        "CREATE TABLE visit_26 PARTITION OF visit FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');"
        "CREATE TABLE photo (visit int, at date, FOREIGN KEY (visit, at) REFERENCES visit);"
        "INSERT INTO visit VALUES (1, '2026-05-01', 'Lyon'), (2, '2026-05-02', NULL);"
        "INSERT INTO photo VALUES (1, '2026-05-01')",
    )
    diagnosis = _diagnosed(house)
    assert (diagnosis.findings, diagnosis.incomplete) == ((), ())
    house.back_up()
    _do(house, f"{WITHOUT_TRIGGERS} DELETE FROM visit_26 WHERE id = 1; UPDATE visit SET city = 'Nice'")
    diagnosis = _diagnosed(house)
    assert _kinds(diagnosis) >= {("foreign_key", "public.photo"), ("foreign_key", "public.visit")}
    assert diagnosis.damaged_tables == ("public.visit",)
    _put_right(house, diagnosis)
    assert _diagnosed(house).clean


def test_a_key_that_ignores_case_is_not_broken_by_it(house: House) -> None:
    """Loss prevented: rows taken away that the server rightly accepted."""
    with house.server.connect(house.database) as connection:
        if not connection.execute("SELECT 1 FROM pg_collation WHERE collname = 'und-x-icu'").fetchone():
            pytest.skip("icu: this build of PostgreSQL has no ICU")
    _do(
        house,
        "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
        "CREATE TABLE city (name text COLLATE nocase PRIMARY KEY); INSERT INTO city VALUES ('Lyon');"
        "CREATE TABLE visit (city text REFERENCES city); INSERT INTO visit VALUES ('LYON')",
    )
    diagnosis = _diagnosed(house)
    assert (diagnosis.findings, diagnosis.incomplete) == ((), ())


def test_broken_checks_are_found_one_that_cannot_be_computed_hides_none(live: House) -> None:
    """Loss prevented: a negative total that no later UPDATE of the row will be allowed to leave."""
    _do(
        live,
        "CREATE FUNCTION fail(numeric) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN IF $1 = -1 THEN RAISE 'no'; END IF; RETURN true; END $$;"
        "ALTER TABLE sale ADD CONSTRAINT sense CHECK (fail(total));"
        "ALTER TABLE sale ADD CONSTRAINT positive CHECK (total > 0);"
        "ALTER TABLE sale DISABLE TRIGGER ALL;"
        "ALTER TABLE sale DROP CONSTRAINT positive, DROP CONSTRAINT sense;"
        "UPDATE sale SET total = -1 WHERE id IN (3, 4);"
        "ALTER TABLE sale ADD CONSTRAINT sense CHECK (fail(total)) NOT VALID,"
        " ADD CONSTRAINT positive CHECK (total > 0) NOT VALID;"
        "UPDATE pg_constraint SET convalidated = true WHERE conname IN ('positive', 'sense');"
        "ALTER TABLE sale ENABLE TRIGGER ALL",
    )
    diagnosis = _diagnosed(live)
    (finding,) = diagnosis.findings
    assert (finding.kind, finding.constraint, finding.rows) == ("check", "positive", 2)
    assert "NOT VALID" not in finding.sentence
    assert any("check sense" in each for each in diagnosis.incomplete)
    assert diagnosis.damaged_tables == ("public.sale",)


def test_a_constraint_that_is_not_valid_is_said_to_be(live: House) -> None:
    """Loss prevented: old rows that were never checked, reported as today's damage; and new damage called old."""
    broken = "ALTER TABLE sale ADD CONSTRAINT positive CHECK (total > 1000) NOT VALID"
    _do(live, broken)
    (finding,) = _diagnosed(live).findings
    assert "NOT VALID" in finding.sentence
    live.now += timedelta(days=1)
    live.back_up()
    diagnosis = _diagnosed(live)
    assert diagnosis.clean
    assert any("positive" in note and "was when the backup was taken" in note for note in diagnosis.notes)


def test_nulls_duplicates_and_values_outside_their_domain_are_found(live: House) -> None:
    """Loss prevented: a dump that no restore accepts, because the server let rows in that it forbids."""
    _do(
        live,
        "CREATE DOMAIN code AS text CHECK (VALUE ~ '^[0-9]+$'); CREATE TABLE place (code code);"
        "ALTER DOMAIN code DROP CONSTRAINT code_check; INSERT INTO place VALUES ('x');"
        "ALTER DOMAIN code ADD CONSTRAINT digits CHECK (VALUE ~ '^[0-9]+$') NOT VALID;"
        "UPDATE pg_attribute SET attnotnull = false WHERE attrelid = 'member'::regclass AND attname = 'name';",
    )
    _do(live, "UPDATE member SET name = NULL WHERE id = 5")
    _do(
        live,
        "UPDATE pg_attribute SET attnotnull = true WHERE attrelid = 'member'::regclass AND attname = 'name';"
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'sale_pkey'::regclass",
    )
    _do(live, "INSERT INTO sale VALUES (9, 9, 9), (10, 10, 10)")
    _do(live, "UPDATE pg_index SET indisready = true WHERE indexrelid = 'sale_pkey'::regclass")
    found = {(each.kind, each.table, each.constraint, each.rows) for each in _diagnosed(live).findings}
    assert ("unique", "public.sale", "sale_pkey", 2) in found
    assert ("check", "public.place", "public.code", None) in found
    assert {(kind, table, rows) for kind, table, _, rows in found if kind == "not_null"} == {
        ("not_null", "public.member", 1)
    }


def test_an_index_that_lies_is_found_and_does_not_hide_rows(live: House) -> None:
    """Loss prevented: rows that exist and that no query finds."""
    with live.server.connect(live.database) as connection:
        row = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'").fetchone()
    assert any("amcheck" in note for note in _diagnosed(live).notes)
    if row is None:
        return  # an installation without contrib: the note is all there can be
    _do(
        live,
        "CREATE SCHEMA checks; CREATE EXTENSION amcheck SCHEMA checks; CREATE INDEX by_total ON sale (total);"
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'sale_pkey'::regclass;"
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_total'::regclass",
    )
    _do(live, "INSERT INTO sale VALUES (9001, 1, 1)")
    _do(live, "UPDATE pg_index SET indisready = true WHERE indexrelid = 'sale_pkey'::regclass")
    diagnosis = _diagnosed(live)
    assert _kinds(diagnosis) == {("index", "public.sale_pkey"), ("index", "public.by_total")}
    assert set(diagnosis.commands) == {"REINDEX INDEX public.sale_pkey;", "REINDEX INDEX public.by_total;"}
    assert diagnosis.damaged_tables == ()
    for command in diagnosis.commands:
        _do(live, command)
    assert _diagnosed(live).clean


def test_missing_tables_columns_and_sequences_that_went_back(live: House) -> None:
    """Loss prevented: a merge proposed that cannot work, because there is nothing to merge into."""
    backup_id = live.catalog.find("latest").backup_id
    _do(live, "DROP TABLE sale; ALTER TABLE member DROP COLUMN phone; ALTER SEQUENCE member_id_seq RESTART 3")
    diagnosis = _diagnosed(live)
    assert _kinds(diagnosis) == {
        ("table", "public.sale"),
        ("column", "public.member"),
        ("sequence", "public.member_id_seq"),
    }
    beside = f"recyclic-backups restore {backup_id} --table public.member --table public.sale"
    assert diagnosis.commands[0] == f"{beside} --into {live.database}_recovered"
    _do(live, diagnosis.commands[1])
    with live.server.connect(live.database) as connection:
        assert connection.execute("INSERT INTO member (name) VALUES ('x') RETURNING id").fetchone() == (501,)


def test_strange_names_are_quoted_for_the_server_and_for_the_shell(house: House) -> None:
    """Loss prevented: a command that, pasted into a shell, does something else."""
    table = '"a.b"."it\'s; rm {} %s ""x"'
    _do(
        house,
        f'CREATE SCHEMA "a.b"; CREATE TABLE {table} ("%s {{}}" int PRIMARY KEY, "É" text CHECK ("É" <> \'%\'));'
        f"CREATE TABLE \"a.b\".\"-c\" (id int REFERENCES {table}); INSERT INTO {table} VALUES (1, 'x'), (2, 'y');"
        'INSERT INTO "a.b"."-c" VALUES (1), (2)',
    )
    house.back_up()
    _do(house, f'{WITHOUT_TRIGGERS} DELETE FROM {table} WHERE true AND "%s {{}}" = 2')
    diagnosis = _diagnosed(house)
    assert _kinds(diagnosis) == {("rows", '"a.b"."it\'s; rm {} %s ""x"'), ("foreign_key", '"a.b".-c')}
    (command,) = diagnosis.commands
    words = shlex.split(command)
    assert words[words.index("--table") + 1] == '"a.b"."it\'s; rm {} %s ""x"'
    _put_right(house, diagnosis)
    assert _diagnosed(house).clean


def test_what_a_role_may_not_read_is_a_note_and_no_damage(live: House) -> None:
    """Loss prevented: a missing GRANT taken for a lost table, and a restore over a healthy one."""
    _do(live, "CREATE ROLE half LOGIN PASSWORD 'half'; GRANT SELECT ON sale TO half")
    try:
        server = replace(live.server, user="half", password="half")
        diagnosis = _diagnosed(live, server)
        assert diagnosis.clean
        assert any("public.member" in each and "may not read" in each for each in diagnosis.incomplete)
        assert diagnosis.verdict.startswith(NO_DAMAGE)
        assert diagnosis.verdict != NO_DAMAGE
        _do(live, "DELETE FROM sale WHERE id < 100")
        assert _kinds(_diagnosed(live, server)) == {("rows", "public.sale")}
    finally:
        _do(live, "DROP OWNED BY half; DROP ROLE half")


def test_a_locked_table_is_given_up_and_the_others_are_looked_at(live: House) -> None:
    """Loss prevented: a diagnosis that waits for ever behind a migration that hangs."""
    _do(live, "DELETE FROM sale WHERE id < 100")
    with live.server.connect(live.database, autocommit=False) as connection:
        connection.execute("LOCK TABLE member")
        diagnosis = _diagnosed(live)
    assert _kinds(diagnosis) == {("rows", "public.sale")}
    assert any("public.member" in each and "locked" in each for each in diagnosis.incomplete)


def test_what_takes_too_long_is_given_up_and_nothing_can_be_written(live: House) -> None:
    """Loss prevented: an answer that never comes; a diagnosis that changes what it looks at."""
    _do(
        live,
        "CREATE TABLE slow (id int); INSERT INTO slow VALUES (1); CREATE TABLE trap (id int);"
        "INSERT INTO trap VALUES (1); CREATE FUNCTION spring(int) RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO public.trap VALUES (2); RETURN true; END $$;"
        "ALTER TABLE slow ADD CONSTRAINT wait CHECK (pg_sleep(60 * id)::text IS NOT NULL) NOT VALID;"
        "ALTER TABLE trap ADD CONSTRAINT write CHECK (spring(id)) NOT VALID; DELETE FROM sale WHERE id = 1",
    )
    diagnosis = diagnose(
        live.catalog,
        live.server,
        live.database,
        timeout_seconds=5,  # enough for every other question, on a busy machine too
        lock_timeout_seconds=5,
        now=live.now,
    )
    assert _kinds(diagnosis) == {("rows", "public.sale")}
    assert any("checks of public.slow" in each and "BACKUP_TIMEOUT" in each for each in diagnosis.incomplete)
    assert any("check write" in each and "read-only" in each for each in diagnosis.incomplete)


def test_without_any_backup_the_database_is_still_looked_at(house: House) -> None:
    """Loss prevented: no diagnosis on the day on which the storage is empty."""
    _do(house, f"{WITHOUT_TRIGGERS} DELETE FROM member WHERE id = 7")
    diagnosis = diagnose(
        Catalog((), {}),
        house.server,
        house.database,
        timeout_seconds=60,
        lock_timeout_seconds=1,
        now=house.now,
    )
    assert _kinds(diagnosis) == {("foreign_key", "public.sale")}
    assert diagnosis.commands == ()
    assert diagnosis.damaged_tables == ("public.sale",)
    assert any("no good backup" in note for note in diagnosis.notes)


def test_a_server_that_is_not_there_is_an_error_and_no_verdict(house: House) -> None:
    """Loss prevented: "no damage found" by somebody who never got in."""
    with pytest.raises(DatabaseError):
        _diagnosed(house, replace(house.server, port=1))


def test_destroyed_files_are_found_and_hide_nothing_else(
    installation: Installation, scratch_directory: Path
) -> None:
    """Loss prevented: a disk that has lost pages, seen only when pg_dump stops at the first of them."""
    with ScratchCluster.start(installation, scratch_directory, settings={"autovacuum": "off"}) as cluster:
        house = House(cluster.server, "shop", MemoryStore())
        with cluster.server.connect("postgres") as connection:
            connection.execute("CREATE DATABASE shop TEMPLATE template0")
        _do(
            house,
            "CREATE TABLE garbled AS SELECT n AS id FROM generate_series(1, 5000) n;"
            "CREATE TABLE gone AS SELECT n AS id FROM generate_series(1, 100) n;"
            "CREATE TABLE letter (id int PRIMARY KEY, body text); ALTER TABLE letter ALTER body SET STORAGE EXTERNAL;"
            "INSERT INTO letter SELECT n, repeat('x', 9000) FROM generate_series(1, 20) n;"
            "CREATE MATERIALIZED VIEW figures AS SELECT id FROM garbled;"
            "CREATE TABLE fine AS SELECT n AS id FROM generate_series(1, 100) n;"
            "CREATE TABLE sound AS SELECT n AS id FROM generate_series(1, 1000) n; CREATE INDEX by_id ON sound (id);"
            "CREATE TABLE stopped AS SELECT n AS id FROM generate_series(1, 9) n; CREATE INDEX stop ON stopped (id)",
        )
        with cluster.server.connect("shop") as connection:
            found = connection.execute(
                "SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'"
            ).fetchone()
            amcheck = found is not None
            if amcheck:
                connection.execute("CREATE EXTENSION amcheck")
        house.back_up()
        paths = {}
        with cluster.server.connect("shop") as connection:
            for name, query in {
                "garbled": "'garbled'",
                "gone": "'gone'",
                "figures": "'figures'",
                "index": "'by_id'",
                "root": "'stop'",
                "toast": "(SELECT reltoastrelid FROM pg_class WHERE oid = 'letter'::regclass)",
            }.items():
                row = connection.execute(
                    f"SELECT pg_relation_filepath({query}::regclass)".encode()
                ).fetchone()
                paths[name] = cluster.data_directory / str(row[0] if row else "")
        cluster.stop()
        for name in ("garbled", "toast", "figures", "root"):
            with paths[name].open("r+b") as file:
                file.write(b"\xa5" * 4096)
        with paths["index"].open("r+b") as file:
            file.seek(8192 + 4096)  # beyond what planning a query reads
            file.write(b"\xa5" * 4096)
        paths["gone"].unlink()
        cluster.restart()
        house = _reopened(house, cluster)
        _do(house, "DELETE FROM fine WHERE id = 1")
        diagnosis = _diagnosed(house)
        assert _kinds(diagnosis) == ({("index", "public.by_id")} if amcheck else set()) | {
            ("index", "public.stop"),
            ("unreadable", "public.garbled"),
            ("unreadable", "public.gone"),
            ("unreadable", "public.letter"),
            ("unreadable", "public.figures"),
            ("rows", "public.fine"),
        }
        backup_id = diagnosis.backup_id
        assert diagnosis.commands == (
            "REINDEX INDEX public.stop;",
            *(["REINDEX INDEX public.by_id;"] if amcheck else []),
            f"recyclic-backups restore {backup_id} --table public.fine --merge-into shop --yes",
            f"recyclic-backups restore {backup_id} --table public.garbled --table public.gone --table public.letter"
            " --into shop_recovered",
            "REFRESH MATERIALIZED VIEW public.figures;",
        )
        assert any("public.stopped" in each for each in diagnosis.incomplete)
        _do(house, "REINDEX INDEX public.stop; DELETE FROM stopped WHERE id = 1")
        assert ("rows", "public.stopped") in _kinds(_diagnosed(house))


def _reopened(house: House, cluster: ScratchCluster) -> House:
    """The same house after its server was started again, maybe on another port."""
    return House(cluster.server, house.database, house.store, house.now, house.encrypt)
