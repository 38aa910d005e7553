"""Every way in which a restored database can differ is named: that, exactly, and nothing else."""

from __future__ import annotations

import pytest

from recyclic_backups.fingerprint.compare import compare
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups_tests.fingerprint.conftest import Club

# Damages of one batch are done to one copy of the database: each must be named, and nothing else.
BATCHES: dict[str, dict[str, tuple[str, list[str]]]] = {
    "values": {
        "one value": (
            "UPDATE public.members SET email = 'other@example.org' WHERE id = 7",
            ["public.members: content differs though row counts are equal"],
        ),
        "a zero behind the point": (
            "UPDATE public.things SET price = 1.00 WHERE price = 1.0",
            ["public.things: content differs though row counts are equal"],
        ),
        "a last digit of a float": (
            "UPDATE public.sales SET ratio = 0.33333333333333337 WHERE number = 100",
            ["public.sales: content differs though row counts are equal"],
        ),
        "a row twice": (
            "INSERT INTO public.visits SELECT * FROM public.visits WHERE day = '2025-12-02'",
            ["public.visits_2025: 1 row too many (30 expected, 31 found)"],
        ),
        "a row without columns": (
            "DELETE FROM public.nothing",
            ["public.nothing: 1 row missing (1 expected, 0 found)"],
        ),
        "a sequence set back": (
            "SELECT setval('public.sale_number', 50)",
            ["sequence public.sale_number: the next value is 51 instead of 120"],
        ),
        "a byte of a large object": (
            "SELECT lo_put(4242, 1200000, '\\x01')",
            ["large objects: content differs though number and size are equal"],
        ),
        "a grant": (
            "REVOKE SELECT ON public.members FROM club_reader",
            ["the grants on TABLE public.members are missing"],
        ),
        "an index": (
            "DROP INDEX public.sales_sold_at_idx",
            ["INDEX public.sales_sold_at_idx is missing"],
        ),
        "a label of an enum": (
            "ALTER TYPE public.state ADD VALUE 'lost'",
            ["TYPE public.state differs in its definition"],
        ),
        "a trigger switched off": (
            "ALTER TABLE public.sales DISABLE TRIGGER sales_touch",
            ["TRIGGER public.sales sales_touch differs in its definition"],
        ),
    },
    "rows": {
        "values swapped between rows": (
            "UPDATE public.members SET name = 'member ' || (CASE id WHEN 1 THEN 2 ELSE 1 END) WHERE id IN (1, 2)",
            ["public.members: content differs though row counts are equal"],
        ),
        "one row": (
            "DELETE FROM public.visits WHERE day = '2026-01-02'",
            ["public.visits_2026: 1 row missing (10 expected, 9 found)"],
        ),
        "null for an empty text": (
            "UPDATE ONLY public.things SET label = NULL WHERE label = ''",
            ["public.things.label: 1 value became null"],
        ),
        "a table": (
            "DROP TABLE public.cache",
            ["public.cache: the table is missing"],
        ),
        "two bytes traded between pieces of a large object": (
            "SELECT lo_put(4242, 0, lo_get(4242, 1, 1)), lo_put(4242, 1, lo_get(4242, 1048576, 1))",
            ["large objects: content differs though number and size are equal"],
        ),
        "a policy": (
            "ALTER POLICY own_sales ON public.sales USING (member > 11)",
            ["POLICY public.sales own_sales differs in its definition"],
        ),
        "a function's body": (
            "CREATE OR REPLACE FUNCTION public.greet(who text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT who'",
            ["FUNCTION public.greet(text) differs in its definition"],
        ),
        "an owner": (
            "ALTER TABLE public.boats OWNER TO club_owner",
            ["TABLE public.boats belongs to club_owner instead of {superuser}"],
        ),
    },
    "columns": {
        "a value moved to another column": (
            "UPDATE public.members SET phone = email, email = NULL WHERE id = 1",
            [
                "public.members.email: 1 value became null",
                "public.members.phone: 1 null value became something else",
            ],
        ),
        "a partition's row moved to another table": (
            "WITH gone AS (DELETE FROM public.boats RETURNING name, price, label)"
            " INSERT INTO public.things SELECT * FROM gone",
            [
                "public.boats: 1 row missing (1 expected, 0 found)",
                "public.things: 1 row too many (2 expected, 3 found)",
            ],
        ),
        "an identity set back": (
            "ALTER TABLE public.members ALTER id RESTART",
            ["sequence public.members_id_seq: the next value is 1 instead of 51"],
        ),
        "a large object": (
            "SELECT lo_unlink(4343)",
            ["large objects: 1 missing (2 expected, 1 found)"],
        ),
        "a grant on a column": (
            "REVOKE UPDATE (note) ON public.visits FROM club_reader",
            ["the grants on {column} are missing"],
        ),
        "a foreign key": (
            "ALTER TABLE public.sales DROP CONSTRAINT sales_member_fkey",
            ["{foreign_key} public.sales sales_member_fkey is missing"],
        ),
        "a materialized view's rows": (
            "REFRESH MATERIALIZED VIEW public.totals WITH NO DATA",
            ["materialized view public.totals is not populated; REFRESH MATERIALIZED VIEW fills it"],
        ),
    },
    "the rest": {
        "an empty text for null": (
            "UPDATE ONLY public.things SET label = '' WHERE label IS NULL",
            ["public.things.label: 1 null value became something else"],
        ),
        "a table that nobody knows": (
            "CREATE TABLE public.surprise AS SELECT 1 AS one; REVOKE ALL ON public.surprise FROM club_reader",
            ["public.surprise: the table was not there when the backup was taken"],
        ),
        "a default": (
            "ALTER TABLE public.members ALTER kind SET DEFAULT 'child'",
            ["TABLE public.members differs in its definition"],
        ),
        "the end of a large object": (
            "SELECT lo_truncate(lo_open(4242, 131072), 1000)",
            ["large objects: 1400000 bytes expected, 1000 found"],
        ),
    },
    "grants on large objects": {
        "a grant on a large object": (
            "REVOKE ALL ON LARGE OBJECT 4242 FROM club_reader",
            ["large objects: owners or grants differ"],
        ),
    },
}
# The text of a schema dump and the catalog's listing name some things differently.
NAMES = {
    True: {"column": "COLUMN public.visits.note", "foreign_key": "FK CONSTRAINT"},
    False: {"column": "TABLE public.visits", "foreign_key": "CONSTRAINT"},
}


