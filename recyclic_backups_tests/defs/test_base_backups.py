"""Base backups in Dagster: taken by schedule, and at once when WAL would be of no use without one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.documents import Gap, store_gap
from recyclic_backups.base_backup.catalog import load_base_backups
from recyclic_backups.config.settings import Settings
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.base_backup.conftest import forgotten_slot
from recyclic_backups_tests.defs.conftest import House
from recyclic_backups_tests.defs.missed_day import archive_of, receiving
from recyclic_backups_tests.defs.test_definitions import loaded


@pytest.fixture
def archived(house: House, cluster: ScratchCluster) -> Iterator[House]:
    """The house with WAL_ARCHIVE on, and a receiver."""
    house.variables["WAL_ARCHIVE"] = "true"
    with forgotten_slot(cluster), receiving(house.settings()):
        yield house


def _archive(house: House) -> WalArchive:
    return archive_of(house.settings())


def _run(house: House, **tags: str) -> Any:
    job = house.definitions.resolve_job_def(house.named("base_backup_job"))
    done = job.execute_in_process(instance=house.instance, tags=tags, raise_on_error=False)
    assert done.success
    [event] = done.asset_materializations_for_node(f"{house.settings().database}__base_backup")
    return {name: value.value for name, value in event.metadata.items()}


def test_without_wal_there_is_none(offline: Settings) -> None:
    """Loss prevented: base backups that nobody can recover from, each week, of production."""
    graph = loaded(offline).resolve_asset_graph()
    assert "base_backup" not in {key.path[-1] for key in graph.get_all_asset_keys()}
    on = loaded(replace(offline, wal_archive=True))
    dg.Definitions.validate_loadable(on)
    assert on.resolve_schedule_def("base_backup_schedule").cron_schedule == "0 3 * * 0"


@pytest.mark.parametrize(
    ("variables", "cron"),
    [
        ({}, "0 3 * * 0"),
        ({"BACKUP_TIME": "23:30"}, "30 0 * * 1"),  # an hour after Sunday's
        ({"BASE_BACKUP_CRON": "15 4 * * 1-6"}, "15 4 * * 1-6"),
    ],
)
def test_it_is_due_an_hour_after_sundays_dump_or_as_somebody_says(
    house: House, variables: dict[str, str], cron: str
) -> None:
    """Loss prevented: base backups and dumps that burden production at the same time."""
    house.variables |= {"WAL_ARCHIVE": "true", **variables}
    assert house.definitions.resolve_schedule_def("base_backup_schedule").cron_schedule == cron


def test_one_is_taken_by_schedule_and_once_for_all_databases_of_the_server(archived: House) -> None:
    """Loss prevented: a week of WAL more to replay; production copied once for each of its databases."""
    found = _run(archived, **{"dagster/schedule_name": "base_backup_schedule"})
    assert (found["kind"], found["new"]) == ("full", True)
    [base] = load_base_backups(_archive(archived)).bases
    assert base.base_id == found["base_id"]
    # Another database of the server asks for the same an instant later.
    assert _run(archived, **{"dagster/schedule_name": "base_backup_schedule"})["new"] is False
    archive, start_lsn = _archive(archived), base.manifest.start_lsn
    key = archive.repository.key_for_backups(archived.clock())
    store_gap(archive, Gap(1, start_lsn, start_lsn + (16 << 20), archived.clock(), "the slot was gone"), key)
    assert _run(archived)["new"] is True
