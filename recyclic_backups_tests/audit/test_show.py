"""``audit show``: what it leaves out is what was asked to be left out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import recyclic_backups
from recyclic_backups.audit.event import ACTIONS, OUTCOMES
from recyclic_backups.cli import render
from recyclic_backups_tests.operator import Operator

pytestmark = pytest.mark.small

NONSENSE = {
    "unknown action": (("--action", "restor"), ("'restor'", "restore", "rotate keys")),
    "unknown outcome": (("--outcome", "ok"), ("'ok'", "done", "not comparable")),
    "empty action": (("--action", ""), ("no event has the action",)),
    "empty outcome": (("--outcome", ""), ("no event has the outcome",)),
    "empty backup": (("--backup", ""), ("--backup", "empty")),
    "backup that is none": (("--backup", "zz"), ("'zz'", "20261122T010003Z-K3X7QA", "latest")),
    "backup with too much": (("--backup", "20261122T010003Z-AAAAAAA"), ("no id of a backup begins",)),
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
    assert operator.must(
        "audit", "show", "--since", day, "--until", day, "--json", BACKUP_TIMEZONE="UTC"
    ).json


def test_a_backup_is_found_by_latest_and_by_its_beginning_also_when_it_is_gone(operator: Operator) -> None:
    """Loss prevented: nobody can tell any more who restored a backup that has expired since."""
    operator.variables |= {"BACKUP_ENCRYPTION": "false", "BACKUP_FINGERPRINT": "off"}
    first, second = operator.backup_id(), operator.backup_id()

    def ids(beginning: str) -> set[str]:
        events = operator.must("audit", "show", "--backup", beginning, "--json").json
        return {event["backup_id"] for event in events}

    assert ids("latest") == {second}
    assert ids(first.lower()) == {first}
    assert ids(first[:4]) == {first, second}
    (operator.storage / operator.variables["POSTGRES_DB"] / "backups" / first / "manifest.json").unlink()
    assert ids(first) == {first}
    unknown = operator.run("audit", "show", "--backup", "20010101")
    assert unknown.code == 60
    assert "neither the log nor the storage knows a backup 20010101" in unknown.err
    assert not unknown.out
    # One whose events are older than the log is known, and nothing is told of it.
    for event in (operator.storage / operator.variables["POSTGRES_DB"] / "audit").iterdir():
        event.unlink()
    assert ids(second) == set()


def test_latest_of_no_backup_is_none(operator: Operator) -> None:
    """Loss prevented: an empty list for a backup that was never taken."""
    operator.storage.mkdir()
    operator.must("flags", "set", "fill_gaps", "off")
    assert operator.run("audit", "show", "--backup", "latest").code == 60


def test_a_day_is_the_one_that_the_table_shows(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: a restore at half past midnight that is missing from its own day."""
    operator.storage.mkdir()
    for hour, flag in ((22, "fill_gaps"), (23, "promote_proven")):
        at = datetime(2026, 11, 21, hour, 30, tzinfo=UTC)
        monkeypatch.setattr(render, "now", lambda at=at: at)
        operator.must("flags", "set", flag, "on")

    def flags(*days: str, **zone: str) -> list[str]:
        events = operator.must("audit", "show", "--action", "flag", "--json", *days, **zone).json
        return [event["details"]["flag"] for event in events]

    assert "2026-11-22 00:30:00 CET" in operator.must("audit", "show").out
    assert flags("--since", "2026-11-22") == ["promote_proven"]
    assert flags("--until", "2026-11-21") == ["fill_gaps"]
    assert flags("--since", "2026-11-21", "--until", "2026-11-22") == ["fill_gaps", "promote_proven"]
    assert flags("--since", "2026-11-22", BACKUP_TIMEZONE="America/New_York") == []
    assert flags("--since", "0001-01-01", "--until", "9999-12-31") == ["fill_gaps", "promote_proven"]


def test_the_table_says_which_flag_and_which_settings(operator: Operator) -> None:
    """Loss prevented: flags that are damaged, and a log of them that does not say what was set."""
    operator.storage.mkdir()
    for words in (("set", "fill_gaps", "off"), ("set", "promote_proven", "on"), ("unset", "promote_proven")):
        operator.must("flags", *words)
    operator.variables |= {"BACKUP_FINGERPRINT": "off"}
    operator.must("backup")
    operator.must("backup", RETENTION_DAILY="14", BACKUP_TIME="3")
    lines = operator.must("audit", "show").out.splitlines()
    for action, remarks in (
        ("flag", ("fill_gaps off", "promote_proven on", "promote_proven as its default")),
        ("configuration", ("settings, recorded for the first time", "BACKUP_TIME=3, RETENTION_DAILY=14")),
    ):
        told = [line for line in lines if f"  {action} " in line]
        assert len(told) == len(remarks)
        for line, remark in zip(told, remarks, strict=True):
            assert remark in line


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
    of_older_releases = {"switched off by itself"}
    assert outcomes | of_older_releases == set(OUTCOMES)


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
