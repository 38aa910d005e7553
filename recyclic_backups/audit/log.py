"""Append to the audit log, and read it. Events are create-only; nothing here changes one.

Whoever can write to a storage can write an event in anybody's name. In a storage that asks for MACs an event without a
valid one is shown with a mark and told by ``audit verify``. It is never the head of the log, no later event follows it,
its moment and number move those of no other, and it makes no other event leave for its age.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from recyclic_backups.audit.event import Event, Head, hash_of
from recyclic_backups.catalog.authenticity import Judge
from recyclic_backups.catalog.layout import RECENT_DAYS
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.envelope.document import canonical, decode, encode, summed
from recyclic_backups.errors import (
    BackupError,
    ConfigurationError,
    DamagedData,
    NoUsableKey,
    ObjectExists,
    ObjectMissing,
    StorageError,
)
from recyclic_backups.storage.store import StoredObject

KEPT_FOR = timedelta(days=3 * 366)
"""Three years, and what leap years add (docs/gdpr.md)."""

_SEEN = 8
"""How many of the newest events a writer looks at for ends of the chain: as many as may be written at once."""

_TAIL_DAYS = (RECENT_DAYS, 64)
"""So many days of the log are listed first, then more, before all of it is. The names of events are their times."""

_CONFIGURATION_SEEN = 100
"""How far back the settings are looked for: they are recorded again where more has happened since."""

_FAILURES_SEEN = 50
"""How far back failures are looked for: alerts ask each minute, or a few times an hour."""

_ATTEMPTS = 50


@dataclass(frozen=True, slots=True)
class Stored:
    """An event as it lies in the storage; ``event`` is None for one that cannot be read, and ``problem`` says why."""

    name: str
    sha256: str
    event: Event | None
    document: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def append(
    repository: Repository,
    action: str,
    outcome: str,
    now: datetime,
    *,
    backup_id: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> Head:
    """Write one event behind the newest ones. Raises StorageError.

    It is never filed before one that is believed, whatever the clock says (``clock_at`` keeps that). Two writers at
    once make two ends; the next event names both. Where the storage asks for MACs it carries one, unless no key opens
    the storage: that a wrong key was tried is worth recording too.
    """
    now = now.astimezone(UTC)  # the names of events are times
    for attempt in range(_ATTEMPTS):
        ends, beside, at = _ends(repository, now)
        # Not the same name again: somebody may have put a file there to keep this one out.
        at += attempt * timedelta(microseconds=1)
        event = Event(
            number=1 + max((end.event.number for end in ends if end.event), default=0),
            at=at,
            action=action,
            outcome=outcome,
            actor=repository.actor,
            backup_id=backup_id,
            details=dict(details or {}),
            previous=tuple(sorted(end.sha256 for end in ends)),
            clock_at=now if at != now else None,
            beside=tuple(sorted(stored.sha256 for stored in beside)),
        )
        name = f"{repository.layout.audit}/{event.file_name}"
        data = encode(_vouched(repository, event.to_json(), name, at))
        try:
            repository.store.create(name, data)
        except ObjectExists:
            continue
        return Head(event.number, hash_of(data))
    raise ObjectExists("others keep writing to the audit log", "try again later", retryable=True)


def read_log(repository: Repository) -> list[Stored]:
    """Every event, oldest first. What cannot be read is there too, and says why. Raises StorageError."""
    return list(_read_all(repository))


def read_head(repository: Repository, now: datetime | None = None) -> Head | None:
    """The newest event that is believed, for whoever carries it elsewhere.

    None while there is none, and where no key opens the MACs: a head that nobody can check would accuse the log of what
    a forger wrote. ``now`` spares listing all of the log (:func:`_newest`). Raises StorageError.
    """
    return read_end(repository, now)[0]


def read_end(repository: Repository, now: datetime | None = None) -> tuple[Head | None, datetime | None]:
    """The head, and when that event happened by the clock of whoever wrote it. Raises StorageError."""
    believed = _newest(repository, now, 1).believed
    if not believed or believed[-1].event is None:
        return None, None
    event = believed[-1].event
    return Head(event.number, believed[-1].sha256), event.happened_at


def last_event(repository: Repository, action: str, now: datetime) -> Event | None:
    """The newest event of an action, if it is among the newest of all. Raises StorageError."""
    events = [stored.event for stored in _newest(repository, now).followed if stored.event is not None]
    return next((event for event in reversed(events) if event.action == action), None)


def is_there(repository: Repository, head: Head, now: datetime | None = None) -> bool:
    """Whether the log still has that very event. Raises StorageError."""
    if now is not None and any(stored.sha256 == head.sha256 for stored in _newest(repository, now).followed):
        return True
    suffix = f"-{head.number:06d}.json"
    return any(stored.sha256 == head.sha256 for stored in _read_all(repository, suffix))


def _read_all(repository: Repository, suffix: str = "") -> Iterator[Stored]:
    """Every event whose name ends so, as it lies in the storage now, oldest first. Raises StorageError."""
    names = [item.name for item in repository.store.list(f"{repository.layout.audit}/")]
    for name in names:
        if name.endswith(suffix):
            yield _read(name, partial(repository.store.get, name))


def accepted_heads(repository: Repository, now: datetime | None = None) -> Mapping[str, Event]:
    """Heads that somebody with the key has given up (``audit accept``), by ``str``, as far as the newest events tell.

    Where nothing asks for MACs anybody could have written that: then there are none. Raises StorageError.
    """
    return {
        head: stored.event
        for stored in _newest(repository, now, _CONFIGURATION_SEEN).believed
        if stored.event is not None and "mac" in stored.document
        if (head := head_given_up(stored.event))
    }


def recent_failures(repository: Repository, now: datetime) -> list[Event]:
    """Backups, base backups and drills of the command line that failed, oldest first, as far as the newest events tell.

    Without those that somebody stopped at the keyboard. What Dagster started it tells itself: it may still try again.
    Raises StorageError.
    """
    return [
        stored.event
        for stored in _newest(repository, now, _FAILURES_SEEN).believed
        if stored.event is not None
        and stored.event.action in {"backup", "base backup", "drill"}
        and stored.event.outcome == "failed"
        and not stored.event.actor.via.startswith("dagster")
        and stored.event.details.get("error") != KeyboardInterrupt.__name__
    ]


def head_given_up(event: Event) -> str:
    """Which head an event gives up, as ``str`` of it; empty for every other event. Pure."""
    head = event.details.get("head") if event.action == "accept" else None
    return head if isinstance(head, str) else ""


@dataclass(slots=True)
class Entry:
    """What a block adds to its own event while it works. ``unrecorded`` says why it could not be written."""

    backup_id: str | None = None
    outcome: str = "done"
    details: dict[str, Any] = field(default_factory=dict)
    unrecorded: str = ""


@contextmanager
def audited(
    repository: Repository,
    action: str,
    clock: Callable[[], datetime],
    *,
    backup_id: str | None = None,
    details: Mapping[str, Any] | None = None,
    required: bool = True,
) -> Iterator[Entry]:
    """Record how the block ends: its outcome, or that it failed and why.

    What only reads goes on without a log (``required`` false): at 3 a.m. from a read-only disk the restore itself is
    what matters. Raises StorageError when a log that is required cannot be written.
    """
    entry = Entry(backup_id, details=dict(details or {}))
    try:
        yield entry
    except BaseException as error:
        reason = error.message if isinstance(error, BackupError) else type(error).__name__
        try:
            append(
                repository,
                action,
                "failed",
                clock(),
                backup_id=entry.backup_id,
                details={**entry.details, "error": reason},
            )
        except StorageError as unwritten:
            error.add_note(f"the audit log could not be written: {unwritten.message}")
        raise
    try:
        append(repository, action, entry.outcome, clock(), backup_id=entry.backup_id, details=entry.details)
    except StorageError as unwritten:
        if required:
            raise
        entry.unrecorded = f"the audit log could not be written: {unwritten.message}"


def note_configuration(repository: Repository, now: datetime) -> None:
    """Record the settings of this machine if they are not those that it last recorded. Raises StorageError."""
    if not repository.configuration:
        return
    digest = hash_of(canonical(repository.configuration))
    for stored in reversed(_newest(repository, now, _CONFIGURATION_SEEN).followed):
        event = stored.event
        if (
            event is not None
            and event.action == "configuration"
            and event.actor.host == repository.actor.host
        ):
            if event.details.get("digest") == digest:
                return
            break
    details = {"digest": digest, "settings": dict(sorted(repository.configuration.items()))}
    append(repository, "configuration", "done", now, details=details)


def prune(repository: Repository, now: datetime) -> int:
    """Delete events older than :data:`KEPT_FOR`, after one that vouches for the end of what goes.

    The caller knows that the clock can be believed: all that was recorded would be old to one that is years ahead.
    Returns how many went. Raises StorageError.
    """
    names = [item.name for item in repository.store.list(f"{repository.layout.audit}/")]
    judge = Judge(repository)
    going: list[Stored] = []
    unbelieved: list[Stored] = []
    doubtful: list[Stored] = []  # of a clock that was ahead: as old as what follows
    # Only from the beginning: a gap in the middle would look like what it must show.
    for name in names:
        stored = _read(name, partial(repository.store.get, name))
        if stored.event is None:
            continue  # told by `audit verify`; it must not keep the others here for ever
        is_old = stored.event.happened_at < now - KEPT_FOR
        belief = judge.verdict(stored.document, name)
        if not belief.is_vouched_for:
            # By its own word it may leave, and nothing else because of it: anybody can have written it.
            unbelieved += [stored] if is_old and belief is Standing.UNSIGNED else []
            continue
        doubtful.append(stored)
        if is_old:
            going += doubtful
            doubtful = []
        elif stored.event.happened_at <= now:
            break
    leaving = [*going, *unbelieved]
    if not leaving or len(leaving) == len(names):
        return 0
    # Those that nobody vouches for must not crowd out the ones that the next event names.
    hashes = [each.sha256 for each in (*going[-_SEEN:], *unbelieved[-_SEEN:])]
    append(repository, "prune", "done", now, details={"events": len(leaving), "hashes": hashes})
    for stored in leaving:
        repository.store.delete(stored.name)
    return len(leaving)


def _ends(repository: Repository, now: datetime) -> tuple[list[Stored], list[Stored], datetime]:
    """The newest events that no other one follows, what lies beside them without a MAC, and the moment for the next."""
    newest = _newest(repository, now)
    followed = {sha256 for stored in newest.followed if stored.event for sha256 in stored.event.previous}
    ends = [stored for stored in newest.followed if stored.sha256 not in followed]
    last = max((stored.event.at for stored in newest.followed if stored.event), default=None)
    at = now if last is None or last < now else last + timedelta(microseconds=1)
    return ends, newest.beside, at


@dataclass(frozen=True, slots=True)
class _Tail:
    """The end of the log, each part in the order of names.

    ``believed`` are the newest events that are believed. ``followed`` are those that a new event comes after: where
    none is believed (encryption was just turned on, or no key opens) whatever else is there. ``beside`` are the
    unsigned ones behind the last that is followed.
    """

    believed: list[Stored]
    followed: list[Stored]
    beside: list[Stored]


def _newest(repository: Repository, now: datetime | None, count: int = _SEEN) -> _Tail:
    """The end of the log, up to so many believed events: what nobody vouches for, however much, hides none of them.

    Names sort by time, so a listing from any moment on that has enough believed events has the newest ones. The moment
    is only a guess from ``now``: where too few are found, more is listed, and at last all. No document has to say where
    the end is, and none can lie about it.
    """
    judge, folder = Judge(repository), f"{repository.layout.audit}/"
    documents = repository.documents()

    def read(item: StoredObject) -> Stored:
        return _read(item.name, lambda: documents.read(item, partial(judge.vouches_for, item.name)))

    # A day has two events or more: the backup, and its verification.
    days = [] if now is None else [each for each in _TAIL_DAYS if count <= 2 * each]
    beginnings = [repository.layout.audit_since(now - timedelta(days=each)) for each in days if now]
    for after in (*beginnings, ""):
        listed = list(repository.store.list(folder, after=after))
        tail = _tail_of(map(read, reversed(listed)), judge, count)
        if len(tail.believed) == count:
            break
    documents.save()
    return tail


def _tail_of(newest_first: Iterable[Stored], judge: Judge, count: int) -> _Tail:
    believed: list[Stored] = []
    unsigned: list[Stored] = []
    unchecked: list[Stored] = []
    for stored in newest_first:
        if stored.event is None:
            continue
        kept = {
            Standing.SIGNED: believed,
            Standing.CHECKSUM: believed,
            Standing.UNSIGNED: unsigned,
            Standing.NOT_CHECKED: unchecked,
        }.get(judge.verdict(stored.document, stored.name))
        if kept is not None and len(kept) < count:
            kept.append(stored)
        if len(believed) == count:
            break
    if believed:
        beside = [stored for stored in unsigned if stored.name > believed[0].name][:_SEEN]
        return _Tail(believed[::-1], believed[::-1], beside)
    others = [*unsigned, *([] if judge.knows_keys else unchecked)]
    others.sort(key=lambda stored: stored.name)
    return _Tail([], others[-count:], [])


def _read(name: str, get: Callable[[], bytes]) -> Stored:
    try:
        data = get()
    except ObjectMissing:
        return Stored(name, "", None, problem="it went away while it was being read")
    except DamagedData as damage:
        return Stored(name, "", None, problem=damage.message)
    sha256 = hash_of(data)
    try:
        document = decode(data, name)
        event = Event.from_json(document)
    except DamagedData as damage:
        return Stored(name, sha256, None, problem=damage.message)
    if not name.endswith(f"/{event.file_name}"):
        return Stored(name, sha256, event, document, problem="it lies under another name than its own")
    return Stored(name, sha256, event, document)


def _vouched(
    repository: Repository, document: Mapping[str, Any], name: str, now: datetime
) -> Mapping[str, Any]:
    try:
        return repository.vouched(document, name, now)
    except (NoUsableKey, DamagedData, ConfigurationError):
        return summed(document, name)
