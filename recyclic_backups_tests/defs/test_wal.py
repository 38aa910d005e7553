"""WAL in Dagster: what is there with it on, the archive with its checks, and the drill that recovers from it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from recyclic_backups import wiring
from recyclic_backups.config.load import load_settings
from recyclic_backups.config.settings import Settings
from recyclic_backups.definitions import definitions_in
from recyclic_backups.defs.database import Environment
from recyclic_backups.drill.run import drill
from recyclic_backups.drill.scenarios import Scenario
from recyclic_backups_tests.defs.conftest import Clock, House
from recyclic_backups_tests.defs.test_definitions import loaded
from recyclic_backups_tests.defs.test_drills import reports
from recyclic_backups_tests.defs.test_drills import run as drill_by_dagster
from recyclic_backups_tests.drill.test_pitr import Archived, archived
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.operator import variables_of

__all__ = ["archived"]

CHECKS = ("continuous", "recent", "base", "burden")


@pytest.fixture
def house(archived: Archived, tmp_path: Path) -> Iterator[House]:
    """A server with a base backup, WAL and a dump in between; its receiver has just stopped. The clock is right."""
    shutil.copytree(archived.storage, tmp_path / "backups")
    variables = {
        **variables_of(archived.cluster.server, "postgres"),
        "BACKUP_STORAGE": f"file://{tmp_path / 'backups'}",
        "BACKUP_ENCRYPTION": "true",
        "BACKUP_ENCRYPTION_KEY": KEY,
        "WAL_ARCHIVE": "true",
        "PG_BIN": str(archived.cluster.installation.directory),
    }
    folder = tmp_path / "dagster"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder), {"telemetry": {"enabled": False}}) as instance:
        yield House(variables, Clock(archived.stopped_at), instance, folder)


def names_of(definitions: dg.Definitions) -> set[str]:
    """Everything that is loaded, by kind and name."""
    dg.Definitions.validate_loadable(definitions)
    graph, repository = definitions.resolve_asset_graph(), definitions.get_repository_def()
    return {
        *(f"asset {key.to_user_string()}" for key in graph.get_all_asset_keys()),
        *(f"check {key.asset_key.path[-1]} {key.name}" for key in graph.asset_check_keys),
        *(f"job {name}" for name in repository.job_names),
        *(f"schedule {each.name}" for each in repository.schedule_defs),
        *(f"sensor {each.name}" for each in repository.sensor_defs),
    }


def test_with_wal_on_there_is_exactly_this_more_and_off_none_of_it(offline: Settings) -> None:
    """Loss prevented: a code location that does not load with WAL on; or red assets of what nobody switched on."""
    without = names_of(loaded(offline))
    jobs = ("base_backup", "drill_pitr")
    assert names_of(loaded(replace(offline, wal_archive=True))) - without == {
        *(f"asset recyclic/{name}" for name in (*jobs, "wal_archive")),
        *(f"job {name}_job" for name in jobs),
        *(f"schedule {name}_schedule" for name in jobs),
        *(f"check wal_archive {name}" for name in CHECKS),
        "check drill_pitr passed",
    }
    assert not [each for each in without if "wal" in each or "base_backup" in each or "pitr" in each]


def test_two_databases_of_a_server_have_names_of_their_own_and_take_its_base_backups_in_turn() -> None:
    """Loss prevented: a second database with which nothing loads; two copies of a server's files at once."""
    both = [
        load_settings({"POSTGRES_DB": name, "POSTGRES_HOST": "db.example.org", "WAL_ARCHIVE": "true"})
        for name in ("crm", "till")
    ]
    definitions = definitions_in(*(Environment(lambda each=each: each) for each in both))  # type: ignore[misc]
    names = names_of(definitions)
    for database in ("crm", "till"):
        assert {f"asset {database}/wal_archive", f"job base_backup_job__{database}"} <= names
    graph = definitions.resolve_asset_graph()
    pools = {
        pool for name in ("crm", "till") for pool in graph.get(dg.AssetKey([name, "base_backup"])).pools or ()
    }
    assert pools == {"base_backup_db_example_org_5432"}


def look_at_archive(house: House) -> dict[str, tuple[bool, str, str]]:
    """What ``health_job`` says of it: each check, whether it passed, how grave it is, and what it says."""
    job = house.definitions.resolve_job_def("health_job")
    result = job.execute_in_process(instance=house.instance, raise_on_error=False)
    assert result.success
    return {
        each.check_name: (each.passed, "" if each.passed else each.severity.value, each.description or "")
        for each in result.get_asset_check_evaluations()
        if each.asset_key.path[-1] == "wal_archive"
    }


