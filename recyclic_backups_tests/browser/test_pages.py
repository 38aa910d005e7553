"""What an operator sees and clicks. In the order of a first day: looking, then repairing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.health.questions import QUESTIONS

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from recyclic_backups_tests.browser.quarter import Quarter

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

DAILY = "/assets/recyclic/daily_backup"
WEEKLY = "/assets/recyclic/weekly_backup"


def shows(page: Page, text: str | re.Pattern[str], patience_seconds: float = 60) -> None:
    """Wait until the text is on the page, which brings its data up to date by itself."""
    page.get_by_text(text).first.wait_for(timeout=patience_seconds * 1000)


def all_partitions(page: Page, asset: str) -> None:
    """The asset's page of partitions, the whole range chosen."""
    page.goto(f"{asset}?view=partitions")
    page.get_by_role("button", name="All", exact=True).click()


def materialize(page: Page, choice: str) -> Locator:
    """The dialog that the asset's button opens, with that choice of partitions made."""
    page.get_by_role("button", name="Materialize…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name=choice, exact=True).click()
    return dialog


def test_the_partitions_of_a_quarter_show_its_gaps(page: Page, quarter: Quarter) -> None:
    """Loss prevented: missed nights that nobody sees among ninety."""
    missing = len(quarter.gaps)
    all_partitions(page, DAILY)
    shows(page, f"{len(quarter.days)} Partitions Selected")
    shows(page, f"Missing ({missing})")
    shows(page, f"Materialized ({len(quarter.days) - missing})")
    shows(page, "Failed (0)")


def test_a_partition_says_what_its_backup_is_and_how_to_restore_it(page: Page, quarter: Quarter) -> None:
    """Loss prevented: an operator at night who has a green square and no command."""
    day = next(day for day in quarter.days if day not in quarter.gaps)
    backup = quarter.catalog.labelled(Tier.DAILY, day)
    assert backup
    page.goto(f"{DAILY}?view=partitions&partition={day}")
    shows(page, f"recyclic-backups restore {backup.backup_id} --into restored_")
    for key in ("stored_mb", "dumped_mb", "compression_pct", "duration_s", "late", "fingerprint"):
        shows(page, re.compile(f"^{key}$"))
    shows(page, "association.messages")


def test_lineage_leads_from_days_to_weeks_months_and_drills(page: Page) -> None:
    """Loss prevented: a weekly backup whose origin nobody can tell."""
    page.goto("/locations/recyclic_backups/asset-groups/backups/lineage")
    for name in ("daily_backup", "weekly_backup", "monthly_backup", "drill_simple"):
        shows(page, name)
    page.goto(f"{DAILY}?view=lineage&lineageScope=downstream")
    for name in ("weekly_backup", "monthly_backup", "drill_simple", "drill_partial", "drill_full"):
        shows(page, name)
    # An arrow to each of them.
    assert page.locator("svg path[marker-end]").count() >= 5


def test_figures_are_drawn_over_time(page: Page) -> None:
    """Loss prevented: a database that halves, or a night that takes hours, seen by nobody."""
    page.goto(DAILY)
    page.get_by_role("button", name="Plots").click()
    plots = ("stored_mb", "dumped_mb", "compression_pct", "duration_s", "rows")
    for key in plots:
        shows(page, re.compile(f"^{key}$"))
    page.locator("canvas").first.wait_for()
    assert page.locator("canvas").count() >= len(plots)


def test_the_asset_says_whose_it_is_and_what_it_answers(page: Page) -> None:
    """Loss prevented: a red asset and nobody who knows whom it concerns."""
    page.goto(DAILY)
    shows(page, "What if a day was missed?")
    shows(page, "Owners")
    shows(page, "daily_backup_job")
    shows(page, "environment: production")


def test_every_check_is_there_with_its_question_and_answer(page: Page) -> None:
    """Loss prevented: a red check that says nothing."""
    page.goto(f"{DAILY}?view=checks")
    shows(page, "Checks (8)")
    for name in QUESTIONS:
        shows(page, re.compile(f"^{name}$"))
    page.goto(f"{DAILY}?view=checks&checkDetail=integrity")
    shows(page, QUESTIONS["integrity"])
    shows(page, re.compile("was read again from the storage, opened and parsed to its end"))


def test_a_failed_run_says_why_and_what_to_do(page: Page, quarter: Quarter) -> None:
    """Loss prevented: hours in a stack trace for what is one sentence."""
    all_partitions(page, WEEKLY)
    dialog = materialize(page, "Missing")
    # But for Sundays the running week is missing too: what is typed counts once it was entered.
    chosen = dialog.get_by_role("textbox")
    chosen.fill(quarter.lost_week)
    chosen.press("Enter")
    dialog.get_by_role("button", name="Launch 1 run").click()
    dialog.wait_for(state="hidden")
    page.goto("/runs?q[0]=status:FAILURE")
    page.locator("a[href^='/runs/']").first.click(timeout=120_000)
    shows(page, f"no good backup lies in the weekly partition {quarter.lost_week}, which is over")
    shows(page, "Hint: a dump of today would not be of that time")


def test_missed_days_are_filled_by_clicking_and_say_that_they_are_late(page: Page, quarter: Quarter) -> None:
    """Loss prevented: a backfill that dumps a quarter again, or passes off today's data as October's."""
    before = {backup.backup_id for backup in quarter.catalog}
    kept = {slot: label for slot, label in quarter.catalog.labels.items() if slot[1] not in quarter.gaps}
    all_partitions(page, DAILY)
    dialog = materialize(page, "All")
    dialog.get_by_text("Backfill only failed and missing partitions within selection").click()
    shows(page, f"Only {len(quarter.gaps)} failed and missing partitions")
    dialog.get_by_role("button", name="Launch backfill").click()
    dialog.wait_for(state="hidden")
    page.goto("/runs?view=backfills")
    shows(page, re.compile("^Success$"), patience_seconds=600)

    all_partitions(page, DAILY)
    shows(page, f"Materialized ({len(quarter.days)})")
    shows(page, "Missing (0)")
    page.goto(f"{DAILY}?view=partitions&partition={quarter.gaps[0]}")
    shows(page, "the day was missed")

    catalog = quarter.catalog
    labels = [catalog.labels[Tier.DAILY, day] for day in quarter.gaps]
    assert {label.late for label in labels} == {True}
    # One dump for all of them, and no day that had a backup has another one now.
    (late,) = {label.backup_id for label in labels}
    assert {backup.backup_id for backup in catalog} - before == {late}
    assert {slot: label for slot, label in catalog.labels.items() if slot in kept} == kept


def test_runs_are_found_by_what_they_made(page: Page, quarter: Quarter) -> None:
    """Loss prevented: a backup whose making nobody can look up."""
    backup = quarter.catalog.labelled(Tier.DAILY, quarter.days[-1])
    assert backup
    page.goto(f"/runs?q[0]=tag:backup_id={backup.backup_id}")
    shows(page, f"backup_id: {backup.backup_id}")
    page.goto("/runs?q[0]=tag:backup_id=20000101T000000Z-AAAAAA")
    shows(page, "No runs were found for this filter")
