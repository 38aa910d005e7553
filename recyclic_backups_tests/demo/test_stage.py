"""The demonstration's Dagster is production's, as far as it goes."""

from __future__ import annotations

from datetime import date

import yaml  # type: ignore[import-untyped]

from recyclic_backups.demo.stage import open_stage
from recyclic_backups_tests.docs.pages import read


def test_the_demonstrations_dagster_yaml_says_nothing_of_its_own() -> None:
    """Loss prevented: a backfill that behaves while it is shown, and not in production."""
    with open_stage(date(2026, 11, 22), None) as stage:
        shown = yaml.safe_load((stage.dagster_home / "dagster.yaml").read_text(encoding="utf-8"))
        workspace = yaml.safe_load((stage.directory / "workspace.yaml").read_text(encoding="utf-8"))
    real = yaml.safe_load(read("dagster.yaml"))
    assert {"concurrency", "run_monitoring"} <= shown.keys() <= real.keys()
    for key, values in shown.items():
        assert values.items() <= real[key].items()
    assert workspace == yaml.safe_load(read("workspace.yaml"))
