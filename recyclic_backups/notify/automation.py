"""Problems that Dagster's ticks tell of: a sensor or schedule that raises has no run that could be red. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from recyclic_backups.notify.facts import AutomationFact
from recyclic_backups.notify.incidents import Incident, Observation, Problem, in_both
from recyclic_backups.notify.severity import Severity
from recyclic_backups.texts.text import say

FAILURES = {"sensor": 3, "schedule": 1}
"""A sensor that ticks every minute may fail once, when a disk or a network hesitates. A schedule may not."""

CRITICAL_AFTER = timedelta(hours=6)

GONE_AFTER = {"sensor": timedelta(days=1), "schedule": timedelta(days=35)}
"""What has not ticked for so long belongs to a code location that is no more."""


def failing_ticks(
    automation: Collection[AutomationFact], known: Mapping[str, Incident], now: datetime
) -> Observation:
    """Sensors and schedules whose last ticks failed."""
    found = Observation()
    for each in automation:
        found += _failing(each, known.get(f"tick/{each.name}"), now)
    return found


def _failing(each: AutomationFact, incident: Incident | None, now: datetime) -> Observation:
    ticks = each.ticks[: FAILURES[each.kind]]
    if not ticks or ticks[0].reason is None or now - ticks[0].at > GONE_AFTER[each.kind]:
        return Observation()
    key = f"tick/{each.name}"
    if len(ticks) < FAILURES[each.kind] or any(tick.reason is None for tick in ticks):
        return Observation(unseen=frozenset({key}))  # perhaps the beginning of a failure, perhaps not
    since = min(tick.at for tick in ticks)
    if incident is not None:
        since = min(since, incident.problem.since)
    severity = Severity.CRITICAL if now - since >= CRITICAL_AFTER else Severity.WARNING
    facts = in_both(type=say(f"alerts.{each.kind}"), name=each.name, reason=ticks[0].reason)
    return Observation((Problem(key, "tick failed", severity, since, facts, "automation"),))
