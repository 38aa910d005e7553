"""What counts as a loss: shrinking beyond what is usual, and never growth."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recyclic_backups.diagnose.losses import (
    Dated,
    Judgement,
    LiveFigures,
    Loss,
    find_losses,
    least_expected,
    usual_loss,
)
from recyclic_backups.fingerprint.model import (
    Fingerprint,
    LargeObjectsFingerprint,
    SequenceFingerprint,
    SequenceReading,
    TableFingerprint,
)
from recyclic_backups_tests.fingerprint.rows import table_of

NIGHT = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
DAY = timedelta(days=1)
counts = st.integers(0, 10**9)


def _table(rows: int, **values: int) -> TableFingerprint:
    return TableFingerprint(rows=rows, non_null=values)


def _at(days: float, tables: Mapping[str, TableFingerprint], **rest: object) -> Dated:
    return Dated(NIGHT + days * DAY, Fingerprint(level="counts", tables=tables, **rest))  # type: ignore[arg-type]


def _nights(rows: Sequence[int]) -> list[Dated]:
    """One backup a night, the last one on NIGHT, of a table with so many rows."""
    return [_at(number - len(rows) + 1, {"public.sale": _table(each)}) for number, each in enumerate(rows)]


def _judged(nights: Sequence[Dated], live: TableFingerprint | int, hours: float = 10) -> Judgement:
    now = live if isinstance(live, TableFingerprint) else _table(live)
    return find_losses(nights[-1], LiveFigures({"public.sale": now}), nights, NIGHT + timedelta(hours=hours))


def _kinds(judgement: Judgement) -> list[str]:
    return [loss.kind for loss in judgement.losses]


tables = st.builds(
    lambda rows, shares: _table(rows, **{name: int(rows * share) for name, share in shares.items()}),
    st.integers(0, 10**7),
    st.dictionaries(st.sampled_from("abcd"), st.floats(0, 1), max_size=4),
)


@given(
    base=tables,
    more_rows=st.integers(0, 10**6),
    more_values=st.integers(0, 10**6),
    history=st.lists(st.integers(0, 10**7), max_size=8),
    hours=st.floats(0, 24 * 400),
)
def test_what_only_grew_is_never_a_loss(
    base: TableFingerprint, more_rows: int, more_values: int, history: list[int], hours: float
) -> None:
    """Loss prevented: an alarm every morning, until nobody reads it."""
    rows = base.rows + more_rows
    grown = _table(rows, **{name: min(value + more_values, rows) for name, value in base.non_null.items()})
    past = [_at(number - len(history), {"public.sale": _table(each)}) for number, each in enumerate(history)]
    nights = [*past, _at(0, {"public.sale": base})]
    assert _judged(nights, grown, hours).losses == ()


@given(
    history=st.lists(st.integers(0, 10**7), min_size=1, max_size=10),
    kept=st.floats(0, 1, exclude_max=True),
    hours=st.floats(0, 24 * 60),
)
def test_a_loss_beyond_what_is_usual_is_always_told(history: list[int], kept: float, hours: float) -> None:
    """Loss prevented: rows that are gone, taken for the ordinary."""
    nights = _nights(history)
    usual = usual_loss([(each.as_of, each.fingerprint.tables["public.sale"].rows) for each in nights])
    least = least_expected(history[-1], usual, timedelta(hours=hours))
    assume(least > 0)
    assert _kinds(_judged(nights, int((least - 1) * kept), hours)) == ["rows"]


@given(history=st.lists(counts, min_size=1, max_size=10).map(sorted), gone=st.integers(1, 10**9))
def test_a_table_that_never_shrank_has_no_allowance(history: list[int], gone: int) -> None:
    """Loss prevented: one sale less, where sales are never deleted."""
    assume(history[-1] >= gone)
    assert _kinds(_judged(_nights(history), history[-1] - gone)) == ["rows"]


@given(before=counts, after=counts, days=st.floats(0, 30))
def test_values_lost_beyond_the_rows_that_went_are_told(before: int, after: int, days: float) -> None:
    """Loss prevented: a column emptied while new rows keep coming."""
    base = _at(0, {"public.sale": _table(before, phone=before)})
    live = _table(before, phone=min(after, before))
    losses = _judged([base], live, 24 * days).losses
    assert [(loss.kind, loss.column) for loss in losses] == ([("values", "phone")] if after < before else [])


def test_a_nightly_cleaning_up_explains_its_like() -> None:
    """Loss prevented: a log that is shortened every night, reported every morning."""
    nights = _nights([1000, 900, 810, 729])
    assert _judged(nights, 657).losses == ()
    assert _kinds(_judged(nights, 600)) == ["rows"]
    assert _judged(nights, 600, hours=36).losses == ()  # two nights


def test_an_accident_of_the_past_does_not_become_usual() -> None:
    """Loss prevented: half of a table gone for the second time, because it had happened before."""
    nights = _nights([1000, 400, 1000, 990, 1000])
    assert _kinds(_judged(nights, 900)) == ["rows"]
    assert _judged(nights, 985).losses == ()


def test_backups_of_the_same_hour_do_not_multiply_a_shrink() -> None:
    """Loss prevented: a loss of everything allowed, because three backups in an hour saw a clean-up."""
    nights = [
        _at(-days, {"public.sale": _table(rows)}) for days, rows in ((0.08, 1000), (0.04, 950), (0, 900))
    ]
    assert _kinds(_judged(nights, 700)) == ["rows"]


def test_without_history_a_shrink_is_told_and_said_to_be_without() -> None:
    """Loss prevented: silence in the first week."""
    judgement = _judged(_nights([100]), 99)
    (loss,) = judgement.losses
    assert (loss.lost, loss.expected, loss.found) == (1, 100, 99)
    assert judgement.notes == ("there is no earlier backup to tell whether such losses are usual",)


def test_that_some_tables_have_no_history_is_said_once_and_which() -> None:
    """Loss prevented: the finding that matters, among ten times the same remark."""
    nights = [
        _at(-1, {"public.old": _table(100)}),
        _at(0, {"public.old": _table(100), "public.new": _table(100, phone=100)}),
    ]
    live = LiveFigures({"public.old": _table(90), "public.new": _table(90, phone=1)})
    judgement = find_losses(nights[-1], live, nights, NIGHT + timedelta(hours=1))
    assert [("earlier backup" in loss.sentence) for loss in judgement.losses] == [False, False, True]
    assert judgement.notes == (
        "there is no earlier backup with public.new to tell whether such losses are usual",
    )


def test_half_a_column_is_found_while_new_rows_arrive() -> None:
    """Loss prevented: UPDATE … SET phone = NULL, hidden by a busy day."""
    nights = [
        _at(-1, {"public.sale": _table(900, phone=900)}),
        _at(0, {"public.sale": _table(1000, phone=1000)}),
    ]
    (loss,) = _judged(nights, _table(1100, phone=600)).losses
    assert (loss.kind, loss.column, loss.lost) == ("values", "phone", 400)
    assert "100.0 % of rows had one, 54.5 % have" in loss.sentence


def test_rows_that_go_take_their_values_with_them() -> None:
    """Loss prevented: one loss reported once for each column, so that nobody sees which it is."""
    judgement = _judged(
        [_at(0, {"public.sale": _table(1000, id=1000, phone=700)})], _table(900, id=900, phone=620)
    )
    assert _kinds(judgement) == ["rows"]


def test_a_share_that_fell_among_more_values_is_a_remark() -> None:
    """Loss prevented: emptied rows hidden behind twice as many new ones, with no word about it."""
    nights = [
        _at(-1, {"public.sale": _table(900, phone=900)}),
        _at(0, {"public.sale": _table(1000, phone=1000)}),
    ]
    judgement = _judged(nights, _table(2000, phone=1500))
    assert judgement.losses == ()
    assert "public.sale.phone" in judgement.notes[0]


def test_missing_tables_and_columns_are_told_unread_ones_are_not() -> None:
    """Loss prevented: a DROP TABLE found by a customer, and a table without a GRANT taken for a dropped one."""
    base = _at(0, {"public.gone": _table(3), "public.secret": _table(4), "public.sale": _table(5, a=5, b=2)})
    live = LiveFigures({"public.sale": _table(5, a=5)}, unread=frozenset({"public.secret"}))
    losses = find_losses(base, live, [], NIGHT + DAY).losses
    assert [(loss.kind, loss.name, loss.column) for loss in losses] == [
        ("table", "public.gone", None),
        ("column", "public.sale", "b"),
    ]


def test_a_table_that_only_has_another_name_is_told_with_that_name() -> None:
    """Loss prevented: a table put back beside its renamed self, and a day's rows in the wrong one of the two."""
    rows = {f"member {number}" for number in range(50)}
    base = _at(0, {"public.member": table_of(rows)})
    others = table_of({f"other {number}" for number in range(50)})
    renamed = LiveFigures({"public.person": table_of(rows | {"a new one"}), "public.other": others})
    (loss,) = find_losses(base, renamed, [], NIGHT + DAY).losses
    assert (loss.kind, loss.name) == ("table", "public.member")
    assert "public.person now: it may only have another name" in loss.sentence
    (loss,) = find_losses(base, LiveFigures({"public.other": others}), [], NIGHT + DAY).losses
    assert "another name" not in loss.sentence


