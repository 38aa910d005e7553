"""The sensor that makes Dagster's history equal to the storage: each thing told once, nothing made up."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.event_api import PartitionKeyFilter

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.documents import Check, Tombstone
from recyclic_backups.catalog.record import record_check, record_tombstone
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.defs.automation import cursor_of, moment_in, remembered
from recyclic_backups.defs.backups import assets
from recyclic_backups.defs.history import sensors as catalog_sync
from recyclic_backups.dump.verify import verify
from recyclic_backups.errors import DatabaseError, StorageError
from recyclic_backups_tests.defs.conftest import House, elsewhere
from recyclic_backups_tests.defs.test_backups import look


def repository_of(house: House) -> Repository:
    """The storage."""
    return wiring.open_repository(house.settings())


def verify_elsewhere(house: House, backup: Backup) -> None:
    """What ``recyclic-backups verify`` does."""
    settings = house.settings()
    verify(
        repository_of(house),
        backup,
        "parsed",
        wiring.installations(settings),
        clock=house.clock,
        timeout_seconds=60,
    )


def restored_elsewhere(house: House, backup: Backup, *, passed: bool) -> None:
    """What a restore records."""
    reasons = () if passed else ("public.member: 3 rows missing",)
    check = Check(
        "restore", backup.backup_id, house.clock(), passed, reasons, proves=passed, duration_seconds=2
    )
    record_check(repository_of(house), check, backup.manifest)


def key_of(house: House, tier: str = "daily") -> dg.AssetKey:
    """The asset of a tier."""
    return dg.AssetKey([house.variables["POSTGRES_DB"], f"{tier}_backup"])


def materializations(house: House, tier: str = "daily") -> list[dg.AssetMaterialization]:
    """All of an asset, oldest first."""
    records = house.instance.fetch_materializations(key_of(house, tier), limit=1000).records
    found = [record.asset_materialization for record in reversed(records)]
    return [each for each in found if each is not None]


def evaluations(house: House, name: str, tier: str = "daily") -> list[tuple[str | None, bool, str]]:
    """Partition, verdict and sentence of every answer to a check, oldest first."""
    records = house.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(key_of(house, tier), name), limit=1000
    )
    found = []
    for record in reversed(records):
        assert record.event is not None
        event = record.event.dagster_event
        if event is not None and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            said = event.asset_check_evaluation_data
            found.append((said.partition, said.passed, said.description or ""))
    return found


def synchronize(house: House, cursor: str | None = None) -> tuple[str, str]:
    """Evaluate until nothing is new; the last reason and cursor."""
    for _ in range(20):
        data = house.evaluate("catalog_sync", cursor)
        cursor = data.cursor
        if "more to come" not in data.skip_message:
            return data.skip_message, data.cursor
    raise AssertionError("it never ends")


def test_what_dagster_made_itself_is_not_told_again(quick_house: House) -> None:
    """Loss prevented: a history in which every night has two backups."""
    house = quick_house
    for tier, key in (("daily", "2026-11-01"), ("weekly", "2026-10-26"), ("monthly", "2026-11-01")):
        assert house.run(tier, key).success
    house.clock.at += timedelta(hours=1)
    _, cursor = synchronize(house)
    for tier in ("daily", "weekly", "monthly"):
        assert len(materializations(house, tier)) == 1
    # The week's and the month's own checks read the same backup again: to the day that is news, and told once.
    assert len(evaluations(house, "integrity")) == 2
    assert synchronize(house, cursor)[0] == "Nothing new in the storage."
    assert synchronize(house, None)[0] == "Nothing new in the storage."


def test_a_backup_of_the_command_line_appears_as_if_dagster_had_made_it(quick_house: House) -> None:
    """Loss prevented: a page that shows a hole where there is a backup, and nobody who can restore it."""
    house = quick_house
    assert house.run("daily", "2026-10-31").success
    by_dagster = materializations(house)[0].metadata
    done = elsewhere(house, Tier.DAILY, "2026-11-01")
    elsewhere(house, Tier.WEEKLY, "2026-10-26")
    assert house.evaluate("catalog_sync").skip_message == "Nothing new in the storage."  # not settled yet
    house.clock.at += timedelta(minutes=5)
    reason, cursor = synchronize(house)
    assert reason.startswith("Reported ")
    told = materializations(house)[1]
    assert told.partition == "2026-11-01"
    assert told.tags is not None
    assert told.tags["dagster/data_version"] == done.backup.backup_id
    assert set(told.metadata) | {"reason"} == set(by_dagster) | {"reason"}
    assert f"restore {done.backup.backup_id} --into" in str(told.metadata["restore"].value)
    assert evaluations(house, "integrity")[-1][:2] == ("2026-11-01", True)
    (weekly,) = materializations(house, "weekly")
    assert weekly.metadata["promoted_from"].value == "daily/2026-11-01"
    assert weekly.metadata["new_dump"].value is False
    assert told.metadata["new_dump"].value is True
    assert synchronize(house, cursor)[0] == "Nothing new in the storage."


def test_verifications_and_restores_are_told_each_once(quick_house: House) -> None:
    """Loss prevented: a proof nobody sees, damage nobody sees, or the same alarm every minute."""
    house = quick_house
    assert house.run("daily", "2026-11-01").success
    _, cursor = synchronize(house)
    (backup,) = house.catalog
    restored_elsewhere(house, backup, passed=False)
    house.clock.at += timedelta(minutes=1)
    assert synchronize(house, cursor)[0] == "Reported 1 events."
    partition, passed, said = evaluations(house, "proven")[-1]
    assert (partition, passed) == ("2026-11-01", False)
    assert said == f"the last restore of {backup.backup_id} failed: public.member: 3 rows missing"
    verify_elsewhere(house, backup)
    restored_elsewhere(house, backup, passed=True)
    house.clock.at += timedelta(minutes=1)
    before = len(evaluations(house, "proven"))
    assert synchronize(house, cursor)[0] == "Reported 2 events."
    ((partition, passed, said),) = evaluations(house, "integrity")[1:]
    assert (partition, passed) == ("2026-11-01", True)
    assert said == f"{backup.backup_id} was read again from the storage, opened and parsed to its end"
    ((partition, passed, said),) = evaluations(house, "proven")[before:]
    assert (partition, passed) == ("2026-11-01", True)
    for known in (cursor, None):
        assert synchronize(house, known)[0] == "Nothing new in the storage."
    # An answer that Dagster gives itself comes after them, and is no reason to tell them again.
    look(house, "proven")
    assert synchronize(house)[0] == "Nothing new in the storage."


def test_the_history_is_rebuilt_after_dagsters_database_is_lost(
    quick_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a year of backups that Dagster shows as missing and would make again."""
    monkeypatch.setattr(catalog_sync, "EVENTS", 4)
    house = quick_house
    assert house.run("daily", "2026-11-01").success
    for day in (2, 3):
        house.clock.at = datetime(2026, 11, day, 1, 0, tzinfo=UTC)
        elsewhere(house, Tier.DAILY, f"2026-11-0{day}")
    elsewhere(house, Tier.WEEKLY, "2026-10-26")
    house.clock.at += timedelta(hours=1)
    synchronize(house)
    before = [(each.partition, each.metadata["backup_id"].value) for each in materializations(house)]
    with dg.DagsterInstance.ephemeral() as instance:
        lost = replace(house, instance=instance)
        first = lost.evaluate("catalog_sync")
        assert "more to come" in first.skip_message
        synchronize(lost, first.cursor)
        assert [
            (each.partition, each.metadata["backup_id"].value) for each in materializations(lost)
        ] == before
        assert len(materializations(lost, "weekly")) == 1
        assert {partition for partition, _, _ in evaluations(lost, "integrity")} == {
            partition for partition, _ in before
        }
        assert synchronize(lost)[0] == "Nothing new in the storage."
        assert [partition for partition, _ in before] == sorted(
            instance.get_materialized_partitions(key_of(house))
        )


