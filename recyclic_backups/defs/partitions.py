"""Partitions: the calendar of the house in Dagster's terms. The same keys and windows, from midnight to midnight.

``end_offset=1`` makes the running day, week or month a partition: the backup of the night is of the day that
has just begun, and so is one taken by hand at noon.
"""

from __future__ import annotations

import warnings

import dagster as dg

from recyclic_backups.backup_calendar import Calendar, Tier

SCHEDULED_TIERS = (Tier.DAILY, Tier.WEEKLY, Tier.MONTHLY)
"""Those with a calendar, in the order in which they are made."""


def partitions_of(calendar: Calendar, tier: Tier) -> dg.TimeWindowPartitionsDefinition:
    """The tier's partitions: exactly ``calendar.partitions``. The calendar says on which day they begin."""
    assert calendar.start is not None, "the first day is settled before definitions are made"
    start, timezone = calendar.start.isoformat(), calendar.timezone.key
    if tier is Tier.WEEKLY:
        # From Monday, as ISO 8601 has it: the Sunday that is promoted is then the last day of its own week.
        return dg.WeeklyPartitionsDefinition(start_date=start, timezone=timezone, end_offset=1, day_offset=1)
    if tier is Tier.MONTHLY:
        return dg.MonthlyPartitionsDefinition(start_date=start, timezone=timezone, end_offset=1)
    return dg.DailyPartitionsDefinition(start_date=start, timezone=timezone, end_offset=1)


def days_of_the_period() -> dg.PartitionMapping:
    """Which days a week or month is made from: those inside it, some of which may not have come yet."""
    with warnings.catch_warnings():
        # The parameter is in beta; without it a running week refers to days that do not exist.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)
