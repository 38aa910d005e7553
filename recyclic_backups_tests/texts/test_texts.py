"""Every sentence that exists in two languages: both are there, say the same, count right, and somebody says it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

import recyclic_backups
from recyclic_backups.own_command import as_called, name_program
from recyclic_backups.texts import alerts
from recyclic_backups.texts.language import Locale, Pair, fill, is_singular
from recyclic_backups.texts.text import WORDS, say

SENTENCES: dict[str, Pair] = {
    **WORDS,
    **{f"label.{name}": words for name, words in alerts.LABELS.items()},
    **{f"problem.{kind}": words.what for kind, words in alerts.WORDS.items()},
    **{f"meaning.{kind}": words.means for kind, words in alerts.WORDS.items()},
}

LOCALES: tuple[Locale, ...] = ("en", "fr")

NUMBERS = {"before", "changed", "count", "days", "max_days", "minimum", "number", "steady", "window"}
"""Values that are counts wherever they stand, and not quantities, which bring their unit."""

SINGULARS = "backup|row|day|document|check|sauvegarde|ligne|jour|contrôle"

COUNTS = {"critical", "good", "gone", "held", "kept", "proven", "total"}
"""Counts before words that are the same for one and for many: "3 held"."""


def fields(words: str) -> list[tuple[str, str]]:
    """The names of the values in it, and the forms of those that are counted."""
    return [(name, forms or "") for _, name, forms, _ in Formatter().parse(words) if name is not None]


TABLES = sorted({code.partition(".")[0] for code in SENTENCES})


def sentences_of(table: str) -> Iterator[Pair]:
    """Those whose codes begin so: a test for each of hundreds takes longer than what it looks at."""
    return (words for code, words in SENTENCES.items() if code.partition(".")[0] == table)


@pytest.mark.parametrize("table", TABLES)
def test_both_languages_say_the_same_values(table: str) -> None:
    """Loss prevented: a fact that only one language tells, or a sentence that ends in an error in one of them."""
    for english, french in sentences_of(table):
        assert english.strip(), french
        assert french.strip(), english
        assert {name for name, _ in fields(english)} == {name for name, _ in fields(french)}, english
        for _, forms in (*fields(english), *fields(french)):
            assert forms == "" or forms.count("|") == 1, f"one form for one, one for many: {english}"


@pytest.mark.parametrize("table", TABLES)
def test_a_count_agrees_with_its_word(table: str) -> None:
    """Loss prevented: "1 backups are", which looks like a program nobody cares for, in the alarm of the night."""
    for pair in sentences_of(table):
        for locale, words in zip(LOCALES, pair, strict=True):
            require_agreement(words, locale)


def require_agreement(words: str, locale: Locale) -> None:
    """What is counted in the sentence has the form of its number."""
    counted = {name for name, forms in fields(words) if forms}
    for number in (0, 1, 2):
        values: dict[str, object] = {
            name: number if name in counted | COUNTS else f"<{name}>" for name, _ in fields(words)
        }
        said = fill((words, words), values, locale)
        assert not re.search(r"[{}#]", said), said
        if is_singular(number, locale):
            assert not re.search(rf"(?<![\d,.-]){number} (?!plus\b)\w+[^\W\d_]s\b", said), said
        else:
            assert not re.search(rf"(?<![\d,.-]){number} (?:{SINGULARS})\b", said), said
    # Where a plural follows a bare number, nobody wrote the form for one.
    for name in re.findall(r"{(\w+)} \w+[^\W\d_]s\b", words):
        assert name not in NUMBERS, words


def test_the_plural_rule_is_that_of_each_language() -> None:
    """Loss prevented: « 0 sauvegardes », which French does not say."""
    assert [is_singular(number, "en") for number in (0, 1, 2, 1000)] == [False, True, False, False]
    assert [is_singular(number, "fr") for number in (0, 1, 1.5, 2)] == [True, True, True, False]
    told = [
        say("report.backups leave", count=number).text(locale)
        for locale in LOCALES
        for number in (0, 1, 1234)
    ]
    assert told == [
        "0 backups",
        "1 backup",
        "1\u202f234 backups",
        "0 sauvegarde",
        "1 sauvegarde",
        "1\u202f234 sauvegardes",
    ]


@pytest.mark.parametrize("table", TABLES)
def test_french_is_set_as_french_is(table: str) -> None:
    """Loss prevented: alerts that look like the spam nobody reads."""
    for words in sentences_of(table):
        french = words[1]
        assert not re.search(
            r"[^\W\d_][;?!»]|«\S|(?<!https)[^\W\d_}]:(?!\w*[|}#/])(?![\w{])", re.sub(r"{[^}]*}", "", french)
        ), french
        said = fill(words, {name: 2 for name, _ in fields(french)}, "fr")
        assert not re.search(r" [:;?!»]|« ", said), said


def test_a_value_is_no_template_and_keeps_its_own_spaces() -> None:
    """Attack prevented: a name that is a format of its own; a secret that is set otherwise and not recognised."""
    assert say("report.run spared", what="{x} #|a : b").text("fr").endswith("{x} #|a : b")


def test_a_command_in_a_sentence_is_called_once_as_here() -> None:
    """Loss prevented: a command that cannot be pasted, since it names the container twice."""
    try:
        name_program([], {"RECYCLIC_BACKUPS_COMMAND": "docker compose exec app recyclic-backups"})
        told = say("retention.warning", sentence=say("retention.kept_by_hold")).text()
        assert told.count("docker") == as_called(as_called(told)).count("docker") == 1
    finally:
        name_program([], {})


MAKERS = {
    "recyclic_backups.texts.text": {"say": "", "Text": ""},
    "recyclic_backups.texts.report": {"report_text": "report."},
    "recyclic_backups.health.finding": dict.fromkeys(
        ("Finding", "alarm", "critical", "fine", "note", "warning"), "finding."
    ),
}
"""What makes sentences, by module and name, and where it looks for the words."""


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call that makes a sentence: where it looks for the words, and the call."""
    for module in sources():
        makers = {
            each.name: MAKERS[node.module][each.name]
            for node in ast.walk(module)
            if isinstance(node, ast.ImportFrom) and node.module in MAKERS
            for each in node.names
            if each.name in MAKERS[node.module]
        }
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in makers:
                yield makers[node.func.id], node


