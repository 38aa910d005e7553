"""Tell people what a look found: incidents become letters, letters are delivered, each step is remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from recyclic_backups.catalog.recovery_point import RecoveryPoint
from recyclic_backups.notify.channels import Channel
from recyclic_backups.notify.incidents import News, Observation, Problem, advance, in_both
from recyclic_backups.notify.message import Frame, compose
from recyclic_backups.notify.outbox import (
    FAILURES,
    Delivery,
    Letter,
    Outbox,
    attempted,
    cleared,
    delivered,
    due,
    posted,
    refused,
    write,
)
from recyclic_backups.notify.rollback import Mark
from recyclic_backups.notify.send import send
from recyclic_backups.notify.severity import Severity
from recyclic_backups.notify.state import AlertState
from recyclic_backups.notify.stored_state import StoredAlertState
from recyclic_backups.texts.language import Untranslated

BUDGET = timedelta(seconds=20)
"""Nothing more is begun after that long: the look that delivers has a minute for everything, and what was begun may
take as long as ``send.DEADLINE_SECONDS``."""


def update_state(
    state: AlertState,
    seen: Observation,
    recovery: RecoveryPoint,
    channels: Sequence[Channel],
    now: datetime,
    *,
    mark: Mark | None = None,
) -> tuple[AlertState, list[News], list[tuple[Letter, Delivery]]]:
    """What is remembered after a look, what is told, and what is given up though nobody took it.

    Incidents are advanced, letters written; how far the storage has come (``mark``) is noted, if it is known. Pure; the
    serial grows if what is remembered differs.
    """
    seen += unreachable_channels(state)
    opened, news = advance(state.open, seen, now)
    addresses = [(each.name, each.minimum) for each in channels]
    letters = [write(each, recovery, addresses, now) for each in news]
    outbox, lost = cleared(posted(state.outbox, letters, now), {each.name for each in channels}, now)
    after = replace(
        state,
        began_at=state.begun(now),
        had_backups=state.had_backups or recovery.verified_as_of is not None,
        open=opened,
        outbox=outbox,
        mark=mark or state.mark,
    )
    return (state if after == state else replace(after, serial=state.serial + 1)), news, lost


def unreachable_channels(state: AlertState) -> Observation:
    """Channels that took nothing for some time. Pure.

    One that took a later letter works: what it refused was said at each attempt, and is again when it is given up.
    """
    problems: dict[str, Problem] = {}
    for letter in state.outbox:
        for each in letter.deliveries:
            if each.stubborn and not each.overtaken and each.channel not in problems:
                problems[each.channel] = Problem(
                    key=f"channel/{each.channel.replace('/', ' ')}",
                    kind="delivery failed",
                    severity=Severity.WARNING,
                    since=letter.written_at,
                    facts=in_both(channel=each.channel, reason=Untranslated(each.reason)),
                )
    return Observation(tuple(problems.values()))


def deliver(
    remembered: StoredAlertState,
    channels: Sequence[Channel],
    frame: Frame,
    *,
    clock: Callable[[], datetime],
    say: Callable[[str], None],
) -> list[tuple[Letter, str]]:
    """Send what is due: the letters that were taken, each with its channel. ``say`` gets what did not get through.

    A channel that failed is left alone until the next look, where it comes after those that work; but where a letter
    failed that may itself be the reason, one other of that channel is tried. What :data:`BUDGET` does not reach waits
    for the next look: several channels that die at once keep the others waiting for a minute or two.
    """
    by_name = {each.name: each for each in channels}
    began_at = clock()
    failed: set[str] = set()
    doubted: set[str] = set()
    sent: list[tuple[Letter, str]] = []
    for letter, delivery in due(remembered.state.outbox, began_at):
        channel = by_name.get(delivery.channel)
        if channel is None or channel.name in failed or clock() - began_at > BUDGET:
            continue
        if channel.name in doubted and delivery.stubborn:
            continue
        if not _claim(remembered, letter, delivery, clock()):
            continue
        reason = send(channel, compose(letter, channel.minimum, frame, clock()))
        if reason is None:
            _change(remembered, lambda outbox: delivered(outbox, letter.letter_id, channel.name))  # noqa: B023
            sent.append((letter, channel.name))
        else:
            is_first = channel.name not in doubted
            (doubted if is_first and delivery.attempts + 1 >= FAILURES else failed).add(channel.name)
            say(f"{channel.name}: {reason} (attempt {delivery.attempts + 1}, tried again later)")
            _change(remembered, lambda outbox: refused(outbox, letter.letter_id, channel.name, reason))  # noqa: B023
    return sent


def _claim(remembered: StoredAlertState, letter: Letter, delivery: Delivery, now: datetime) -> bool:
    """Note an attempt before it is made: if this process dies meanwhile, the next one waits before it tries again.

    False where another look is at it already, or has done it.
    """
    is_ours = False

    def claim(outbox: Outbox) -> Outbox:
        nonlocal is_ours
        is_ours = _is_there(outbox, letter, delivery)
        return attempted(outbox, letter.letter_id, delivery.channel, now) if is_ours else outbox

    _change(remembered, claim)
    return is_ours


def _is_there(outbox: Iterable[Letter], letter: Letter, delivery: Delivery) -> bool:
    """Whether that delivery is still to be made, as often tried as before; it may have been overtaken since."""
    return any(
        (each.channel, each.attempts) == (delivery.channel, delivery.attempts)
        for one in outbox
        if one.letter_id == letter.letter_id
        for each in one.deliveries
    )


def _change(remembered: StoredAlertState, change: Callable[[Outbox], Outbox]) -> None:
    remembered.update(lambda state: replace(state, outbox=change(state.outbox)))