def test_a_copy_of_half_a_table_that_is_gone_is_not_its_new_name() -> None:
    """Loss prevented: half the members given up for good, since "most of which are in public.sample now"."""
    rows = [f"member {number}" for number in range(1000)]
    base = _at(0, {"public.member": table_of(rows)})
    for there, renamed in ((520, False), (900, True)):
        live = LiveFigures({"public.sample": table_of(rows[:there])})
        (loss,) = find_losses(base, live, [], NIGHT + DAY).losses
        assert ("another name" in loss.sentence) is renamed


def test_partitions_that_go_every_month_are_no_loss() -> None:
    """Loss prevented: an alarm on the first of each month."""

    def night(day: int, months: range) -> Dated:
        names = [f"public.sale_{month}" for month in months]
        root = TableFingerprint(rows=0, non_null={}, partitions=tuple(names))
        return _at(day, {"public.sale": root, **{name: _table(10) for name in names}})

    nights = [night(-60, range(1, 4)), night(-30, range(2, 5)), night(0, range(3, 6))]
    live = LiveFigures(night(0, range(4, 7)).fingerprint.tables)
    assert find_losses(nights[-1], live, nights, NIGHT + DAY).losses == ()
    assert [loss.name for loss in find_losses(nights[0], live, nights[:1], NIGHT + DAY).losses] == [
        "public.sale_1",
        "public.sale_2",
        "public.sale_3",
    ]


