"""What is told from a listing and a script is told in favour of caution."""

from __future__ import annotations

from recyclic_backups.restore.contents import (
    Entry,
    computes_nothing,
    definition_of,
    entries_of,
    mentioning,
    post_data_of,
)
from recyclic_backups.restore.script import _entry_at


def test_an_entry_is_of_the_kind_that_its_catalog_says() -> None:
    """Attack: a schema called ACL, in which a default seems to be a grant, and is made by the superuser."""
    kinds = {
        "1; 2604 9 DEFAULT ACL t DEFAULT PRIVILEGES FOR TABLES mallory": (
            "DEFAULT",
            "ACL t DEFAULT PRIVILEGES",
        ),
        "1; 826 9 DEFAULT ACL - DEFAULT PRIVILEGES FOR TABLES mallory": (
            "DEFAULT ACL",
            "- DEFAULT PRIVILEGES",
        ),
        "1; 2617 9 OPERATOR CLASS + mallory": ("OPERATOR", "CLASS +"),
        "1; 1259 9 TABLE DATA t mallory": ("TABLE", "DATA t"),
        "1; 0 9 TABLE DATA m t mallory": ("TABLE DATA", "m t"),
        "1; 1259 9 INDEX ATTACH i mallory": ("INDEX", "ATTACH i"),
        "1; 1247 9 DOMAIN TYPE t mallory": ("DOMAIN", "TYPE t"),
        "1; 9999 9 TYPE m t mallory": ("", "TYPE m t"),
    }
    for line, (kind, rest) in kinds.items():
        (entry,) = entries_of(line)
        assert (entry.kind, entry.rest[: len(rest)]) == (kind, rest), line


def _functions(*definitions: str) -> tuple[list[Entry], str]:
    entries = [
        Entry(number, "FUNCTION", f"m f{number}() mallory") for number in range(1, len(definitions) + 1)
    ]
    script = "".join(
        f"-- TOC entry {number} (class 1255 OID 9)\n{text}\n" for number, text in enumerate(definitions, 1)
    )
    return entries, script


def test_only_what_names_no_constant_of_a_type_computes_nothing() -> None:
    """Attack: a function in C, which only a superuser may make, with a default that runs its owner's code."""
    entries, script = _functions(
        "CREATE FUNCTION m.f1(a text DEFAULT 'x'::text) RETURNS integer\n    LANGUAGE c\n    AS 'lib', 'f1';",
        "CREATE FUNCTION m.f2(a m.d[] DEFAULT '{1}'::m.d[]) RETURNS integer\n    LANGUAGE c\n    AS 'lib', 'f2';",
        'CREATE FUNCTION m.f3(a "M".d DEFAULT \'(1)\'::"M"."a ""d""") RETURNS integer\n    LANGUAGE c',
        "CREATE FUNCTION m.f5() RETURNS integer\n    LANGUAGE sql\n    BEGIN ATOMIC\n SELECT '{1}'::m.d[];\nEND;",
    )
    assert [computes_nothing(entry, entries, script) for entry in entries] == [True, False, False, False]
    for text, plain in {
        "CREATE TABLE m.t (\n a integer DEFAULT 1,\n CHECK (m.one(a))\n)\nINHERITS (m.p);": True,
        "CREATE TABLE m.t (\n a integer GENERATED ALWAYS AS (m.one(7)) STORED\n);": False,
        "CREATE TABLE m.t (\n a integer\n)\nPARTITION BY RANGE (m.one(a));": False,
        "CREATE TABLE m.t (\n a m.d[] DEFAULT '{1}'::m.d[]\n);": False,
    }.items():
        table = Entry(1, "TABLE", "m t mallory")
        assert computes_nothing(table, [table], f"-- TOC entry 1 (class 1259 OID 9)\n{text}\n") is plain, text
    index = Entry(1, "INDEX", "m i mallory")
    assert not computes_nothing(
        index, [index], "-- TOC entry 1 (class 1259 OID 9)\nCREATE INDEX i ON m.t (a);\n"
    )


def test_a_text_that_looks_like_a_header_hides_nothing() -> None:
    """Attack: a body that holds the line between two entries, so that another function seems to be a plain one."""
    for number in (1, 2, 9):
        forged = (
            f"-- TOC entry {number} (class 1255 OID 9)\n"
            "CREATE FUNCTION m.f2() RETURNS integer\n    LANGUAGE c\n"
        )
        entries, script = _functions(
            f"CREATE FUNCTION m.f1() RETURNS integer\n    LANGUAGE sql\n    AS $$\n{forged}$$;",
            "CREATE FUNCTION m.f2(a m.d[] DEFAULT '{1}'::m.d[]) RETURNS integer\n    LANGUAGE sql\n    AS '';",
        )
        assert not any(computes_nothing(entry, entries, script) for entry in entries), number
        assert mentioning(entries, script, ["anything"]) == {1, 2}, number


def test_a_name_is_mentioned_as_a_whole() -> None:
    """Loss prevented: a restore refused because a superuser's index is of a table whose name holds the letter t."""
    entries, script = _functions("CREATE INDEX i ON m.t2 (a);", 'CREATE INDEX i ON m."t x" (t);', "ON m.t3")
    assert mentioning(entries, script, ["t"]) == {2}
    assert mentioning(entries, script, ["t x", "t3"]) == {2, 3}
    assert mentioning(entries, script, []) == frozenset()


def test_of_several_possible_owners_none_is_taken_for_a_superuser_alone() -> None:
    """Attack: a role called ``x postgres``, whose entries end with the name of a superuser."""
    entry = Entry(1, "FUNCTION", "m f() x postgres")
    assert entry.belongs_to(["postgres", "x postgres"]) == ["x postgres", "postgres"]


def test_a_name_does_not_put_an_entry_of_its_own_into_a_listing() -> None:
    """Attack: an index named so that the check of his rows counts as an index, and is made by the superuser."""
    for separator in "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e":
        named = f"i{separator}9; 1259 1 INDEX x"
        listing = f"7; 1259 11 INDEX m {named} mallory\n9; 2606 12 CHECK CONSTRAINT m t c mallory\n"
        entries = entries_of(listing)
        assert [entry.number for entry in entries] == [7, 9]
        found = post_data_of(entries)
        groups = [[entry.number for entry in group] for group in (found.independent, found.rest)]
        assert groups == [[7], [9]], repr(separator)


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
