"""Coverage: every day, week and month has the state that it is in."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Check
from recyclic_backups.report.coverage import Cell, Coverage, State, coverage
from recyclic_backups_tests.health.catalogs import paris
from recyclic_backups_tests.report.surveys import CALENDAR, NOW, TODAY, night, quarter, surveyed


def covered(catalog: Catalog, now: datetime = NOW, *, days: int = 42) -> Coverage:
    """The coverage with the gaps that the findings of that moment name."""
    return coverage(catalog, CALENDAR, now, gaps=named_gaps(catalog, now), days=days)


def named_gaps(catalog: Catalog, now: datetime = NOW) -> set[str]:
    """``tier/partition`` of the gaps that findings name."""
    return {each.subject for each in surveyed(catalog, now=now).gaps}


def cells(catalog: Catalog, tier: Tier = Tier.DAILY, *, days: int = 42) -> dict[str, Cell]:
    """The cells of a tier by partition."""
    found = covered(catalog, days=days)
    return {cell.partition: cell for row, own in found.rows if row is tier for cell in own}


def test_each_state_is_shown_as_what_it_is() -> None:
    """Loss prevented: a missing day that looks like one that expired, or a damaged one that looks whole."""
    found = cells(quarter(missing=["2026-11-06", "2026-11-17"]))
    assert found["2026-11-17"].state is State.MISSING
    assert found["2026-11-06"].state is State.MISSED
    assert found["2026-11-03"].state is State.EXPIRED
    assert found["2026-11-20"].state is State.DAMAGED
    assert found["2026-11-21"].state is State.VERIFIED
    assert found["2026-11-15"].state is State.PROVEN
    assert found["2026-11-15"].held
    assert found["2026-11-18"].late
    assert not found["2026-11-21"].late


def test_a_backup_that_nobody_verified_is_present_only() -> None:
    """Loss prevented: a green day that nobody has looked at."""
    catalog = quarter()
    newest = replace(catalog.backups[0], checks=())
    found = cells(replace(catalog, backups=(newest, *catalog.backups[1:])))
    assert found["2026-11-22"].state is State.PRESENT


def test_a_later_failed_restore_takes_the_proof_away() -> None:
    """Loss prevented: a star over a backup that could not be restored yesterday."""
    catalog = quarter()
    newest = catalog.backups[0]
    proof = Check("restore", newest.backup_id, NOW, True, proves=True)
    failed = replace(proof, checked_at=NOW + timedelta(minutes=1), passed=False, proves=False)
    for checks, state in (((proof,), State.PROVEN), ((proof, failed), State.VERIFIED)):
        found = cells(
            replace(
                catalog,
                backups=(replace(newest, checks=(*newest.checks, *checks)), *catalog.backups[1:]),
            )
        )
        assert found["2026-11-22"].state is state


@pytest.mark.parametrize("days", [7, 42, 80])
def test_every_row_spans_exactly_the_shown_days(days: int) -> None:
    """Loss prevented: a week drawn over the wrong days."""
    found = covered(quarter(), days=days)
    assert len(found.days) == days
    for _, row in found.rows:
        assert sum(cell.days for cell in row) == days
    weekly = cells(quarter(), Tier.WEEKLY)
    assert weekly["2026-11-09"].days == 7
    assert cells(quarter(), Tier.MONTHLY)["2026-11-01"].days == 22


def test_the_running_week_of_the_first_evening_is_not_missing() -> None:
    """Loss prevented: a first look at the page that finds something red where nothing is wrong."""
    first = Backup(
        replace(
            night(TODAY, 0).manifest, as_of=paris("2026-11-22T16:15"), taken_at=paris("2026-11-22T16:16")
        ),
        night(TODAY, 0).labels[:1],
        night(TODAY, 0).checks,
    )
    catalog = Catalog((first,), {(label.tier, label.partition): label for label in first.labels})
    weekly = covered(catalog, paris("2026-11-22T17:00")).rows[1][1]
    assert weekly[-1].state is State.COMING
    after = covered(catalog, paris("2026-11-23T00:30")).rows[1][1]
    assert [cell.state for cell in after if cell.partition == "2026-11-16"] == [State.MISSING]


def test_what_is_not_due_yet_is_not_missing_and_what_was_before_the_first_backup_neither() -> None:
    """Loss prevented: red cells on the first day, after which nobody looks any more."""
    at_night = covered(quarter(missing=["2026-11-22"]), paris("2026-11-22T01:30"))
    assert at_night.rows[0][1][-1].state is State.COMING
    at_noon = covered(quarter(missing=["2026-11-22"]), paris("2026-11-22T12:00"))
    assert at_noon.rows[0][1][-1].state is State.OVERDUE
    day_after = covered(quarter(missing=["2026-11-22"]), paris("2026-11-23T12:00"))
    assert [cell.state for cell in day_after.rows[0][1] if cell.partition == "2026-11-22"] == [State.MISSING]
    young = cells(quarter(days=10, missing=(), drills=False))
    assert young["2026-11-12"].state is State.BEFORE
    assert young["2026-11-13"].state is not State.MISSING
    assert {cell.state for cell in cells(Catalog((), {})).values()} == {State.BEFORE}


def test_what_is_red_is_what_findings_name_and_nothing_else() -> None:
    """Loss prevented: a red month of which no line says anything, until nobody asks what red means."""
    old = [f"2026-11-{day:02}" for day in range(8, 13)]
    catalog = quarter(missing=[*old, "2026-11-17", "2026-11-18"], damaged=(), late=(), held=())
    # Nobody labelled the months: October is over for three weeks, November can still be made.
    labels = {key: label for key, label in catalog.labels.items() if key[0] is not Tier.MONTHLY}
    catalog = replace(catalog, labels=labels)
    red = {
        f"{tier.value}/{cell.partition}"
        for tier, row in covered(catalog).rows
        for cell in row
        if cell.state is State.MISSING
    }
    assert red == {"daily/2026-11-17", "daily/2026-11-18", "weekly/2026-11-02", "monthly/2026-10-01"}
    assert red == named_gaps(catalog) - {"monthly/2026-09-01"}  # which is not shown
    assert cells(catalog, Tier.MONTHLY)["2026-11-01"].state is State.OVERDUE


def test_a_week_that_a_finding_misses_is_red_though_there_were_no_daily_backups_yet() -> None:
    """Loss prevented: an issue about a week whose cell says that nobody missed it."""
    number = (TODAY - date(2026, 10, 18)).days
    adopted = night(date(2026, 10, 18), 80 - number)  # a Sunday: it has the label of its week
    adopted = replace(adopted, labels=tuple(each for each in adopted.labels if each.tier is Tier.WEEKLY))
    daily = [replace(each, labels=each.labels[:1]) for each in quarter(days=4, drills=False, damaged=())]
    backups = (*daily, adopted)
    catalog = Catalog(
        backups, {(label.tier, label.partition): label for each in backups for label in each.labels}
    )
    now = paris("2026-11-16T12:00") + timedelta(days=6)
    assert "weekly/2026-11-09" in named_gaps(catalog, now)
    weekly = covered(catalog, now).rows[1][1]
    states = {cell.partition: cell.state for cell in weekly}
    assert states["2026-11-09"] is State.MISSING
    assert states["2026-10-26"] is State.MISSING
    assert states["2026-10-12"] is State.VERIFIED
