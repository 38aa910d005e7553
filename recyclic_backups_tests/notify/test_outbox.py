"""The outbox: what is not delivered stays, comes later each time, and is never lost to a crash."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.catalog.recovery_point import RecoveryPoint
from recyclic_backups.notify.incidents import Change, News, Observation, OpenIncidents, advance
from recyclic_backups.notify.outbox import (
    GIVE_UP_AFTER,
    LISTED,
    LONGEST_WAIT,
    MOST_LETTERS,
    Letter,
    Outbox,
    attempted,
    cleared,
    delivered,
    due,
    refused,
    write,
)
from recyclic_backups.notify.severity import Severity
from recyclic_backups_tests.notify.problems import NOW, problem

CHANNELS = [("email a@example.org", Severity.WARNING), ("telegram", Severity.CRITICAL)]


def letter(count: int = 1, severity: Severity = Severity.CRITICAL) -> Letter:
    """A letter about new problems."""
    found = tuple(problem(f"run/{number}", severity) for number in range(count))
    _, (news,) = advance(OpenIncidents(), Observation(found), NOW)
    return write(news, RecoveryPoint(), CHANNELS, NOW)


def test_each_channel_gets_what_reaches_its_severity() -> None:
    """Loss prevented: a telephone that rings at night for a warning, and is switched off."""
    assert [each.channel for each in letter().deliveries] == ["email a@example.org", "telegram"]
    assert [each.channel for each in letter(severity=Severity.WARNING).deliveries] == ["email a@example.org"]


def test_a_long_letter_counts_all_and_names_the_worst() -> None:
    """Loss prevented: a document of a megabyte in every tick of a sensor."""
    found = letter(100)
    assert (len(found.incidents), found.criticals, found.warnings) == (LISTED, 100, 0)


def test_an_attempt_is_put_off_before_its_end_is_known() -> None:
    """Loss prevented: a process that dies in every attempt, and tries once a minute for ever."""
    outbox: Outbox = (letter(),)
    assert len(due(outbox, NOW)) == 2
    now, waits = NOW, []
    for _ in range(9):
        outbox = attempted(outbox, outbox[0].letter_id, "telegram", now)
        (later,) = [each for each in outbox[0].deliveries if each.channel == "telegram"]
        waits.append((later.next_at - now) // timedelta(minutes=1))
        assert [each.channel for _, each in due(outbox, later.next_at - timedelta(seconds=1))] == [
            "email a@example.org"
        ]
        now = later.next_at
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    outbox = refused(outbox, outbox[0].letter_id, "telegram", "no answer")
    assert [each.reason for each in outbox[0].deliveries] == ["", "no answer"]


def test_a_letter_is_gone_once_everybody_took_it() -> None:
    """Loss prevented: a message sent twice to one because another did not take it."""
    outbox: Outbox = (letter(),)
    outbox = delivered(outbox, outbox[0].letter_id, "telegram")
    assert [each.channel for _, each in due(outbox, NOW)] == ["email a@example.org"]
    assert delivered(outbox, outbox[0].letter_id, "email a@example.org") == ()


def test_channels_that_are_gone_and_old_letters_are_given_up() -> None:
    """Loss prevented: an outbox that grows until it fits nowhere."""
    outbox: Outbox = (letter(),)
    assert [each.channel for _, each in due(cleared(outbox, {"telegram"}, NOW)[0], NOW)] == ["telegram"]
    assert cleared(outbox, set(), NOW) == ((), [])
    two: Outbox = (*outbox, replace(outbox[0], letter_id="later", written_at=NOW + timedelta(days=1)))
    names = {name for name, _ in CHANNELS}
    assert cleared(two, names, NOW + GIVE_UP_AFTER - timedelta(seconds=1))[1] == []
    assert len(cleared(two, names, NOW + GIVE_UP_AFTER)[1]) == 2
    kept, lost = cleared(two, {"telegram"}, NOW + GIVE_UP_AFTER)
    assert (kept[0].letter_id, [each.channel for _, each in lost]) == ("later", ["telegram"])
    many = tuple(replace(outbox[0], letter_id=str(number)) for number in range(MOST_LETTERS + 10))
    kept, lost = cleared(many, {"telegram"}, NOW)
    assert (len(kept), kept[-1].letter_id) == (MOST_LETTERS, many[-1].letter_id)
    assert [found.letter_id for found, _ in lost] == [each.letter_id for each in many[:10]]


def test_a_letter_dated_ahead_is_given_up_like_any_other() -> None:
    """Loss prevented: two hundred letters to a channel that is dead, until the year of a wrong clock."""
    ahead = (replace(letter(), written_at=NOW + timedelta(days=20_000)), replace(letter(), letter_id="last"))
    names = {name for name, _ in CHANNELS}
    kept, _ = cleared(ahead, names, NOW)
    assert [each.letter_id for each in kept] == [ahead[0].letter_id, "last"]
    kept, lost = cleared(kept, names, NOW + GIVE_UP_AFTER)
    assert ([each.letter_id for each in kept], len(lost)) == (["last"], 2)


def test_the_last_letter_of_a_channel_is_kept_until_it_is_taken() -> None:
    """Loss prevented: "this is no longer so", said of a channel that is as dead as a week before."""
    outbox: Outbox = (letter(),)
    names, later = {name for name, _ in CHANNELS}, NOW + 5 * GIVE_UP_AFTER
    assert [len(each.deliveries) for each in cleared(outbox, names, later)[0]] == [2]
    outbox = delivered(outbox, outbox[0].letter_id, "telegram")
    assert [[one.channel for one in each.deliveries] for each in cleared(outbox, names, later)[0]] == [
        ["email a@example.org"]
    ]
    mails = tuple(replace(outbox[0], letter_id=str(number)) for number in range(MOST_LETTERS + 10))
    kept, _ = cleared((letter(), *mails), names, NOW)
    assert (len(kept), kept[0].letter_id) == (MOST_LETTERS + 1, letter().letter_id)
    # One that was overtaken tells nothing of the channel any more.
    taken = delivered((letter(), replace(letter(), letter_id="later")), "later", "telegram")
    assert len(cleared(taken, {"telegram"}, NOW)[0]) == 1
    assert cleared(taken, {"telegram"}, later)[0] == ()


def test_a_clock_that_was_ahead_puts_nothing_off() -> None:
    """Loss prevented: a message held back for a year because a clock was a year ahead."""
    outbox: Outbox = (letter(),)
    outbox = attempted(outbox, outbox[0].letter_id, "telegram", NOW + timedelta(days=365))
    assert len(due(outbox, NOW)) == 2


@given(st.lists(st.tuples(st.sampled_from(["dies", "fails", "works"]), st.integers(0, 90)), max_size=40))
def test_a_letter_is_delivered_once_if_its_channel_ever_works(steps: list[tuple[str, int]]) -> None:
    """Loss prevented: a message lost, or repeated, by failures in any order."""
    news = News(Change.OPENED, letter().incidents)
    outbox: Outbox = (write(news, RecoveryPoint(), CHANNELS[1:], NOW),)
    now, taken = NOW, 0
    for outcome, minutes in [*steps, ("works", 61), ("works", 61)]:
        now += timedelta(minutes=minutes)
        for found, delivery in due(outbox, now):
            outbox = attempted(outbox, found.letter_id, delivery.channel, now)
            if outcome == "works":
                taken += 1
                outbox = delivered(outbox, found.letter_id, delivery.channel)
            elif outcome == "fails":
                outbox = refused(outbox, found.letter_id, delivery.channel, "no answer")
            assert all(each.next_at <= now + LONGEST_WAIT for _, each in due(outbox, now + GIVE_UP_AFTER))
    assert (taken, outbox) == (1, ())
