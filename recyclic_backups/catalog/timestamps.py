"""How moments are written in documents: ISO 8601 in UTC with a ``Z``, microseconds kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from recyclic_backups.errors import DamagedData

_EARLIEST = datetime.min.replace(tzinfo=UTC) + timedelta(days=1)
_LATEST = datetime.max.replace(tzinfo=UTC) - timedelta(hours=14)
"""Beyond these a moment cannot be said in every time zone: Kiribati is 14 hours ahead, Manila was 16 behind once."""

_COMPACT = "%Y%m%dT%H%M%SZ"


def to_text(moment: datetime) -> str:
    """``2026-11-22T01:00:03.250000Z``. Raises ValueError on a naive datetime: it would be a bug."""
    if moment.tzinfo is None:
        raise ValueError("a moment without time zone cannot be stored")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def from_text(text: object) -> datetime:
    """The moment, aware UTC. Raises DamagedData when the text is not one, or one that some time zone cannot say."""
    try:
        moment = datetime.fromisoformat(text if isinstance(text, str) else "")
    except ValueError:
        raise DamagedData(f"{text!r} is not a moment") from None
    if moment.tzinfo is None:
        raise DamagedData(f"{text!r} has no time zone")
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise DamagedData(f"{text!r} is beyond the calendar") from None
    if not _EARLIEST <= moment <= _LATEST:
        raise DamagedData(f"{text!r} is beyond the calendar")
    return moment


def from_compact(text: str) -> datetime:
    """The reverse of :func:`compact`, aware UTC. Raises ValueError when the text is not one."""
    return datetime.strptime(text, _COMPACT).replace(tzinfo=UTC)


def compact(moment: datetime) -> str:
    """``20261122T010003Z``: for names, sortable as text."""
    return moment.astimezone(UTC).strftime(_COMPACT)
