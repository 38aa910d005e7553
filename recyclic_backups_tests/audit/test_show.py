"""``audit show``: what it leaves out is what was asked to be left out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import recyclic_backups
from recyclic_backups.audit.event import ACTIONS, OUTCOMES
from recyclic_backups_tests.operator import Operator

NONSENSE = {
    "unknown action": (("--action", "restor"), ("'restor'", "restore", "rotate keys")),
    "unknown outcome": (("--outcome", "ok"), ("'ok'", "done", "not comparable")),
    "empty action": (("--action", ""), ("no event has the action",)),
    "empty outcome": (("--outcome", ""), ("no event has the outcome",)),
    "empty backup": (("--backup", ""), ("--backup", "empty")),
    "empty user": (("--user", ""), ("--user", "empty")),
    "since after until": (
        ("--since", "2026-11-22", "--until", "2026-11-21"),
        ("2026-11-22", "2026-11-21", "--since"),
    ),
    "since that is no day": (("--since", "garbage"), ("'garbage' is not a day", "YYYY-MM-DD")),
    "until that is no day": (("--until", "2026-02-30"), ("'2026-02-30' is not a day", "YYYY-MM-DD")),
}


@pytest.mark.parametrize("case", NONSENSE, ids=lambda case: str(case).replace(" ", "-"))
def test_what_no_event_can_be_is_a_usage_error(operator: Operator, case: str) -> None:
    """Loss prevented: an empty list after a typing error, taken for proof that nobody restored anything."""
    arguments, words = NONSENSE[case]
    operator.storage.mkdir()
    operator.must("flags", "set", "fill_gaps", "off")
    outcome = operator.run("audit", "show", *arguments)
    assert outcome.code == 2, outcome.out + outcome.err
    assert not outcome.out
    for word in words:
        assert word in outcome.err
    assert "fromisoformat" not in outcome.err


def test_what_has_not_happened_yet_is_an_empty_list(operator: Operator) -> None:
    """Loss prevented: a script that cannot tell a quiet month from a mistake in its question."""
    operator.storage.mkdir()
    operator.must("flags", "set", "fill_gaps", "off")
    for quiet in (("--action", "rotate keys"), ("--outcome", "not comparable"), ("--user", "nobody-here")):
        assert operator.must("audit", "show", *quiet, "--json").json == []
    day = operator.must("audit", "show", "--json").json[0]["at"][:10]
    assert operator.must("audit", "show", "--since", day, "--until", day, "--json").json


def test_every_action_and_outcome_that_is_written_can_be_asked_for() -> None:
    """Loss prevented: events that the log holds and that no question finds."""
    actions, outcomes = set(), {"failed"}  # what a block ends with that raises
    for file in sorted(Path(recyclic_backups.__file__).parent.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and len(call.args) > 1:
                texts = list(_texts(call.args[1]))
                if call.func.id == "audited":
                    actions.update(texts)
                if call.func.id == "append" and len(call.args) == 4 and texts:
                    actions.update(texts)
                    outcomes.update(_texts(call.args[2]))
            if isinstance(call, ast.Assign | ast.AnnAssign):
                targets = call.targets if isinstance(call, ast.Assign) else [call.target]
                names = {getattr(each, "attr", getattr(each, "id", "")) for each in targets}
                if "outcome" in names and _is_of_an_entry(targets[0]) and call.value is not None:
                    outcomes.update(_texts(call.value))
    assert actions == set(ACTIONS)
    assert outcomes == set(OUTCOMES)


def _is_of_an_entry(target: ast.expr) -> bool:
    """``entry.outcome = …``, ``self.entry.outcome = …`` and the default in the class itself."""
    return isinstance(target, ast.Name) or "entry" in ast.unparse(target)


def _texts(node: ast.expr) -> Iterator[str]:
    """The texts that an expression may be: its own, those of its branches, those of a table's values."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from (*_texts(body), *_texts(orelse))
        case ast.Subscript(value=ast.Dict(values=values)):
            for value in values:
                yield from _texts(value)
