"""What Dagster's pages show of names that others chose: text, and nothing that acts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from markdown_it import MarkdownIt

from recyclic_backups.catalog.catalog import Damage
from recyclic_backups.defs.backups import metadata as presentation
from recyclic_backups.defs.drills import assets as drills
from recyclic_backups.defs.health import assets as metrics
from recyclic_backups.defs.runs import sentence
from recyclic_backups.errors import StorageError
from recyclic_backups.foreign_text import visible
from recyclic_backups.retention.policy import Retention
from recyclic_backups.retention.review import review
from recyclic_backups_tests.foreign import MOVING, NASTY
from recyclic_backups_tests.report.surveys import NOW, quarter, surveyed

_VIEWER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
OWN = {
    "p",
    "ul",
    "li",
    "strong",
    "code",
    "pre",
    "h1",
    "h2",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "hr",
}


def _elements(markdown: str) -> list[str]:
    """The elements of a text in Markdown, with their attributes; HTML in it counts as an element called html."""
    found = []
    for token in _VIEWER.parse(markdown):
        for each in (token, *(token.children or ())):
            if each.type.startswith("html"):
                found.append("html")
            elif each.nesting == 1 or each.type in ("image", "code_inline", "fence"):
                found.append(" ".join([each.tag, *(str(name) for name in each.attrs if name != "style")]))
    return found


def _is_plain(markdown: str) -> bool:
    return set(_elements(markdown)) <= OWN and not set(markdown) & (set(MOVING) - {"\n"})


@pytest.mark.parametrize("evil", NASTY)
def test_damage_with_a_nasty_name_is_a_line_of_the_health_note(evil: str) -> None:
    """Attack prevented: a file's name in the storage that becomes a link or a picture on the operator's page."""
    catalog = replace(quarter(), damage=(Damage(f"recyclic/{evil}", evil),))
    usual = _elements(
        metrics.health_note(surveyed(replace(quarter(), damage=(Damage("a", "b"),)))).md_str or ""
    )
    note = metrics.health_note(surveyed(catalog, database=evil)).md_str or ""
    assert _is_plain(note)
    assert _elements(note) == usual


@pytest.mark.parametrize("evil", NASTY)
def test_a_database_with_a_nasty_name_is_code_in_the_note_on_restoring(evil: str) -> None:
    """Attack prevented: backticks in a database's name, and behind them a command that somebody pastes."""
    done = cast(Any, SimpleNamespace(backup=SimpleNamespace(backup_id="20261122T010003Z-K3X7QA", as_of=NOW)))
    note = presentation.restore_note(done, cast(Any, SimpleNamespace(database=evil)))
    assert _is_plain(note)
    assert _elements(note).count("code") == 5


@pytest.mark.parametrize("evil", NASTY)
def test_a_drill_tells_nasty_names_as_text(evil: str) -> None:
    """Attack prevented: a table that was damaged in a drill, and whose name damages the page."""
    report = SimpleNamespace(
        passed=False,
        ground=evil,
        objective=SimpleNamespace(restore_seconds=1.0, data_loss_seconds=1.0),
        restore_seconds=2.0,
        data_loss_seconds=2.0,
        reasons=(evil,),
        results=(),
        newest=SimpleNamespace(
            details={
                "probes": [{"probe": evil, "passed": False}],
                "wounds": [{"table": evil, "what": evil, "rows": 1}],
                "commands": [evil],
            }
        ),
    )
    text = drills.markdown_of(cast(Any, report))
    assert _is_plain(text)
    assert _elements(text).count("li") == 6


@pytest.mark.parametrize("evil", NASTY)
def test_the_review_keeps_nasty_names_in_their_cells(evil: str) -> None:
    """Attack prevented: the reason of a hold that adds a row of its own to what is kept."""
    catalog = replace(quarter(), damage=(Damage(f"recyclic/{evil}", evil),))
    calendar = surveyed(quarter()).terms.calendar

    def reviewed(database: str) -> str:
        return review(catalog, Retention(), calendar, NOW, database=database)

    assert _is_plain(reviewed(evil))
    assert _elements(reviewed(evil)) == _elements(reviewed("recyclic"))


@pytest.mark.parametrize("evil", NASTY)
def test_an_error_with_a_nasty_name_forges_no_line_of_a_log(evil: str) -> None:
    """Attack prevented: a line of the run's log that says that all is well, and was written by a table's name."""
    said = sentence(StorageError(f"{evil} cannot be read", f"look at {evil}"))
    assert said.count("\n") == 1
    assert not set(said) & (set(MOVING) - {"\n"})
    assert visible(said.split("\n")[0]) == said.split("\n")[0]
