"""What alerts remember between two looks: open incidents and letters on their way, as one JSON document. Pure.

Two copies are kept, and the younger one counts: one with whoever looks (Dagster's cursor), one in the storage. So
neither a lost database nor a storage that does not answer makes everybody be told everything again (docs/adr/0010).
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from recyclic_backups.audit.event import Head
from recyclic_backups.catalog.recovery_point import RecoveryPoint
from recyclic_backups.catalog.timestamps import from_text, to_text
from recyclic_backups.errors import DamagedData
from recyclic_backups.notify.incidents import Change, Incident, Problem, State
from recyclic_backups.notify.outbox import Delivery, Letter, Outbox
from recyclic_backups.notify.rollback import Mark
from recyclic_backups.notify.severity import Severity
from recyclic_backups.notify.wording import Kind

VERSION = 1

_PACKED_FROM = 8_000
_MOST_UNPACKED_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything remembered. ``serial`` grows with every change: of two memories the higher one is the younger.

    ``began_at`` is the first look of all; ``had_backups`` whether there ever was a verified backup; ``mark`` how far
    the storage had come, None before that was looked at.
    """

    serial: int = 0
    began_at: datetime | None = None
    had_backups: bool = False
    state: State = field(default_factory=State)
    outbox: Outbox = ()
    mark: Mark | None = None

    def begun(self, now: datetime) -> datetime:
        """The first look of all, which is now if there was none, or if it was dated by a clock that was ahead."""
        return now if self.began_at is None else min(self.began_at, now)


def younger(one: Memory | None, other: Memory | None) -> Memory | None:
    """The one with the higher serial; the first if they are equal."""
    if one is None or other is None:
        return one or other
    return other if other.serial > one.serial else one


def to_document(memory: Memory) -> str:
    """As it lies in the storage: JSON for people to read."""
    return json.dumps(_json(memory), indent=1, ensure_ascii=False)


def to_cursor(memory: Memory) -> str:
    """As Dagster keeps it, with every tick: compressed when it is long."""
    text = json.dumps(_json(memory), ensure_ascii=False, separators=(",", ":"))
    if len(text) < _PACKED_FROM:
        return text
    packed = base64.b85encode(zlib.compress(text.encode("utf-8"), 9)).decode("ascii")
    return json.dumps({"version": VERSION, "serial": memory.serial, "packed": packed})


def read(text: str | bytes | None) -> Memory | None:
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
        return _memory(document)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, DamagedData, zlib.error):
        return None


def _json(memory: Memory) -> dict[str, Any]:
    return {
        "version": VERSION,
        "serial": memory.serial,
        "began_at": _moment(memory.began_at),
        "had_backups": memory.had_backups,
        "reminded_at": _moment(memory.state.reminded_at),
        "incidents": [_incident(each) for each in memory.state.incidents.values()],
        "outbox": [_letter(each) for each in memory.outbox],
        "mark": None if memory.mark is None else _mark(memory.mark),
    }


def _memory(document: Mapping[str, Any]) -> Memory:
    incidents = [_renamed(_incident_from(each)) for each in document["incidents"]]
    return Memory(
        serial=_whole(document["serial"]),
        began_at=_moment_from(document["began_at"]),
        had_backups=document["had_backups"] is True,
        state=State({each.key: each for each in incidents}, _moment_from(document["reminded_at"])),
        outbox=tuple(_letter_from(each) for each in document["outbox"]),
        mark=_mark_from(document.get("mark")),  # older versions had none
    )


def _mark(mark: Mark) -> dict[str, Any]:
    return {
        "storage_url": mark.storage_url,
        "storage_id": mark.storage_id,
        "head": None if mark.head is None else mark.head.to_json(),
        "head_at": _moment(mark.head_at),
        "backups": list(mark.backups),
        "newest_id": mark.newest_id,
        "checks": mark.checks,
        "labels": list(mark.labels),
        "keys": {key_id: to_text(wrapped_at) for key_id, wrapped_at in mark.keys.items()},
    }


