"""Problems, incidents and letters, made up: of any kind, at any time, in any number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from recyclic_backups.notify.incidents import Observation, Problem
from recyclic_backups.notify.severity import Severity
from recyclic_backups.texts.alerts import WORDS

NOW = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)

FACTS = {
    "tier": "daily",
    "tier_fr": "quotidienne",
    "tier_name": "daily",
    "partition": "2026-11-22",
    "reason": "the disk is full",
    "scenario": "simple",
    "job": "health_job",
    "backfill": "abcdef",
    "total": "23",
    "count": "12",
    "names": "2026-10-01, 2026-10-02, 2026-10-03 …",
    "check": "size",
    "asset": "daily_backup",
    "last": "2026-11-01 05:00",
    "first": "2026-11-01 02:00",
    "limit": "25 h 0 min",
    "type": "sensor",
    "type_fr": "capteur",
    "name": "missed_backups",
    "as_of": "2026-11-20 02:00",
    "channel": "telegram",
    "head": f"120:{'5d' * 32}",
}


def problem(
    key: str = "run/daily_backup_job/2026-11-22",
    severity: Severity = Severity.CRITICAL,
    kind: str = "backup failed",
    *,
    since: datetime = NOW,
    remind: bool = True,
) -> Problem:
    """One problem."""
    return Problem(key, kind, severity, since, FACTS, page="runs/1234", remind=remind)


problems = st.builds(
    problem,
    key=st.sampled_from(["age", "storage", "run/a", "run/b", "run/b/2026-11-22", "check/x/y"]),
    severity=st.sampled_from(Severity),
    kind=st.sampled_from(sorted(WORDS)),
    remind=st.booleans(),
).filter(lambda each: each.key != "age" or each.kind not in ("no backup", "backups gone"))
observations = st.builds(
    Observation,
    problems=st.lists(problems, max_size=5).map(tuple),
    unseen=st.frozensets(st.sampled_from(["run", "age", "check/x", "run/b"]), max_size=2),
)
pauses = st.sampled_from([0, 1, 5, 9, 10, 11, 60, 700, 1439, 1440, 1441, 5000]).map(
    lambda minutes: timedelta(minutes=minutes)
)
