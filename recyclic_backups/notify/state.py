"""What alerts remember between two looks: open incidents and letters on their way, as one JSON document. Pure.

Several copies are kept, and the youngest one counts (:mod:`recyclic_backups.notify.stored_state`).
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from recyclic_backups.audit.event import Head
from recyclic_backups.catalog.timestamps import from_text, to_text
from recyclic_backups.errors import DamagedData
from recyclic_backups.notify.incidents import Incident, OpenIncidents, Problem
from recyclic_backups.notify.outbox import Outbox
from recyclic_backups.notify.rollback import Mark
from recyclic_backups.texts.alerts import WORDS

VERSION = 1

_PACKED_FROM = 8_000
_MOST_UNPACKED_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class AlertState:
    """Everything remembered. ``serial`` grows with every change: of two states the higher one is the younger.

    ``began_at`` is the first look of all; ``had_backups`` whether there ever was a verified backup; ``mark`` how far
    the storage had come, None before that was looked at.
    """

    serial: int = 0
    began_at: datetime | None = None
    had_backups: bool = False
    open: OpenIncidents = field(default_factory=OpenIncidents)
    outbox: Outbox = ()
    mark: Mark | None = None

    def begun(self, now: datetime) -> datetime:
        """The first look of all, which is now if there was none, or if it was dated by a clock that was ahead."""
        return now if self.began_at is None else min(self.began_at, now)


def youngest(*states: AlertState | None) -> AlertState | None:
    """The one with the highest serial; the first of those that are equal."""
    return max((each for each in states if each is not None), key=lambda each: each.serial, default=None)


def to_document(state: AlertState) -> str:
    """As it lies in the storage: JSON for people to read."""
    return json.dumps(_plain_state(state), indent=1, ensure_ascii=False)


def to_cursor(state: AlertState) -> str:
    """As Dagster keeps it with every tick, and this machine: compressed when it is long."""
    text = json.dumps(_plain_state(state), ensure_ascii=False, separators=(",", ":"))
    if len(text) < _PACKED_FROM:
        return text
    packed = base64.b85encode(zlib.compress(text.encode("utf-8"), 9)).decode("ascii")
    return json.dumps({"version": VERSION, "serial": state.serial, "packed": packed})


def read(text: str | bytes | None) -> AlertState | None:
    """What a document or a cursor says; None if it is of another version, damaged or not ours."""
    try:
        document = json.loads(text or "")
        if document["version"] != VERSION:
            return None
        if "packed" in document:
            inflater = zlib.decompressobj()
            document = json.loads(
                inflater.decompress(base64.b85decode(document["packed"]), _MOST_UNPACKED_BYTES)
            )
        # A lone surrogate, which JSON can escape, could be read here and never be written again.
        json.dumps(document, ensure_ascii=False).encode("utf-8")
        return _built_state(document)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, DamagedData, zlib.error):
        return None


def _plain_state(state: AlertState) -> dict[str, Any]:
    document = {"version": VERSION, **_plain(state)}
    opened = document.pop("open")
    return {**document, "reminded_at": opened["reminded_at"], "incidents": [*opened["incidents"].values()]}


def _built_state(document: Mapping[str, Any]) -> AlertState:
    incidents = [_renamed(_built(Incident, each)) for each in document["incidents"]]
    reminded_at = _built(datetime | None, document["reminded_at"])
    nothing = _plain(OpenIncidents())
    state: AlertState = _built(AlertState, {**document, "open": nothing})
    return replace(state, open=OpenIncidents({each.key: each for each in incidents}, reminded_at))


def _renamed(incident: Incident) -> Incident:
    """Under the key that its problem has now. Older versions knew that there is no backup as an age."""
    if incident.key == "age" and incident.problem.kind in ("no backup", "backups gone"):
        return replace(incident, problem=replace(incident.problem, key="backups"))
    return incident


def _plain(value: Any) -> Any:
    """As JSON has it: of a dataclass its fields, by their names."""
    match value:
        case datetime():
            return to_text(value)
        case StrEnum():
            return value.value
        case Head():
            return value.to_json()
        case Incident():
            return _plain_incident(value)
        case Mapping():
            return {name: _plain(each) for name, each in value.items()}
        case tuple():
            return [_plain(each) for each in value]
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return value


def _built(kind: Any, value: Any) -> Any:
    """A value of that type, from :func:`_plain`. Raises ValueError, TypeError, KeyError, DamagedData."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if value is None else _built(arguments[0], value)
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError("not a list")
        return tuple(_built(arguments[0], each) for each in value)
    if origin is not None:
        return {str(name): _built(arguments[1], each) for name, each in value.items()}
    if kind is datetime:
        return from_text(value)
    if kind is Head:
        return Head.from_json(value)
    if kind is Incident:
        return _built_incident(value)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        # Older versions did not write the fields that have a default.
        names = [each.name for each in fields(kind) if each.name in value or _is_required(each)]
        return kind(**{name: _built(hints[name], value[name]) for name in names})  # type: ignore[operator]
    if issubclass(kind, StrEnum):
        return kind(value)
    if not isinstance(value, kind) or (kind is int and (isinstance(value, bool) or value < 0)):
        raise ValueError(f"not a {kind.__name__}")
    return value


def _is_required(each: Any) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def _plain_incident(incident: Incident) -> dict[str, Any]:
    """On one level; ``now`` is how bad it is, ``severity`` how bad it ever was."""
    problem = incident.problem
    return {
        "key": problem.key,
        "kind": problem.kind,
        "severity": incident.severity.value,
        "now": problem.severity.value,
        "since": to_text(problem.since),
        "facts": dict(problem.facts),
        "page": problem.page,
        "nags": problem.remind,
        "opened_at": to_text(incident.opened_at),
        "told_at": to_text(incident.told_at),
        "gone_since": _plain(incident.gone_since),
    }


def _built_incident(document: Mapping[str, Any]) -> Incident:
    # One that a newer version knows: it is not told of as something new when that version is back.
    kind = document["kind"] if document["kind"] in WORDS else "other"
    problem = {**document, "kind": kind, "severity": document["now"], "remind": document["nags"]}
    return Incident(
        problem=_built(Problem, problem),
        **{
            name: _built(hint, document[name])
            for name, hint in get_type_hints(Incident).items()
            if name != "problem"
        },
    )
