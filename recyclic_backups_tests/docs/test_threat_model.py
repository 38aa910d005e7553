"""The threat model names a test for each attack: each of them is there."""

from __future__ import annotations

import ast
import re

import pytest

from recyclic_backups_tests.docs.pages import PROJECT, read

TESTS = PROJECT / "recyclic_backups_tests"
NAMED = sorted(set(re.findall(r"`([a-z_/]+\.py)::(\w+)`", read("docs/format/threat-model.md"))))


def test_the_page_names_tests() -> None:
    """Loss prevented: a page whose form changed, so that nothing on it is looked for any more."""
    assert len(NAMED) > 60


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_the_test_that_shows_it_is_there(file: str, name: str) -> None:
    """Loss prevented: a defence that is believed because of a test that was renamed or deleted."""
    path = TESTS / file
    assert path.is_file(), f"there is no {file}"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