def _sequence(
    value: int, increment: int = 1, minimum: int | None = None, maximum: int | None = None
) -> SequenceReading:
    return SequenceReading(value, True, increment, minimum, maximum)


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        (_sequence(100), _sequence(100), None),
        (_sequence(100), _sequence(150), None),
        (_sequence(100), _sequence(1), (101, 2)),
        (_sequence(-100, -1), _sequence(-150, -1), None),
        (_sequence(-100, -1), _sequence(-1, -1), (-101, -2)),
        (_sequence(9, minimum=1, maximum=10), _sequence(2, minimum=1, maximum=10), None),
        (_sequence(100), None, (101, 0)),
    ],
)
def test_a_sequence_that_went_back_is_a_loss(
    then: SequenceReading, now: SequenceReading | None, expected: tuple[int, int] | None
) -> None:
    """Loss prevented: receipts numbered twice."""
    base = _at(0, {}, sequences={"public.n": SequenceFingerprint(then, then)})
    losses = find_losses(base, LiveFigures({}, {"public.n": now} if now else {}), [], NIGHT).losses
    assert [(loss.expected, loss.found) for loss in losses] == ([expected] if expected else [])


def test_large_objects_are_counted() -> None:
    """Loss prevented: scanned documents deleted, with every table intact."""
    base = _at(0, {}, large_objects=LargeObjectsFingerprint(count=5))
    losses = find_losses(base, LiveFigures({}, large_objects=4), [], NIGHT).losses
    assert losses == (Loss("large_objects", "large objects", losses[0].sentence, 5, 4),)


def _members(rows: Collection[str]) -> dict[str, TableFingerprint]:
    return {"public.member": table_of(rows)}


def _lived(nights: int, *, edited: int = 2) -> list[Dated]:
    """One backup a night, the last one on NIGHT, of a hundred members of whom so many move every day."""
    found = []
    for number in range(nights):
        rows = [f"{n} {number if n < edited * number else 0}" for n in range(100 + number)]
        found.append(_at(number - nights + 1, _members(rows)))
    return found


def _after(nights: Sequence[Dated], change: Callable[[int], str], hours: float = 10) -> Judgement:
    rows = nights[-1].fingerprint.tables["public.member"].rows
    live = LiveFigures(_members([change(n) for n in range(rows)]))
    return find_losses(nights[-1], live, nights, NIGHT + timedelta(hours=hours))


def test_rows_that_all_became_others_are_a_loss_though_none_is_missing() -> None:
    """Loss prevented: members encrypted in place, and "no damage found"."""
    (loss,) = _after(_lived(6), lambda n: f"sealed {n}").losses
    assert (loss.kind, loss.name, loss.expected) == ("rewritten", "public.member", 105)
    assert loss.lost >= 80
    assert _kinds(_after(_lived(6), lambda n: f"sealed {n}", hours=24 * 5)) == ["rewritten"]


def test_rows_edited_as_usual_are_no_loss() -> None:
    """Loss prevented: a day's work undone by the command that is proposed."""
    nights = _lived(6)
    assert _after(nights, lambda n: f"{n} {5 if n < 10 else 0}").losses == ()
    rewritten_daily = [
        _at(number - 5, _members([f"{number} {n}" for n in range(100)])) for number in range(6)
    ]
    assert _after(rewritten_daily, lambda n: f"today {n}") == Judgement(())


def test_with_few_backups_rewritten_rows_are_a_note() -> None:
    """Loss prevented: a command to undo what happens every night, in the first week."""
    judgement = _after(_lived(3), lambda n: f"sealed {n}")
    assert judgement.losses == ()
    (note,) = judgement.notes
    assert "public.member" in note
    assert "too few backups" in note
