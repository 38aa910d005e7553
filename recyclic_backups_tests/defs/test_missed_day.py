"""A missed day filled by Dagster's backfill where WAL reaches it: what the database was then, and says so."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.demo.dagster_process import ui
from recyclic_backups_tests.defs.missed_day import TABLE, MissedDay, open_missed_day
from recyclic_backups_tests.defs.test_daemon import BACKFILL, Installation, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def missed() -> Iterator[MissedDay]:
    """See :class:`MissedDay`."""
    with open_missed_day() as opened:
        yield opened


def require_rebuilt(missed: MissedDay) -> str:
    """The day has a backup with what the database held when it was due, which is not late; the id of that."""
    catalog = missed.catalog
    label, backup = catalog.labels[Tier.DAILY, missed.day], catalog.labelled(Tier.DAILY, missed.day)
    assert backup is not None
    manifest = backup.manifest
    assert (label.late, manifest.late, manifest.source) == (False, False, "reconstructed")
    assert manifest.as_of == missed.due
    assert manifest.fingerprint is not None
    assert manifest.fingerprint["tables"][TABLE]["rows"] == missed.rows
    assert backup.good
    return backup.backup_id


def test_a_backfill_over_graphql_rebuilds_the_day_from_wal(missed: MissedDay) -> None:
    """Loss prevented: a missed day that only has a later dump, marked late, though WAL knows what it was."""
    stage = missed.stage
    with ui(stage) as address, dg.DagsterInstance.from_config(str(stage.dagster_home)) as instance:
        installation = Installation(stage, address, instance)
        answer = installation.ask(BACKFILL, partitions=[missed.day])["launchPartitionBackfill"]
        assert "backfillId" in answer, answer
        wait_until(
            lambda: [run.is_finished for run in installation.runs_of([missed.day])] == [True],
            "the backfill's run has ended",
        )
        [run] = installation.runs_of([missed.day])
        assert run.status is dg.DagsterRunStatus.SUCCESS, installation.said(run.run_id)
        backup_id = require_rebuilt(missed)
        assert (run.tags["backup_id"], run.tags["late"]) == (backup_id, "false")
        key = dg.AssetKey(["recyclic", "daily_backup"])
        [record] = instance.fetch_materializations(key, limit=5).records
    assert record.asset_materialization is not None
    shown = {name: value.value for name, value in record.asset_materialization.metadata.items()}
    assert (shown["source"], shown["late"]) == ("reconstructed", False)
    assert shown["as_of"] == missed.due.timestamp()
    assert "rebuilt from WAL" in str(shown["reason"])
    assert "rebuilt from the base backup" in str(shown["notes"])
