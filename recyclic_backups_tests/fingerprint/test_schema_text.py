"""A schema dump is cut into entries that can be named, and only real changes change them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.fingerprint.schema_text import canonical_expression, schema_entries
from recyclic_backups_tests.fingerprint.conftest import Club

HEADER = "--\n-- Name: {name}; Type: {type}; Schema: {schema}; Owner: {owner}\n--\n\n{body}\n\n\n"


def _text(*entries: tuple[str, str, str, str, str]) -> str:
    keys = ("type", "schema", "name", "owner", "body")
    return "\\restrict x1\n\nSET row_security = off;\n\n" + "".join(
        HEADER.format(**dict(zip(keys, entry, strict=True))) for entry in entries
    )


def test_entries_are_named_for_their_object(club_template: Club) -> None:
    """The name of an entry is what the operator reads: it has to lead to the object."""
    entries = schema_entries(club_template.schema_text())
    for name in (
        "TABLE public.members",
        "INDEX public.sales_sold_at_idx",
        "SEQUENCE public.sale_number",
        "FUNCTION public.greet(text)",
        "SCHEMA odd schema",
        'ACL SCHEMA "odd schema"',
        "ACL TABLE public.sales",
        "ACL COLUMN public.visits.note",
        "COMMENT TABLE public.sales",
        "FK CONSTRAINT public.sales sales_member_fkey",
        'TABLE odd schema.Dot.ted "table"',
    ):
        assert name in entries
    assert entries["TABLE public.things"].endswith(" club_owner")
    assert len(entries) > 50


def test_a_dump_by_hand_is_the_same_but_for_its_key(club_template: Club) -> None:
    """Two dumps of one database have to be equal, or no restore ever would be."""
    once, again = club_template.schema_text(), club_template.schema_text()
    assert schema_entries(once) == schema_entries(again)


def test_what_moves_between_entries_changes_none() -> None:
    """pg_dump writes a SET line where it is first needed: not a change of the entry before it."""
    entry = ("TABLE", "public", "a", "anna", "CREATE TABLE public.a ();")
    moved = (
        *entry[:4],
        entry[4] + "\n\n\nALTER TABLE public.a OWNER TO anna;\n\nSET default_tablespace = '';",
    )
    assert schema_entries(_text(entry)) == schema_entries(_text(moved))
    renamed = (*entry[:3], "berta", entry[4])
    (kept,), (changed,) = (schema_entries(_text(each)).values() for each in (entry, renamed))
    assert kept.split()[0] == changed.split()[0]
    assert changed.split()[1] == "berta"


def test_grants_in_another_order_are_the_same() -> None:
    """A restore may list the same grants in another order."""
    grants = ["GRANT SELECT ON TABLE public.a TO b;", "GRANT ALL ON TABLE public.a TO c;"]
    one = _text(("ACL", "public", "TABLE a", "anna", "\n".join(grants)))
    other = _text(("ACL", "public", "TABLE a", "anna", "\n".join(reversed(grants))))
    assert schema_entries(one) == schema_entries(other)
    assert schema_entries(one) != schema_entries(one.replace("GRANT ALL", "GRANT UPDATE"))


def test_two_entries_of_one_name_are_both_kept() -> None:
    """One would otherwise hide the loss of the other."""
    text = _text(*(("RULE", "public", "a r", "anna", f"CREATE RULE {number};") for number in range(3)))
    assert list(schema_entries(text)) == ["RULE public.a r", "RULE public.a r #2", "RULE public.a r #3"]


@pytest.mark.parametrize(
    ("written", "restored"),
    [
        (
            "ANY ((ARRAY['a'::character varying, 'b, ''c]'::character varying])::text[])",
            "ANY (ARRAY[('a'::character varying)::text, ('b, ''c]'::character varying)::text])",
        ),
        ("ANY (ARRAY[1, 2])", "ANY (ARRAY[1, 2])"),
        ("ARRAY['(ARRAY[x])::text[]'::text]", "ARRAY['(ARRAY[x])::text[]'::text]"),
    ],
)
def test_lists_of_varchar_are_read_as_they_come_back(written: str, restored: str) -> None:
    """CHECK (kind IN (...)) on a varchar column is written in two ways: every restore would look like a change."""
    if "'(ARRAY" not in written:
        assert canonical_expression(written) == restored
    assert canonical_expression(restored) == canonical_expression(canonical_expression(written))


@given(st.text(alphabet="AR Y[]()':text,\n-;NameTypSchOwr", max_size=200))
def test_any_text_is_cut_without_a_crash(text: str) -> None:
    """Function bodies hold anything; the parser must neither fail nor hang on it."""
    entries = schema_entries(_text(("FUNCTION", "public", "f()", "anna", text)))
    assert "FUNCTION public.f()" in entries
    assert all(re.fullmatch(r"[0-9a-f]{16}( .+)?", value) for value in entries.values())


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE " + '"' * 5001,
        "ALTER TABLE " + '"a' * 4000,
        "CREATE POLICY " + '"' * 4001 + " ON ",
        "CHECK ((ARRAY[" + "'" * 4001,
        "CHECK ((ARRAY[" + "'a''b'" * 2000 + "])",
    ],
)
def test_a_text_of_nothing_but_quotes_is_read_in_no_time(statement: str) -> None:
    """Prevents a backup that never ends over a name that somebody chose. The fuzzer found one, after seven minutes."""
    text = f"--\n-- Name: x; Type: TABLE; Schema: public; Owner: o\n--\n\n{statement}\n"
    assert list(schema_entries(text)) == ["TABLE public.x"]
