"""The first day that counts where nobody set one: the month of the first backup, read when Dagster loads."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.definitions import definitions_in
from recyclic_backups.defs.database import Environment
from recyclic_backups_tests.defs.conftest import House, elsewhere


@pytest.fixture
def undated(quick_house: House) -> House:
    """A house in which nobody said when backups began, on Sunday 1 November 2026."""
    quick_house.variables["BACKUP_START_DATE"] = ""
    return quick_house


def days(house: House) -> list[str]:
    """The daily partitions that Dagster shows when it loads the definitions anew at the clock's time."""
    definitions = definitions_in(Environment(house.settings, house.clock))
    partitions = definitions.resolve_job_def("daily_backup_job").partitions_def
    assert partitions is not None
    return list(partitions.get_partition_keys(current_time=house.clock()))


def test_a_storage_without_backups_has_no_day_before_this_month(undated: House) -> None:
    """Loss prevented: a newcomer frightened by 331 grey days, who stops looking at grey ones."""
    undated.clock.at = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
    assert (days(undated)[0], len(days(undated))) == ("2026-11-01", 29)


def test_the_month_of_the_first_backup_counts_unless_somebody_says_otherwise(undated: House) -> None:
    """Loss prevented: a gap in the first month that nobody is shown."""
    undated.clock.at = datetime(2026, 9, 17, 1, 0, tzinfo=UTC)
    elsewhere(undated, Tier.DAILY, "2026-09-17")
    undated.clock.at = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
    assert days(undated)[0] == "2026-09-01"
    undated.variables["BACKUP_START_DATE"] = "2026-10-05"
    assert days(undated)[0] == "2026-10-05"


def test_definitions_load_while_the_storage_is_away(undated: House) -> None:
    """Loss prevented: Dagster without a single page because a disk is not mounted, in the night it matters."""
    undated.variables["BACKUP_STORAGE"] = "file:///nowhere/at/all/backups"
    assert days(undated) == ["2026-11-01"]
