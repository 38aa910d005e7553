"""What somebody else wrote, in every medium: it is shown, and does nothing."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from recyclic_backups.cli import render
from recyclic_backups.foreign_text import in_a_sentence, markdown, markdown_code, visible
from recyclic_backups.health.finding import Finding, Level
from recyclic_backups.report.markup import plain, prose
from recyclic_backups.texts.language import Bilingual, Locale, Untranslated
from recyclic_backups.texts.text import say
from recyclic_backups_tests.foreign import MOVING, NASTY

LOCALES: tuple[Locale, ...] = ("en", "fr")

_VIEWER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
"""A viewer that lets HTML through: what is harmless there is harmless in Dagster's."""


class _Read(HTMLParser):
    """The elements and the text of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("text", NASTY)
def test_a_line_of_a_terminal_or_a_log_stays_one_line_and_moves_nothing(text: str) -> None:
    """Attack prevented: a table's name that clears the screen, or writes a line that the program never wrote."""
    for shown in (visible(text), in_a_sentence(text)):
        assert not set(shown) & set(MOVING)
        assert "\n" not in shown
        shown.encode("utf-8")


@given(st.text())
def test_markdown_of_any_text_is_that_text(text: str) -> None:
    """Attack prevented: a name that becomes a link, an image, HTML, a list or a heading on Dagster's pages."""
    read = _Read(_VIEWER.render(f"- {markdown(text)} end"))
    assert read.elements in (["ul", "li"], ["ul", "li", "p"])
    assert " ".join(read.text.split()) == " ".join(f"{in_a_sentence(text)} end".split())


@pytest.mark.parametrize("text", NASTY)
def test_a_nasty_name_is_text_in_markdown(text: str) -> None:
    """Attack prevented: the same, with what is known to work elsewhere; also in a cell, in a line and as code."""
    alone = _Read(_VIEWER.render(markdown(text)))
    assert alone.elements == ["p"]
    cell = _Read(_VIEWER.render(f"| a | b |\n|---|---|\n| {markdown(text)} | end |"))
    assert cell.elements == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]
    assert cell.text.split()[-1] == "end"
    code = _Read(_VIEWER.render(f"the database {markdown_code(text)} is"))
    assert code.elements == ["p", "code"]
    for read in (alone, cell, code):
        assert not read.attributes
        assert not set(read.text) & (set(MOVING) - {"\n"})


@given(st.text())
def test_code_of_any_text_is_that_text(text: str) -> None:
    """Attack prevented: backticks in a name that end the code, with a link behind them."""
    read = _Read(_VIEWER.render(f"a {markdown_code(text)} b"))
    assert read.elements == ["p", "code"]
    assert visible(text).strip() in read.text


@pytest.mark.parametrize("text", NASTY)
def test_a_nasty_name_is_text_in_html(text: str) -> None:
    """Attack prevented: a name that runs in the operator's browser, or reads backwards there."""
    for html in (f'<p title="{plain(text)}">{plain(text)}</p>', f"<p>{prose(text)}</p>"):
        read = _Read(html)
        assert set(read.elements) <= {"p", "span", "q"}
        assert all(name in ("title", "class", "lang") for name, _ in read.attributes)
        assert not set(html) & set(MOVING)
    assert _Read(f"<p>{plain(text)}</p>").text == visible(text)


@pytest.mark.parametrize("text", NASTY)
def test_a_nasty_name_stays_a_value_of_its_sentence(text: str) -> None:
    """Attack prevented: a database's name that is a format of its own, or forges a line of a mail."""
    sentences: list[Bilingual] = [
        Finding("damaged_document", "", Level.CRITICAL, {"name": text, "problem": text}).sentence,
        say("report.run spared", what=text),
        say("retention.untrusted", problem=Untranslated(text)),
    ]
    for each in sentences:
        for locale in LOCALES:
            said = each.text(locale)
            assert visible(text) in said or in_a_sentence(text) in said
            assert not set(said) & (set(MOVING) | {"\n"})


@pytest.mark.parametrize("text", NASTY)
def test_a_report_for_machines_moves_nothing_at_a_terminal_and_says_the_same(text: str) -> None:
    """Attack prevented: `list --json` at a terminal that is steered by the reason of a hold."""
    document = {"reason": text.encode("utf-8", "backslashreplace").decode(), "more": [text.isascii()]}
    printed = render.as_json(document)
    assert not set(printed) & set(MOVING)
    assert json.loads(printed) == document
