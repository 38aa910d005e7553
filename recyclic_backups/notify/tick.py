"""One look: what is told of the facts, given what people were told before. Everything about alerts is decided here.

Dagster's sensor ``alerts`` and the command ``recyclic-backups alerts`` look the same way (:func:`look`). They differ in
the facts that they have: the sensor knows Dagster's runs, ticks and backfills besides.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from recyclic_backups.catalog.recovery_point import RecoveryPoint
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.errors import BackupError
from recyclic_backups.health.judge import findings
from recyclic_backups.notify.automation import failing_ticks
from recyclic_backups.notify.delivery import deliver, update_state
from recyclic_backups.notify.facts import STORED_JOBS, AlertTerms, DagsterFacts, Facts
from recyclic_backups.notify.findings import (
    SILENT,
    SOURCES,
    WAL,
    Circumstances,
    is_bare,
    is_of_the_server,
    told_findings,
)
from recyclic_backups.notify.incidents import (
    Change,
    Incident,
    News,
    Observation,
    Problem,
    in_both,
    worst_first,
)
from recyclic_backups.notify.message import command, label, redact, what
from recyclic_backups.notify.outbox import LISTED, Delivery, Letter
from recyclic_backups.notify.rollback import rollback_problems
from recyclic_backups.notify.runs import backup_is_working, broken_backfills, failed_runs, unfinished_runs
from recyclic_backups.notify.severity import Severity
from recyclic_backups.notify.state import AlertState
from recyclic_backups.notify.storage_facts import read_storage
from recyclic_backups.notify.stored_state import LocalCopy, LookedMeanwhile, StoredAlertState
from recyclic_backups.own_command import as_called
from recyclic_backups.texts.language import Bilingual, Untranslated
from recyclic_backups.texts.text import say

DAGSTER_GONE_AFTER = timedelta(days=3)
"""What only Dagster sees, and nobody was reminded of for so long, is of a Dagster that looks no more."""

_PARTS_OF_DAGSTER: Mapping[str, frozenset[str]] = {
    "runs": frozenset({"run", "drill", "stuck"}),
    "automation": frozenset({"tick"}),
    "backfills": frozenset({"backfill"}),
}


@dataclass(frozen=True, slots=True)
class Tick:
    """What one look decided: the state from now on, what is news, and what is given up though nobody took it.

    ``broken`` says which questions could not be asked, for a log, with no text of an exception in it.
    """

    state: AlertState
    news: tuple[News, ...]
    lost: tuple[tuple[Letter, Delivery], ...] = ()
    broken: tuple[str, ...] = ()


def tick(facts: Facts, state: AlertState, now: datetime) -> Tick:
    """What becomes of the state, and what people are told. Pure; the serial grows if what is remembered differs."""
    known, catalog = state.open.incidents, facts.storage.catalog
    # One that held backups and holds none is not the storage that knows what is missing or was made up for.
    knowing = None if catalog is not None and state.had_backups and is_bare(catalog) else catalog
    questions: list[tuple[frozenset[str], Callable[[], Observation]]] = [
        (SOURCES, lambda: _storage(facts, state, now)),
        (frozenset({"run", "drill"}), lambda: failed_runs(facts, knowing, known, now)),
        (frozenset({"flag"}), lambda: _flags(facts, now)),
        (frozenset({"rollback"}), lambda: rollback_problems(facts.storage.rollback, now)),
        (frozenset({"memory"}), lambda: _doubt(facts, now)),
    ]
    dagster = facts.dagster
    if dagster is None:
        questions.append((frozenset(), lambda: _only_dagster_sees(known, now)))
    else:
        questions += [
            (frozenset({"stuck"}), lambda: unfinished_runs(facts, now)),
            (frozenset({"tick"}), lambda: failing_ticks(dagster.automation or (), known, now)),
            (frozenset({"backfill"}), lambda: broken_backfills(dagster.backfills or ())),
        ]
    seen, broken = _unread(dagster, now), []
    for sources, ask in questions:
        try:
            seen += ask()
        except Exception as error:  # noqa: BLE001 - one that breaks must not keep the others from being told
            where = "".join(traceback.format_tb(error.__traceback__))
            broken.append(f"could not look at {', '.join(sorted(sources))}: {type(error).__name__}\n{where}")
            seen += _broken(sources, type(error).__name__, now)
    health = facts.storage.health
    point = RecoveryPoint(known=False) if health is None else health.recovery_point(now)
    mark = None if facts.storage.rollback is None else facts.storage.rollback.mark
    after, news, lost = update_state(state, seen, point, facts.terms.channels, now, mark=mark)
    return Tick(after, tuple(news), tuple(lost), tuple(broken))


@dataclass(frozen=True, slots=True)
class Look:
    """What a look did: the state after it, and the letters that were taken, each with the channel that took it."""

    state: AlertState
    sent: tuple[tuple[Letter, str], ...] = ()
    is_done: bool = True
    """False where another look went on at the same time: that one tells people."""


def look(
    terms: AlertTerms,
    open_repository: Callable[[bool], Repository],
    *,
    clock: Callable[[], datetime],
    say: Callable[[str], None],
    warn: Callable[[str], None],
    read_dagster: Callable[[AlertState], DagsterFacts] | None = None,
    cursor: str | None = None,
    local: LocalCopy | None = None,
    alarm: Callable[[], None] = lambda: None,
) -> Look:
    """Look at everything, tell what changed, each thing once, and remember what was told.

    ``open_repository`` is called with whether a storage that is not there may be made. ``say`` gets what is told, and
    ``warn`` what did not work: lines for a log, without secrets. ``cursor`` is the caller's own copy of the state: what
    comes back in :class:`Look`. ``alarm`` goes another way than the channels: it is called when the receiver of WAL is
    told to be silent, and at each reminder.
    """
    with nullcontext(True) if local is None else local.locked() as is_alone:
        try:
            there = open_repository(False)
        except BackupError:
            there = None  # why is told once what may be made was tried to be made
        remembered = StoredAlertState(there, local, cursor, warn)
        before, now = remembered.state, clock()
        if not is_alone:
            return Look(before, is_done=False)
        repository, storage = read_storage(
            lambda: open_repository(not before.had_backups), terms.health, before, now, warn
        )
        remembered.store_in(repository if storage.catalog else None)
        dagster = None if read_dagster is None else read_dagster(before)
        done = tick(Facts(terms, replace(storage, doubt=remembered.doubt()), dagster), before, now)
        try:
            remembered.begin(done.state)
        except LookedMeanwhile:
            return Look(before, is_done=False)
        for line in done.broken:
            warn(line)
        for each in done.news:
            say(_lines(each, terms))
        for letter, delivery in done.lost:
            reason = delivery.reason or "not answered"
            warn(f"{delivery.channel} never took {letter.letter_id}: {reason}; given up")
        if any(is_silence(each) for each in done.news):
            alarm()
        sent = deliver(remembered, terms.channels, terms.frame, clock=clock, say=warn)
        return Look(remembered.state, tuple(sent))


def is_silence(news: News) -> bool:
    """Whether it tells that the receiver of WAL is silent, and so that seconds are not what is lost any more. Pure."""
    return news.change is not Change.RESOLVED and any(
        each.severity is Severity.CRITICAL and each.key in SILENT for each in news.incidents
    )


def summary(state: AlertState, terms: AlertTerms) -> str:
    """What is open, and what waits to be delivered and why, for a person."""
    incidents = [each for each in state.open.incidents.values() if each.gone_since is None]
    locale = terms.frame.locale
    said = [label("open", locale, count=len(incidents)) if incidents else label("well", locale)]
    said += [_line(each, terms) for each in worst_first(incidents)[:LISTED]]
    if not terms.channels:
        said.append(label("nobody", locale))
    if state.outbox:
        said.append(label("waiting", locale, count=len(state.outbox)))
    reasons = {
        each.channel: each.reason for letter in state.outbox for each in letter.deliveries if each.reason
    }
    said += [f"{channel}: {reason}" for channel, reason in reasons.items()]
    return redact("\n".join(said), terms.frame.secrets)


def to_json(done: Look, terms: AlertTerms) -> dict[str, Any]:
    """What is open, the worst first, and what was sent, as ``alerts --json`` prints it after ``format``."""
    opened = [each for each in done.state.open.incidents.values() if each.gone_since is None]
    return {
        "incidents": [
            {
                "key": each.key,
                "kind": each.problem.kind,
                "severity": each.severity.value,
                "since": to_text(each.problem.since),
                "opened_at": to_text(each.opened_at),
                "message": redact(
                    what(each.problem.kind, each.problem.facts, terms.frame.locale), terms.frame.secrets
                ),
                "next": as_called(command(each.problem.kind, each.problem.facts)),
            }
            for each in worst_first(opened)
        ],
        "sent": [
            {"message_id": letter.letter_id, "channel": channel, "change": letter.change.value}
            for letter, channel in done.sent
        ],
    }


def _storage(facts: Facts, state: AlertState, now: datetime) -> Observation:
    """What the judge finds, or that the storage cannot be read."""
    storage, health = facts.storage, facts.terms.health
    if storage.health is None:
        reason: Bilingual = Untranslated("" if storage.problem is None else storage.problem.message)
        problem = Problem("storage", "storage", Severity.CRITICAL, now, in_both(reason=reason))
        return Observation((problem,), unseen=SOURCES)
    given = Circumstances(
        working=backup_is_working(facts, now),
        began_at=state.begun(now),
        had_backups=state.had_backups,
        wal_archived=health.wal is not None,
    )
    catalog = storage.health.catalog
    health = health.since(catalog)
    known, tells_of_wal = state.open.incidents, facts.terms.tells_of_wal
    wrong = [
        each for each in findings(storage.health, health, now) if tells_of_wal or not is_of_the_server(each)
    ]
    found = told_findings(wrong, catalog, health, given, known, now)
    if not tells_of_wal:
        found += Observation(lapsed=frozenset(key for key in known if key.startswith(WAL)))
    if not (state.had_backups and is_bare(catalog)):
        return found
    # Another disk, it seems: that backups are gone is what is told, and nothing else of what is not there.
    gone = tuple(each for each in found.problems if each.kind == "backups gone")
    return Observation(gone, unseen=SOURCES)


def _flags(facts: Facts, now: datetime) -> Observation:
    """Flags that an older release switched off, or that cannot be read or believed, until a person sets them."""
    flags = facts.storage.flags
    if flags is None:
        return Observation(unseen=frozenset({"flag"}))
    problems = []
    for name, switch in flags.tripped.items():
        # Where nothing is signed the reason may be anybody's text: it is read there, and not sent to people.
        reason: Bilingual = Untranslated(switch.tripped) if facts.storage.is_signed else say("alerts.unsent")
        since = switch.tripped_at or switch.set_at
        values = in_both(name=name, reason=reason)
        problems.append(Problem(f"flag/{name}", "flag tripped", Severity.WARNING, since, values))
    for name, said in flags.damaged.items():
        values = in_both(reason=Untranslated(said))
        problems.append(Problem(f"flag/{name}", "other", Severity.WARNING, now, values))
    return Observation(tuple(problems))


def _doubt(facts: Facts, now: datetime) -> Observation:
    """That what lies in the storage is not used, as one incident, however often it is put there."""
    if facts.storage.doubt is None:
        return Observation()
    values = in_both(reason=facts.storage.doubt)
    return Observation((Problem("memory", "memory", Severity.WARNING, now, values),))


def _only_dagster_sees(known: Mapping[str, Incident], now: datetime) -> Observation:
    """Without Dagster what it told is neither new nor over; after :data:`DAGSTER_GONE_AFTER` it is history."""
    theirs = {
        key: incident
        for key, incident in known.items()
        if key.startswith(("stuck/", "tick/", "backfill/", "look/"))
        or (key.startswith("run/") and incident.problem.facts.get("job") not in STORED_JOBS)
    }
    gone = {key for key, incident in theirs.items() if now - incident.told_at > DAGSTER_GONE_AFTER}
    return Observation(unseen=frozenset(theirs.keys() - gone), lapsed=frozenset(gone))


def _unread(dagster: DagsterFacts | None, now: datetime) -> Observation:
    """What of Dagster could not be read, as of a version that answers otherwise."""
    found = Observation()
    for part, error in ({} if dagster is None else dagster.broken).items():
        found += _broken(_PARTS_OF_DAGSTER[part], error, now)
    return found


def _broken(sources: frozenset[str], error: str, now: datetime) -> Observation:
    reason = say("alerts.broken_look", names=", ".join(sorted(sources)), error=error)
    problem = Problem(
        f"look/{min(sources, default='')}", "other", Severity.WARNING, now, in_both(reason=reason)
    )
    return Observation((problem,), unseen=sources)


def _lines(news: News, terms: AlertTerms) -> str:
    """What is told, for a log: there it stands even where no channel is configured."""
    lines = [f"{news.change}, {_line(each, terms)}" for each in news.incidents[:LISTED]]
    if len(news.incidents) > LISTED:
        lines.append(label("more", terms.frame.locale, count=len(news.incidents) - LISTED))
    return redact("\n".join(lines), terms.frame.secrets)


def _line(incident: Incident, terms: AlertTerms) -> str:
    problem = incident.problem
    return f"{incident.severity}: {what(problem.kind, problem.facts, terms.frame.locale)}"
