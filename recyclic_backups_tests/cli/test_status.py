"""``status``: ten lines for a person, one object for a program, and 80 when anything is critical."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.operator import Operator

pytestmark = pytest.mark.small

WITHOUT_DAGSTER = """
import sys
sys.modules["dagster"] = None
from recyclic_backups.cli.main import main
sys.exit(main(["status"]))
"""


def test_ten_lines_say_what_can_come_back_and_what_needs_somebody(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Loss prevented: somebody called at night who has to read a thousand figures to know whether anything is left."""
    backup_id = operator.backup_id()
    monkeypatch.setattr(LocalStore, "free_bytes", lambda _store: 10**13)
    shown = operator.run("status")
    lines = shown.out.splitlines()
    assert shown.code == 0
    assert len(lines) <= 10
    assert lines[0].endswith(": Healthy")
    assert "the database comes back as it was on" in lines[1]
    assert "No restore has been proven yet" in lines[2]
    assert lines[-1] == "Nothing needs anybody."

    document = operator.run("status", "--json").document
    assert document["format"] == 1
    assert document["recovery_point"]["backup_id"] == backup_id
    metrics = operator.run("metrics").document
    assert [each["name"] for each in document["findings"]] == [each["name"] for each in metrics["issues"]]

    monkeypatch.setattr(LocalStore, "free_bytes", lambda _store: 10)
    full = operator.run("status", BACKUP_LOCALE="fr")
    assert full.code == 80
    assert "critique: il reste 10" in full.out
    # On a machine without Dagster it says the same.
    environment = {**os.environ, **operator.variables}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DAGSTER],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert "the database comes back as it was on" in done.stdout
