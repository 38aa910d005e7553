"""Whether the audit log is what was written: nothing edited, dropped, reordered or cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recyclic_backups.audit.event import Head
from recyclic_backups.audit.log import Stored, read_log
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.document import check_signature, check_sum
from recyclic_backups.errors import DamagedData


def examine(repository: Repository, heads: Mapping[str, Head]) -> tuple[list[str], list[str]]:
    """Problems, and notes, of the log as it lies there. ``heads`` are what others remember of it, by who they are.

    Raises NoUsableKey where no key opens its MACs, StorageError.
    """
    log = read_log(repository)
    problems, notes = chain_problems(log, heads), []
    unsigned = 0
    for stored in log:
        if stored.event is None:
            continue
        try:
            if "mac" in stored.document:
                check_signature(stored.document, stored.name, repository.keyring.for_reading)
            else:
                check_sum(stored.document, stored.name)
                unsigned += repository.encrypt
        except DamagedData as damage:
            problems.append(damage.message)
    if unsigned:
        notes.append(
            f"{unsigned} events carry no MAC: written before encryption was on, or by somebody without the key"
        )
    return problems, notes


def chain_problems(log: Sequence[Stored], heads: Mapping[str, Head]) -> list[str]:
    """What the links between the events tell. Pure."""
    problems = [f"{stored.name}: {stored.problem}" for stored in log if stored.problem]
    events = {stored.sha256: stored for stored in log if stored.event is not None}
    pruned = _pruned(log)
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
        if head.sha256 in events or head.sha256 in pruned:
            continue
        if oldest is not None and pruned and head.number < oldest:
            continue  # pruned long ago
        problems.append(f"event {head.number}, which {who} remembers, is missing or was edited")
    return problems


def _pruned(log: Sequence[Stored]) -> set[str]:
    """Hashes of the last events that were deleted for their age."""
    found: set[str] = set()
    for stored in log:
        if stored.event is not None and stored.event.action == "prune":
            hashes = stored.event.details.get("hashes")
            if isinstance(hashes, list):
                found.update(str(each) for each in hashes)
    return found
