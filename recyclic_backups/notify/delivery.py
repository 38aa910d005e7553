"""Tell people what a look found: incidents, letters, deliveries, each remembered before the next step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from recyclic_backups.notify.channels import Channel
from recyclic_backups.notify.incidents import News, Observation, Problem, advance
from recyclic_backups.notify.keeping import recall
from recyclic_backups.notify.memory import Memory
from recyclic_backups.notify.message import Frame, compose
from recyclic_backups.notify.outbox import (
    FAILURES,
    Delivery,
    Letter,
    Outbox,
    Recovery,
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
from recyclic_backups.notify.wording import Kind

__all__ = ["BUDGET", "deliver", "recall", "take_note", "unreachable_channels"]

BUDGET = timedelta(seconds=20)
"""Nothing more is begun after that long: the look that delivers has a minute for everything, and what was begun may
take as long as ``send.DEADLINE_SECONDS`` and a little grace."""


def take_note(
    memory: Memory,
    seen: Observation,
    recovery: Recovery,
    channels: Sequence[Channel],
    now: datetime,
    *,
    mark: Mark | None = None,
) -> tuple[Memory, list[News], list[tuple[Letter, Delivery]]]:
    """What is remembered after a look, what is told, and what is given up though nobody took it.

    Incidents are advanced, letters written; how far the storage has come (``mark``) is noted, if it is known. Pure; the
    serial grows if what is remembered differs.
    """
    seen += unreachable_channels(memory)
    state, news = advance(memory.state, seen, now)
    addresses = [(each.name, each.minimum) for each in channels]
    letters = [write(each, recovery, addresses, now) for each in news]
    outbox, lost = cleared(posted(memory.outbox, letters, now), {each.name for each in channels}, now)
    after = replace(
        memory,
        began_at=memory.begun(now),
        had_backups=memory.had_backups or recovery.verified_as_of is not None,
        state=state,
        outbox=outbox,
        mark=mark or memory.mark,
    )
    return (memory if after == memory else replace(after, serial=memory.serial + 1)), news, lost


def unreachable_channels(memory: Memory) -> Observation:
    """Channels that took nothing for some time. Pure.

    One that took a later letter works: what it refused was said at each attempt, and is again when it is given up.
    """
    problems: dict[str, Problem] = {}
    for letter in memory.outbox:
        for each in letter.deliveries:
            if each.stubborn and not each.overtaken and each.channel not in problems:
                problems[each.channel] = Problem(
                    key=f"channel/{each.channel.replace('/', ' ')}",
                    kind=Kind.DELIVERY_FAILED,
                    severity=Severity.WARNING,
                    since=letter.written_at,
                    facts={"channel": each.channel, "reason": each.reason},
                )
    return Observation(tuple(problems.values()))


def deliver(
    memory: Memory,
    channels: Sequence[Channel],
    frame: Frame,
    *,
    clock: Callable[[], datetime],
    keep: Callable[[Memory], None],
    say: Callable[[str], None],
) -> Memory:
    """Send what is due. ``keep`` gets the memory before and after every attempt, ``say`` what did not get through.

    A channel that failed is left alone until the next look, where it comes after those that work; but where a letter
    failed that may itself be the reason, one other of that channel is tried. What :data:`BUDGET` does not reach waits
    for the next look: several channels that die at once keep the others waiting for a minute or two.
    """
    by_name = {each.name: each for each in channels}
    began_at = clock()
    failed: set[str] = set()
    doubted: set[str] = set()
    for letter, delivery in due(memory.outbox, began_at):
        channel = by_name.get(delivery.channel)
        if channel is None or channel.name in failed or clock() - began_at > BUDGET:
            continue
        if channel.name in doubted and delivery.stubborn:
            continue
        # Before it is tried: if this process dies meanwhile, the next one waits before it tries again.
        memory = _changed(memory, attempted(memory.outbox, letter.letter_id, channel.name, clock()))
        keep(memory)
        reason = send(channel, compose(letter, channel.minimum, frame, clock()))
        if reason is None:
            memory = _changed(memory, delivered(memory.outbox, letter.letter_id, channel.name))
        else:
            is_first = channel.name not in doubted
            (doubted if is_first and delivery.attempts + 1 >= FAILURES else failed).add(channel.name)
            say(f"{channel.name}: {reason} (attempt {delivery.attempts + 1}, tried again later)")
            memory = _changed(memory, refused(memory.outbox, letter.letter_id, channel.name, reason))
        keep(memory)
    return memory


def _changed(memory: Memory, outbox: Outbox) -> Memory:
    return replace(memory, serial=memory.serial + 1, outbox=outbox)
