"""Real runs: Dagster, a real server, real storage, encryption on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from recyclic_backups import wiring
from recyclic_backups.audit.log import last_event
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.defs.runs import MAXIMUM_RETRIES
from recyclic_backups.flags.flags import PARALLEL_STREAMS
from recyclic_backups.flags.store import switch as set_flag
from recyclic_backups.health.questions import QUESTIONS
from recyclic_backups_tests.defs.conftest import PASSPHRASE, House
from recyclic_backups_tests.programs import exchange


def metadata_of(result: Any) -> dict[str, Any]:
    """The metadata of the one materialization of a run."""
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def checks_of(result: Any) -> dict[str, tuple[bool, dg.AssetCheckSeverity]]:
    """Verdict and severity of every check of a run."""
    return {each.check_name: (each.passed, each.severity) for each in result.get_asset_check_evaluations()}


def failure_of(result: Any) -> str:
    """What the run's failed step says."""
    failed = [event for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_FAILURE]
    assert len(failed) == 1
    return str(failed[0].step_failure_data.error.message)


def test_the_first_sunday_of_a_month_is_one_dump_with_three_labels(house: House) -> None:
    """Three dumps a night would be three loads on production; a missing label a tier without a backup."""
    daily = house.run("daily", "2026-11-01", {"dagster/schedule_name": "daily_backup_schedule"})
    assert daily.success
    shown = metadata_of(daily)
    assert {name for name, (passed, _) in checks_of(daily).items() if not passed} == set()
    assert len(checks_of(daily)) == 8
    assert {each.partition for each in daily.get_asset_check_evaluations()} == {"2026-11-01"}
    assert shown["rows"] == shown["dagster/row_count"] > 0
    assert shown["stored_mb"] < shown["dumped_mb"]
    assert shown["late"] is False
    assert shown["encrypted"] is True
    assert shown["new_dump"] is True
    assert f"recyclic-backups restore {shown['backup_id']} --into restored_20261101" in shown["restore"]
    assert "--replace --yes" in shown["restore"]
    assert len(shown["fingerprint"].records) == shown["tables"] == 2

    house.clock.at += timedelta(minutes=30)
    weekly = house.run("weekly", "2026-10-26")
    house.clock.at += timedelta(minutes=5)
    monthly = house.run("monthly", "2026-11-01")
    for result in (weekly, monthly):
        assert result.success
        assert metadata_of(result)["backup_id"] == shown["backup_id"]
        assert metadata_of(result)["promoted_from"] == "daily/2026-11-01"
        assert metadata_of(result)["new_dump"] is False
        assert {name for name, (passed, _) in checks_of(result).items() if not passed} == set()

    (backup,) = house.catalog
    assert backup.tiers == (Tier.DAILY, Tier.WEEKLY, Tier.MONTHLY)
    assert backup.manifest.source == "scheduled"
    assert house.traces_of(shown["backup_id"])
    for secret in (PASSPHRASE, house.variables["POSTGRES_PASSWORD"]):
        assert house.traces_of(secret) == []


def test_missed_days_of_one_backfill_share_one_late_dump(house: House) -> None:
    """Seven missed days must not dump production seven times, and none of them may pretend to be in time."""
    house.clock.at = datetime(2026, 11, 4, 9, 0, tzinfo=UTC)
    backfill = begun_backfill(house, ["2026-11-02", "2026-11-03"])
    tags = {"dagster/backfill": backfill}
    first = house.run("daily", "2026-11-02", tags)
    house.clock.at += timedelta(hours=3)  # longer than a dump is shared for outside backfills
    second = house.run("daily", "2026-11-03", tags)
    assert first.success
    assert second.success
    (backup,) = house.catalog
    assert backup.manifest.source == "backfill"
    for result, new in ((first, True), (second, False)):
        assert metadata_of(result)["late"] is True
        assert metadata_of(result)["new_dump"] is new
        assert checks_of(result)["timeliness"] == (False, dg.AssetCheckSeverity.WARN)
    assert {label.partition for label in backup.labels} == {"2026-11-02", "2026-11-03"}


def begun_backfill(house: House, partitions: list[str]) -> str:
    """The id of a backfill that begins at the clock's time, as the instance remembers it."""
    from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

    house.instance.add_backfill(
        PartitionBackfill(
            backfill_id="abcdefgh",
            status=BulkActionStatus.REQUESTED,
            from_failure=False,
            tags={},
            backfill_timestamp=house.clock.at.timestamp(),
            partition_names=partitions,
        )
    )
    return "abcdefgh"