def red(answers: dict[str, tuple[bool, str, str]]) -> dict[str, str]:
    """The checks that did not pass."""
    return {name: severity for name, (passed, severity, _) in answers.items() if not passed}


def test_the_archive_is_green_then_silent_then_torn(house: House, archived: Archived) -> None:
    """Loss prevented: a dead receiver, or a hole, on a page that stays green."""
    answers = look_at_archive(house)
    assert red(answers) == {}
    assert tuple(answers) == CHECKS
    assert "the newest verified base backup" in answers["base"][2]
    assert "of WAL for the receiver" in answers["burden"][2]
    key = dg.AssetKey(["postgres", "wal_archive"])
    shown = house.instance.get_latest_materialization_event(key)
    assert shown is not None
    assert shown.asset_materialization is not None
    figures = {name: value.value for name, value in shown.asset_materialization.metadata.items()}
    assert figures["gaps"] == 0
    assert 0 <= figures["lag_s"] < 60  # type: ignore[operator]
    assert {"window_h", "stored_mb", "held_mb", "reaches_until", "newest_base"} <= figures.keys()
    house.clock.at += timedelta(minutes=6)
    assert red(look_at_archive(house)) == {"recent": "WARN"}
    house.clock.at += timedelta(minutes=10)
    assert red(look_at_archive(house)) == {"recent": "ERROR"}
    house.clock.at -= timedelta(minutes=16)
    storage = Path(house.settings().storage_url.removeprefix("file://"))
    segments = sorted(
        each for each in storage.glob("server.*/wal/*/*.zst.sealed") if each.name.count(".") == 2
    )
    segments[len(segments) // 2].unlink()
    torn = look_at_archive(house)
    assert red(torn) == {"continuous": "ERROR"}
    assert "WAL is missing from" in torn["continuous"][2]


def drill_by_hand(house: House) -> None:
    """What ``recyclic-backups drill pitr`` does."""
    settings = house.settings()
    drill(Scenario.PITR, wiring.open_repository(settings), wiring.drill_plan(settings), clock=house.clock)


def test_a_drill_of_wal_is_shown_and_told_once_whoever_did_it(house: House, archived: Archived) -> None:
    """Loss prevented: a page that says `never drilled`, since the verdict lies beside the base backup."""
    result = drill_by_dagster(house, "pitr")
    assert result.success
    (report,) = reports(house, "pitr")
    assert report.metadata["backup_id"].value == archived.backup_id
    assert report.metadata["passed"].value is True
    base_id = report.metadata["base_id"].value
    cursor = house.evaluate("catalog_sync").cursor
    assert len(reports(house, "pitr")) == 1
    drill_by_hand(house)
    for _ in range(2):
        cursor = house.evaluate("catalog_sync", cursor).cursor
    told = reports(house, "pitr")
    assert len(told) == 2
    assert told[-1].description == "found in the storage"
    assert told[-1].metadata["base_id"].value == base_id
    assert told[-1].metadata["backup_id"].value == archived.backup_id
    # Another database of the server, in the same storage, was not drilled.
    house.variables["POSTGRES_DB"] = "other"
    house.evaluate("catalog_sync")
    key = dg.AssetKey(["other", "drill_pitr"])
    assert house.instance.get_latest_materialization_event(key) is None


def test_the_review_and_the_page_count_what_lies_there_of_wal(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a review and a forecast that know dumps only, while WAL fills the disk."""
    storage = Path(house.settings().storage_url.removeprefix("file://"))
    (server,) = storage.glob("server.*")
    # Its pace is told from the first hour on; here it is some seconds old.
    monkeypatch.setattr("recyclic_backups.retention.space_forecast._LEAST", timedelta(0))
    job = house.definitions.resolve_job_def("retention_review_job")
    assert job.execute_in_process(instance=house.instance).success
    shown = house.instance.get_latest_materialization_event(dg.AssetKey(["postgres", "retention_review"]))
    assert shown is not None
    assert shown.asset_materialization is not None
    told = shown.asset_materialization.metadata
    (base_id,) = (each.name for each in (server / "base").iterdir())
    objects = (each.stat().st_size for each in server.rglob("*.zst.sealed"))
    documents = (each.stat().st_size for each in (server / "wal").rglob("*.json"))
    assert told["wal_mb"].value == round(sum([*objects, *documents]) / 1e6, 3)
    text = str(told["review"].value)
    assert f"| {base_id} |" in text
    assert "WAL takes " in text
    assert house.definitions.resolve_job_def("health_job").execute_in_process(instance=house.instance).success
    page = (storage / "postgres" / "report.html").read_text()
    assert "WAL and base backups" in page
    assert "of WAL a day" in page
    assert "the storage holds" in page
