"""The outbox: letters that are still to be delivered, and to which channel. Pure.

A letter leaves it for a channel only once that channel took it. What fails is tried again, later each time; who
repeats a look after a crash sends at most what the crash kept from being remembered.

Each channel gets its letters in the order in which they were written: "resolved" before its own "opened" would be read
as the present state. So the oldest letter decides when a channel is tried again, and the younger ones wait behind it.
One that a channel does not take though it takes others (:data:`FAILURES`) must not hold these up for a week: it is
overtaken, and tried by itself from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from recyclic_backups.catalog.recovery_point import RecoveryPoint
from recyclic_backups.notify.incidents import Change, Incident, News
from recyclic_backups.notify.severity import Severity

LISTED = 20
"""Incidents that a letter tells of one by one: a longer list is not read."""

FIRST_RETRY = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=1)

FAILURES = 3
"""After so many attempts in vain a channel is a problem itself, told by the others, and it may be the letter's fault:
the next letter is tried too."""

GIVE_UP_AFTER = timedelta(days=7)
"""What could not be delivered for so long tells nothing any more; whatever is still wrong is reminded of. Only the
last letter of a channel is kept: as long as it is not taken nobody can say that the channel works again."""

MOST_LETTERS = 200
"""More than these can only be a channel that takes nothing: the oldest go."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A channel that has not taken a letter yet. ``reason`` is why, once it was tried.

    ``overtaken``: it took a later one, so this one holds up no other any more.
    """

    channel: str
    attempts: int
    next_at: datetime
    reason: str = ""
    overtaken: bool = False

    @property
    def stubborn(self) -> bool:
        """Whether the letter itself may be what is not taken."""
        return self.attempts >= FAILURES


@dataclass(frozen=True, slots=True)
class Letter:
    """What is told at once: the worst :data:`LISTED` incidents, how many there are of each severity, and to whom."""

    letter_id: str
    change: Change
    written_at: datetime
    incidents: tuple[Incident, ...]
    criticals: int
    warnings: int
    recovery: RecoveryPoint
    deliveries: tuple[Delivery, ...]

    def count(self, minimum: Severity) -> int:
        """How many incidents are at least as bad as that."""
        return self.criticals + (self.warnings if minimum is Severity.WARNING else 0)

    @property
    def urgent(self) -> bool:
        """Whether somebody may have to get up for it: something critical that was not so before."""
        return self.criticals > 0 and self.change in (Change.OPENED, Change.ESCALATED)


Outbox = tuple[Letter, ...]


def write(
    news: News, recovery: RecoveryPoint, channels: Sequence[tuple[str, Severity]], now: datetime
) -> Letter:
    """The letter with these news, to every channel whose minimum severity any of the incidents reaches."""
    criticals = sum(each.severity is Severity.CRITICAL for each in news.incidents)
    letter = Letter(
        letter_id=f"{now:%Y%m%dT%H%M%S.%fZ}-{news.change}",
        change=news.change,
        written_at=now,
        incidents=news.incidents[:LISTED],
        criticals=criticals,
        warnings=len(news.incidents) - criticals,
        recovery=recovery,
        deliveries=(),
    )
    deliveries = tuple(Delivery(name, 0, now) for name, minimum in channels if letter.count(minimum))
    return replace(letter, deliveries=deliveries)


def posted(outbox: Outbox, letters: Sequence[Letter], now: datetime) -> Outbox:
    """With new letters at its end.

    A channel that waits for its next attempt is tried at once for an urgent one, oldest letter first as ever. Nothing
    else changes: an attempt that fails makes it wait longer than the one before.
    """
    urgent = {each.channel for letter in letters if letter.urgent for each in letter.deliveries}

    def hurried(_letter: Letter, delivery: Delivery) -> Delivery:
        waits = delivery.channel in urgent and not delivery.overtaken
        return replace(delivery, next_at=min(delivery.next_at, now)) if waits else delivery

    return _each(outbox, hurried) + tuple(letter for letter in letters if letter.deliveries)


def due(outbox: Outbox, now: datetime) -> list[tuple[Letter, Delivery]]:
    """What is to be tried now, oldest letters first: all letters of a channel whose oldest has waited long enough.

    Channels come in the order of how often that oldest one was tried in vain: a dead one takes its time, and must take
    it from no other. Whoever delivers goes on to a channel's next letter once it took the one before, or if that one
    is stubborn. Letters that were overtaken come last.
    """
    found: list[tuple[Letter, Delivery]] = []
    overtaken: list[tuple[Letter, Delivery]] = []
    ripe: dict[str, bool] = {}
    tried: dict[str, int] = {}
    for letter in outbox:
        for each in letter.deliveries:
            # A time that lies further ahead than any wait was set by a clock that was wrong.
            is_ripe = each.next_at <= now or each.next_at > now + LONGEST_WAIT
            if each.overtaken:
                overtaken += [(letter, each)] if is_ripe else []
            elif ripe.setdefault(each.channel, is_ripe):
                tried.setdefault(each.channel, each.attempts)
                found.append((letter, each))
    found.sort(key=lambda one: tried[one[1].channel])
    return found + overtaken


def attempted(outbox: Outbox, letter_id: str, channel: str, now: datetime) -> Outbox:
    """Before an attempt, whose end may never be known: the next one comes later, each time twice as much."""

    def later(delivery: Delivery) -> Delivery:
        wait = min(FIRST_RETRY * 2 ** min(delivery.attempts, 10), LONGEST_WAIT)
        return replace(delivery, attempts=delivery.attempts + 1, next_at=now + wait)

    return _changed(outbox, letter_id, channel, later)


def refused(outbox: Outbox, letter_id: str, channel: str, reason: str) -> Outbox:
    """After an attempt that failed."""
    return _changed(outbox, letter_id, channel, lambda delivery: replace(delivery, reason=reason))


def _changed(outbox: Outbox, letter_id: str, channel: str, change: Callable[[Delivery], Delivery]) -> Outbox:
    def changed(letter: Letter, each: Delivery) -> Delivery:
        return change(each) if (letter.letter_id, each.channel) == (letter_id, channel) else each

    return _each(outbox, changed)


def _each(outbox: Outbox, change: Callable[[Letter, Delivery], Delivery]) -> Outbox:
    return tuple(
        replace(letter, deliveries=tuple(change(letter, each) for each in letter.deliveries))
        for letter in outbox
    )


def delivered(outbox: Outbox, letter_id: str, channel: str) -> Outbox:
    """After a channel took a letter; a letter that all have taken is gone. Those before it were overtaken."""
    numbers = [number for number, letter in enumerate(outbox) if letter.letter_id == letter_id]
    earlier = {letter.letter_id for letter in outbox[: numbers[0]]} if numbers else set()

    def after(letter: Letter, each: Delivery) -> Delivery:
        newly = each.channel == channel and letter.letter_id in earlier and not each.overtaken
        # At once: if it was the channel after all, it comes a minute late and not an hour.
        return replace(each, overtaken=True, next_at=letter.written_at) if newly else each

    return _kept(
        _each(outbox, after), lambda letter, each: (letter.letter_id, each.channel) != (letter_id, channel)
    )


def cleared(
    outbox: Outbox, channels: Collection[str], now: datetime
) -> tuple[Outbox, list[tuple[Letter, Delivery]]]:
    """Without deliveries to channels that are not configured any more, and without what is given up, which is told.

    A letter of a clock that was ahead is from now on: it would not be given up before that clock's year.
    """
    outbox = tuple(replace(letter, written_at=min(letter.written_at, now)) for letter in outbox)
    outbox = _kept(outbox, lambda _letter, each: each.channel in channels)
    lost = _given_up(outbox, now)
    gone = {(letter.letter_id, each.channel) for letter, each in lost}
    return _kept(outbox, lambda letter, each: (letter.letter_id, each.channel) not in gone), lost


def _given_up(outbox: Outbox, now: datetime) -> list[tuple[Letter, Delivery]]:
    last = {each.channel: letter.letter_id for letter in outbox for each in letter.deliveries}
    return [
        (letter, each)
        for number, letter in enumerate(outbox)
        for each in letter.deliveries
        if now - letter.written_at >= GIVE_UP_AFTER or number < len(outbox) - MOST_LETTERS
        if each.overtaken or last[each.channel] != letter.letter_id
    ]


def _kept(outbox: Outbox, wanted: Callable[[Letter, Delivery], bool]) -> Outbox:
    letters = (
        replace(letter, deliveries=tuple(each for each in letter.deliveries if wanted(letter, each)))
        for letter in outbox
    )
    return tuple(letter for letter in letters if letter.deliveries)
