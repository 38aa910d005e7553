"""One code location, two databases, two storages: neither hides the other's gap, failure, run, history or alert."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import TickStatus

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.config.load import load_settings
from recyclic_backups.definitions import definitions_in
from recyclic_backups.defs.database import Database, Environment
from recyclic_backups.defs.facts import read_dagster
from recyclic_backups.defs.runs import work_of
from recyclic_backups.errors import ConfigurationError
from recyclic_backups.notify.state import AlertState
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.defs.conftest import BEGINNING, Clock, House, elsewhere, quick_variables
from recyclic_backups_tests.defs.test_alerts import Looks, by_page, failed_run, ticks_of
from recyclic_backups_tests.defs.test_catalog_sync import evaluations, materializations, synchronize
from recyclic_backups_tests.defs.test_missed_backups import in_work, requested
from recyclic_backups_tests.notify.receivers import Web, bot

__all__ = ["bot"]

FIRST = "2026-11-01"


@pytest.fixture
def both(
    cluster: ScratchCluster, database: str, scratch_directory: Path, bot: Web
) -> Iterator[tuple[House, House]]:
    """Two databases of one server in one real instance of Dagster, each with its storage and its chat."""
    second = f"{database}_crm"
    with cluster.server.connect("postgres") as connection:
        connection.execute(f'CREATE DATABASE "{second}" TEMPLATE template0')
    try:
        with TemporaryDirectory(dir=scratch_directory) as folder:
            settings = {"telemetry": {"enabled": False}}
            with dg.DagsterInstance.local_temp(folder, settings) as instance:
                clock, houses = Clock(BEGINNING), []
                for chat, name in enumerate((database, second), start=1):
                    variables = quick_variables(cluster, name, Path(folder) / f"storage of {name}")
                    variables["NOTIFICATION_TELEGRAM_TOKEN"] = f"{chat}:a-token-of-a-test"
                    variables["NOTIFICATION_TELEGRAM_CHAT_ID"] = str(chat)
                    houses.append(House(variables, clock, instance, Path(folder)))
                one, other = houses
                one.neighbours, other.neighbours = [other], [one]
                yield one, other
    finally:
        with cluster.server.connect("postgres") as connection:
            connection.execute(f'DROP DATABASE "{second}" WITH (FORCE)')


def tag(house: House) -> dict[str, str]:
    """How Dagster knows whose a run is: each run of a job gets the job's tags."""
    return {"database": house.variables["POSTGRES_DB"]}


def test_each_database_has_all_definitions_under_names_of_its_own(both: tuple[House, House]) -> None:
    """Loss prevented: a second database that replaces the first in Dagster, or that Dagster does not load."""
    one = both[0]
    definitions = one.definitions
    dg.Definitions.validate_loadable(definitions)
    alone = definitions_in(one.environment)
    repository, plain = definitions.get_repository_def(), alone.get_repository_def()
    names = [house.variables["POSTGRES_DB"] for house in both]
    for found, expected in (
        ({each for each in repository.job_names if each != "__ASSET_JOB"}, set(plain.job_names)),
        ({each.name for each in repository.schedule_defs}, {each.name for each in plain.schedule_defs}),
        ({each.name for each in repository.sensor_defs}, {each.name for each in plain.sensor_defs}),
    ):
        assert found == {f"{each}__{name}" for each in expected - {"__ASSET_JOB"} for name in names}
    keys = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    theirs = {key.path[1] for key in alone.resolve_asset_graph().get_all_asset_keys()}
    assert keys == {f"{name}/{each}" for each in theirs for name in names}
    for job in repository.get_all_jobs():
        if job.name != "__ASSET_JOB":
            assert job.tags["database"] == job.name.partition("__")[2]


def test_a_run_of_one_database_does_not_hide_the_gap_of_the_other(both: tuple[House, House]) -> None:
    """Loss prevented: a night without a backup because another database's backup was running."""
    one, other = both
    one.clock.at += timedelta(minutes=30)
    in_work(one, FIRST, dg.DagsterRunStatus.STARTED, job=one.named("daily_backup_job"))
    in_work(one, FIRST, dg.DagsterRunStatus.STARTED, job="daily_backup_job", more_tags=tag(one))
    page = frozenset({dg.AssetKey([one.variables["POSTGRES_DB"], "daily_backup"])})
    in_work(one, FIRST, dg.DagsterRunStatus.STARTED, job="__ASSET_JOB", asset_selection=page)
    assert requested(one.evaluate("missed_backups")) == []
    data = other.evaluate("missed_backups")
    assert requested(data) == [(other.named("daily_backup_job"), FIRST)]
    assert other.run("daily", FIRST, data.run_requests[0].tags).success
    assert len(other.catalog) == 1
    assert len(one.catalog) == 0
    # The command that fills an older gap names the job of this database, which is the only one there is.
    elsewhere(other, Tier.WEEKLY, "2026-10-26")
    elsewhere(other, Tier.MONTHLY, FIRST)
    one.clock.at += timedelta(days=3)
    elsewhere(other, Tier.DAILY, "2026-11-04")
    command = f"-j {other.named('daily_backup_job')} --from 2026-11-02 --to 2026-11-03"
    assert command in other.evaluate("missed_backups").skip_message


