"""What an operator with WAL sees and clicks: a base backup, the archive's checks, a missed day that comes back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.demo.dagster_process import ui
from recyclic_backups_tests.browser.conftest import opened_page
from recyclic_backups_tests.browser.test_pages import DAILY, all_partitions, materialize, shows

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from recyclic_backups_tests.defs.missed_day import MissedDay

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

BASE = "/assets/recyclic/base_backup"
ARCHIVE = "/assets/recyclic/wal_archive"


@pytest.fixture(scope="module")
def missed() -> Iterator[MissedDay]:
    """See :class:`MissedDay`."""
    from recyclic_backups_tests.defs.missed_day import open_missed_day

    with open_missed_day() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(missed: MissedDay) -> Iterator[str]:
    """Where its pages are served."""
    with ui(missed.stage) as served:
        yield served


@pytest.fixture
def page(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """An empty page at that address."""
    with opened_page(browser, address, request.node.name) as opened:
        yield opened


def materialize_at_once(page: Page, shown: str) -> None:
    """Click on the button of an asset without partitions, and wait for what that made: a page loaded anew shows it."""
    from playwright.sync_api import Error as PlaywrightError

    page.get_by_role("button", name="Materialize").first.click()
    page.wait_for_timeout(5000)  # until the run is launched, or loading the page anew would undo the click
    for attempt in range(20):
        page.reload()
        with suppress(PlaywrightError) if attempt < 19 else nullcontext():
            shows(page, re.compile(f"^{shown}$"), patience_seconds=15)
            return


def test_a_base_backup_is_taken_by_clicking(page: Page) -> None:
    """Loss prevented: WAL of which nobody knows what it is replayed on, or by which command."""
    page.goto(BASE)
    shows(page, "Where does it come from?")
    materialize_at_once(page, "base_id")
    for key in ("kind", "stored_mb", "duration_s", "needs_wal"):
        shows(page, re.compile(f"^{key}$"))
    shows(page, re.compile("recyclic-backups recover --latest --data-directory DIR"))


def test_the_archive_shows_how_far_it_reaches_and_answers_its_checks(page: Page) -> None:
    """Loss prevented: a green square, and nobody who knows up to which second it is true."""
    page.goto(ARCHIVE)
    shows(page, "Who receives it?")
    materialize_at_once(page, "lag_s")
    for key in ("gaps", "window_h", "reaches_until"):
        shows(page, re.compile(f"^{key}$"))
    page.goto(f"{ARCHIVE}?view=checks&checkDetail=continuous")
    shows(page, "Checks (4)")
    shows(page, "Is the WAL whole, without a hole since the newest base backup?")
    shows(page, re.compile("WAL is whole"))


def test_a_missed_day_is_rebuilt_by_clicking_and_the_one_before_is_late(
    page: Page, missed: MissedDay
) -> None:
    """Loss prevented: a day that comes back as today's data, where WAL knows what it was."""
    all_partitions(page, DAILY)
    dialog = materialize(page, "All")
    dialog.get_by_role("button", name="Launch backfill").click()
    dialog.wait_for(state="hidden")
    page.goto("/runs?view=backfills")
    shows(page, re.compile("^Success$"), patience_seconds=600)
    all_partitions(page, DAILY)
    shows(page, "Missing (0)")
    page.goto(f"{DAILY}?view=partitions&partition={missed.day}")
    shows(page, re.compile("^reconstructed$"))
    shows(page, "the day was missed: rebuilt from WAL")
    labels = {key: label for (tier, key), label in missed.catalog.labels.items() if tier is Tier.DAILY}
    assert labels.pop(missed.day).late is False
    assert [each.late for each in labels.values()] == [True]
    rebuilt = missed.catalog.labelled(Tier.DAILY, missed.day)
    assert rebuilt
    assert rebuilt.as_of == missed.due
