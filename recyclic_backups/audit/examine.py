"""Whether the audit log is what was written: nothing edited, dropped, reordered or cut off."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from recyclic_backups.audit.event import Event, Head
from recyclic_backups.audit.log import Stored, head_given_up, read_log
from recyclic_backups.catalog.authenticity import Judge
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.envelope.document import key_id_of_mac

_NAMED = 5
"""So many events without a MAC are named, the newest: the rest is counted."""


def examine(repository: Repository, heads: Mapping[str, Head]) -> tuple[list[str], list[str]]:
    """Problems, and notes, of the log as it lies there. ``heads`` are what others remember of it, by who they are.

    Raises NoUsableKey, or DamagedData of a key file, where no key opens by which MACs could be checked, StorageError.
    """
    log = read_log(repository)
    judge = Judge(repository)
    doubts: list[str] = []
    believed: list[Stored] = []
    unsigned: list[Stored] = []
    for stored in log:
        if stored.event is None:
            continue
        match judge.verdict(stored.document, stored.name):
            case Standing.SIGNED | Standing.CHECKSUM:
                believed.append(stored)
            case Standing.UNSIGNED:
                unsigned.append(stored)
            case Standing.NOT_CHECKED if not judge.knows_keys:
                repository.keyring.for_reading(
                    key_id_of_mac(stored.document, stored.name)
                )  # raises, and says why
            case _:
                doubts.append(judge.reasons[stored.name])
    accepted = {
        given_up: stored.event.actor.user
        for stored in believed
        if stored.event and "mac" in stored.document
        if (given_up := head_given_up(stored.event))
    }
    wanted = {who: head for who, head in heads.items() if str(head) not in accepted}
    pruned = _pruned(stored.event for stored in believed if stored.event)
    problems = [*_chain_problems(log, wanted, pruned), *doubts]
    notes = [
        f"event {head.number}, which {who} remembers, was given up by {accepted[str(head)]} (audit accept)"
        for who, head in heads.items()
        if str(head) in accepted
    ]
    return problems, [*notes, *_notes(log, believed, unsigned)]


def _notes(log: Sequence[Stored], believed: Sequence[Stored], unsigned: Sequence[Stored]) -> list[str]:
    """What is not wrong, and has to be known: events that nobody vouches for. Pure."""
    notes = []
    if unsigned:
        shown = ", ".join(stored.name for stored in unsigned[-_NAMED:])
        more = f" and {len(unsigned) - _NAMED} before" if len(unsigned) > _NAMED else ""
        notes.append(
            f"{len(unsigned)} events carry no MAC: written before encryption was on, or by somebody without the key: "
            f"{shown}{more}"
        )
    if _pruned(stored.event for stored in unsigned if stored.event):
        notes.append(
            "one of them says that what came before it was deleted for its age; that is not believed"
        )
    there = {stored.sha256 for stored in log}
    gone = [
        stored.event.number
        for stored in believed
        if stored.event is not None and any(sha256 not in there for sha256 in stored.event.beside)
    ]
    if gone:
        notes.append(f"events without a MAC that lay there when event {gone[-1]} was written are gone")
    return notes


def _chain_problems(log: Sequence[Stored], heads: Mapping[str, Head], pruned: Collection[str]) -> list[str]:
    """What the links between the events tell; ``pruned`` are events that may be missing. Pure."""
    problems = [f"{stored.name}: {stored.problem}" for stored in log if stored.problem]
    events = {stored.sha256: stored for stored in log if stored.event is not None}
    for stored in log:
        event = stored.event
        if event is None:
            continue
        if not event.previous and event.number != 1:
            problems.append(f"{stored.name}: it is event {event.number} and names none before it")
        for sha256 in event.previous:
            before = events.get(sha256)
            if before is None or before.event is None:
                if sha256 not in pruned:
                    problems.append(f"{stored.name}: the event before it is missing, or was edited")
            elif before.event.at >= event.at or before.event.number >= event.number:
                problems.append(f"{stored.name}: it claims to be older than the event before it")
    oldest = min((stored.event.number for stored in log if stored.event), default=None)
    for who, head in heads.items():
        if head.sha256 in pruned:
            continue
        there = events.get(head.sha256)
        if there is not None and there.event is not None:
            if there.event.number != head.number:
                problems.append(
                    f"event {head.number}, which {who} remembers, is event {there.event.number} here"
                )
            continue
        if oldest is not None and pruned and head.number < oldest:
            continue  # pruned long ago
        problems.append(f"event {head.number}, which {who} remembers, is missing or was edited")
    return problems


def _pruned(events: Iterable[Event]) -> set[str]:
    """Hashes of the last events that were deleted for their age, as these events tell it.

    Believe only what can be believed: whoever has no key must not declare old what they took out.
    """
    found: set[str] = set()
    for event in events:
        hashes = event.details.get("hashes") if event.action == "prune" else None
        if isinstance(hashes, list):
            found.update(str(each) for each in hashes)
    return found
