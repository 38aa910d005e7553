"""How a target is reached: from which base backup, along which timeline, with which segments; or why not. Pure.

A target outside every window is refused before anything is done, with the nearest moments that can be reached: a server
that is asked for such a target replays something else, or ends with an error, hours later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from recyclic_backups.base_backup.manifest import BaseManifest
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.errors import ArchiveError, RecoveryError
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.recovery.target import Target
from recyclic_backups.recovery.windows import Window


@dataclass(frozen=True, slots=True)
class Located:
    """Where in the WAL something is: its record, and when it happened by the server's clock."""

    lsn: int
    end_lsn: int
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Questions:
    """What only the WAL itself tells, for whoever can read it.

    ``last_commit`` is the moment of a window's last commit. ``find`` looks for a transaction's end, or a named point,
    between two positions of a window.
    """

    last_commit: Callable[[Window], datetime | None]
    find: Callable[[Target, Window, int, int], Located | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """A recovery that can be done. ``base`` is the base backup to begin with; ``chain`` that and what it builds on.

    ``through_lsn`` is as far as WAL is needed, at most. ``at`` is the moment that is reached, as far as it is known
    beforehand; ``lost_seconds`` what lies between that and now.
    """

    system_identifier: str
    target: Target
    window: Window
    base: BaseManifest
    chain: tuple[BaseManifest, ...]
    through_lsn: int
    at: datetime | None
    lost_seconds: float | None
    last_seconds: float | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def segments(self) -> int:
        """How many segments are replayed, at most."""
        return len(self.window.segments(self.base.start_lsn, self.through_lsn))

    @property
    def plain_bytes(self) -> int:
        """How large the files of the base backups are."""
        return sum(each.plain_bytes for each in self.chain)

    def to_json(self) -> dict[str, Any]:
        """As reports have it."""
        return {
            "system_identifier": self.system_identifier,
            "target": self.target.to_json(),
            "base_id": self.base.base_id,
            "chain": [each.base_id for each in self.chain],
            "base_taken_at": to_text(self.base.taken_at),
            "plain_bytes": self.plain_bytes,
            "timeline": self.window.timeline,
            "from_lsn": lsn_text(self.base.start_lsn),
            "through_lsn": lsn_text(self.through_lsn),
            "segments": self.segments,
            "time": None if self.at is None else to_text(self.at),
            "data_loss_seconds": self.lost_seconds,
            "last_seconds": self.last_seconds,
            "window": self.window.to_json(),
            "notes": list(self.notes),
        }


def plan_recovery(
    system_identifier: str,
    windows: Sequence[Window],
    target: Target,
    chain_of: Callable[[BaseManifest], Sequence[BaseManifest]],
    questions: Questions,
    *,
    now: datetime,
    timezone: ZoneInfo,
) -> Plan:
    """How to reach ``target`` along one line, whose ``windows`` are given, oldest first.

    Raises RecoveryError with the nearest reachable moments for a target outside, and ArchiveError, naming it, where
    only a missing segment is in the way.
    """
    if not windows:
        raise RecoveryError(
            "there is nothing to recover from: no base backup with the WAL that belongs to it",
            "take one now: recyclic-backups base-backup; a backup of one database comes back with restore",
        )
    notes: list[str] = []
    match target.kind:
        case "latest":
            window, base, through, at = _latest(windows, questions, notes)
        case "time":
            window, base, through, at = _to_time(windows, target, questions, timezone, now)
        case "lsn":
            window, base, through, at = _to_lsn(windows, target)
        case _:
            window, base, through, at = _to_record(windows, target, questions)
    return Plan(
        system_identifier,
        target,
        window,
        base,
        tuple(chain_of(base)),
        through,
        at,
        None if at is None else max(0.0, (now - at).total_seconds()),
        notes=tuple(notes),
    )


_Found = tuple[Window, BaseManifest, int, datetime | None]


def _latest(windows: Sequence[Window], questions: Questions, notes: list[str]) -> _Found:
    window = windows[-1]
    if window.ending == "missing":
        raise _missing(window, "the WAL does not reach its end")
    at = _end_of(window, questions)
    if window.ending == "gap":
        notes.append(
            f"WAL is lost from {lsn_text(window.end_lsn)} on, and there is no base backup after that: "
            "what follows it in the archive cannot be reached"
        )
    return window, window.bases[-1], window.end_lsn, at


def _to_time(
    windows: Sequence[Window], target: Target, questions: Questions, timezone: ZoneInfo, now: datetime
) -> _Found:
    assert target.at is not None
    moment = target.at

    def said(at: datetime | None) -> str:
        return "" if at is None else at.astimezone(timezone).isoformat(sep=" ", timespec="seconds")

    before: datetime | None = None
    for number in reversed(range(len(windows))):
        window = windows[number]
        bases = [each for each in window.bases if each.taken_at <= moment]
        if not bases:
            continue
        before = _end_of(window, questions)
        if moment <= before:
            return window, max(bases, key=lambda each: each.stop_lsn), window.end_lsn, moment
        later = windows[number + 1 :]
        after = later[0].starts_at if later else None
        if window.ending == "missing" and (after is None or moment < after):
            raise _missing(
                window, f"{said(moment)} cannot be reached", f"the last moment before it is {said(before)}"
            )
        break
    else:
        after = windows[0].starts_at
    near = [f"{said(before)} before it (--to-time {to_text(before)})"] if before is not None else []
    near += [f"{said(after)} after it (--to-time {to_text(after)})"] if after is not None else []
    future = ": it is still to come" if moment > now else ""
    raise RecoveryError(
        f"{said(moment)} cannot be reached{future}; the nearest moments are {' and '.join(near)}",
        "--latest recovers to the end of the archive" if after is None else "",
    )


def _to_lsn(windows: Sequence[Window], target: Target) -> _Found:
    assert target.lsn is not None
    lsn = target.lsn
    before: int | None = None
    after: int | None = None
    for window in reversed(windows):
        if lsn < window.start_lsn:
            after = window.start_lsn
            continue
        if lsn <= window.end_lsn:
            base = max(
                (each for each in window.bases if each.stop_lsn <= lsn), key=lambda each: each.stop_lsn
            )
            return window, base, min(lsn + window.segment_bytes, window.end_lsn), None
        before = window.end_lsn
        if window.ending == "missing":
            raise _missing(window, f"{lsn_text(lsn)} cannot be reached")
        break
    near = [f"{lsn_text(before)} before it"] if before is not None else []
    near += [f"{lsn_text(after)} after it"] if after is not None else []
    raise RecoveryError(
        f"the position {lsn_text(lsn)} cannot be reached on timeline {windows[0].timeline}; the nearest ones are "
        f"{' and '.join(near)}"
    )


def _to_record(windows: Sequence[Window], target: Target, questions: Questions) -> _Found:
    """The newest place of a record: where several named points have one name, that is the newest of them."""
    for window in reversed(windows):
        end = window.end_lsn
        for base in reversed(window.bases):
            found = questions.find(target, window, base.stop_lsn, end)
            if found is not None:
                return window, base, min(found.end_lsn + window.segment_bytes, window.end_lsn), found.at
            end = base.stop_lsn
    what = f"transaction {target.xid} ended" if target.kind == "xid" else f"{target.name!r} was set"
    reach = "; ".join(
        f"{lsn_text(each.start_lsn)} to {lsn_text(each.end_lsn)}, from {to_text(each.starts_at)} on"
        for each in windows
    )
    raise RecoveryError(
        f"no place where {what} can be reached: looked at {reach}",
        "recyclic-backups recover --look shows transactions that deleted, dropped or truncated something",
    )


def _end_of(window: Window, questions: Questions) -> datetime:
    """The last moment of a window: what came after its last commit is not known, unless the server told it."""
    return window.ends_at or questions.last_commit(window) or window.starts_at


def _missing(window: Window, what: str, hint: str = "") -> ArchiveError:
    reachable = f"before that: recover --to-lsn {lsn_text(window.end_lsn)}"
    return ArchiveError(
        f"{what}: the WAL segment {window.missing} is missing from the archive, or a part of it",
        f"{hint}; {reachable}" if hint else reachable,
    )


def with_only(windows: Sequence[Window], base_id: str) -> list[Window]:
    """The windows as if there were that base backup alone. Raises RecoveryError where there is none of that id."""
    found = []
    for window in windows:
        bases = tuple(each for each in window.bases if each.base_id == base_id)
        if bases:
            found.append(replace(window, bases=bases))
    if not found:
        raise RecoveryError(
            f"there is no base backup {base_id} from which recovery on this timeline can start"
        )
    return found