def test_each_alert_tells_the_failures_of_its_own_database(both: tuple[House, House], bot: Web) -> None:
    """Loss prevented: a failed backup made up for by another database's success, or told to the wrong people."""
    one, other = both
    looks = [Looks(house) for house in both]
    for house in both:
        elsewhere(house, Tier.DAILY, "2026-10-31")
    for look in looks:
        look.look()
    begin = len(bot.bodies)
    one.variables["POSTGRES_PASSWORD"] = one.variables["POSTGRES_USER"] = "nobody"
    assert not one.run("daily", FIRST).success
    assert other.run("daily", FIRST).success
    failed_run(other, other.named("health_job"), **tag(other))
    by_page(other, FIRST, asset="weekly_backup")
    mine, theirs = (look.look() for look in looks)
    keys = [{key for key in look.facts if key.startswith("run/")} for look in looks]
    assert keys == [{f"run/daily_backup_job/{FIRST}"}, {"run/health_job", f"run/weekly_backup_job/{FIRST}"}]
    assert "failed" in mine
    assert "nobody" not in theirs
    assert mine != theirs
    messages = [json.loads(body) for body in bot.bodies[begin:]]
    told = {
        chat: "".join(each["text"] for each in messages if each["chat_id"] == chat) for chat in ("1", "2")
    }
    assert f"The daily backup of {FIRST} failed" in told["1"]
    assert "health_job" not in told["1"]
    assert "health_job failed" in told["2"]
    assert "daily backup" not in told["2"]
    # What the other database's success does not solve, its own does.
    del one.variables["POSTGRES_PASSWORD"]
    one.variables |= {name: other.variables[name] for name in ("POSTGRES_PASSWORD", "POSTGRES_USER")}
    one._loaded.clear()
    looks[0].look()
    assert f"run/daily_backup_job/{FIRST}" in looks[0].facts
    assert one.run("daily", FIRST).success
    looks[0].look()
    looks[0].look(after=timedelta(hours=1))
    assert f"run/daily_backup_job/{FIRST}" not in looks[0].facts
    assert "run/health_job" in looks[1].facts


def test_each_sensor_tells_the_history_of_its_own_storage(both: tuple[House, House]) -> None:
    """Loss prevented: a backup shown for a database that does not have it, or shown nowhere."""
    one, other = both
    mine = elsewhere(one, Tier.DAILY, FIRST)
    theirs = elsewhere(other, Tier.DAILY, "2026-10-31")
    in_work(other, FIRST, dg.DagsterRunStatus.STARTED, job=other.named("daily_backup_job"))
    one.clock.at += timedelta(minutes=5)
    for house in both:
        synchronize(house)
    for house, done, partition in ((one, mine, FIRST), (other, theirs, "2026-10-31")):
        (told,) = materializations(house)
        assert (told.partition, told.metadata["backup_id"].value) == (partition, done.backup.backup_id)
        assert {each[0] for each in evaluations(house, "integrity")} == {partition}
    reporters = {
        run.job_name: run.tags["database"] for run in one.instance.get_runs() if "sync" in run.job_name
    }
    assert reporters == {house.named("catalog_sync"): house.variables["POSTGRES_DB"] for house in both}


def test_a_storage_that_is_gone_stops_the_sensors_of_its_database_only(both: tuple[House, House]) -> None:
    """Loss prevented: one disk that is not mounted, and nobody's gaps are found any more."""
    one, other = both
    for house in both:
        elsewhere(house, Tier.DAILY, "2026-10-31")
    cursors = {house.named("x"): house.evaluate("missed_backups").cursor for house in both}
    storage = Path(one.variables["BACKUP_STORAGE"].removeprefix("file://"))
    storage.rename(storage.with_name("unmounted"))
    one.clock.at += timedelta(minutes=30)
    with pytest.raises(Exception, match="storage"):
        one.evaluate("missed_backups", cursors[one.named("x")])
    data = other.evaluate("missed_backups", cursors[other.named("x")])
    assert requested(data) == [(other.named("daily_backup_job"), FIRST)]


def database_of(name: str, *others: str) -> Database:
    """A database of a code location, for the names that it has there."""
    settings = load_settings({"POSTGRES_DB": name, "BACKUP_START_DATE": "2026-01-01"})
    return Database(settings, Environment(), frozenset(others))


