"""Incidents: which problems people were told of, and what they have to be told next. Pure.

A problem is seen or not, at every look. An incident is the story of one: opened, at most once escalated, reminded
of, resolved. What changes at one look is told in one message for each kind of change, however many problems it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.fields import UNSTORED, Document, fields_of, named, parsed
from recyclic_backups.errors import printable
from recyclic_backups.notify.harmless import shortened
from recyclic_backups.notify.severity import Severity
from recyclic_backups.texts.alerts import WORDS
from recyclic_backups.texts.language import TIER_NAMES, Bilingual

REMIND_AFTER = timedelta(hours=24)
"""Nobody is reminded more often, neither of one incident nor of all of them together."""

FRESH = timedelta(hours=1)
"""A reminder is of every incident that lasts but those that were told so recently. What began an hour after another
would else wait for the reminder of the next day but one. So nobody waits longer than these two together."""

SETTLE = timedelta(minutes=10)
"""A problem that comes and goes is one incident: it is over once nobody has seen it for so long."""

CAUSES = frozenset({"storage", "backups gone", "rollback"})
"""What the first line of a message has to name: without the storage backups fail and grow old, one after another."""


class Change(StrEnum):
    """What became of an incident."""

    OPENED = "opened"
    ESCALATED = "escalated"
    REMINDED = "reminded"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong now.

    ``key`` is the same at every look, whatever else changes; the part before its first ``/`` says where it was seen.
    ``facts`` are what the sentences of ``kind`` are made with; they hold no secret. ``page`` is a path below
    DAGSTER_URL. ``remind`` is false where nothing can be done
    about it any more: nobody is reminded of it.
    Lone surrogates in ``key`` and ``facts`` are spelled out.
    """

    key: str
    kind: str
    severity: Severity = field(metadata=named("now"))
    since: datetime
    facts: Mapping[str, str] = field(default_factory=dict)
    page: str = ""
    remind: bool = field(default=True, metadata=named("nags"))

    def __post_init__(self) -> None:
        # All that is ever told passes here, and one text that cannot be written would silence everything else.
        object.__setattr__(self, "key", printable(self.key))
        facts = {name: printable(fact) for name, fact in self.facts.items()}
        object.__setattr__(self, "facts", facts)


def in_both(**values: object) -> dict[str, str]:
    """Facts of a problem: each value in English, and under ``<name>_fr`` in French where that is something else."""
    found = {}
    for name, value in values.items():
        if isinstance(value, Tier):
            english, french = TIER_NAMES[value]
        elif isinstance(value, Bilingual):
            english, french = shortened(value.text("en")), shortened(value.text("fr"))
        else:
            english = french = str(value)
        found[name] = english
        if french != english:
            found[f"{name}_fr"] = french
    return found


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look found. ``unseen`` are keys, or beginnings of keys up to a ``/``, that it could not look at.

    ``lapsed`` are keys of problems that are not solved, but too old to matter: nobody hears of them again.
    """

    problems: tuple[Problem, ...] = ()
    unseen: frozenset[str] = frozenset()
    lapsed: frozenset[str] = frozenset()

    def could_see(self, key: str) -> bool:
        """Whether a problem of that key would have been found."""
        parts = key.split("/")
        return not any("/".join(parts[:count]) in self.unseen for count in range(1, len(parts) + 1))

    def __add__(self, other: Observation) -> Observation:
        """Both together."""
        return Observation(
            self.problems + other.problems, self.unseen | other.unseen, self.lapsed | other.lapsed
        )


@dataclass(frozen=True, slots=True)
class Incident(Document):
    """A problem that people were told of. ``severity`` is the worst it ever had; moments are aware UTC."""

    problem: Problem = field(metadata=UNSTORED)
    severity: Severity
    opened_at: datetime
    told_at: datetime
    gone_since: datetime | None = None

    @property
    def key(self) -> str:
        """That of its problem."""
        return self.problem.key

    def to_json(self) -> dict[str, Any]:
        """On one level; ``now`` is how bad it is, ``severity`` how bad it ever was."""
        return {**fields_of(self.problem), **fields_of(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read a document; older versions knew that there is no backup as an age. Raises DamagedData."""
        changed: dict[str, Any] = {}
        if document.get("kind") not in WORDS:
            # One that a newer version knows: it is not told of as something new when that version is back.
            changed = {"kind": "other"}
        elif document.get("key") == "age" and document["kind"] in ("no backup", "backups gone"):
            changed = {"key": "backups"}
        problem = parsed(Problem, {**document, **changed}, "incident")
        return parsed(cls, document, "incident", problem=problem)