def test_a_backup_that_is_gone_is_shown_as_gone_until_there_is_another(quick_house: House) -> None:
    """Loss prevented: the command to restore a backup that nobody has any more, on a green page."""
    house = quick_house
    assert house.run("daily", "2026-10-31").success
    assert house.run("daily", "2026-11-01").success
    house.clock.at += timedelta(minutes=5)
    synchronize(house)
    label = house.catalog.labels[Tier.DAILY, "2026-11-01"]
    layout, store = repository_of(house).layout, repository_of(house).store
    manifest = layout.manifest(label.backup_id)
    document = store.get(manifest)
    store.delete(manifest)
    reason, cursor = synchronize(house)
    assert reason == "Reported 2 events."
    told = materializations(house)[-1]
    assert told.metadata["gone"].value is True
    assert "restore" not in told.metadata
    assert evaluations(house, "integrity")[-1] == (
        "2026-11-01",
        False,
        f"the manifest of the backup {label.backup_id} is not usable: it is missing, but the backup was checked once",
    )
    assert synchronize(house, cursor)[0] == "Nothing new in the storage."
    store.create(manifest, document)
    assert synchronize(house, cursor)[0].startswith("Reported ")
    assert "restore" in materializations(house)[-1].metadata

    expired = next(each for each in house.catalog if each.backup_id == label.backup_id)
    tombstone = Tombstone(label.backup_id, house.clock.at, labels=expired.labels)
    record_tombstone(repository_of(house), tombstone, expired.manifest)
    integrity = len(evaluations(house, "integrity"))
    assert synchronize(house, cursor)[0] == "Reported 1 events."
    assert "has expired" in (materializations(house)[-1].description or "")
    assert len(evaluations(house, "integrity")) == integrity  # an expiry is no damage


