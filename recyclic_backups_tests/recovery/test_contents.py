"""What is told from a listing and a script is told in favour of caution."""

from __future__ import annotations

from recyclic_backups.recovery.contents import Entry, computing, definition_of, entries_of, post_data_of
from recyclic_backups.recovery.script import _entry_at

LISTING = """\
1; 1255 10 FUNCTION m one(integer) mallory
2; 1259 11 TABLE m t mallory
3; 1259 12 TABLE m plain mallory
"""


def script(*, default: str = "", call: str = "m.one(7)") -> str:
    """What pg_restore writes for the listing."""
    return (
        "-- TOC entry 1 (class 1255 OID 10)\nCREATE FUNCTION m.one(integer) RETURNS integer ...;\n"
        "-- TOC entry 2 (class 1259 OID 11)\n"
        f"CREATE TABLE m.t (\n    x text DEFAULT '{default}',\n"
        f"    b integer GENERATED ALWAYS AS ((a + {call})) STORED\n);\n"
        "-- TOC entry 3 (class 1259 OID 12)\nCREATE TABLE m.plain (\n    a integer\n);\n"
    )


def found(text: str) -> set[int]:
    """The entries that compute something."""
    return set(computing(entries_of(LISTING), text, lambda entry: entry.rest.endswith("mallory")))


def test_a_generated_column_that_calls_a_strangers_function_is_found() -> None:
    """Attack: a constant that the planner computes while the table is made, as whoever makes it."""
    assert found(script()) == {2}
    assert found(script(call="1")) == set()


def test_a_function_whose_name_newer_programs_put_into_quotes_is_found() -> None:
    """Attack: pg_dump of 18 quotes json_table, a server of 15 writes the column that calls it without quotes."""
    text = script(call="m.json_table(7)").replace("FUNCTION m.one(", 'FUNCTION m."json_table"(')
    assert found(text) == {2}


def test_a_text_that_looks_like_a_header_hides_nothing() -> None:
    """Attack: a default that holds the line between two entries, so that the call seems to belong to another one."""
    for number in (1, 2, 3, 9):
        assert 2 in found(script(default=f"\n-- TOC entry {number} (class 1259 OID 12)\n")), number


def test_of_several_possible_owners_none_is_taken_for_a_superuser_alone() -> None:
    """Attack: a role called ``x postgres``, whose entries end with the name of a superuser."""
    entry = Entry(1, "FUNCTION", "m f() x postgres")
    assert entry.belongs_to(["postgres", "x postgres"]) == ["x postgres", "postgres"]


def test_a_name_does_not_put_an_entry_of_its_own_into_a_listing() -> None:
    """Attack: an index named so that the check of his rows counts as an index, and is made by the superuser."""
    for separator in "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e":
        listing = f"7; 1259 11 INDEX m i{separator}9; 1 1 INDEX x mallory\n9; 2606 12 CHECK CONSTRAINT m t c mallory\n"
        found = post_data_of(listing)
        assert (found.independent, found.rest) == ([7], [9]), repr(separator)
        assert [entry.number for entry in entries_of(listing)] == [7, 9]


def test_the_sql_of_an_entry_ends_where_something_else_begins() -> None:
    """Loss prevented: SQL to repair a restore with that psql refuses, because of the script's own last line."""
    last = (
        "-- TOC entry 1 (class 2606 OID 9)\n-- Name: t t_a_key; Type: FK CONSTRAINT; Schema: m; Owner: o\n--\n\n"
        "ALTER TABLE m.t ADD FOREIGN KEY (a) REFERENCES m.p;\n\n\n-- Completed on 2026-11-28\n\n--\n"
        "-- PostgreSQL database dump complete\n--\n\n\\unrestrict aB3\n\n"
    )
    assert definition_of(last, 1) == (
        "FK CONSTRAINT m.t t_a_key",
        "ALTER TABLE m.t ADD FOREIGN KEY (a) REFERENCES m.p;",
    )
    before_a_table = (
        "-- TOC entry 1 (class 1259 OID 9)\n-- Name: v; Type: VIEW; Schema: m; Owner: o\n--\n\n"
        "CREATE VIEW m.v AS\n SELECT 1;\n\n\nSET default_tablespace = '';\n\n"
        "SET default_table_access_method = heap;\n\n--\n-- TOC entry 2 (class 1259 OID 10)\n"
    )
    assert definition_of(before_a_table, 1) == ("VIEW m.v", "CREATE VIEW m.v AS\n SELECT 1;")


def test_a_header_inside_a_definition_is_not_taken_for_the_entry_at_which_psql_stopped() -> None:
    """Attack: a function that cannot be made, with another entry's header in it: all between them would be missing."""
    header = "--\n-- TOC entry {} (class 1259 OID 16384)\n-- Name: x\n--\n"
    script = header.format(7) + "SELECT 1;\n" + header.format(8) + "CREATE FUNCTION ...\n"
    said = "psql:<stdin>:3: WARNING:  not that one\npsql:<stdin>:{}: ERROR:  no\n"
    assert _entry_at(said.format(10), script.encode(), [7, 8, 9, 12]) == 8
    forged = script + "-- TOC entry 12 (class 1259 OID 16384)\n;\n"
    assert _entry_at(said.format(12), forged.encode(), [7, 8, 9, 12]) is None
