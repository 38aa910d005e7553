"""What alerts remember between two looks: open incidents and letters on their way, as one JSON document. Pure.

Several copies are kept, and the youngest one counts (:mod:`recyclic_backups.notify.stored_state`).
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from recyclic_backups.catalog.fields import UNSTORED, as_json, fields_of, parsed
from recyclic_backups.catalog.timestamps import from_text
from recyclic_backups.errors import DamagedData
from recyclic_backups.notify.incidents import Incident, OpenIncidents
from recyclic_backups.notify.outbox import Outbox
from recyclic_backups.notify.rollback import Mark

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
    open: OpenIncidents = field(default_factory=OpenIncidents, metadata=UNSTORED)
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
    opened = {"reminded_at": state.open.reminded_at, "incidents": [*state.open.incidents.values()]}
    return {"version": VERSION, **fields_of(state), **as_json(opened)}


def _built_state(document: Mapping[str, Any]) -> AlertState:
    incidents = [Incident.from_json(each) for each in document["incidents"]]
    reminded_at = None if document["reminded_at"] is None else from_text(document["reminded_at"])
    opened = OpenIncidents({each.key: each for each in incidents}, reminded_at)
    return parsed(AlertState, document, "state", open=opened)
