"""One event of the audit log, and the head of the log as others remember it. Pure.

Specified in ``docs/format/documents.md``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from recyclic_backups.catalog.actor import Actor
from recyclic_backups.catalog.timestamps import from_text, to_text
from recyclic_backups.errors import DamagedData

FORMAT = 1

_LARGEST_NUMBER = 10**12
_LAST_YEAR = 9000
"""Beyond these no later event could be numbered or dated: whatever claims them was written to stop the log."""

ACTIONS = (
    "accept",
    "adopt",
    "backup",
    "configuration",
    "drill",
    "expire",
    "flag",
    "hold",
    "merge",
    "prune",
    "release",
    "restore",
    "rotate keys",
    "seal manifests",
    "verify",
)
"""What this version records. A log may hold others: whoever wrote it may have had another one."""

OUTCOMES = (
    "begun",
    "differs",
    "done",
    "equal",
    "failed",
    "incomplete",
    "labelled",
    "not comparable",
    "not passed",
    "passed",
    "refused",
    "switched off by itself",  # by older releases
    "whole",
)
"""How what this version records ends, or that it began."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest event at some moment: its number, and the SHA-256 of its stored bytes."""

    number: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """As manifests carry it."""
        return {"number": self.number, "sha256": self.sha256}

    def __str__(self) -> str:
        return f"{self.number}:{self.sha256}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """What ``str`` writes. Raises ValueError."""
        number, _, sha256 = text.partition(":")
        if not (number.isdecimal() and re.fullmatch(r"[0-9a-f]{64}", sha256)):
            raise ValueError("a head is written NUMBER:SHA256")
        return cls(int(number), sha256)

    @classmethod
    def from_json(cls, document: object) -> Head | None:
        """What a manifest says; None where it says nothing."""
        if not isinstance(document, Mapping):
            return None
        number, sha256 = document.get("number"), document.get("sha256")
        return cls(number, sha256) if isinstance(number, int) and isinstance(sha256, str) else None


@dataclass(frozen=True, slots=True)
class Event:
    """What somebody did, when, from where, to which backup, and how it ended.

    ``previous`` are the hashes of the newest events that its writer saw: one, or two after two wrote at once.
    ``clock_at`` is what the writer's clock said where that was not ``at``: it had been ahead before. ``beside`` are
    the hashes of events that lay there without a MAC where one is asked for: they were there, and no more is said.
    """

    number: int
    at: datetime
    action: str
    outcome: str
    actor: Actor
    backup_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    previous: tuple[str, ...] = ()
    clock_at: datetime | None = None
    beside: tuple[str, ...] = ()

    @property
    def happened_at(self) -> datetime:
        """When, for people: by the clock of whoever wrote it."""
        return self.clock_at or self.at

    @property
    def file_name(self) -> str:
        """``20261122T010003.250000Z-000042.json``: sorts by time."""
        return f"{self.at:%Y%m%dT%H%M%S.%fZ}-{self.number:06d}.json"

    def to_json(self) -> dict[str, Any]:
        """The document, without its MAC."""
        return {
            "format": FORMAT,
            "number": self.number,
            "at": to_text(self.at),
            **({"clock_at": to_text(self.clock_at)} if self.clock_at else {}),
            "action": self.action,
            "outcome": self.outcome,
            "backup_id": self.backup_id,
            "actor": self.actor.to_json(),
            "details": dict(self.details),
            "previous": list(self.previous),
            **({"beside": list(self.beside)} if self.beside else {}),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Event:
        """Read a document. Raises DamagedData."""
        number, previous = document.get("number"), document.get("previous")
        action, outcome, actor = document.get("action"), document.get("outcome"), document.get("actor")
        backup_id, details = document.get("backup_id"), document.get("details")
        beside = document.get("beside", [])
        if (
            document.get("format") != FORMAT
            or isinstance(number, bool)
            or not isinstance(number, int)
            or not 1 <= number <= _LARGEST_NUMBER
            or not isinstance(previous, list)
            or not isinstance(beside, list)
            or not all(isinstance(each, str) for each in (*previous, *beside))
            or not isinstance(action, str)
            or not isinstance(outcome, str)
            or not isinstance(actor, Mapping)
            or not isinstance(backup_id, str | None)
            or not isinstance(details, Mapping)
        ):
            raise DamagedData("the event does not say who did what, or what came before it")
        who = {name: str(actor.get(name, "")) for name in ("user", "host", "via", "address")}
        at = from_text(document.get("at"))
        if at.year > _LAST_YEAR:
            raise DamagedData("the event is of a time that no clock shows")
        return cls(
            number,
            at,
            action,
            outcome,
            Actor(**who),
            backup_id,
            dict(details),
            tuple(previous),
            from_text(document["clock_at"]) if "clock_at" in document else None,
            tuple(beside),
        )


def hash_of(stored: bytes) -> str:
    """What the next event says of one: the SHA-256 of its bytes as they lie in the storage."""
    return hashlib.sha256(stored).hexdigest()
