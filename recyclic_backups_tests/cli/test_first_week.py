"""``backup --tier weekly`` before there is a week: a line of cron that came too early is no failure."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from recyclic_backups_tests.operator import Operator


def test_a_week_that_began_before_the_start_is_nothing_to_do(operator: Operator) -> None:
    """Loss prevented: a mail of failure on the first Sunday, or a week that holds another week's data."""
    today = datetime.now(ZoneInfo("Europe/Paris")).date()
    # A start that is neither a Monday nor a first of the month, at most three days ago.
    start = next(
        day
        for day in (today - timedelta(days=number) for number in range(4))
        if day.weekday() != 0 and day.day != 1
    )
    monday = start + timedelta(days=7 - start.weekday())
    overrides = {"BACKUP_START_DATE": start.isoformat()}
    if monday > today:
        outcome = operator.must("backup", "--tier", "weekly", **overrides)
        assert outcome.out == ""
        assert f"nothing to do: the first weekly partition since BACKUP_START_DATE is {monday}" in outcome.err
    outcome = operator.must("backup", "--tier", "monthly", "--json", **overrides)
    assert outcome.json is None
    assert operator.stored() == set()
    # Asked for by name it is a mistake, and so is a start that is still to come.
    week = (start - timedelta(days=start.weekday())).isoformat()
    assert operator.run("backup", "--tier", "weekly", "--partition", week, **overrides).code == 2
    tomorrow = (today + timedelta(days=2)).isoformat()
    for tier in ("daily", "weekly", "monthly"):
        assert operator.run("backup", "--tier", tier, BACKUP_START_DATE=tomorrow).code == 2
