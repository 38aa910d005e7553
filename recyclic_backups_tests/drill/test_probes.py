"""Probes: what they may say, and how their answers are judged."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.drill.probes import ask, columns_of, judge, load_probes, parse
from recyclic_backups.errors import ConfigurationError
from recyclic_backups.postgres.scratch import ScratchCluster

AS_OF = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
_WITHOUT_ZONE = datetime(2026, 11, 22, 0, 30)  # noqa: DTZ001 - as a column of type timestamp is read


@pytest.mark.parametrize(
    ("expect", "row", "passes"),
    [
        ("rows", (1,), True),
        ("rows", None, False),
        ("no rows", None, True),
        ("no rows", ("orphan",), False),
        ("true", (True,), True),
        ("true", (1,), False),
        ("true", (None,), False),
        ("true", None, False),
        ("at least 3", (3,), True),
        ("at least 3", (Decimal("2.99"),), False),
        ("at least 3", (True,), False),
        ("at least 3", (None,), False),
        ("younger than 2 days", (AS_OF - timedelta(days=2),), True),
        ("younger than 2 days", (AS_OF - timedelta(days=2, seconds=1),), False),
        ("younger than 1 hour", (_WITHOUT_ZONE,), True),
        ("younger than 2 days", (date(2026, 11, 20),), True),
        ("younger than 2 days", (date(2026, 11, 18),), False),
        ("younger than 2 days", (None,), False),
        ("younger than 2 days", ("yesterday",), False),
    ],
)
def test_an_answer_is_judged_by_what_was_expected(
    expect: str, row: tuple[Any, ...] | None, passes: bool
) -> None:
    """Prevents an empty answer from being taken for a good one."""
    assert (judge(expect, row, AS_OF) == "") is passes


@given(st.text())
def test_a_probe_is_understood_or_refused_with_its_name(expect: str) -> None:
    """Prevents a misspelt expectation from passing for ever."""
    text = f"-- expect: {expect}\nSELECT 1"
    try:
        probe = parse("mine.sql", text)
    except ConfigurationError:
        with pytest.raises(ConfigurationError, match=r"mine\.sql"):
            parse("mine.sql", text)
    else:
        judge(probe.expect, (1,), AS_OF)


def test_the_probes_that_ship_are_all_understood() -> None:
    """Prevents a release whose drills stop at their own probes."""
    names = {probe.name for probe in load_probes(None)}
    assert "every line of a sale belongs to a sale" in names
    assert len(names) == len(load_probes(None))


@pytest.mark.parametrize("missing", ["nowhere", "file.sql"])
def test_a_directory_of_probes_that_is_none_is_named(tmp_path: Path, missing: str) -> None:
    """Prevents probes that nobody asks because a path was misspelt."""
    (tmp_path / "file.sql").write_text("-- expect: rows\nSELECT 1")
    with pytest.raises(ConfigurationError, match="DRILL_PROBES"):
        load_probes(tmp_path / missing)


def test_a_probe_cannot_write_and_one_that_fails_does_not_end_the_others(
    cluster: ScratchCluster, small_database: str
) -> None:
    """Prevents a probe from changing what the next one sees, and a misspelt one from hiding the rest."""
    probes = [
        parse("a", "-- expect: rows\nDELETE FROM member RETURNING id"),
        parse("b", "-- expect: rows\nSELECT * FROM nowhere"),
        parse("c", "-- expect: at least 500\nSELECT count(*) FROM member WHERE name LIKE '%'"),
        parse("d", "-- expect: rows\n-- needs: public.absent\nSELECT 1"),
    ]
    with cluster.server.connect(small_database) as connection:
        answers = ask(connection, probes, {"public.member": ("id", "name")}, AS_OF)
    assert [answer.passed for answer in answers] == [False, False, True, None]
    assert "read-only" in answers[0].reason
    assert "public.absent" in answers[3].reason


def test_a_probe_is_passed_over_where_a_table_of_that_name_has_other_columns(
    cluster: ScratchCluster, small_database: str
) -> None:
    """Prevents a good backup from failing its drill because another application has a table of the same name."""
    probes = [
        parse(
            "a", "-- expect: rows\n-- needs: public.member(id, nickname)\nSELECT nickname FROM public.member"
        ),
        parse("b", "-- expect: rows\n-- needs: public.member( id , name ), public.sale (total)\nSELECT 1"),
    ]
    expected = {"public.member": ("id", "name"), "public.sale": ("id",)}
    with cluster.server.connect(small_database) as connection:
        answers = ask(connection, probes, expected, AS_OF)
    assert [answer.passed for answer in answers] == [None, True]
    assert answers[0].reason == "passed over: the backup has no column nickname of public.member"


def test_a_probe_is_asked_where_a_column_was_lost_since(cluster: ScratchCluster, small_database: str) -> None:
    """Prevents a lost column from being taken for one that never was there."""
    probe = parse(
        "a", "-- expect: rows\n-- needs: public.member(nickname)\nSELECT nickname FROM public.member"
    )
    with cluster.server.connect(small_database) as connection:
        (answer,) = ask(connection, [probe], {"public.member": ("id", "nickname")}, AS_OF)
    assert answer.passed is False
    assert "nickname" in answer.reason


@pytest.mark.parametrize("needs", ["public.a(b", "public.a)b(", "(id)", "public.a(b)(c)"])
def test_needs_that_cannot_be_understood_name_the_probe(needs: str) -> None:
    """Prevents a misspelt list from making a probe pass itself over for ever."""
    with pytest.raises(ConfigurationError, match=r"mine\.sql"):
        parse("mine.sql", f"-- expect: rows\n-- needs: {needs}\nSELECT 1")


def test_every_shipped_probe_is_asked_of_the_application_s_own_schema(
    cluster: ScratchCluster, recyclic_database: str
) -> None:
    """Prevents probes of tables that Recyclic does not have: they would be passed over in every drill."""
    with cluster.server.connect(recyclic_database) as connection:
        answers = ask(connection, load_probes(None), columns_of(connection), AS_OF)
    assert {answer.probe: answer.reason for answer in answers if answer.passed is not True} == {}


def test_a_probe_that_finds_a_row_shows_no_more_of_it_than_its_key() -> None:
    """Prevents members' addresses from reaching logs and mails by way of a failed probe."""
    assert "rue" not in judge("no rows", (7, "3 rue des Lilas"), AS_OF)