def _mark_from(document: Mapping[str, Any] | None) -> Mark | None:
    if document is None:
        return None
    return Mark(
        storage_url=str(document["storage_url"]),
        storage_id=str(document["storage_id"]),
        head=Head.from_json(document["head"]),
        head_at=_moment_from(document["head_at"]),
        backups=tuple(str(each) for each in document["backups"]),
        newest_id=str(document["newest_id"]),
        checks=_whole(document["checks"]),
        labels=tuple(str(each) for each in document["labels"]),
        keys={str(key_id): from_text(at) for key_id, at in document["keys"].items()},
    )


def _incident(incident: Incident) -> dict[str, Any]:
    problem = incident.problem
    return {
        "key": problem.key,
        "kind": problem.kind,
        "severity": incident.severity,
        "now": problem.severity,
        "since": to_text(problem.since),
        "facts": dict(problem.facts),
        "page": problem.page,
        "nags": problem.nags,
        "opened_at": to_text(incident.opened_at),
        "told_at": to_text(incident.told_at),
        "gone_since": _moment(incident.gone_since),
    }


def _incident_from(document: Mapping[str, Any]) -> Incident:
    kind = str(document["kind"])
    problem = Problem(
        key=str(document["key"]),
        # One that a newer version knows: it is not told of as something new when that version is back.
        kind=Kind(kind) if kind in set(Kind) else Kind.OTHER,
        severity=Severity(document["now"]),
        since=from_text(document["since"]),
        facts={str(name): str(value) for name, value in document["facts"].items()},
        page=str(document["page"]),
        nags=document["nags"] is True,
    )
    return Incident(
        problem,
        Severity(document["severity"]),
        from_text(document["opened_at"]),
        from_text(document["told_at"]),
        _moment_from(document["gone_since"]),
    )


def _renamed(incident: Incident) -> Incident:
    """Under the key that its problem has now. Older versions knew that there is no backup as an age."""
    if incident.key == "age" and incident.problem.kind in (Kind.NO_BACKUP, Kind.BACKUPS_GONE):
        return replace(incident, problem=replace(incident.problem, key="backups"))
    return incident


def _letter(letter: Letter) -> dict[str, Any]:
    recovery = letter.recovery
    return {
        "letter_id": letter.letter_id,
        "change": letter.change,
        "written_at": to_text(letter.written_at),
        "incidents": [_incident(each) for each in letter.incidents],
        "criticals": letter.criticals,
        "warnings": letter.warnings,
        "recovery": {
            "verified_id": recovery.verified_id,
            "verified_as_of": _moment(recovery.verified_as_of),
            "proven_id": recovery.proven_id,
            "proven_as_of": _moment(recovery.proven_as_of),
            "proven_at": _moment(recovery.proven_at),
            "known": recovery.known,
        },
        "deliveries": [
            {
                "channel": each.channel,
                "attempts": each.attempts,
                "next_at": to_text(each.next_at),
                "reason": each.reason,
                "overtaken": each.overtaken,
            }
            for each in letter.deliveries
        ],
    }


def _letter_from(document: Mapping[str, Any]) -> Letter:
    recovery = document["recovery"]
    return Letter(
        letter_id=str(document["letter_id"]),
        change=Change(document["change"]),
        written_at=from_text(document["written_at"]),
        incidents=tuple(_incident_from(each) for each in document["incidents"]),
        criticals=_whole(document["criticals"]),
        warnings=_whole(document["warnings"]),
        recovery=RecoveryPoint(
            verified_id=str(recovery["verified_id"]),
            verified_as_of=_moment_from(recovery["verified_as_of"]),
            proven_id=str(recovery["proven_id"]),
            proven_as_of=_moment_from(recovery["proven_as_of"]),
            proven_at=_moment_from(recovery["proven_at"]),
            known=recovery["known"] is True,
        ),
        deliveries=tuple(
            Delivery(
                str(each["channel"]),
                _whole(each["attempts"]),
                from_text(each["next_at"]),
                str(each["reason"]),
                each.get("overtaken") is True,  # older versions did not say
            )
            for each in document["deliveries"]
        ),
    )


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else to_text(moment)


def _moment_from(text: object) -> datetime | None:
    return None if text is None else from_text(text)


def _whole(number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(f"not a number: {number!r}")
    return number
