"""The report as people see it: wide, narrow, dark, on paper, and when nobody writes it any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.health.finding import critical
from recyclic_backups.report.page import page as html_of
from recyclic_backups.texts.language import Locale
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
        *,
        width: int = 1400,
        height: int = 900,
        minutes_later: int = 5,
        locale: Locale = "en",
        catalog: Catalog | None = None,
        free_bytes: int = 3 * 10**9,
        incidents: int = 0,
        scripts: bool = True,
        **media: Any,
    ) -> Page:
        file = tmp_path / "page.html"
        found = surveyed(catalog or quarter(), locale=locale, free_bytes=free_bytes)
        still = [critical("no_verified_backup", str(number)) for number in range(incidents)]
        file.write_text(html_of([found], incidents=still), encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": height}, java_script_enabled=scripts
        )
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
@pytest.mark.parametrize("width", [280, 320, 390, 768, 1100, 1280, 1400, 1920, 2560])
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
    # A value is wider than its tile only if it runs over the line to the next one.
    over = page.evaluate(
        """[...document.querySelectorAll('.figures dd, .figures dt, .line')].filter(
            each => each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).display !== 'inline')
            .map(each => each.textContent)"""
    )
    assert over == []


def test_a_large_screen_shows_the_quarter_at_once(show: Show) -> None:
    """Loss prevented: objectives below the fold of a screen that nobody scrolls."""
    good = quarter(missing=(), damaged=(), late=(), held=())
    page = show(width=1920, height=1080, catalog=good, free_bytes=2 * 10**11)
    for name in ("status", "now", "of-issues", "of-objectives", "of-coverage"):
        box = page.locator(f".card.{name}").bounding_box()
        assert box
        assert box["y"] + box["height"] <= 1080, name
    cards = page.locator("main .card").evaluate_all(
        "all => all.map(each => each.getBoundingClientRect().right)"
    )
    assert max(cards) > 1800


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800), (1920, 1080)])
def test_a_hundred_incidents_do_not_push_the_headline_away(show: Show, width: int, height: int) -> None:
    """Loss prevented: a list as long as the night, above the word that it is about."""
    page = show(width=width, height=height, incidents=107)
    box = page.locator(".card.status .word:visible").bounding_box()
    assert box
    assert box["y"] + box["height"] <= height / 2
    assert "107" in page.locator(".card.status").inner_text()


def test_on_a_phone_what_spans_weeks_keeps_its_sign_and_months_their_name_in_sight(show: Show) -> None:
    """Loss prevented: a month without a backup, whose sign is left of the screen."""
    page = show(width=390)
    tiers = page.locator("th.tier").last.bounding_box()
    assert tiers
    signs = [page.locator("td[title^='2026-11-01'] .sign").last, page.locator("th.month span").last]
    for sign in signs:
        box = sign.bounding_box()
        assert box
        assert tiers["x"] + tiers["width"] <= box["x"] + 1
        assert box["x"] + box["width"] <= 390


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


@pytest.mark.parametrize("hours", [9, 30 * 24])
def test_a_page_that_is_hours_old_says_nothing_of_now_and_a_new_one_does(show: Show, hours: int) -> None:
    """Loss prevented: green on the second screen since the disk broke."""
    fresh = show(minutes_later=100)
    assert not fresh.locator("#stale").is_visible()
    assert "would be missing" in fresh.locator(".card.status").inner_text()
    page = show(minutes_later=60 * hours)
    banner = page.locator("#stale")
    assert banner.is_visible()
    assert ("9 h old" if hours == 9 else "30 days old") in banner.inner_text()
    headline = page.locator(".card.status")
    said = headline.inner_text()
    assert said.startswith("Nothing known since Sun 22 Nov 2026")
    assert "would be missing" not in said
    assert page.title().startswith("Nothing known")
    assert not page.locator(".mark.fresh").is_visible()
    red, green, blue = headline.locator(".word:visible").evaluate(
        "each => getComputedStyle(each).color.match(/\\d+/g).slice(0, 3).map(Number)"
    )
    assert max(red, green, blue) - min(red, green, blue) < 16
    assert page.locator("div.page").evaluate("each => getComputedStyle(each).filter") == "grayscale(1)"


def test_without_scripts_the_page_is_as_it_was_written(show: Show) -> None:
    """Loss prevented: two headlines, or none, where a browser runs no script."""
    page = show(minutes_later=60 * 9, scripts=False)
    assert page.locator(".card.status .word:visible").count() == 1
    assert "would be missing" in page.locator(".card.status").inner_text()


def test_on_paper_it_is_two_pages_without_the_banner(show: Show) -> None:
    """Loss prevented: a report for the general assembly that is printed white on black, with half of it missing."""
    page = show(minutes_later=300, color_scheme="dark")
    pdf = page.pdf(prefer_css_page_size=True, print_background=True)
    assert 1 <= pdf.count(b"/Type /Page\n") <= 2
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("#stale").is_visible()
    assert page.locator(".card.status .word:visible").inner_text() == "Degraded"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_it_asks_nobody_for_anything(show: Show) -> None:
    """Loss prevented: a page that tells others when an operator is awake."""
    page = show(catalog=Catalog((), {}))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    assert [url for url in asked if not url.startswith("file:")] == []
