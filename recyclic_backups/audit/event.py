"""One event of the audit log, and the head of the log as others remember it. Pure.

Specified in ``docs/format/documents.md``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from recyclic_backups.catalog.actor import Actor
from recyclic_backups.catalog.fields import OMITTED, Document
from recyclic_backups.errors import DamagedData

_LARGEST_NUMBER = 10**12
_LAST_YEAR = 9000
"""Beyond these no later event could be numbered or dated: whatever claims them was written to stop the log."""

ACTIONS = (
    "accept",
    "accept server",
    "adopt",
    "backup",
    "base backup",
    "configuration",
    "drill",
    "expire",
    "flag",
    "hold",
    "merge",
    "recover",
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
    "dumped",
    "equal",
    "failed",
    "incomplete",
    "kept",
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
class Head(Document):
    """The newest event at some moment: its number, and the SHA-256 of its stored bytes."""

    number: int
    sha256: str

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
    def in_manifest(cls, document: Mapping[str, Any] | None) -> Head | None:
        """What a manifest says; None where it says nothing."""
        try:
            return None if document is None else cls.from_json(document)
        except DamagedData:
            return None


@dataclass(frozen=True, slots=True)
class Event(Document):
    """What somebody did, when, from where, to which backup, and how it ended.

    ``previous`` are the hashes of the newest events that its writer saw: one, or two after two wrote at once.
    ``clock_at`` is what the writer's clock said where that was not ``at``: it had been ahead before. ``beside`` are
    the hashes of events that lay there without a MAC where one is asked for: they were there, and no more is said.
    """

    FORMAT = 1

    number: int
    at: datetime
    action: str
    outcome: str
    actor: Actor
    backup_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    previous: tuple[str, ...] = ()
    clock_at: datetime | None = field(default=None, metadata=OMITTED)
    beside: tuple[str, ...] = field(default=(), metadata=OMITTED)

    @property
    def happened_at(self) -> datetime:
        """When, for people: by the clock of whoever wrote it."""
        return self.clock_at or self.at

    @property
    def file_name(self) -> str:
        """``20261122T010003.250000Z-000042.json``: sorts by time."""
        return f"{self.at:%Y%m%dT%H%M%S.%fZ}-{self.number:06d}.json"

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read a document. Raises DamagedData."""
        event = super(Event, cls).from_json(document)
        if not 1 <= event.number <= _LARGEST_NUMBER or event.at.year > _LAST_YEAR:
            raise DamagedData("the event is of a number or a time that no event has")
        return event


def hash_of(stored: bytes) -> str:
    """What the next event says of one: the SHA-256 of its bytes as they lie in the storage."""
    return hashlib.sha256(stored).hexdigest()
