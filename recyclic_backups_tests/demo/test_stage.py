"""The demonstration's Dagster is production's, as far as it goes."""

from __future__ import annotations

import os
import shutil
import tempfile
from datetime import date
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from recyclic_backups.demo.stage import open_stage
from recyclic_backups.errors import StorageError
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


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only he gives files away")
@pytest.mark.parametrize("above", [False, True])
def test_nobody_else_puts_programs_where_root_shows_it(above: bool) -> None:
    """Attack: an empty directory of somebody else's after --keep, and root runs the `dagster.py` that he lays there."""
    his = Path(tempfile.mkdtemp())
    try:
        his.chmod(0o755)
        os.chown(his, 65534, 65534)
        kept = his / "kept" if above else his
        with (
            pytest.raises(StorageError, match="somebody else may put programs"),
            open_stage(date(2026, 11, 22), kept),
        ):
            pass
    finally:
        shutil.rmtree(his)