@dataclass(frozen=True, slots=True)
class News:
    """Incidents of which the same is to be told, worst first."""

    change: Change
    incidents: tuple[Incident, ...]


@dataclass(frozen=True, slots=True)
class OpenIncidents:
    """All open incidents by key, and when anybody was last reminded of any."""

    incidents: Mapping[str, Incident] = field(default_factory=dict)
    reminded_at: datetime | None = None


def advance(state: OpenIncidents, seen: Observation, now: datetime) -> tuple[OpenIncidents, list[News]]:
    """What is open after this look, and what has to be told. The same look once more tells nothing."""
    state = _not_of_the_future(state, now)
    open_now: dict[str, Incident] = {}
    told: dict[Change, list[Incident]] = {change: [] for change in Change}
    problems = _worst_of_each(seen.problems)

    for key, found in problems.items():
        problem = found
        known = state.incidents.get(key)
        if known is not None:
            problem = replace(problem, since=min(problem.since, known.problem.since))
        if known is None:
            incident = Incident(problem, problem.severity, opened_at=now, told_at=now)
            told[Change.OPENED].append(incident)
        elif problem.severity is not known.severity and problem.severity is Severity.CRITICAL:
            incident = replace(
                known, problem=problem, severity=Severity.CRITICAL, told_at=now, gone_since=None
            )
            told[Change.ESCALATED].append(incident)
        else:
            incident = replace(known, problem=problem, gone_since=None)
        open_now[key] = incident

    for key, known in state.incidents.items():
        if key in problems or key in seen.lapsed:
            continue
        if not seen.could_see(key):
            open_now[key] = known
        elif known.gone_since is None:
            open_now[key] = replace(known, gone_since=now)
        elif now - known.gone_since >= SETTLE:
            told[Change.RESOLVED].append(known)
        else:
            open_now[key] = known

    reminded_at = state.reminded_at
    if reminded_at is None or now - reminded_at >= REMIND_AFTER:
        lasting = [
            each
            for each in open_now.values()
            if each.problem.remind and each.gone_since is None and seen.could_see(each.key)
        ]
        if any(now - each.told_at >= REMIND_AFTER for each in lasting):
            reminded_at = now
            told[Change.REMINDED] = [
                replace(each, told_at=now) for each in lasting if now - each.told_at >= FRESH
            ]
            open_now |= {each.key: each for each in told[Change.REMINDED]}

    news = [News(change, worst_first(incidents)) for change, incidents in told.items() if incidents]
    return OpenIncidents(open_now, reminded_at), news


def worst_first(incidents: Sequence[Incident]) -> tuple[Incident, ...]:
    """Critical ones first, of these what others may follow from (:data:`CAUSES`), then the oldest, then by key."""
    return tuple(
        sorted(
            incidents,
            key=lambda each: (
                each.severity is not Severity.CRITICAL,
                each.problem.kind not in CAUSES,
                each.problem.since,
                each.key,
            ),
        )
    )


def _worst_of_each(problems: Sequence[Problem]) -> dict[str, Problem]:
    found: dict[str, Problem] = {}
    for problem in problems:
        other = found.get(problem.key)
        if other is None or not other.severity.reaches(problem.severity):
            found[problem.key] = problem
    return found


def _not_of_the_future(state: OpenIncidents, now: datetime) -> OpenIncidents:
    """The same as if it had been told by this clock: one that was a year ahead must not silence a year."""

    def past(moment: datetime | None) -> datetime | None:
        return None if moment is None else min(moment, now)

    incidents = {
        key: replace(
            each,
            opened_at=min(each.opened_at, now),
            told_at=min(each.told_at, now),
            gone_since=past(each.gone_since),
        )
        for key, each in state.incidents.items()
    }
    return OpenIncidents(incidents, past(state.reminded_at))
