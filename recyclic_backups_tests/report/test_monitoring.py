"""Alert rules and dashboard: every metric that they name is one that we show."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

from recyclic_backups.foreign_text import visible
from recyclic_backups.health.exposition import PREFIX, to_prometheus, unanswered
from recyclic_backups.health.survey import Survey
from recyclic_backups.health.thresholds import AVAILABILITY_OBJECTIVE
from recyclic_backups.texts.metrics import HELP
from recyclic_backups_tests.docs.pages import PROJECT, read
from recyclic_backups_tests.foreign import MOVING, NASTY
from recyclic_backups_tests.health.catalogs import backup, catalog, check
from recyclic_backups_tests.health.test_metrics import NOW, issues, measured

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


def alarms_of(metrics: Survey, hours: float, tmp_path: Path) -> list[str]:
    """Rules that fire when these metrics are what is scraped for so long."""
    return fired_by(to_prometheus(metrics), metrics.measured_at.timestamp(), hours, tmp_path)


def fired_by(text: str, start: float, hours: float, tmp_path: Path) -> list[str]:
    """Rules that fire when this text is what is scraped for so long, as Prometheus itself decides."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool: it is not installed")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    series = [line.rsplit(" ", 1) for line in lines]
    # Its clock begins at 0: moments are moved there.
    values = [
        (name, float(value) - (start if "_timestamp_seconds" in name else 0.0)) for name, value in series
    ]
    names = [rule["alert"] for rule in rules()]
    minutes = int(hours * 60)
    tests = {
        "rule_files": [str(PROJECT / RULES)],
        "evaluation_interval": "10m",
        "tests": [
            {
                "interval": "10m",
                "input_series": [
                    {"series": name, "values": f"{value!r}+0x{minutes // 10}"} for name, value in values
                ],
                "alert_rule_test": [
                    {"eval_time": f"{minutes}m", "alertname": name, "exp_alerts": []} for name in names
                ],
            }
        ],
    }
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump(tests))
    done = subprocess.run([program, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    printed = done.stdout + done.stderr
    fired = [name for name in names if f"alertname: {name}," in printed]
    assert (done.returncode == 0) == (not fired), printed
    return fired


@pytest.mark.parametrize(("first_days", "proof_days", "fires"), [
    (7.5, None, False), (8.5, None, True), (20, 7.5, False), (20, 8.5, True),
])  # fmt: skip
def test_what_was_never_proven_is_an_alarm_like_what_was_proven_too_long_ago(
    first_days: float, proof_days: float | None, fires: bool, tmp_path: Path
) -> None:
    """Loss prevented: months of backups of which none was ever restored, and every rule green."""
    day = timedelta(days=1)
    first = backup(NOW - first_days * day, check("verify", NOW))
    if proof_days is not None:
        first = replace(first, checks=(*first.checks, check("restore", NOW - proof_days * day)))
    newest = backup(NOW - day / 12, check("verify", NOW), plain=2000)
    metrics = measured(catalog(newest, first))
    assert ({"unproven", "never_proven"} & issues(metrics) != set()) is fires
    told = dict(line.rsplit(" ", 1) for line in to_prometheus(metrics).splitlines() if 'recyclic"}' in line)
    since, limit = (
        float(told[f'{PREFIX}{name}{{database="recyclic"}}'])
        for name in ("unproven_since_timestamp_seconds", "proof_warning_seconds")
    )
    assert (NOW.timestamp() - since > limit) is fires
    assert ("RecyclicBackupsUnproven" in alarms_of(metrics, 1, tmp_path)) is fires


def test_a_storage_that_is_not_there_is_an_alarm_of_its_own(tmp_path: Path) -> None:
    """Loss prevented: 'nobody measures' said of a disk that is not mounted, or nothing said at all."""
    assert unanswered().splitlines()[1:] == [f"# TYPE {PREFIX}up gauge", f"{PREFIX}up 0.0"]
    assert fired_by(unanswered(), 0.0, 1, tmp_path) == ["RecyclicBackupsStorageDoesNotAnswer"]
    assert fired_by("", 0.0, 1, tmp_path) == ["RecyclicBackupsSilent"]


def test_rules_have_no_thresholds_of_their_own() -> None:
    """Loss prevented: a threshold that was set, and a rule that holds on to another."""
    own = {
        rule["alert"]: re.findall(r"(?<![\w.])\d[\d.e]*", METRIC.sub("", rule["expr"])) for rule in rules()
    }
    own = {name: [each for each in found if each not in ("0", "1")] for name, found in own.items()}
    assert {name: found for name, found in own.items() if found} == {
        "RecyclicBackupsSilent": ["7200"],  # how often something measures is not a setting
        "RecyclicBackupsAvailability": [str(AVAILABILITY_OBJECTIVE)],
    }


def panels() -> dict[str, dict[str, Any]]:
    """The dashboard's panels by their titles."""
    return {panel["title"]: panel for panel in json.loads(read(DASHBOARD))["panels"]}


def test_the_dashboard_has_no_thresholds_that_are_settings() -> None:
    """Loss prevented: green on the screen at the age that was set to be critical."""
    steps = {
        title: [each["value"] for each in found["steps"] if each["value"] is not None]
        for title, panel in panels().items()
        if (found := panel["fieldConfig"]["defaults"].get("thresholds"))
    }
    # The state of health, the objective that nobody sets, and whether there is any issue.
    assert steps == {"Health": [1, 2], "Availability, 30 days": [AVAILABILITY_OBJECTIVE], "Issues": [1]}


@pytest.mark.parametrize(
    ("title", "figure", "limits", "values"),
    [
        (
            "Age of the newest verified backup",
            "latest_backup_timestamp_seconds",
            (60, 120),
            (60, 61, 120, 121),
        ),
        ("Free space", "available_space_bytes", (100, 50), (100, 99, 50, 49)),
    ],
)
def test_the_colour_of_a_figure_changes_at_the_thresholds_that_are_measured(
    title: str, figure: str, limits: tuple[int, int], values: tuple[int, ...], tmp_path: Path
) -> None:
    """Loss prevented: the same; and a figure shown twice, or not at all, right at a threshold."""
    panel = panels()[title]
    colours = {
        each["matcher"]["options"]: each["properties"][0]["value"]["fixedColor"]
        for each in panel["fieldConfig"]["overrides"]
    }
    asked = {each["refId"]: each["expr"].replace("$database", ".*") for each in panel["targets"]}
    # Of now: the last colour within a month would stay beside that of today.
    assert all(each["instant"] and not each["range"] for each in panel["targets"])
    assert colours == {"A": "green", "B": "orange", "C": "red"}
    assert set(asked) == set(colours)
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool: it is not installed")
    kind = "age" if "age" in title.lower().split()[0] else "space"
    unit = "seconds" if kind == "age" else "bytes"
    tests = []
    for value, colour in zip(values, ("green", "orange", "orange", "red"), strict=True):
        shown = {each: colours[each] == colour for each in colours}
        given = {
            figure: 600 - value if kind == "age" else value,
            f"{kind}_warning_{unit}": limits[0],
            f"{kind}_critical_{unit}": limits[1],
        }
        tests.append(
            {
                "interval": "1m",
                "input_series": [
                    {"series": f'{PREFIX}{name}{{database="a"}}', "values": f"{number}+0x20"}
                    for name, number in given.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": f"count({asked[each]}) or vector(0)",
                        "eval_time": "10m",
                        "exp_samples": [{"labels": "{}", "value": int(shown[each])}],
                    }
                    for each in asked
                ],
            }
        )
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"rule_files": [], "tests": tests}))
    done = subprocess.run([program, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_shows_names_as_text_and_leads_nowhere() -> None:
    """Attack prevented: the owner of a database whose name becomes HTML, a link or a query in Grafana."""
    dashboard = json.loads(read(DASHBOARD))
    variable = dashboard["templating"]["list"][1]
    # With several values Grafana escapes each for a regular expression, and for the text around it.
    assert (variable["name"], variable["multi"], variable.get("allValue")) == ("database", True, None)
    for panel in dashboard["panels"]:
        assert panel["type"] in {"stat", "timeseries"}, (
            "these show labels as text; `text` and `html` panels do not"
        )
        assert not panel.get("links")
        assert not panel["fieldConfig"]["defaults"].get("links")
        for target in panel["targets"]:
            assert re.findall(r"\$\w+", target["expr"]) == re.findall(r"\$database\b", target["expr"])
            assert target["expr"].count("$database") == target["expr"].count('database=~"$database"')
    assert "raw" not in json.dumps(dashboard["templating"]), "${database:raw} is not escaped"


@pytest.mark.parametrize("evil", NASTY)
def test_a_nasty_name_is_one_label_and_no_line_of_its_own(evil: str) -> None:
    """Attack prevented: a database's name that tells Prometheus figures which nobody measured."""
    name = evil + '"} 1\nrecyclic_backups_up 0\nx{y="'
    text = to_prometheus(measured(catalog(backup()), database=name))
    families = {each.name: each for each in text_string_to_metric_families(text)}
    assert [each.value for each in families["recyclic_backups_up"].samples] == [1.0]
    found = {each.labels["database"] for each in families["recyclic_backups_total_backups"].samples}
    assert found == {visible(name)}
    assert not set(text) & (set(MOVING) - {"\n"})


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
