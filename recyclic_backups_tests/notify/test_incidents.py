"""Incidents: opened once, escalated once, reminded of once a day, resolved once; whatever comes in between."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.notify import state as remembered
from recyclic_backups.notify.incidents import (
    FRESH,
    REMIND_AFTER,
    SETTLE,
    Change,
    News,
    Observation,
    OpenIncidents,
    Problem,
    advance,
)
from recyclic_backups.notify.severity import Severity
from recyclic_backups.notify.state import AlertState
from recyclic_backups_tests.notify.problems import NOW, observations, pauses, problem

HISTORY = st.lists(st.tuples(pauses, observations), max_size=25)


def seen(*found: Problem) -> Observation:
    """A look that found these."""
    return Observation(found)


def told(news: list[News]) -> list[tuple[Change, str]]:
    """What was told of which problem."""
    return [(each.change, incident.key) for each in news for incident in each.incidents]


def live(
    history: list[tuple[timedelta, Observation]],
) -> tuple[OpenIncidents, datetime, list[tuple[datetime, News]]]:
    """All looks of a history, and what was told when."""
    state, now, said = OpenIncidents(), NOW, []
    for pause, observation in history:
        now += pause
        state, news = advance(state, observation, now)
        said += [(now, each) for each in news]
    return state, now, said


@given(HISTORY, observations)
def test_the_same_look_once_more_tells_nothing(
    history: list[tuple[timedelta, Observation]], observation: Observation
) -> None:
    """Loss prevented: a message a minute."""
    state, now, _ = live(history)
    state, _ = advance(state, observation, now)
    again, news = advance(state, observation, now)
    assert news == []
    assert again == state


@given(HISTORY)
def test_every_incident_is_opened_and_resolved_exactly_once(
    history: list[tuple[timedelta, Observation]],
) -> None:
    """Loss prevented: a problem nobody hears of, or one that nobody hears the end of."""
    state, now, said = live(history)
    for _ in range(2):
        now += SETTLE
        state, news = advance(state, Observation(), now)
        said += [(now, each) for each in news]
    assert not state.incidents
    balance: Counter[str] = Counter()
    for _, news_of_one_look in said:
        for incident in news_of_one_look.incidents:
            if news_of_one_look.change is Change.OPENED:
                balance[incident.key] += 1
            if news_of_one_look.change is Change.RESOLVED:
                balance[incident.key] -= 1
            assert balance[incident.key] in (0, 1)
    assert set(balance.values()) <= {0}


@given(HISTORY)
def test_an_incident_escalates_at_most_once(history: list[tuple[timedelta, Observation]]) -> None:
    """Loss prevented: a problem that sways between two severities, and everybody with it."""
    _, _, said = live(history)
    escalated: Counter[str] = Counter()
    for _, news in said:
        for incident in news.incidents:
            if news.change is Change.OPENED:
                escalated[incident.key] = incident.severity is Severity.CRITICAL
            elif news.change is Change.ESCALATED:
                assert incident.severity is Severity.CRITICAL
                escalated[incident.key] += 1
            assert escalated[incident.key] <= 1


@given(HISTORY)
def test_nobody_is_reminded_more_than_once_a_day(history: list[tuple[timedelta, Observation]]) -> None:
    """Loss prevented: the alarm that is switched off because it never stops."""
    _, _, said = live(history)
    reminded = [now for now, news in said if news.change is Change.REMINDED]
    for earlier, later in pairwise(reminded):
        assert later - earlier >= REMIND_AFTER
    last: dict[str, tuple[datetime, Change]] = {}
    for now, news in said:
        for incident in news.incidents:
            if news.change is Change.REMINDED:
                assert incident.problem.remind
                told_at, before = last[incident.key]
                assert now - told_at >= (REMIND_AFTER if before is Change.REMINDED else FRESH)
            last[incident.key] = now, news.change


@given(st.lists(st.tuples(pauses, st.integers(0, 5)), max_size=40))
def test_whatever_lasts_is_reminded_of_every_day(history: list[tuple[timedelta, int]]) -> None:
    """Loss prevented: a critical problem that nobody hears of for two days, because another one began before it."""
    state, now, count = OpenIncidents(), NOW, 0
    for pause, more in history:
        now, count = now + pause, count + more
        state, _ = advance(state, seen(*(problem(f"run/{number}") for number in range(count))), now)
        assert all(now - each.told_at < REMIND_AFTER + FRESH for each in state.incidents.values())


def test_what_began_an_hour_later_is_in_the_same_reminder() -> None:
    """Loss prevented: the same."""
    state, reminded = OpenIncidents(), []
    for hour in range(50):
        found = [problem("a")] + [problem("b")] * (hour >= 1) + [problem("c")] * (hour >= 24)
        state, news = advance(state, seen(*found), NOW + timedelta(hours=hour))
        reminded += [(hour, key) for change, key in told(news) if change is Change.REMINDED]
    assert reminded == [(24, "a"), (24, "b"), (48, "a"), (48, "b"), (48, "c")]


@given(HISTORY)
def test_a_restart_changes_nothing(history: list[tuple[timedelta, Observation]]) -> None:
    """Loss prevented: everything told again after each deployment."""
    state, now, said = OpenIncidents(), NOW, []
    for pause, observation in history:
        now += pause
        restarted = remembered.read(remembered.to_cursor(AlertState(open=state)))
        assert restarted is not None
        assert restarted.open == state
        state, news = advance(restarted.open, observation, now)
        said += [(now, each) for each in news]
    assert said == live(history)[2]


def test_one_that_lasts_is_reminded_of_every_day() -> None:
    """Loss prevented: a warning of three weeks ago, forgotten."""
    state, _ = advance(OpenIncidents(), seen(problem()), NOW)
    reminded = []
    for hour in range(1, 73):
        state, news = advance(state, seen(problem()), NOW + timedelta(hours=hour))
        reminded += [hour for each in news if each.change is Change.REMINDED]
    assert reminded == [24, 48, 72]


def test_a_hundred_problems_are_one_message() -> None:
    """Loss prevented: the one that matters, lost among a hundred."""
    hundred = seen(*(problem(f"run/daily_backup_job/{number}") for number in range(100)))
    state, news = advance(OpenIncidents(), hundred, NOW)
    assert [(each.change, len(each.incidents)) for each in news] == [(Change.OPENED, 100)]
    _, news = advance(state, hundred, NOW + timedelta(days=1))
    assert [(each.change, len(each.incidents)) for each in news] == [(Change.REMINDED, 100)]


def test_a_warning_that_becomes_critical_is_told_at_once() -> None:
    """Loss prevented: what was not worth getting up for, and now is."""
    warning = problem("age", Severity.WARNING)
    state, _ = advance(OpenIncidents(), seen(warning), NOW)
    state, news = advance(state, seen(replace(warning, severity=Severity.CRITICAL)), NOW)
    assert told(news) == [(Change.ESCALATED, "age")]
    state, news = advance(state, seen(warning), NOW)
    assert told(news) == []
    state, news = advance(state, seen(replace(warning, severity=Severity.CRITICAL)), NOW)
    assert told(news) == []


def test_what_cannot_be_looked_at_is_not_solved() -> None:
    """Loss prevented: 'resolved' because the storage is gone."""
    state, _ = advance(OpenIncidents(), seen(problem("missed/daily/2026-11-21"), problem("missedx")), NOW)
    blind = Observation(unseen=frozenset({"missed"}))
    for minutes in (1, 60, 120):
        state, _ = advance(state, blind, NOW + timedelta(minutes=minutes))
    assert set(state.incidents) == {"missed/daily/2026-11-21"}


def test_what_flaps_is_one_incident() -> None:
    """Loss prevented: a sensor that fails every other minute, and sixty messages an hour."""
    state, said = OpenIncidents(), []
    for minute in range(60):
        look = seen(problem()) if minute % 5 == 0 else Observation()
        state, news = advance(state, look, NOW + timedelta(minutes=minute))
        said += told(news)
    assert said == [(Change.OPENED, problem().key)]


def test_what_lapsed_is_not_called_resolved() -> None:
    """Loss prevented: 'resolved' said of a day that has no backup and never will."""
    state, _ = advance(OpenIncidents(), seen(problem("missed/daily/2026-11-01", remind=False)), NOW)
    gone = Observation(lapsed=frozenset({"missed/daily/2026-11-01"}))
    state, news = advance(state, gone, NOW + timedelta(days=8))
    assert (dict(state.incidents), news) == ({}, [])


def test_a_clock_that_was_ahead_silences_nothing() -> None:
    """Loss prevented: no reminder for a year because a clock was a year ahead for a minute."""
    state, _ = advance(OpenIncidents(), seen(problem()), NOW + timedelta(days=365))
    state, _ = advance(state, seen(problem()), NOW)
    _, news = advance(state, seen(problem()), NOW + timedelta(days=1))
    assert told(news) == [(Change.REMINDED, problem().key)]


def test_a_storage_that_is_gone_is_named_before_what_follows_from_it() -> None:
    """Loss prevented: somebody who looks at Monday's backup while nothing can be restored at all."""
    older = [problem(f"run/daily_backup_job/{day}", since=NOW - timedelta(days=day)) for day in (1, 2)]
    for cause in ("storage", "backups gone"):
        _, (news,) = advance(OpenIncidents(), seen(*older, problem("storage", kind=cause)), NOW)
        assert [each.problem.kind for each in news.incidents] == [cause, *["backup failed"] * 2]
