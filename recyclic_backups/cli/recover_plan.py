"""How ``recover`` and ``restore --at-time`` plan, and say what they plan."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from recyclic_backups import wiring
from recyclic_backups.archive.archive import servers_in
from recyclic_backups.archive.status import which_server
from recyclic_backups.audit.log import last_event
from recyclic_backups.base_backup.catalog import has_base_backups
from recyclic_backups.cli import render
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.errors import StorageError
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.quantities import counted, human_bytes, human_seconds
from recyclic_backups.recovery.ask_wal import plan_from
from recyclic_backups.recovery.plan import Plan, with_only
from recyclic_backups.recovery.survey import Survey, survey
from recyclic_backups.recovery.target import Target

ACTION = "recover"
"""Its name in the audit log."""


def surveyed(call: Invocation, server: str | None = None) -> Survey:
    """The WAL and the base backups of the server that is meant; what is damaged has been said.

    Raises RecoveryError, UsageError where the storage has several and none is named, StorageError.
    """
    system_identifier = which_server(call.repository, server, None, has_base_backups)
    if server is None and len(found_servers := servers_in(call.repository)) > 1:
        others = ", ".join(each for each in found_servers if each != system_identifier)
        render.warn(f"passed over, since it has no base backup that can be believed: server {others}")
    found = survey(call.repository, system_identifier, now=render.now())
    for damage in found.damage:
        render.warn(damage)
    return found


def scratch_of(call: Invocation) -> Path:
    """Where private files go."""
    return call.settings.scratch or Path(tempfile.gettempdir())


def planned(
    call: Invocation,
    target: Target,
    *,
    timeline: int | None = None,
    base: str | None = None,
    server: str | None = None,
) -> tuple[Survey, Plan]:
    """What there is, and how the target is reached. Raises RecoveryError, ArchiveError, and what reading raises."""
    found = surveyed(call, server)
    windows = found.windows(timeline)
    if base is not None:
        windows = with_only(windows, base.upper())
    programs = wiring.installations(call.settings)
    plan = plan_from(
        found, windows, target, programs, scratch_of(call), now=render.now(), timezone=call.timezone
    )
    return found, replace(plan, last_seconds=_last_time(call))


def _last_time(call: Invocation) -> float | None:
    try:
        event = last_event(call.repository, ACTION, render.now())
    except StorageError:
        return None
    seconds = None if event is None else event.details.get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else None


def print_plan(call: Invocation, found: Survey, plan: Plan, say: Callable[[str, str], None]) -> None:
    """The plan in prose, each line by its word."""
    base = plan.base
    chain = f", on top of {counted(len(plan.chain) - 1, 'other')}" if len(plan.chain) > 1 else ""
    say("target", target_text(call, plan.target))
    say(
        "base",
        f"{base.base_id}, ended {call.local_time(base.taken_at)} ({human_bytes(plan.plain_bytes)}{chain})",
    )
    most = "" if plan.target.kind in ("lsn", "xid", "name", "latest") else "at most "
    say(
        "WAL",
        f"{most}{counted(plan.segments, 'segment')} from {lsn_text(base.start_lsn)} on, along timeline "
        f"{plan.window.timeline}",
    )
    say("window", window_text(call, plan))
    if plan.at is not None and plan.lost_seconds is not None:
        say("state", f"of {exact(call, plan.at)}")
        say("lost", f"what was committed in the {human_seconds(plan.lost_seconds)} since then")
    if plan.last_seconds is not None:
        say("took", f"{human_seconds(plan.last_seconds)} the last time")
    for note in plan.notes:
        say("note", note)
    for window in found.branches():
        say(
            "branch",
            f"timeline {window.timeline} goes on to {lsn_text(window.end_lsn)}, which was given up: --timeline "
            f"{window.timeline}",
        )


def window_text(call: Invocation, plan: Plan) -> str:
    """From when to when that window reaches."""
    window = plan.window
    until = {
        "position": exact(call, window.ends_at),
        "gap": f"{lsn_text(window.end_lsn)}, where WAL is lost",
        "missing": f"{lsn_text(window.end_lsn)}, where the segment {window.missing} is missing",
        "archive": f"{lsn_text(window.end_lsn)}, the end of that timeline in the archive",
    }[window.ending]
    return f"{exact(call, window.starts_at)} to {until}"


def target_text(call: Invocation, target: Target) -> str:
    """The target, a moment on the operator's clock."""
    if target.at is None:
        return target.text
    return f"{'before ' if target.exclusive else ''}{exact(call, target.at)}"


def exact(call: Invocation, at: datetime | None) -> str:
    """A moment on the operator's clock, to the millisecond: recovery is about those."""
    return "-" if at is None else at.astimezone(call.timezone).isoformat(sep=" ", timespec="milliseconds")
