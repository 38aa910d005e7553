"""Tables put back into the live database: exactly the backup's rows, all or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from recyclic_backups.errors import BackupError, Refused
from recyclic_backups.merge.merge import MergeReport, merge_backup
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups.restore.selection import Request
from recyclic_backups_tests.house import House


@pytest.fixture
def live(house: House, cluster: ScratchCluster) -> Iterator[House]:
    """The small database, backed up; what merges leave beside it is dropped afterwards."""
    with cluster.server.connect(house.database) as connection:
        connection.execute(
            "CREATE TABLE note (sale_id int, text text);"  # no key at all
            "INSERT INTO note SELECT n % 7, 'note ' || n % 3 FROM generate_series(1, 50) n;"
            "ALTER TABLE member ADD COLUMN touched timestamptz;"
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.touched := now(); RETURN NEW; END $$;"
            "CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON member FOR EACH ROW EXECUTE FUNCTION touch()"
        )
    house.back_up()
    yield house
    with cluster.server.connect("postgres") as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (f"{house.database}_",)
        ).fetchall()
        for (name,) in rows:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _put_back(house: House, *tables: str) -> MergeReport:
    return merge_backup(
        house.repository,
        house.catalog.find("latest"),
        house.server,
        house.database,
        Request(tables),
        RestoreOptions(house.plan.options.installations, timeout_seconds=60),
        clock=house.clock,
    )


def _do(house: House, statement: str, database: str | None = None) -> list[tuple[object, ...]]:
    with house.server.connect(database or house.database) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def _all(house: House, table: str) -> list[tuple[object, ...]]:
    return _do(house, f"SELECT * FROM {table} ORDER BY 1, 2")


def test_lost_changed_and_added_rows_become_those_of_the_backup(live: House) -> None:
    """Loss prevented: an UPDATE without WHERE, undone only in part."""
    before = _all(live, "sale")
    _do(live, "DELETE FROM sale WHERE id % 5 = 0; UPDATE sale SET total = 0 WHERE id % 7 = 0")
    _do(live, "INSERT INTO sale VALUES (9001, 1, 3)")
    merged = _put_back(live, "sale").merged
    assert merged is not None
    assert merged.clean
    (table,) = merged.tables
    assert (table.inserted, table.deleted) == (100, 1)
    assert table.updated > 0
    assert _all(live, "sale") == before


def test_rows_that_go_are_kept_beside(live: House) -> None:
    """Loss prevented: today's rows, gone because yesterday's were wanted back (invariant 6)."""
    _do(live, "INSERT INTO sale VALUES (9001, 1, 3); UPDATE sale SET total = 77 WHERE id = 1")
    merged = _put_back(live, "sale").merged
    assert merged is not None
    kept = _do(live, 'SELECT * FROM replaced."public.sale" ORDER BY id', merged.kept_in)
    assert [row[0] for row in kept] == [1, 9001]


def test_other_tables_keep_their_newer_rows(live: House) -> None:
    """Loss prevented: a table brought back together with the state of all others."""
    _do(live, "INSERT INTO member (name) VALUES ('newer'); DELETE FROM sale WHERE id < 10")
    members = _all(live, "member")
    _put_back(live, "sale")
    assert _all(live, "member") == members


def test_children_that_would_break_are_listed_and_nothing_changes(live: House) -> None:
    """Loss prevented: a sale whose member is gone."""
    _do(live, "INSERT INTO member (name) VALUES ('newer')")
    _do(
        live,
        "INSERT INTO sale SELECT 9001, max(id), 3 FROM member; UPDATE member SET name = 'x' WHERE id = 1",
    )
    before = _all(live, "member"), _all(live, "sale")
    merged = _put_back(live, "member").merged
    assert merged is not None
    assert not merged.clean
    assert len(merged.broken) == 1
    assert "public.sale" in merged.broken[0]
    assert (_all(live, "member"), _all(live, "sale")) == before
    databases = _do(
        live, f"SELECT count(*) FROM pg_database WHERE starts_with(datname, '{live.database}_')", "postgres"
    )
    assert databases == [(0,)]


def test_parent_and_child_go_back_together(live: House) -> None:
    """Loss prevented: an order of deletions that the foreign keys refuse although the result would be right."""
    members, sales = _all(live, "member"), _all(live, "sale")
    _do(live, "INSERT INTO member (name) VALUES ('newer')")
    _do(live, "INSERT INTO sale SELECT 9001, max(id), 3 FROM member; DELETE FROM sale WHERE id = 3")
    _do(live, "DELETE FROM member WHERE id = 3")
    merged = _put_back(live, "sale", "member").merged
    assert merged is not None
    assert merged.clean
    assert (_all(live, "member"), _all(live, "sale")) == (members, sales)


def test_a_cascade_never_fires_on_rows_that_stay(live: House) -> None:
    """Loss prevented: ON DELETE CASCADE takes the children of a row that was only to be put right."""
    _do(live, "ALTER TABLE sale DROP CONSTRAINT sale_member_id_fkey")
    _do(live, "ALTER TABLE sale ADD FOREIGN KEY (member_id) REFERENCES member ON DELETE CASCADE")
    sales = _all(live, "sale")
    _do(live, "UPDATE member SET name = 'wrong'")
    merged = _put_back(live, "member").merged
    assert merged is not None
    assert merged.clean
    assert _all(live, "sale") == sales


def test_the_application_s_triggers_do_not_change_what_comes_back(live: House) -> None:
    """Loss prevented: rows brought back with today's timestamps; and triggers left switched off afterwards."""
    before = _all(live, "member")
    _do(live, "UPDATE member SET name = 'wrong' WHERE id < 5")
    _put_back(live, "member")
    assert _all(live, "member") == before
    _do(live, "UPDATE member SET name = 'x' WHERE id = 1")
    assert _do(live, "SELECT touched IS NOT NULL FROM member WHERE id = 1") == [(True,)]