def test_a_history_on_disk_takes_it_too(house: House) -> None:
    """Loss prevented: what works in the memory of a test alone; Dagster shards its files by runs."""
    elsewhere(house, Tier.DAILY, "2026-11-01")
    house.clock.at += timedelta(minutes=5)
    _, cursor = synchronize(house)
    (backup,) = house.catalog
    verify_elsewhere(house, backup)
    verify_elsewhere(house, backup)
    assert synchronize(house, cursor)[0] == "Reported 1 events."
    assert [said[:2] for said in evaluations(house, "integrity")] == [("2026-11-01", True)] * 2
    assert synchronize(house)[0] == "Nothing new in the storage."
    assert {run.job_name for run in house.instance.get_runs()} == {"catalog_sync"}


def test_a_partition_that_a_run_is_at_is_left_to_it(quick_house: House) -> None:
    """Loss prevented: the verdict of a run's first reading told while its own check is still reading."""
    house = quick_house
    elsewhere(house, Tier.DAILY, "2026-11-01")
    house.clock.at += timedelta(minutes=5)
    run = dg.DagsterRun(
        job_name="daily_backup_job",
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": "2026-11-01"},
    )
    house.instance.add_run(run)
    reason, cursor = synchronize(house)
    assert reason == "Nothing new in the storage."
    house.instance.report_run_failed(run)
    assert synchronize(house, cursor)[0] == "Reported 9 events."


def test_an_unmounted_storage_wipes_nothing(quick_house: House) -> None:
    """Loss prevented: a whole history declared gone because a disk was not mounted for a minute."""
    house = quick_house
    assert house.run("daily", "2026-11-01").success
    house.clock.at += timedelta(minutes=5)
    storage = house.folder.parent / "storage"
    storage.rename(house.folder.parent / "unmounted")
    with pytest.raises(StorageError, match="Hint: "):
        house.evaluate("catalog_sync")
    storage.mkdir(mode=0o700)
    with pytest.raises(StorageError, match="holds none now"):
        house.evaluate("catalog_sync")
    assert len(materializations(house)) == 1


@pytest.mark.parametrize(
    "cursor",
    [None, "", "x", "[]", "{}", "null", "3", '{"version": 2}', '{"version": 1, "storage": "s"}']
    + [json.dumps({"version": 1, "storage": "s", "told_until": each}) for each in ("yesterday", 3, "")]
    + [json.dumps({"version": 2, "told_until": "2026-11-01T00:00:00Z"})],
)
def test_any_cursor_is_survived(cursor: str | None) -> None:
    """Loss prevented: a sensor that fails every minute since an update."""
    assert moment_in(remembered(cursor), "told_until") is None


def test_what_it_remembers_counts_for_the_same_storage_only(quick_house: House) -> None:
    """Loss prevented: verdicts of a new storage that are never told because the old one had later ones."""
    house = quick_house
    assert house.run("daily", "2026-11-01").success
    synchronize(house)
    (backup,) = house.catalog
    verify_elsewhere(house, backup)
    later = "2030-01-01T00:00:00.000000Z"
    own = cursor_of(storage=house.settings().storage_url, told_until=later)
    assert synchronize(house, own)[0] == "Nothing new in the storage."
    assert synchronize(house, cursor_of(storage="file:///other", told_until=later))[0] == "Reported 1 events."


