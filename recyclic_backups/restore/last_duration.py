"""How long bringing a backup back took the last time: what somebody wants to know before it begins. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.documents import Check


@dataclass(frozen=True, slots=True)
class Measured:
    """A restore or drill that came to its end, and what it was: ``drill simple``, ``restore``."""

    check: Check
    what: str


def last_measured(backup: Backup, others: Iterable[Backup], *, partial: bool) -> Measured | None:
    """The newest restore or drill of ``backup`` that passed, or else of any of the ``others``.

    ``partial`` drills repair some tables of a database: they count only for whoever is about to do that too. One
    that failed says how long failing takes, and is passed over.
    """
    for candidates in ([backup], others):
        timed = [
            check
            for each in candidates
            for check in each.checks
            if check.kind != "verify"
            and check.passed
            and check.duration_seconds > 0
            and (partial or check.figures.get("scenario") != "partial")
        ]
        if timed:
            newest = max(timed, key=lambda check: check.checked_at)
            return Measured(newest, _what(newest))
    return None


def last_failure(backup: Backup) -> Measured | None:
    """The newest restore or drill of a backup, if that one failed."""
    newest = max(
        (check for check in backup.checks if check.kind != "verify"),
        key=lambda check: check.checked_at,
        default=None,
    )
    return None if newest is None or newest.passed else Measured(newest, _what(newest))


def _what(check: Check) -> str:
    return f"{check.kind} {check.figures.get('scenario', '')}".strip()