def test_triggers_keep_the_state_they_had(live: House) -> None:
    """Loss prevented: a trigger that somebody switched off, such as one that sends mail, fires again after a merge."""
    for name, state in (("mail", "DISABLE"), ("audit", "ENABLE ALWAYS"), ("feed", "ENABLE REPLICA")):
        _do(live, f"CREATE TRIGGER {name} BEFORE UPDATE ON member FOR EACH ROW EXECUTE FUNCTION touch()")
        _do(live, f"ALTER TABLE member {state} TRIGGER {name}")
    query = "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'member'::regclass ORDER BY 1"
    before = _do(live, query)
    _do(live, "DELETE FROM note WHERE sale_id = 1; UPDATE member SET name = 'wrong' WHERE id < 5")
    _put_back(live, "member")
    assert _do(live, query) == before


def test_a_table_without_key_comes_back_with_its_duplicates(live: House) -> None:
    """Loss prevented: equal rows counted once."""
    before = _all(live, "note")
    _do(live, "DELETE FROM note WHERE sale_id = 1; INSERT INTO note VALUES (1, 'note 1')")
    merged = _put_back(live, "note").merged
    assert merged is not None
    assert merged.clean
    assert _all(live, "note") == before


def test_a_table_that_has_changed_its_columns_is_refused(live: House) -> None:
    """Loss prevented: values put into the wrong columns after a migration."""
    _do(live, "ALTER TABLE sale ADD COLUMN note text")
    with pytest.raises(Refused, match="note"):
        _put_back(live, "sale")


def test_a_row_the_server_refuses_undoes_everything(live: House) -> None:
    """Loss prevented: half of the tables put back."""
    _do(live, "UPDATE member SET name = 'wrong' WHERE id < 5; UPDATE sale SET total = -1 WHERE id = 1")
    _do(live, "ALTER TABLE sale ADD CHECK (total <= 700) NOT VALID")
    before = _all(live, "member")
    _do(live, "DELETE FROM sale WHERE id > 490")
    with pytest.raises(BackupError):
        _put_back(live, "member", "sale")
    assert _all(live, "member") == before


def test_a_live_database_that_is_missing_is_refused(live: House) -> None:
    """Loss prevented: an hour of restoring into nothing."""
    with pytest.raises(Refused):
        merge_backup(
            live.repository,
            live.catalog.find("latest"),
            live.server,
            "nowhere_at_all",
            Request(("sale",)),
            RestoreOptions(live.plan.options.installations, timeout_seconds=60),
            clock=live.clock,
        )


def test_columns_that_an_index_only_carries_are_no_part_of_the_key(live: House) -> None:
    """Loss prevented: a row taken for another because its payload changed, and its children in the way."""
    _do(live, "ALTER TABLE member DROP CONSTRAINT member_pkey CASCADE")
    _do(live, "CREATE UNIQUE INDEX member_id ON member (id) INCLUDE (name)")
    before = _all(live, "member")
    _do(live, "UPDATE member SET name = 'wrong' WHERE id < 5")
    merged = _put_back(live, "member").merged
    assert merged is not None
    (table,) = merged.tables
    assert (table.inserted, table.updated, table.deleted) == (0, 4, 0)
    assert _all(live, "member") == before


