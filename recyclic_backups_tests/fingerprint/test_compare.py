"""Comparisons that need no server: sequences in all directions, and sentences for people."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.fingerprint.compare import compare
from recyclic_backups.fingerprint.model import (
    Fingerprint,
    MaterializedViewFingerprint,
    RoleFingerprint,
    SequenceFingerprint,
    SequenceReading,
    TableFingerprint,
)

UP = SequenceReading(120, True)
DOWN = SequenceReading(-10, True, increment=-5)
ROUND = SequenceReading(9, True, minimum=1, maximum=10)


def _differences(before: SequenceReading, after: SequenceReading, found: SequenceReading) -> tuple[str, ...]:
    expected = Fingerprint("content", sequences={"public.s": SequenceFingerprint(before, after)})
    actual = Fingerprint("content", sequences={"public.s": SequenceFingerprint(found, found)})
    return compare(expected, actual, same_major=True).differences


@pytest.mark.parametrize(
    ("start", "after", "good", "bad"),
    [
        (UP, 125, [120, 122, 125], [119, 126, -1]),
        (DOWN, -30, [-10, -15, -30], [-5, -35]),
        (ROUND, 2, [9, 10, 1, 2], [3, 8]),
    ],
    ids=["ascending", "descending", "cycling"],
)
def test_a_sequence_lies_between_its_readings(
    start: SequenceReading, after: int, good: list[int], bad: list[int]
) -> None:
    """A sequence that restarts too low hands out numbers twice; one that moved during the dump is fine."""
    end = replace(start, last_value=after)
    for value in good:
        assert _differences(start, end, replace(start, last_value=value)) == ()
    for value in bad:
        (sentence,) = _differences(start, end, replace(start, last_value=value))
        assert sentence.startswith("sequence public.s: ")


def test_a_sequence_not_yet_called_equals_one_called_one_step_before() -> None:
    """What counts is the number handed out next."""
    assert _differences(UP, UP, SequenceReading(121, False)) == ()
    assert _differences(UP, UP, SequenceReading(120, False)) == (
        "sequence public.s: the next value is 120 instead of 121",
    )


def test_the_sentence_about_a_sequence_gives_its_bounds() -> None:
    """A volunteer has to see by how much."""
    after = replace(UP, last_value=121)
    assert _differences(UP, after, SequenceReading(117, True)) == (
        "sequence public.s: 118 is not between 121 and 122",
    )


def test_a_missing_sequence_is_named() -> None:
    """Without it the next insert fails."""
    expected = Fingerprint("content", sequences={"public.s": SequenceFingerprint(UP, UP)})
    assert compare(expected, Fingerprint("content"), same_major=True).differences == (
        "sequence public.s is missing",
    )


def test_a_sequence_made_around_the_snapshot_is_not_judged() -> None:
    """One reading bounds nothing: a guess would be a false alarm."""
    expected = Fingerprint("content", sequences={"public.s": SequenceFingerprint(None, UP)})
    actual = Fingerprint("content", sequences={"public.s": SequenceFingerprint(DOWN, DOWN)})
    assert compare(expected, actual, same_major=True).equal


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_rows_and_nulls_are_counted_right(rows: int, found: int, values: int, kept: int) -> None:
    """A wrong number in the sentence sends people looking for rows that are not missing."""
    expected = TableFingerprint(rows, {"email": min(values, rows)}, "1")
    actual = TableFingerprint(found, {"email": min(kept, found)}, "1")
    comparison = compare(
        Fingerprint("content", tables={"public.m": expected}),
        Fingerprint("content", tables={"public.m": actual}),
        same_major=True,
    )
    (table,) = comparison.tables
    assert (table.rows_expected, table.rows_actual) == (rows, found)
    assert table.equal == (expected == actual)
    if rows > found:
        assert table.differences[0].startswith(f"public.m: {rows - found} row")
        assert f"({rows} expected, {found} found)" in table.differences[0]


def test_servers_that_differ_are_noted_and_losses_are_not() -> None:
    """Another version of an extension is for information; a missing one, or a missing role, is a loss."""
    expected = Fingerprint(
        "content",
        materialized_views={
            "public.a": MaterializedViewFingerprint(True, 5),
            "public.b": MaterializedViewFingerprint(False),
            "public.c": MaterializedViewFingerprint(False),
        },
        roles={"anna": RoleFingerprint(("login",), ("staff",)), "staff": RoleFingerprint()},
        extensions={"citext": "1.6", "pgcrypto": "1.3"},
    )
    actual = Fingerprint(
        "content",
        materialized_views={
            "public.a": MaterializedViewFingerprint(True, 6),
            "public.b": MaterializedViewFingerprint(True, 1),
        },
        roles={"anna": RoleFingerprint(("superuser",), ("others",)), "stranger": RoleFingerprint()},
        extensions={"citext": "1.7", "postgis": "3.4"},
    )
    comparison = compare(expected, actual, same_major=True)
    assert comparison.differences == (
        "materialized view public.c is missing",
        "extension pgcrypto is missing",
        "extension postgis was not there when the backup was taken",
        "role anna is no longer a member of staff",
        "role staff is missing",
    )
    assert comparison.notes[:6] == (
        "materialized view public.a: 5 rows then, 6 computed now",
        "materialized view public.b is populated and was not when the backup was taken",
        "extension citext: version 1.6 then, 1.7 now",
        "role anna is a member of others and was not when the backup was taken",
        "role anna no longer has: login",
        "role anna now has: superuser",
    )
    without_owners = compare(expected, actual, same_major=True, owners=False)
    assert "role staff is missing" in without_owners.notes
    assert len(without_owners.differences) == 3


def test_a_table_asked_for_that_is_nowhere_is_a_difference() -> None:
    """Restoring a table that the backup does not have must not end as a success."""
    comparison = compare(
        Fingerprint("content"), Fingerprint("content"), same_major=True, only_tables=["public.sale"]
    )
    assert not comparison.equal


def test_views_written_another_way_by_another_version_are_notes() -> None:
    """Each major version writes the text of a view its own way: no alarm, but said."""
    expected = Fingerprint("content", listing={"TEXT OF VIEW public.v": "1", "VIEW public.v": "2 anna"})
    actual = Fingerprint("content", listing={"TEXT OF VIEW public.v": "9", "VIEW public.v": "2 anna"})
    comparison = compare(expected, actual, same_major=False)
    assert comparison.equal
    assert "TEXT OF VIEW public.v differs in its definition" in comparison.notes
