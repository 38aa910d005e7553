"""Whether the audit log is what was written: nothing edited, dropped, reordered or cut off."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from recyclic_backups.audit.event import Event, Head
from recyclic_backups.audit.log import Stored, read_log
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.document import check_authentic
from recyclic_backups.errors import DamagedData


def examine(repository: Repository, heads: Mapping[str, Head]) -> tuple[list[str], list[str]]:
    """Problems, and notes, of the log as it lies there. ``heads`` are what others remember of it, by who they are.

    Raises NoUsableKey where no key opens its MACs, StorageError.
    """
    log = read_log(repository)
    problems: list[str] = []
    believed: list[Event] = []
    doubted: list[Event] = []
    for stored in log:
        if stored.event is None:
            continue
        try:
            check_authentic(stored.document, stored.name, repository.keyring.for_reading)
        except DamagedData as damage:
            problems.append(damage.message)
            continue
        if "mac" in stored.document or not repository.encrypt:
            believed.append(stored.event)
        else:
            doubted.append(stored.event)
    problems = [*_chain_problems(log, heads, _pruned(believed)), *problems]
    notes = []
    if doubted:
        notes.append(
            f"{len(doubted)} events carry no MAC: written before encryption was on, or by somebody without the key"
        )
    if _pruned(doubted):
        notes.append(
            "one of them says that what came before it was deleted for its age; that is not believed"
        )
    return problems, notes


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


def _pruned(events: Sequence[Event]) -> set[str]:
    """Hashes of the last events that were deleted for their age, as these events tell it.

    Believe only what can be believed: whoever has no key must not declare old what they took out.
    """
    found: set[str] = set()
    for event in events:
        hashes = event.details.get("hashes") if event.action == "prune" else None
        if isinstance(hashes, list):
            found.update(str(each) for each in hashes)
    return found
