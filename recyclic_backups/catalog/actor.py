"""Who does something: what the audit log says of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """A user of a machine and the door they came through; ``address`` is where a remote shell was opened from."""

    user: str = "unknown"
    host: str = "unknown"
    via: str = "command line"
    address: str = ""
