"""Who was in the database while it was guarded: what was seen and what the server counted have to agree. Pure.

Looking is sampling: a session that comes and goes between two looks is not seen. The server's own counter
(``pg_stat_database.sessions``, since PostgreSQL 14,
https://www.postgresql.org/docs/15/monitoring-stats.html#MONITORING-PG-STAT-DATABASE-VIEW) misses none, but does not
tell whose they were. Together they show that nobody else was there; what they cannot show counts against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from recyclic_backups.quantities import counted

SHOWN = 5
"""So many strangers are named; the others are only counted."""


@dataclass(frozen=True, slots=True)
class Names:
    """The application names by which sessions are known: the command's, and the guard's own."""

    command: str
    own: str


@dataclass(frozen=True, slots=True)
class Session:
    """One session as the server showed it. ``started_at`` tells it from a later one with the same process id."""

    pid: int
    started_at: datetime | None
    application_name: str
    user: str

    @property
    def identity(self) -> tuple[int, datetime | None]:
        """What stays the same for as long as it lives; its application name may change."""
        return self.pid, self.started_at


@dataclass(frozen=True, slots=True)
class Count:
    """What the server says of a database at one moment: sessions ever established, and since when it counts.

    ``sessions`` is None where the server does not count them (before PostgreSQL 14).
    """

    sessions: int | None
    counted_since: datetime | None
    server_started_at: datetime


@dataclass(frozen=True, slots=True)
class Account:
    """What is known at the end. ``own`` is how many sessions the guard itself has opened since ``before``."""

    names: Names
    seen: tuple[Session, ...]
    before: Count
    after: Count | None
    own: int

    @property
    def of_command(self) -> int:
        """How many sessions of the command were seen."""
        return len({each.identity for each in self.seen if each.application_name == self.names.command})

    @property
    def expected(self) -> int | None:
        """What the counter has to show if nobody else was there; None where it shows nothing."""
        return None if self.before.sessions is None else self.before.sessions + self.own + self.of_command

    @property
    def missing(self) -> bool:
        """Whether the counter has not yet come to what is known to have been there."""
        counted = None if self.after is None else self.after.sessions
        return counted is not None and self.expected is not None and counted < self.expected

    @property
    def strangers(self) -> tuple[Session, ...]:
        """Sessions that are neither the command's nor the guard's."""
        return tuple(
            each for each in self.seen if each.application_name not in (self.names.command, self.names.own)
        )

    def objections(self) -> tuple[str, ...]:
        """Why it cannot be said that nobody else was there; empty if it can."""
        found = _named(self.strangers)
        if self.after is None:
            return (*found, "the database is not the one that it was: it was dropped, or made anew")
        if self.before.sessions is None or self.after.sessions is None or self.expected is None:
            return (*found, "the server does not count sessions: that came with PostgreSQL 14")
        if self.after.server_started_at != self.before.server_started_at:
            return (*found, "the server was restarted meanwhile, and who was there since is not known")
        if self.after.counted_since != self.before.counted_since:
            return (*found, "the server's statistics were reset meanwhile")
        difference = self.after.sessions - self.expected
        if difference > 0 and not found:
            found.append(
                f"the server counted {counted(difference, 'session')} that nobody saw: whose, is not known"
            )
        elif difference < 0:
            found.append(
                f"the server counted {-difference} fewer sessions than there were: it cannot be relied on"
            )
        return tuple(found)


def note(seen: dict[tuple[int, datetime | None], Session], look: Iterable[Session], names: Names) -> None:
    """Add what one look showed to what was ``seen`` so far.

    A name of ours that a session ever had is its name: it is not born with one, and a command may change it.
    """
    for session in look:
        known = seen.get(session.identity)
        if known is None or known.application_name not in (names.command, names.own):
            seen[session.identity] = session


def _named(strangers: Sequence[Session]) -> list[str]:
    shown = [
        f"another session was there: {each.application_name or 'without a name'!r} of {each.user or 'nobody'!r}, "
        f"process {each.pid}"
        for each in strangers[:SHOWN]
    ]
    rest = len(strangers) - len(shown)
    return [*shown, f"and {rest} more"] if rest else shown
