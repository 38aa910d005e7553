"""``backup --tier weekly`` before there is a week: a line of cron that came too early is no failure."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from recyclic_backups.cli import render
from recyclic_backups_tests.operator import Operator

pytestmark = pytest.mark.small


@pytest.mark.parametrize(
    ("start", "today"),
    [
        pytest.param(date(2026, 11, 18), date(2026, 11, 18), id="on the first day"),
        pytest.param(date(2026, 11, 18), date(2026, 11, 22), id="on the first Sunday"),
        pytest.param(date(2026, 10, 27), date(2026, 10, 31), id="on the last day of a month"),
        pytest.param(date(2026, 12, 30), date(2027, 1, 1), id="in the next month"),
    ],
)
def test_a_week_that_began_before_the_start_is_nothing_to_do(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, start: date, today: date
) -> None:
    """Loss prevented: a mail of failure on the first Sunday, or a week that holds another week's data."""
    now = datetime(today.year, today.month, today.day, 12, tzinfo=UTC)
    monkeypatch.setattr(render, "now", lambda: now)
    monday = start + timedelta(days=7 - start.weekday())
    overrides = {"BACKUP_START_DATE": start.isoformat()}
    outcome = operator.must("backup", "--tier", "weekly", **overrides)
    assert outcome.out == ""
    assert f"nothing to do: the first weekly partition since BACKUP_START_DATE is {monday}" in outcome.err
    if today.month != start.month:
        return  # that month began after the start
    outcome = operator.must("backup", "--tier", "monthly", "--json", **overrides)
    assert outcome.document["backup_id"] is None
    assert operator.stored() == set()
    # Asked for by name it is a mistake, and so is a start that is still to come.
    week = (start - timedelta(days=start.weekday())).isoformat()
    assert operator.run("backup", "--tier", "weekly", "--partition", week, **overrides).code == 2
    tomorrow = (today + timedelta(days=2)).isoformat()
    for tier in ("daily", "weekly", "monthly"):
        assert operator.run("backup", "--tier", tier, BACKUP_START_DATE=tomorrow).code == 2