@pytest.mark.parametrize("batch", BATCHES)
def test_damage_is_named_exactly(batch: str, club: Club, intact: Fingerprint) -> None:
    """A difference that goes unnoticed is a loss; one too many is an alarm nobody believes the next time."""
    for statements, _ in BATCHES[batch].values():
        club.execute(statements)
    damaged = club.fingerprint()
    for same_major, names in NAMES.items():
        expected = [
            sentence.format(**names, superuser=club.server.user)
            for _, sentences in BATCHES[batch].values()
            for sentence in sentences
        ]
        assert sorted(compare(intact, damaged, same_major=same_major).differences) == sorted(expected)


def test_an_untouched_copy_is_equal(club: Club, intact: Fingerprint) -> None:
    """Otherwise every drill would be red."""
    copy = club.fingerprint()
    for same_major in (True, False):
        comparison = compare(intact, copy, same_major=same_major)
        assert comparison.equal
        assert all(table.equal and table.rows_expected == table.rows_actual for table in comparison.tables)


def test_the_order_of_rows_and_columns_does_not_matter(club: Club, intact: Fingerprint) -> None:
    """A restore writes rows and columns in another order: the same content must count as the same."""
    club.execute("""
        ALTER TABLE public.things ADD COLUMN name_again text;
        UPDATE public.things SET name_again = name;
        DROP VIEW public.adults;
        ALTER TABLE public.things DROP COLUMN name;
        ALTER TABLE public.things RENAME COLUMN name_again TO name;
        CREATE TABLE sorted AS SELECT * FROM public.members ORDER BY id DESC;
    """)
    actual = club.fingerprint(schema=False)
    assert actual.tables["public.things"].content == intact.tables["public.things"].content
    assert actual.tables["public.boats"].content == intact.tables["public.boats"].content


def test_a_lost_membership_is_named_and_new_attributes_are_notes(club: Club, intact: Fingerprint) -> None:
    """Grants to a group are worth nothing to a role that is no longer in it."""
    try:
        club.execute(
            "REVOKE club_staff FROM club_reader; ALTER ROLE club_owner NOLOGIN;"
            "ALTER ROLE club_reader SET work_mem = '9MB'"
        )
        damaged = club.fingerprint()
    finally:
        club.execute(
            "GRANT club_staff TO club_reader; ALTER ROLE club_owner LOGIN;"
            "ALTER ROLE club_reader SET work_mem = '8MB'"
        )
    comparison = compare(intact, damaged, same_major=True)
    assert comparison.differences == ("role club_reader is no longer a member of club_staff",)
    assert comparison.notes == (
        "role club_owner no longer has: login",
        "role club_reader has another setting of work_mem",
    )


def test_without_owners_grants_and_owners_are_passed_over(club: Club, intact: Fingerprint) -> None:
    """A restore with --no-owner loses owners on purpose; other losses still show."""
    club.execute("""
        ALTER TABLE public.boats OWNER TO club_owner;
        REVOKE ALL ON public.members FROM club_reader;
        REVOKE ALL ON LARGE OBJECT 4242 FROM club_reader;
        DROP INDEX public.sales_sold_at_idx;
    """)
    damaged = club.fingerprint()
    for same_major in (True, False):
        comparison = compare(intact, damaged, same_major=same_major, owners=False)
        assert comparison.differences == ("INDEX public.sales_sold_at_idx is missing",)


def test_a_restore_of_some_tables_is_compared_by_those(club: Club, intact: Fingerprint) -> None:
    """A partial restore leaves the rest out on purpose, and must still be proven for what it brings."""
    club.execute("DROP TABLE public.visits, public.boats, public.things; DELETE FROM public.sales")
    only = intact.needed_for(["public.sales"])
    assert only == {"public.sales", "public.members"}
    comparison = compare(intact, club.fingerprint(schema=False), same_major=True, only_tables=only)
    assert comparison.differences == ("public.sales: 20 rows missing (20 expected, 0 found)",)
    assert intact.needed_for(["public.visits_2025"]) >= {
        "public.visits",
        "public.visits_2026",
        "public.members",
    }


def test_counts_compare_what_both_have(club: Club, intact: Fingerprint) -> None:
    """Counting alone must neither alarm over contents it has not read nor keep quiet about that."""
    club.execute("UPDATE public.sales SET amount = amount + 1; UPDATE public.members SET email = NULL")
    comparison = compare(intact, club.fingerprint("counts"), same_major=True)
    assert comparison.differences == ("public.members.email: 50 values became null",)
    assert comparison.notes == ("rows and non-null values were counted; contents were not compared",)
