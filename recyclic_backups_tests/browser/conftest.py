"""A browser and an installation to look at, both shared by all tests: starting them takes two minutes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from recyclic_backups_tests.browser.quarter import Quarter

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    # Nothing but the pages under test, wherever they point.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
PATIENCE_MILLISECONDS = 60_000
"""How long a page may take to show something. Long: two cores, shared with Dagster, PostgreSQL and others."""


@pytest.fixture(scope="session")
def quarter() -> Iterator[Quarter]:
    """The installation, its pages being served."""
    from recyclic_backups_tests.browser.quarter import open_quarter

    with open_quarter() as opened:
        yield opened


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    program = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    assert program, "no Chromium on this machine: make test-browser installs it"
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=[*FLAGS, *root])


@pytest.fixture
def page(browser: Browser, quarter: Quarter, request: pytest.FixtureRequest) -> Iterator[Page]:
    """An empty page at the installation's address."""
    with opened_page(browser, quarter.address, request.node.name) as opened:
        yield opened


@contextmanager
def opened_page(browser: Browser, address: str, name: str) -> Iterator[Page]:
    """An empty page at an address. ``RECYCLIC_SCREENSHOTS`` names a directory for its last state."""
    context = browser.new_context(
        base_url=address, viewport={"width": 1400, "height": 1000}, timezone_id="Europe/Paris"
    )
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    opened = context.new_page()
    yield opened
    if directory := os.environ.get("RECYCLIC_SCREENSHOTS"):
        Path(directory).mkdir(exist_ok=True)
        opened.screenshot(path=f"{directory}/{name}.png")
    context.close()
