"""docs/upgrade.md: formats as they are in the code, and what Dagster does with a database that is too old or too new.

What is done with files of a newer format is tested in catalog/test_newer_format.py; that a killed backup leaves nothing
behind, and is taken again, in faults/test_killed.py and defs/test_daemon.py.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from recyclic_backups.archive.documents import Position
from recyclic_backups.audit import event
from recyclic_backups.base_backup.manifest import BaseManifest
from recyclic_backups.catalog import documents, manifest
from recyclic_backups.envelope import header, identity, key_file
from recyclic_backups.flags import flags
from recyclic_backups.health.gaps import GRACE
from recyclic_backups.notify import state as alert_state
from recyclic_backups_tests.docs.pages import PROJECT, read, rows


def test_the_formats_of_the_page_are_those_of_the_code() -> None:
    """Loss prevented: a rollback planned with a page that does not know of the new format."""
    assert {cells[0]: cells[1] for cells in rows(read("docs/upgrade.md"), "What")} == {
        "manifest": f"{manifest.FORMAT}; of encrypted backups {manifest.SEALED_FORMAT}",
        "check": f"{documents.FORMAT}; of encrypted backups {documents.SEALED_CHECK_FORMAT}",
        "label, hold, tombstone": str(documents.FORMAT),
        "audit event": str(event.Event.FORMAT),
        "key file, `storage.json`": str(key_file.FORMAT),
        "envelope": str(header.VERSION),
        "WAL, base backups": str(Position.FORMAT),
        "flags": str(flags.FORMAT),
        "memory of alerts": str(alert_state.VERSION),
    }
    assert identity.FORMAT == key_file.FORMAT
    assert Position.FORMAT == BaseManifest.FORMAT
    assert timedelta(minutes=10) == GRACE
    assert "from ten minutes after its time" in " ".join(read("docs/upgrade.md").split())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A DAGSTER_HOME as the README makes it, with its database in SQLite."""
    shutil.copy2(PROJECT / "dagster.yaml", tmp_path)
    assert _migrate(tmp_path).returncode == 0
    return tmp_path


def _migrate(home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.prefix) / "bin" / "dagster"), "instance", "migrate"],
        env={"PATH": os.defpath, "HOME": str(home), "DAGSTER_HOME": str(home), "LANG": "C.UTF-8"},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


def _revisions(home: Path, put: str | None = None) -> set[str]:
    found = set()
    for path in home.rglob("*.db"):
        database = sqlite3.connect(path)
        try:
            with database:
                if put is not None:
                    database.execute("UPDATE alembic_version SET version_num = ?", (put,))
                found |= {row[0] for row in database.execute("SELECT version_num FROM alembic_version")}
        finally:
            database.close()
    return found


@pytest.mark.slow
def test_dagsters_database_migrates_or_refuses(home: Path) -> None:
    """Loss prevented: an upgrade that silently works on tables of another shape, and a rollback that does."""
    (newest,) = _revisions(home)
    older = "7e2f3204cf8e"  # before the two that came last in Dagster 1.13
    assert _revisions(home, put=older) == {older}
    assert _migrate(home).returncode == 0
    assert _revisions(home) == {newest}

    _revisions(home, put="ffffffffffff")
    refused = _migrate(home)
    assert refused.returncode != 0
    assert "Can't locate revision identified by 'ffffffffffff'" in refused.stderr