def test_a_refused_password_is_a_failure_with_a_hint_and_no_secret(house: House) -> None:
    """A log that holds the password is a leak; one without the hint is a night spent searching."""
    house.variables["POSTGRES_PASSWORD"] = "not the password of this server"
    result = house.run("daily", "2026-11-01")
    assert not result.success
    sentence = failure_of(result)
    assert "password authentication failed" in sentence
    assert "Hint: check POSTGRES_USER and POSTGRES_PASSWORD" in sentence
    assert retries_of(result) == 0
    assert len(house.catalog) == 0
    for secret in (PASSPHRASE, "not the password of this server"):
        assert house.traces_of(secret) == []
    assert house.traces_of("check POSTGRES_USER")


def test_settings_that_went_wrong_since_loading_fail_the_run_with_their_sentence(house: House) -> None:
    """Runs read the settings anew: a typo in a reload must be named by the run that met it."""
    house.overrides = [{"BACKUP_COMPRESSION": "zstd:99"}]
    result = house.run("daily", "2026-11-01")
    assert not result.success
    assert "BACKUP_COMPRESSION" in failure_of(result)


def test_another_database_is_never_backed_up_under_this_ones_name(house: House) -> None:
    """A restore of that partition would bring back a stranger's data."""
    house.overrides = [{"POSTGRES_DB": "postgres"}]
    result = house.run("daily", "2026-11-01")
    assert not result.success
    assert "reload the code location" in failure_of(result)
    assert len(house.catalog) == 0


def retries_of(result: Any) -> int:
    """How often a step was tried again."""
    return sum(event.event_type is dg.DagsterEventType.STEP_RESTARTED for event in result.all_events)


def test_a_server_that_comes_back_is_tried_again(house: House) -> None:
    """A restart of the server at two in the morning must not cost the night's backup."""
    house.overrides = [{"POSTGRES_PORT": "1"}]
    result = house.run("daily", "2026-11-01")
    assert result.success
    assert retries_of(result) == 1
    assert len(house.catalog) == 1


def test_a_server_that_stays_away_fails_after_bounded_retries(house: House) -> None:
    """Trying for ever would hide the failure from everybody."""
    house.variables["POSTGRES_PORT"] = "1"
    result = house.run("daily", "2026-11-01")
    assert not result.success
    assert retries_of(result) == MAXIMUM_RETRIES
    assert "POSTGRES_HOST" in failure_of(result)


def test_a_run_that_tries_again_does_without_the_experiment_that_failed(house: House, tmp_path: Path) -> None:
    """Loss prevented: a night, to a new behaviour that breaks each attempt."""
    repository = parallel(house)
    real = Path(house.variables["PG_BIN"])
    programs = exchange(real, tmp_path, "pg_dump", f'"{real}/pg_dump" "$@" | head -c -3000')
    house.variables["PG_BIN"] = str(programs)
    for expected in (["parallel_streams"], None, ["parallel_streams"]):
        assert not house.run("daily", "2026-11-01").success
        failed = last_event(repository, "backup", house.clock())
        assert failed is not None
        assert failed.details.get("with") == expected


def parallel(house: House) -> Repository:
    """The storage, with the flag of parallel streams on; a locked table is given up after a second."""
    house.variables["BACKUP_LOCK_TIMEOUT"] = "1"
    repository = wiring.open_repository(house.settings())
    set_flag(repository, PARALLEL_STREAMS.name, True, house.clock())
    return repository


@contextmanager
def locked(house: House) -> Iterator[None]:
    """Somebody else's migration, that keeps one table to itself."""
    with (
        house.settings().server.connect(house.variables["POSTGRES_DB"]) as connection,
        connection.transaction(),
    ):
        connection.execute("LOCK TABLE sale IN ACCESS EXCLUSIVE MODE")
        yield


def test_damage_after_the_backup_turns_the_integrity_check_red(house: House) -> None:
    """Bits rot after the night: the check reads what is stored now, not what was stored then."""
    assert house.run("daily", "2026-11-01").success
    (backup,) = house.catalog
    repository = wiring.open_repository(house.settings())
    name = repository.layout.object(backup.backup_id, backup.manifest.main.name)
    path = house.folder.parent / "storage" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    result, verdicts = look(house)
    assert result.success, failure_of(result)
    assert verdicts["integrity"] == (False, "2026-11-01")
    assert verdicts["age"] == (False, "2026-11-01")
    assert verdicts["encrypted"] == (True, "2026-11-01")
    assert len(verdicts) == 8


def look(house: House, *names: str) -> tuple[Any, dict[str, tuple[bool, str | None]]]:
    """Run checks of the daily backup alone, as the UI's button does: without a partition.

    What became of the run, and per check the verdict and the partition that Dagster shows as its latest.
    """
    key = dg.AssetKey([house.variables["POSTGRES_DB"], "daily_backup"])
    keys = [dg.AssetCheckKey(key, name) for name in names or QUESTIONS]
    job = dg.define_asset_job("look", dg.AssetSelection.checks(*keys))
    definitions = dg.Definitions.merge(house.definitions, dg.Definitions(jobs=[job]))
    result = definitions.resolve_job_def("look").execute_in_process(
        instance=house.instance, raise_on_error=False
    )
    latest = house.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    verdicts = {}
    for each, record in latest.items():
        event = record.event.dagster_event if record.event else None
        if event and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            verdicts[each.name] = (evaluation.passed, evaluation.partition)
    return result, verdicts