def test_the_hourly_questions_are_answered_for_the_newest_backup_of_each_tier(quick_house: House) -> None:
    """Loss prevented: an age that nobody asks for between two nights, or an alarm for a week that has not come."""
    house: Any = quick_house
    job = house.definitions.resolve_job_def("health_job")
    assert house.run("daily", "2026-11-01").success
    house.clock.at += timedelta(hours=26)
    result = job.execute_in_process(instance=house.instance, raise_on_error=False)
    assert result.success
    assert evaluations(house, "age")[-1][:2] == ("2026-11-01", False)
    assert evaluations(house, "age", "weekly") == []


def test_a_changed_hour_and_time_zone_keep_every_partition_as_it_is(quick_house: House) -> None:
    """Loss prevented: a move to another country after which every night is told again, or taken for late."""
    house = quick_house
    assert house.run("daily", "2026-11-01").success
    house.variables.update({"BACKUP_TIMEZONE": "America/New_York", "BACKUP_TIME": "20"})
    house.clock.at = datetime(2026, 11, 3, 2, 0, tzinfo=UTC)  # nine in the evening of the 2nd
    assert house.run("daily", "2026-11-02").success
    data = house.evaluate("catalog_sync")
    assert data.skip_message == "Nothing new in the storage."
    key = dg.AssetKey([house.variables["POSTGRES_DB"], "daily_backup"])
    assert house.instance.get_materialized_partitions(key) == {"2026-11-01", "2026-11-02"}
    labels = house.catalog.labels.values()
    assert {label.partition: label.late for label in labels} == {"2026-11-01": False, "2026-11-02": False}


QUESTIONS = ("integrity", "age", "encrypted", "size", "compression", "duration", "timeliness", "proven")


def statuses(house: House, partition: str) -> dict[str, str]:
    """The newest record of each check of the day's backup, as Dagster's page reads it."""
    found = {}
    for name in QUESTIONS:
        key = dg.AssetCheckKey(key_of(house), name)
        (record,) = house.instance.event_log_storage.get_asset_check_execution_history(
            key, limit=1, partition_filter=PartitionKeyFilter(key=partition)
        )
        found[name] = record.status.value
    return found


def test_a_backup_of_the_command_line_is_told_with_the_answers_to_all_questions(quick_house: House) -> None:
    """Loss prevented: 'Not evaluated' beside a backup until the next night, and no reading of it to find out."""
    house = quick_house
    done = elsewhere(house, Tier.DAILY, "2026-11-01")
    house.clock.at += timedelta(minutes=5)
    assert synchronize(house)[0] == "Reported 9 events."
    answered = {name: evaluations(house, name) for name in QUESTIONS}
    assert all(len(each) == 1 and each[0][0] == "2026-11-01" for each in answered.values())
    assert f"{done.backup.backup_id} is not encrypted" in answered["encrypted"][0][2]
    assert answered["integrity"][0][1]
    assert not answered["compression"][0][1]
    (backup,) = house.catalog
    assert len(backup.checks) == 1  # that of the backup itself: nothing was read for the answers


def test_a_failed_run_leaves_the_checks_of_a_day_that_has_a_good_backup_as_they_were(
    quick_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: eight red checks and a red day beside a backup that is whole, after which nobody looks."""
    house = quick_house
    assert house.run("daily", "2026-11-01").success
    _, cursor = synchronize(house)
    before = statuses(house, "2026-11-01")
    monkeypatch.setattr(assets, "back_up", failing)
    house.clock.at += timedelta(minutes=30)
    assert not house.run("daily", "2026-11-01").success
    assert not house.run("daily", "2026-10-30").success
    assert set(statuses(house, "2026-11-01").values()) == {"PLANNED"}  # which Dagster shows as failed
    reason, cursor = synchronize(house, cursor)
    assert reason == "Reported 9 events."
    assert statuses(house, "2026-11-01") == before
    day = house.definitions.resolve_asset_graph().get(key_of(house)).partitions_def
    assert day is not None
    with dg.partition_loading_context(effective_dt=house.clock()):
        shown = house.instance.get_status_by_partition(key_of(house), ["2026-11-01", "2026-10-30"], day)
    assert shown is not None
    assert {key: value and value.value for key, value in shown.items()} == {
        "2026-11-01": "MATERIALIZED",
        "2026-10-30": "FAILED",
    }
    # A day without a backup stays as red as it is.
    assert set(statuses(house, "2026-10-30").values()) == {"PLANNED"}
    assert synchronize(house, cursor)[0] == "Nothing new in the storage."
    assert synchronize(house, None)[0] == "Nothing new in the storage."


def failing(*_: object, **__: object) -> None:
    """A backup that fails."""
    raise DatabaseError("the server is on fire")
