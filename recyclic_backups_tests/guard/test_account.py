"""Whether it can be said that nobody else was there: what was seen against what the server counted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.guard.session_count import SHOWN, Account, Count, Names, Session, note

NAMES = Names("recyclic_guard_1a2b", "recyclic_guard_1a2b_own")
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BEFORE = Count(sessions=10, counted_since=None, server_started_at=START)


def _session(number: int, name: str) -> Session:
    return Session(number, START + timedelta(seconds=number), name, "app")


def _account(commands: int, own: int, strangers: int = 0, unseen: int = 0) -> Account:
    names = [NAMES.command] * commands + [NAMES.own] * own + ["till"] * strangers
    seen = tuple(_session(number, name) for number, name in enumerate(names))
    after = replace(BEFORE, sessions=10 + len(names) + unseen)
    return Account(NAMES, seen, BEFORE, after, own)


@given(
    commands=st.integers(0, 9), own=st.integers(0, 9), strangers=st.integers(0, 9), unseen=st.integers(-3, 3)
)
def test_only_who_is_accounted_for_without_rest_was_alone(
    commands: int, own: int, strangers: int, unseen: int
) -> None:
    """Prevents sales of a till that nobody saw from being undone together with a migration."""
    objections = _account(commands, own, strangers, unseen).objections()
    assert (objections == ()) is (strangers == 0 and unseen == 0)


def test_own_sessions_need_not_have_been_seen() -> None:
    """Prevents a refusal because the guard's own sessions were short."""
    assert replace(_account(1, 3), seen=(_session(0, NAMES.command),)).objections() == ()


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (None, "not the one that it was"),
        (replace(BEFORE, sessions=None), "PostgreSQL 14"),
        (replace(BEFORE, counted_since=START), "reset"),
        (replace(BEFORE, server_started_at=START + timedelta(hours=1)), "restarted"),
    ],
)
def test_what_cannot_be_known_is_an_objection(after: Count | None, said: str) -> None:
    """Prevents a counter that began anew from hiding everybody who was there before."""
    (objection,) = Account(NAMES, (), BEFORE, after, own=0).objections()
    assert said in objection


def test_strangers_are_named_but_not_all_of_them() -> None:
    """Prevents a person from having to guess which program it was that kept the guard from going back."""
    objections = _account(1, 1, strangers=SHOWN + 2).objections()
    assert "'till' of 'app', process" in objections[0]
    assert objections[-1] == "and 2 more"


def test_a_session_is_the_command_s_if_it_ever_had_its_name() -> None:
    """Prevents a refusal because a session is born without its name, or because a program gives itself another one."""
    seen: dict[tuple[int, datetime | None], Session] = {}
    for name in ("", NAMES.command, "alembic"):
        note(seen, [_session(1, name)], NAMES)
    assert [each.application_name for each in seen.values()] == [NAMES.command]
    note(seen, [_session(1, "till"), replace(_session(1, "till"), started_at=START)], NAMES)
    assert sorted(each.application_name for each in seen.values()) == [NAMES.command, "till"]
