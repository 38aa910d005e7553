"""The three drills, run whole against a real backup of the demonstration's database."""

from __future__ import annotations

from pathlib import Path

import pytest

from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.operator import Operator


@pytest.mark.parametrize("scenario", some(["simple", "partial", "full"], {"full"}))
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


@pytest.mark.small
def test_a_backup_without_fingerprint_is_drilled_and_not_called_proven(operator: Operator) -> None:
    """Prevents a restore that nothing was compared with from counting as proof."""
    operator.backup_id(BACKUP_FINGERPRINT="off")
    report = operator.must("drill", "simple", "--json").json
    assert report["passed"]
    assert operator.must("list", "--json").json[0]["proven_at"] is None


@pytest.mark.small
def test_a_failed_drill_turns_proven_off_and_the_next_good_one_on_again(
    operator: Operator, tmp_path: Path
) -> None:
    """Prevents a proof from before the trouble from standing while the trouble does."""
    probes = tmp_path / "probes"
    probes.mkdir()
    (probes / "never.sql").write_text("-- expect: no rows\nSELECT 1")
    operator.backup_id()
    operator.must("drill", "simple")
    assert operator.must("list", "--json").json[0]["proven_at"]
    assert operator.run("drill", "simple", DRILL_PROBES=str(probes)).code == 80
    assert operator.must("list", "--json").json[0]["proven_at"] is None
    operator.must("drill", "simple")
    assert operator.must("list", "--json").json[0]["proven_at"]