def sources(folder: str = "") -> Iterator[ast.Module]:
    """Every module of the product, or of a folder of it, but the tables of words themselves."""
    root = Path(recyclic_backups.__file__).parent / folder
    for file in root.rglob("*.py"):
        if file.parent.name != "texts":
            yield ast.parse(file.read_text(encoding="utf-8"))


def test_every_code_that_is_said_exists_with_its_values() -> None:
    """Loss prevented: an alarm that ends in a KeyError."""
    found = 0
    for home, call in calls():
        assert isinstance(call.func, ast.Name)
        code = call.args[call.func.id == "alarm"]
        branches = [code.body, code.orelse] if isinstance(code, ast.IfExp) else [code]
        for each in branches:
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                words = WORDS[f"{home}{each.value}"]
                named = {keyword.arg for keyword in call.keywords}
                if call.func.id not in ("Finding", "Text") and None not in named:
                    assert {name for name, _ in fields(words[0])} <= named, ast.unparse(call)
                found += 1
    assert found > 100


def test_every_sentence_is_said() -> None:
    """Loss prevented: sentences that nobody reads and everybody translates."""
    constants = {
        node.value
        for module in sources()
        for node in ast.walk(module)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    made = {"alerts.sensor", "alerts.schedule"}
    assert set(alerts.WORDS) <= constants
    codes = {
        code.removeprefix("finding.")
        for code in WORDS
        if code.startswith(("retention.", "alerts.", "finding."))
    }
    assert codes - constants == made


def test_every_problem_is_of_a_kind_that_has_words() -> None:
    """Loss prevented: an alarm that cannot be told."""
    found = [
        kind
        for module in sources("notify")
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("Problem", "Told")
        for kind in (node.args[1:2] if node.func.id == "Problem" else node.args[:1])
    ]
    kinds = {each.value for each in found if isinstance(each, ast.Constant)}
    assert len(kinds) > 15
    assert kinds <= set(alerts.WORDS)
