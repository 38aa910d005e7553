"""The page: everything is on it, nothing is loaded by it, and nobody needs colours to read it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from string import Formatter

import pytest

from recyclic_backups.catalog.catalog import Catalog, Damage
from recyclic_backups.health.issues import critical
from recyclic_backups.health.wording import SCENARIO_WORDS, WORDS, Code
from recyclic_backups.languages import Locale
from recyclic_backups.report import words
from recyclic_backups.report.coverage import State
from recyclic_backups.report.grid import SIGNS
from recyclic_backups.report.page import page
from recyclic_backups_tests.report.surveys import NOW, drilled, quarter, surveyed

VOID = {"meta", "br", "img", "input", "link", "hr"}


class Reader(HTMLParser):
    """Reads a page as a browser would: its elements, its words, and whether they are nested as they have to be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """It has to be closed."""
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """It closes itself."""
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """What was opened last is closed first."""
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Words, if a person reads them."""
        if not set(self.open) & {"style", "script"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        """Everything that is read."""
        return " ".join(self.words)


@pytest.mark.parametrize("locale", ["en", "fr"])
@pytest.mark.parametrize("which", ["quarter", "empty"])
def test_the_page_is_well_formed_and_loads_nothing(which: str, locale: Locale) -> None:
    """Loss prevented: a page that shows nothing on the machine without a network, or tells others what we have."""
    catalog = quarter() if which == "quarter" else Catalog((), {})
    text = page([surveyed(catalog, locale=locale, free_bytes=10**8)])
    reader = Reader(text)
    assert not re.search(r"https?://|//[a-z]|url\(|@import|srcset|fetch\(|XMLHttp", text)
    for tag, attributes in reader.attributes:
        assert tag not in ("link", "img", "iframe", "object", "embed", "form")
        assert not attributes.keys() & {"src", "action", "background"}
        if "href" in attributes:
            assert str(attributes["href"]).startswith("#")
    assert "default-src 'none'" in text
    assert reader.attributes[0] == ("html", {"lang": locale})


def test_what_an_operator_asks_first_is_on_it() -> None:
    """Loss prevented: a page that has to be explained."""
    text = Reader(page([surveyed(quarter(), free_bytes=3 * 10**9)])).text
    for expected in (
        "Degraded",
        "Sun 22 Nov 2026, 02:00",
        "of work would be missing",
        "proven by a restore is of Sun 15 Nov 2026",
        "3.0\u00a0GB",
        "was found damaged",
        "RETENTION_DAILY=3",
        "simple: the newest backup into a database",
        "Tue 24 Nov",
        "not among the newest 7",
    ):
        assert expected in text, expected


def test_open_incidents_are_said_before_all_else() -> None:
    """Loss prevented: an incident below the fold."""
    incident = critical(Code.NO_VERIFIED)
    text = page([surveyed(quarter())], incidents=[incident])
    assert text.index("Open incidents") < text.index('class="card wide status')
    assert "Open incidents" not in page([surveyed(quarter())])


def test_names_and_reasons_of_others_are_text_and_nothing_else() -> None:
    """Loss prevented: a table's name that runs as a program in the operator's browser."""
    evil = '"><script>alert(1)</script>'
    catalog = replace(quarter(), damage=(Damage(f"recyclic/{evil}", evil),))
    text = page([surveyed(catalog, database=evil)])
    assert "<script>alert" not in text
    assert Reader(text).text.count("alert(1)") >= 2


def test_nothing_is_told_by_colour_alone() -> None:
    """Loss prevented: one man in twelve who does not see that a day is missing."""
    assert len(set(SIGNS.values())) == len(State)
    reader = Reader(page([surveyed(quarter())]))
    cells = [attributes for tag, attributes in reader.attributes if tag == "td" and "title" in attributes]
    assert len(cells) > 42
    assert all(re.match(r"\d{4}-\d\d-\d\d: \w", str(each["title"])) for each in cells)
    drawings = [attributes for tag, attributes in reader.attributes if tag == "svg"]
    for each in drawings:
        assert each.get("aria-label") or each.get("aria-hidden") == "true"
    assert any(
        "80" in str(each.get("aria-label")) or "values" in str(each.get("aria-label")) for each in drawings
    )


def test_a_page_that_nobody_writes_any_more_says_so() -> None:
    """Loss prevented: a green page on the second screen, made before the disk broke."""
    text = page([surveyed(quarter())])
    assert f'data-measured="{NOW.isoformat()}"' in text
    assert '<meta http-equiv="refresh"' in text


def test_it_is_made_for_the_dark_for_phones_and_for_paper() -> None:
    """Loss prevented: a page that blinds at three in the morning, or prints black."""
    text = page([surveyed(quarter())])
    for query in ("prefers-color-scheme: dark", "@media print", "max-width: 560px", 'name="viewport"'):
        assert query in text


def test_several_databases_are_told_apart_and_the_worst_is_in_the_title() -> None:
    """Loss prevented: a green title over a red database."""
    good = surveyed(quarter(missing=(), damaged=()), now=NOW - timedelta(hours=3))
    text = page([good, surveyed(Catalog((), {}), database="other")])
    assert "<title>Unhealthy" in text
    assert "<h1>other</h1>" in text


def test_a_failed_drill_is_marked_in_the_table_and_in_its_curve() -> None:
    """Loss prevented: a drill that failed, drawn as a fast one."""
    catalog = quarter()
    newest = drilled(catalog.backups[0], NOW, "simple", 3.0, passed=False)
    text = page([surveyed(replace(catalog, backups=(newest, *catalog.backups[1:])))])
    assert "✕ failed" in text
    assert 'class="bad"' in text
    assert Reader(text).text.count("Unhealthy") >= 1


def test_every_sentence_is_there_in_both_languages_with_the_same_values() -> None:
    """Loss prevented: a report that ends with an exception in one language."""

    def fields(text: str) -> set[str]:
        return {name for _, name, _, _ in Formatter().parse(text) if name}

    for table in (words._WORDS, WORDS, SCENARIO_WORDS):
        for name, (english, french) in table.items():
            assert english
            assert french
            assert fields(english) == fields(french), name
    assert set(WORDS) == set(Code)
