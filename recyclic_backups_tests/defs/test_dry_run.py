"""A viewer of Dagster's pages may have sensors evaluated: nothing that a sensor does itself is done then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from recyclic_backups.defs.automation import SHOWN_ONLY, is_shown_only
from recyclic_backups_tests.defs.conftest import House
from recyclic_backups_tests.defs.test_alerts import Looks, failed_run, looks
from recyclic_backups_tests.notify.receivers import Web, bot

__all__ = ["bot", "looks"]

TICK = ["__repository__", "alerts", "17"]
"""The log key that the daemon gives to an evaluation for its seventeenth tick."""


def _evaluate(house: House, sensor: str, log_key: Sequence[str] | None, cursor: str | None = None) -> Any:
    """An evaluation as a code server makes it, for the daemon or, without a log key, for GraphQL."""
    definitions = house.definitions.get_repository_def()
    with (
        dg.partition_loading_context(effective_dt=house.clock()),
        dg.SensorEvaluationContext(
            instance_ref=None,
            last_tick_completion_time=None,
            last_run_key=None,
            cursor=cursor,
            log_key=log_key,
            repository_name="__repository__",
            instance=house.instance,
            repository_def=definitions,
            sensor_name=sensor,
        ) as context,
    ):
        return definitions.get_sensor_def(sensor).evaluate_tick(context)


def test_what_waits_is_sent_by_a_tick_and_never_by_a_question(looks: Looks, bot: Web) -> None:
    """Attack prevented: somebody who may only look has alerts delivered, again and again, by a query."""
    house = looks.house
    looks.look()
    failed_run(house, "daily_backup_job", "2026-11-01")
    house.clock.at += timedelta(minutes=1)
    bot.texts.clear()
    stored = sorted(house.folder.rglob("state.json"))
    shown = _evaluate(house, "alerts", None, looks.cursor)
    assert shown.skip_message == SHOWN_ONLY
    assert shown.cursor == looks.cursor
    assert bot.texts == []
    assert sorted(house.folder.rglob("state.json")) == stored
    told = _evaluate(house, "alerts", TICK, looks.cursor)
    assert told.skip_message != SHOWN_ONLY
    assert len(bot.texts) == 1


def test_a_question_reports_nothing_into_the_history(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack prevented: runs deleted and events written by somebody who may only look."""
    deleted: list[object] = []
    monkeypatch.setattr(
        "recyclic_backups.defs.history.sensors.delete_old_runs", lambda *given: deleted.append(given)
    )
    monkeypatch.setattr(
        "recyclic_backups.defs.history.sensors.sync",
        lambda *_: dg.SensorResult(skip_reason=dg.SkipReason("done")),
    )
    assert _evaluate(house, "catalog_sync", None).skip_message == SHOWN_ONLY
    assert deleted == []
    assert _evaluate(house, "catalog_sync", TICK).skip_message == "done"
    assert len(deleted) == 1


@pytest.mark.parametrize("log_key", [TICK, ["a", "b", "of another Dagster"], []])
def test_what_is_not_known_to_be_a_question_is_a_tick(log_key: list[str]) -> None:
    """Loss prevented: an upgrade of Dagster that makes other keys, and alerts that never go out again."""
    with dg.SensorEvaluationContext(
        instance_ref=None,
        last_tick_completion_time=None,
        last_run_key=None,
        cursor=None,
        log_key=log_key,
        repository_name=None,
    ) as context:
        assert not is_shown_only(context)