def test_checks_can_be_run_alone_and_without_a_partition(house: House) -> None:
    """The age is asked every hour: that must not read every backup again, nor need to know today's partition."""
    wiring.open_store(house.settings())
    result, _ = look(house, "age")
    assert "there is no daily backup yet" in failure_of(result)
    assert house.run("daily", "2026-11-01").success
    result, verdicts = look(house, "age", "proven")
    assert result.success, failure_of(result)
    assert verdicts == {"age": (True, "2026-11-01"), "proven": (True, "2026-11-01")}
    (backup,) = house.catalog
    assert len(backup.checks) == 2  # the asset's and the integrity check's, none of this look
    # Dagster keeps one answer per run and partition: the next hour's must not fail on this one's.
    result, verdicts = look(house, "age")
    assert result.success, failure_of(result)
    assert verdicts == {"age": (True, "2026-11-01")}


def test_storage_that_is_gone_fails_the_checks_with_a_sentence(house: House) -> None:
    """Checks that cannot be answered must not look like checks that passed."""
    assert house.run("daily", "2026-11-01").success
    storage = house.folder.parent / "storage"
    storage.rename(house.folder.parent / "unmounted")
    result, _ = look(house)
    assert not result.success
    assert "Hint:" in failure_of(result)
    assert not storage.exists()


def test_a_missed_day_that_is_refused_says_what_to_do(house: House) -> None:
    """A dump of today under yesterday's date is what this operator never wants: nothing may be taken instead."""
    house.variables["BACKUP_MISSED_DAY"] = "refuse"
    house.clock.at = datetime(2026, 11, 4, 9, 0, tzinfo=UTC)
    result = house.run("daily", "2026-11-02", {"dagster/backfill": begun_backfill(house, ["2026-11-02"])})
    assert not result.success
    assert "2026-11-02 is over, and a dump taken now is not of that day" in failure_of(result)
    assert "Hint: set BACKUP_MISSED_DAY=late" in failure_of(result)
    assert retries_of(result) == 0
    assert len(house.catalog) == 0
    assert house.run("daily", "2026-11-04").success  # the running day is not missed


def test_a_good_backup_survives_a_run_that_fails_and_one_that_is_a_day_late(house: House) -> None:
    """Running a partition again must never cost what it had."""
    assert house.run("daily", "2026-11-01").success
    (first,) = house.catalog
    port = house.variables["POSTGRES_PORT"]
    house.variables["POSTGRES_PORT"] = "1"
    assert not house.run("daily", "2026-11-01").success
    house.variables["POSTGRES_PORT"] = port
    house.clock.at += timedelta(days=1)
    again = house.run("daily", "2026-11-01", {"dagster/backfill": begun_backfill(house, ["2026-11-01"])})
    assert again.success
    assert metadata_of(again)["backup_id"] == first.backup_id
    assert metadata_of(again)["late"] is False
    assert [backup.backup_id for backup in house.catalog] == [first.backup_id]


def test_tomorrow_is_refused(house: House) -> None:
    """A dump of today under tomorrow's date would be believed the day after."""
    house.clock.at = datetime(2026, 11, 4, 9, 0, tzinfo=UTC)
    with pytest.raises(dg.DagsterUnknownPartitionError):
        house.run("daily", "2026-11-05")
    assert len(house.catalog) == 0


def test_runs_are_tagged_with_what_they_made(house: House) -> None:
    """A backup must lead to the run that made it, its log and its captured output."""
    result = house.run("daily", "2026-11-01")
    (backup,) = house.catalog
    (found,) = house.instance.get_runs(dg.RunsFilter(tags={"backup_id": backup.backup_id}))
    assert found.run_id == result.run_id
    expected = {"tier": "daily", "late": "false", "environment": "production"}
    assert expected.items() <= found.tags.items()
    assert found.tags["database"] == house.variables["POSTGRES_DB"]


def test_a_dump_that_is_cut_short_fails_the_asset_itself(house: House, tmp_path: Path) -> None:
    """A green partition that no pg_restore can read; pg_dump's exit code says nothing of it here."""
    real = Path(house.variables["PG_BIN"])
    programs = exchange(real, tmp_path, "pg_dump", f'"{real}/pg_dump" "$@" | head -c -3000')
    house.variables["PG_BIN"] = str(programs)
    result = house.run("daily", "2026-11-01")
    assert not result.success
    assert "was stored but does not verify" in failure_of(result)
    assert result.get_asset_materialization_events() == []
    key = dg.AssetKey([house.variables["POSTGRES_DB"], "daily_backup"])
    assert house.instance.get_materialized_partitions(key) == set()
    assert house.catalog.labels == {}