def test_keys_are_compared_by_their_index_s_operator_and_nobody_s_path(
    cluster: ScratchCluster, live: House
) -> None:
    """Attack prevented: ``=`` for the key's type in a schema of the owner's, before pg_catalog, called by a merge.

    Loss prevented: a key whose type lives in an extension, for which the path of a session finds no operator.
    """
    _do(
        live,
        "CREATE SCHEMA own; CREATE EXTENSION citext SCHEMA own;"
        "CREATE TYPE public.kind AS ENUM ('a', 'b');"
        "CREATE TABLE public.word (word own.citext, kind public.kind, n int, PRIMARY KEY (kind, word));"
        "CREATE TABLE public.saying (n int PRIMARY KEY, kind public.kind, word own.citext,"
        "  FOREIGN KEY (kind, word) REFERENCES public.word);"
        "INSERT INTO public.word VALUES ('Bonjour', 'a', 1), ('Salut', 'b', 2);"
        "INSERT INTO public.saying VALUES (1, 'a', 'BONJOUR')",
    )
    live.now += timedelta(hours=1)
    live.back_up()
    _do(
        live,
        "CREATE TABLE own.called (what text);"
        "CREATE FUNCTION own.trap(int, int) RETURNS bool LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO own.called VALUES ('int'); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;"
        "CREATE FUNCTION own.trap(public.kind, public.kind) RETURNS bool LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO own.called VALUES ('kind'); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;"
        "CREATE OPERATOR own.= (LEFTARG = int, RIGHTARG = int, FUNCTION = own.trap);"
        "CREATE OPERATOR own.= (LEFTARG = public.kind, RIGHTARG = public.kind, FUNCTION = own.trap);"
        "UPDATE public.word SET n = 7 WHERE n OPERATOR(pg_catalog.=) 1; DELETE FROM public.sale WHERE id < 9;",
    )
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"ALTER DATABASE {live.database} SET search_path = own, pg_catalog, public")
    report = _put_back(live, "public.word", "public.saying", "public.sale")
    assert report.merged is not None
    assert report.merged.clean
    done = {each.table: (each.inserted, each.updated, each.deleted) for each in report.merged.tables}
    assert done["public.word"] == (0, 1, 0)
    assert done["public.sale"] == (8, 0, 0)
    assert _do(live, "SELECT * FROM own.called") == []


def test_rules_of_a_table_are_off_while_it_is_put_back(live: House) -> None:
    """Attack prevented: a rule ON INSERT that calls its owner's function with the rights of whoever merges."""
    _do(
        live,
        "CREATE TABLE public.called (what text); CREATE FUNCTION public.trap() RETURNS int LANGUAGE sql AS"
        " $$ INSERT INTO public.called VALUES ('rule') RETURNING 1 $$;"
        "CREATE RULE r AS ON INSERT TO public.note DO ALSO SELECT public.trap();"
        "CREATE RULE d AS ON DELETE TO public.note DO INSTEAD NOTHING;"
        "ALTER TABLE public.note ENABLE ALWAYS RULE d; UPDATE public.note SET text = 'x' WHERE sale_id = 1",
    )
    report = _put_back(live, "public.note")
    assert report.merged is not None
    assert report.merged.clean
    assert _do(live, "SELECT * FROM public.called") == []
    states = "SELECT rulename, ev_enabled FROM pg_rewrite WHERE rulename IN ('r', 'd') ORDER BY 1"
    assert _do(live, states) == [("d", "A"), ("r", "O")]


def test_rows_of_a_table_that_inherits_are_not_held_to_its_parents_foreign_key(live: House) -> None:
    """Loss prevented: a table that never comes back, because of rows which its key was never about."""
    _do(
        live,
        "CREATE TABLE receipt (id int PRIMARY KEY, sale_id int REFERENCES sale);"
        "CREATE TABLE old_receipt () INHERITS (receipt); INSERT INTO old_receipt VALUES (1, 77777)",
    )
    live.now += timedelta(hours=1)
    live.back_up()
    before = _all(live, "sale")
    _do(live, "DELETE FROM sale WHERE id > 100")
    merged = _put_back(live, "sale").merged
    assert merged is not None
    assert merged.clean
    assert _all(live, "sale") == before


def test_a_table_that_inherits_does_not_stand_in_for_rows_that_a_key_needs(live: House) -> None:
    """Loss prevented: rows that refer to nothing, since the row of a heir has the number they want."""
    _do(
        live,
        "CREATE TABLE branch () INHERITS (member); CREATE TABLE visit (id int PRIMARY KEY, m int REFERENCES member);"
        "INSERT INTO member (id, name) OVERRIDING SYSTEM VALUE VALUES (9001, 'new');"
        "INSERT INTO branch (id, name) VALUES (9001, 'heir');"
        "INSERT INTO visit VALUES (1, 9001)",
    )
    live.now += timedelta(hours=1)
    live.back_up()
    _do(live, "DELETE FROM visit; DELETE FROM ONLY member WHERE id = 9001; UPDATE sale SET total = 1")
    merged = merge_backup(
        live.repository,
        live.catalog.find("latest"),
        live.server,
        live.database,
        Request(["visit"]),
        RestoreOptions(live.plan.options.installations, timeout_seconds=60),
        clock=live.clock,
    ).merged
    assert merged is not None
    assert merged.broken == (
        "1 row of public.visit would refer to rows that public.member would not have (visit_m_fkey)",
    )
