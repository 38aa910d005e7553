"""Golden cases: histories and what becomes of them, drawn by hand in ``cases/``."""

from __future__ import annotations

import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.retention.policy import Retention, plan
from recyclic_backups_tests.retention.histories import CALENDAR, DAY, PARIS, History, days, ids

CASES = sorted((Path(__file__).parent / "cases").glob("*.toml"))


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=PARIS)


def _partition(text: str) -> tuple[Tier, str]:
    tier, _, key = text.partition("/")
    return Tier(tier), key


def _moments(taken: dict[str, Any]) -> list[datetime]:
    if "at" in taken:
        return [_moment(taken["at"])]
    nights = taken.get("days")
    if nights is None:
        first, last = date.fromisoformat(taken["first"]), date.fromisoformat(taken["last"])
        nights = [(first + number * DAY).isoformat() for number in range((last - first).days + 1)]
    return [CALENDAR.scheduled_for(Tier.DAILY, night) for night in nights]


def _history(case: dict[str, Any]) -> History:
    history = History()
    for taken in case["taken"]:
        for moment in _moments(taken):
            backup = history.take(
                moment,
                state=taken.get("state", "good"),
                source=taken.get("source", "scheduled"),
                taken_at=_moment(taken["taken_at"]) if "taken_at" in taken else None,
                partitions=[_partition(each) for each in taken["partitions"]]
                if "partitions" in taken
                else None,
            )
            if "held_until" in taken:
                history.hold(backup, _moment(taken["held_until"]))
    return history


@pytest.mark.parametrize("file", CASES, ids=[file.stem for file in CASES])
def test_a_history_ends_as_it_was_drawn(file: Path) -> None:
    """Loss prevented: a change of the policy that nobody meant."""
    case = tomllib.loads(file.read_text(encoding="utf-8"))
    history, now = _history(case), _moment(case["now"])
    retention = Retention(**case.get("retention", {}))
    found = plan(history.catalog(), retention, CALENDAR, now)
    expected = case["expected"]
    assert days(found.kept) == expected["kept"]
    assert days(found.expiring) == expected["expires"]
    assert sorted(warning.code.removeprefix("retention.") for warning in found.warnings) == expected.get(
        "warnings", []
    )
    assert [incident.code.removeprefix("retention.") for incident in found.incidents] == expected.get(
        "incidents", []
    )
    # Told in both languages, whatever it is.
    for sentence in (
        *found.warnings,
        *found.incidents,
        *(why for each in found.decisions for why in each.reasons),
    ):
        assert sentence.text("en") != sentence.text("fr")
        assert "{" not in sentence.text("en") + sentence.text("fr")
    left = history.without(ids(found.expiring))
    assert plan(left.catalog(), retention, CALENDAR, now).expiring == []
