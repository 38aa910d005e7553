"""The three drills, run whole against a real backup of the demonstration's database."""

from __future__ import annotations

import pytest

from recyclic_backups_tests.operator import Operator


@pytest.mark.parametrize("scenario", ["simple", "partial", "full"])
def test_a_drill_brings_the_newest_backup_back_and_says_so_beside_it(
    operator: Operator, scenario: str
) -> None:
    """Prevents the night on which it turns out that nobody had ever tried."""
    backup_id = operator.backup_id()
    report = operator.must("drill", scenario, "--json").json

    assert report["passed"], report["reasons"]
    assert report["backup_id"] == backup_id
    assert report["restore_seconds"] == pytest.approx(sum(report["phases"].values()), abs=0.01)
    assert report["objectives_met"]
    assert all(table["equal"] for table in report["tables"])
    assert {answer["passed"] for answer in report["probes"]} == {True}
    shown = operator.must("show", backup_id, "--json").json
    drills = [check for check in shown["checks"] if check["check"] == "drill"]
    assert [check["details"]["scenario"] for check in drills] == [scenario]
    assert drills[0]["proves"]
