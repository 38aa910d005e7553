"""The report as people see it: wide, narrow, dark, on paper, and when nobody writes it any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.languages import Locale
from recyclic_backups.report.page import page as html_of
from recyclic_backups_tests.report.surveys import NOW, quarter, surveyed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

Show = Callable[..., "Page"]


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Show]:
    """Show the report of a quarter, at a moment, as wide as that; what it asks the network for is collected."""
    contexts: list[Any] = []

    def showing(
        *, width: int = 1400, minutes_later: int = 5, locale: Locale = "en", empty: bool = False, **media: Any
    ) -> Page:
        file = tmp_path / "page.html"
        found = surveyed(Catalog((), {}) if empty else quarter(), locale=locale, free_bytes=3 * 10**9)
        file.write_text(html_of([found]), encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        opened = context.new_page()
        opened.clock.set_fixed_time(NOW + timedelta(minutes=minutes_later))
        opened.emulate_media(**media)
        opened.goto(file.as_uri())
        return opened

    yield showing
    for context in contexts:
        context.close()


@pytest.mark.parametrize("locale", ["en", "fr"])
@pytest.mark.parametrize("width", [320, 390, 768, 1100, 1400, 2560])
def test_nothing_is_cut_off_at_any_width(show: Show, width: int, locale: Locale) -> None:
    """Loss prevented: the word that says what is wrong, beyond the edge of a phone."""
    page = show(width=width, locale=locale)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut = page.evaluate(
        """[...document.querySelectorAll('.card *:not(.hidden):not(svg *)')].filter(
            each => !each.closest('.scroll') && !each.closest('.hidden') && !each.closest('thead')
                && each.getBoundingClientRect().right > innerWidth + 1).map(each => each.outerHTML.slice(0, 80))"""
    )
    assert cut == []


def test_on_a_phone_the_newest_days_are_in_sight(show: Show) -> None:
    """Loss prevented: six weeks ago on the screen, and last night beyond it."""
    page = show(width=390)
    newest = page.locator("td[title^='2026-11-22']")
    box = newest.bounding_box()
    assert box
    assert 0 <= box["x"] <= 390 - box["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_in_light_and_dark(show: Show, scheme: str) -> None:
    """Loss prevented: grey words on grey (WCAG 2.2, 1.4.3: a contrast of 4.5 for text, 3 for signs)."""
    page = show(color_scheme=scheme)
    poor = page.evaluate(CONTRASTS)
    assert poor == []


CONTRASTS = """() => {
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const part = value => { value /= 255; return value <= .03928 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
  const ground = each => {
    for (; each; each = each.parentElement) {
      const found = numbers(getComputedStyle(each).backgroundColor);
      if (found.length < 4 || found[3] > .9) return found;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const each of document.querySelectorAll('body *')) {
    const own = [...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || each.closest('.hidden, script, style, svg, .skip, .stale') || getComputedStyle(each).display === 'none')
      continue;
    const [one, two] = [light(numbers(getComputedStyle(each).color)), light(ground(each))].sort((a, b) => b - a);
    const contrast = (one + .05) / (two + .05);
    const needed = each.closest('td.cell, .key') ? 3 : 4.5;
    if (contrast < needed) poor.push(`${each.textContent.trim().slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return [...new Set(poor)];
}"""


def test_a_page_that_is_two_hours_old_says_so_in_red_and_a_new_one_does_not(show: Show) -> None:
    """Loss prevented: green on the second screen since the disk broke."""
    assert not show(minutes_later=100).locator("#stale").is_visible()
    banner = show(minutes_later=300).locator("#stale")
    assert banner.is_visible()
    assert "5 h old" in banner.inner_text()


def test_on_paper_it_is_two_pages_without_the_banner(show: Show) -> None:
    """Loss prevented: a report for the general assembly that is printed white on black, with half of it missing."""
    page = show(minutes_later=300, color_scheme="dark")
    pdf = page.pdf(prefer_css_page_size=True, print_background=True)
    assert 1 <= pdf.count(b"/Type /Page\n") <= 2
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("#stale").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_it_asks_nobody_for_anything(show: Show) -> None:
    """Loss prevented: a page that tells others when an operator is awake."""
    page = show(empty=True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    assert [url for url in asked if not url.startswith("file:")] == []
