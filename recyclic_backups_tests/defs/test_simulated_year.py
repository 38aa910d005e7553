"""Weeks and a year of an installation's life, with everything that happens to one, against a catalog drawn by hand."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups_tests.defs.conftest import House
from recyclic_backups_tests.defs.simulation import Simulation, paris

DRAWN = Path(__file__).parent / "drawn_by_hand"


@pytest.fixture
def simulation(quick_house: House) -> Iterator[Simulation]:
    """An installation that does not run yet; Dagster's log of hundreds of runs is kept from the report."""
    logger = logging.getLogger("dagster")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield Simulation(quick_house)
    logger.setLevel(level)


def told_by_dagster(simulation: Simulation) -> dict[tuple[Tier, str], str]:
    """The backup that Dagster's pages show for each partition."""
    instance, found = simulation.house.instance, {}
    for tier in (Tier.DAILY, Tier.WEEKLY, Tier.MONTHLY):
        key = dg.AssetKey([simulation.house.variables["POSTGRES_DB"], f"{tier}_backup"])
        records = instance.fetch_materializations(key, limit=5000).records
        for record in reversed(records):
            told = record.asset_materialization
            assert told is not None
            assert told.partition is not None
            gone = "gone" in told.metadata
            found[tier, told.partition] = "gone" if gone else str(told.metadata["backup_id"].value)
    return found


def told_by_storage(simulation: Simulation) -> dict[tuple[Tier, str], str]:
    """The backup that each label points at, or that it is gone."""
    catalog = simulation.catalog
    return {
        slot: "gone" if label.backup_id in catalog.tombstones else label.backup_id
        for slot, label in catalog.labels.items()
    }