def test_names_come_back_from_the_names_that_were_made() -> None:
    """Loss prevented: a database called 'b' that takes the runs of one called 'a__b' for its own."""
    one, other, alone = database_of("b", "a__b"), database_of("a__b", "b"), database_of("b")
    assert one.named("health_job") == "health_job__b"
    assert other.named("health_job") == "health_job__a__b"
    assert alone.named("health_job") == "health_job"
    assert [each.plain("health_job__b") for each in (one, other, alone)] == ["health_job", None, "health_job"]
    assert [each.plain("health_job__a__b") for each in (one, other)] == [None, "health_job"]
    assert one.plain("their_own_job") == "their_own_job"


def test_a_run_is_of_the_database_that_its_tag_or_its_assets_name() -> None:
    """Loss prevented: with two code locations in one Dagster, each telling, or made up for by, the other's runs."""
    one, alone = database_of("app", "crm"), database_of("app")

    def run(job: str, **given: Any) -> dg.DagsterRun:
        return dg.DagsterRun(job_name=job, **given)

    def assets(*paths: str) -> frozenset[dg.AssetKey]:
        return frozenset(dg.AssetKey(path.split("/")) for path in paths)

    for database in (one, alone):
        assert work_of(run("daily_backup_job", tags={"database": "app"}), database) == ("daily_backup_job",)
        assert work_of(run("daily_backup_job", tags={"database": "crm"}), database) == ()
        selected = assets("app/daily_backup")
        assert work_of(run("__ASSET_JOB", asset_selection=selected), database) == ("daily_backup_job",)
    both_assets = assets("app/daily_backup", "crm/daily_backup", "theirs")
    assert work_of(run("__ASSET_JOB", asset_selection=both_assets), one) == ("daily_backup_job", "theirs")
    assert work_of(run("__ASSET_JOB", asset_selection=assets("crm/daily_backup")), one) == ()
    check = frozenset({dg.AssetCheckKey(dg.AssetKey(["crm", "daily_backup"]), "age")})
    assert work_of(run("__ASSET_JOB", asset_check_selection=check), one) == ()
    assert work_of(run("__ASSET_JOB", asset_check_selection=check), replace(one, others=frozenset())) == (
        "checks",
    )


def test_two_databases_of_one_name_are_refused() -> None:
    """Loss prevented: two servers with a database 'app', of which one has no assets."""
    settings = load_settings({"POSTGRES_DB": "app", "BACKUP_START_DATE": "2026-01-01"})
    with pytest.raises(ConfigurationError, match="are called app"):
        definitions_in(Environment(lambda: settings), Environment(lambda: settings))


def test_alerts_that_fail_are_told_by_those_of_the_other_database(tmp_path: Path) -> None:
    """Loss prevented: a sensor that nobody hears of, since it is the one that tells people."""
    with dg.DagsterInstance.local_temp(str(tmp_path), {"telemetry": {"enabled": False}}) as instance:
        for name in ("alerts__app", "alerts__crm", "missed_backups__app", "missed_backups__crm"):
            tick = ticks_of(instance, name, datetime.now(UTC))
            for minute in range(3):
                tick(TickStatus.FAILURE, minute)
        for own, other in (("app", "crm"), ("crm", "app")):
            found = read_dagster(instance, database_of(own, other), "alerts", AlertState()).automation
            assert {each.name for each in found or ()} == {f"missed_backups__{own}", f"alerts__{other}"}


def test_of_the_wal_of_their_server_one_tells_and_the_other_as_soon_as_that_one_does_not_look(
    both: tuple[House, House],
) -> None:
    """Loss prevented: each alarm twice until nobody reads them; or none, since the one that tells was switched off."""
    one, other = both
    shared = {
        "WAL_ARCHIVE": "true",
        "BACKUP_STORAGE": one.variables["BACKUP_STORAGE"],
        "NOTIFICATION_TELEGRAM_TOKEN": "1:a-token-of-a-test",
    }

    def told() -> list[bool]:
        """Who of them tells of WAL now, each looking for the first time."""
        looks = [Looks(house) for house in both]
        for each in looks:
            each.look()
        return ["wal" in each.kinds for each in looks]

    for house in both:
        elsewhere(house, Tier.DAILY, FIRST)
        house.variables |= shared
    tick = ticks_of(one.instance, one.named("alerts"), one.clock.at)
    assert told() == [True, True], "each has its chat, and the first one's sensor has not looked yet"
    tick(TickStatus.SKIPPED, 0)
    assert told() == [True, True], "each has its chat"
    other.variables["NOTIFICATION_TELEGRAM_CHAT_ID"] = one.variables["NOTIFICATION_TELEGRAM_CHAT_ID"]
    assert told() == [True, False]
    one.clock.at += timedelta(minutes=20)
    assert told() == [True, True], "the first one's sensor does not look any more"
