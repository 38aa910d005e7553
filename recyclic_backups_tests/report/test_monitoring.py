"""Alert rules and dashboard: every metric that they name is one that we show."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from recyclic_backups.health.exposition import HELP, PREFIX
from recyclic_backups_tests.docs.pages import read

METRIC = re.compile(rf"\b{PREFIX}[a-z0-9_]+")
RULES = "docker/prometheus/alerts.yml"
DASHBOARD = "docker/grafana/recyclic-backups.json"
KNOWN = {f"{PREFIX}{name}" for name in HELP}


def rules() -> list[dict[str, Any]]:
    """Every rule."""
    document = yaml.safe_load(read(RULES))
    return [rule for group in document["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    """What rules and dashboard ask Prometheus."""
    dashboard = json.loads(read(DASHBOARD))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [*(str(rule["expr"]) for rule in rules()), *asked, dashboard["templating"]["list"][1]["query"]]


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_that_is_asked_for_exists(expression: str) -> None:
    """Loss prevented: an alarm that can never ring, because a metric has another name."""
    named = set(METRIC.findall(expression))
    assert named
    assert named <= KNOWN
    for opening, closing in ("()", "{}"):
        assert expression.count(opening) == expression.count(closing)


def test_every_rule_says_what_it_is_about_and_how_bad() -> None:
    """Loss prevented: an alarm at night that explains nothing."""
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_silence_is_an_alarm() -> None:
    """Loss prevented: nothing that rings because nothing measures."""
    (silent,) = [rule for rule in rules() if "absent(" in rule["expr"]]
    assert silent["labels"]["severity"] == "critical"


def test_panels_do_not_lie_over_each_other() -> None:
    """Loss prevented: a figure hidden behind another."""
    taken: set[tuple[int, int]] = set()
    panels = json.loads(read(DASHBOARD))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        fields = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not fields & taken
        assert place["x"] + place["w"] <= 24
        taken |= fields