def require_true_labels(simulation: Simulation) -> None:
    """Every label that is not of an expired backup points at a good one, and says whether it is of its time."""
    catalog, calendar = simulation.catalog, simulation.house.settings().calendar
    for label in catalog.labels.values():
        if label.backup_id in catalog.tombstones:
            continue
        holder = catalog.labelled(label.tier, label.partition)
        assert holder is not None
        assert holder.good
        assert calendar.contains(label.tier, label.partition, holder.as_of) is not label.late


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_six_weeks_end_with_the_catalog_drawn_by_hand(simulation: Simulation) -> None:
    """Loss prevented: a hole, a duplicate or a lie that only time brings about."""
    simulation.house.variables["BACKUP_START_DATE"] = "2026-10-14"
    with dg.DagsterInstance.ephemeral() as empty:
        simulation.live(
            "2026-10-14T12:00",
            "2026-11-24T12:00",
            {
                # A first start in the middle of a day, a week and a month.
                "2026-10-14T15:00": simulation.switch_on,
                # The server is away for a night: today's backup is taken in the afternoon.
                "2026-10-21T01:00": simulation.database_down,
                "2026-10-21T10:30": simulation.database_up,
                # Sunday 25 October: the hour from two to three comes twice.
                # A run is killed: its slot is freed half an hour later, what it left is swept by the next.
                "2026-10-28T01:59": simulation.kill_the_next_run,
                # Off over a Saturday, on again on a Sunday that is the first of a month: one dump, three labels.
                "2026-10-30T20:00": simulation.switch_off,
                "2026-11-01T09:00": simulation.switch_on,
                "2026-11-03T10:00": lambda: simulation.backfill("daily", "2026-10-31"),
                # The Sunday's backup rots before the week is promoted: another is taken.
                "2026-11-08T02:15": lambda: simulation.damage("2026-11-08"),
                # A week off, on again an hour before the backup: Dagster makes up for the last night, late.
                "2026-11-10T00:00": simulation.switch_off,
                "2026-11-17T01:00": simulation.switch_on,
                "2026-11-19T12:00": lambda: simulation.lose_dagsters_database(empty),
                "2026-11-20T12:00": lambda: simulation.at_hour(20),
            },
        )
        assert simulation.drawn() == (DRAWN / "six_weeks.txt").read_text(encoding="utf-8")
        simulation.synchronize()
        assert told_by_dagster(simulation) == told_by_storage(simulation)
    assert simulation.orphans() == []
    failed = [(tier, partition) for tier, partition, success in simulation.ran if not success]
    assert failed == [
        *[("daily", "2026-10-21")] * 3,  # at two, and at two looks of the sensor
        ("daily", "2026-10-28"),
    ]
    by_night = [backup for backup in simulation.catalog if backup.manifest.source == "backfill"]
    assert [backup.manifest.partition for backup in by_night] == ["2026-10-31"]
    require_true_labels(simulation)
    assert simulation.catalog.backups[0].as_of > paris("2026-11-23T20:00")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_year_ends_with_the_catalog_drawn_by_hand(simulation: Simulation) -> None:
    """Loss prevented: as above, on the days that come once a year."""
    simulation.house.variables["BACKUP_START_DATE"] = "2027-03-17"
    with dg.DagsterInstance.ephemeral() as empty:
        simulation.live(
            "2027-03-17T12:00",
            "2028-03-05T12:00",
            {
                "2027-03-17T15:00": simulation.switch_on,
                # Sunday 28 March: 02:00 and 02:30 do not exist.
                # Two weeks off. The week that began before has a backup, and gets its label from a person.
                "2027-05-03T12:00": simulation.switch_off,
                "2027-05-17T10:00": simulation.switch_on,
                "2027-05-18T10:00": lambda: simulation.backfill("weekly", "2027-05-03"),
                # The hour is changed, and changed back at noon on a Sunday.
                "2027-06-10T12:00": lambda: simulation.at_hour(20),
                "2027-06-20T12:00": lambda: simulation.at_hour(2),
                "2027-06-25T12:00": lambda: simulation.expire("2027-05-25"),
                # The server is away for three nights, over the first of a month.
                "2027-07-01T00:30": simulation.database_down,
                "2027-07-04T08:00": simulation.database_up,
                # Sunday 1 August is the first of a month. Then the machine is off for a month.
                "2027-08-15T12:00": lambda: simulation.expire("2027-07-15"),
                "2027-08-20T20:00": simulation.switch_off,
                "2027-09-20T08:00": simulation.switch_on,
                "2027-09-21T10:00": lambda: simulation.backfill("weekly", "2027-08-16"),
                # Rot is found when the day is over: its partition is filled again, late.
                "2027-10-08T12:00": lambda: simulation.damage("2027-10-05"),
                "2027-10-08T14:00": lambda: simulation.backfill("daily", "2027-10-05"),
                "2027-10-12T01:59": simulation.kill_the_next_run,
                # Sunday 31 October: 02:00 and 02:30 come twice.
                "2027-11-10T12:00": lambda: simulation.expire("2027-10-10"),
                "2027-11-15T12:00": lambda: simulation.lose_dagsters_database(empty),
                # Holidays over the end of the year.
                "2027-12-24T18:00": simulation.switch_off,
                "2028-01-03T09:00": simulation.switch_on,
                "2028-01-04T10:00": lambda: simulation.backfill(
                    "daily", "2027-12-28", "2027-12-29", "2027-12-30"
                ),
                "2028-01-04T11:00": lambda: simulation.backfill("weekly", "2027-12-20"),
                "2028-01-20T12:00": lambda: simulation.expire("2027-12-20"),
            },
        )
        assert simulation.drawn() == (DRAWN / "a_year.txt").read_text(encoding="utf-8")
        simulation.synchronize()
        usable = {slot: told for slot, told in told_by_storage(simulation).items() if told != "gone"}
        shown = {slot: told for slot, told in told_by_dagster(simulation).items() if told != "gone"}
        assert shown == usable
    assert simulation.orphans() == []
    require_true_labels(simulation)
    refused = [
        (tier, partition) for tier, partition, success in simulation.ran if not success and tier == "weekly"
    ]
    assert refused == [
        ("weekly", "2027-05-10"),  # nothing lies in a week that was off altogether
        ("weekly", "2027-06-28"),
        ("weekly", "2027-09-13"),
        ("weekly", "2027-12-27"),
    ]
