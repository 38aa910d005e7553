"""What Dagster loads: every asset, check, job and schedule by name, and nothing that is not meant."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

import recyclic_backups
from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.config.load import load_settings
from recyclic_backups.config.settings import Settings
from recyclic_backups.definitions import definitions_in
from recyclic_backups.defs.database import Database, Environment
from recyclic_backups.defs.partitions import SCHEDULED_TIERS, partitions_of
from recyclic_backups.errors import ConfigurationError

TIERS = ("daily", "weekly", "monthly")
SCENARIOS = ("simple", "partial", "full")
CHECKS = ("integrity", "age", "encrypted", "size", "compression", "duration", "timeliness", "proven")


def loaded(settings: Settings) -> dg.Definitions:
    """The definitions of those settings."""
    return definitions_in(Environment(lambda: settings))


def test_exactly_the_documented_definitions_are_loaded(offline: Settings) -> None:
    """A definition that is lost in a refactoring would be a backup that is silently not taken any more."""
    definitions = loaded(offline)
    dg.Definitions.validate_loadable(definitions)
    graph = definitions.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {
        *(f"recyclic/{tier}_backup" for tier in TIERS),
        *(f"recyclic/drill_{scenario}" for scenario in SCENARIOS),
        "recyclic/expired_backups",
        "recyclic/retention_review",
        "recyclic/backup_metrics",
    }
    assert {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys} == {
        *((f"recyclic/{tier}_backup", name) for tier in TIERS for name in CHECKS),
        *((f"recyclic/drill_{scenario}", "passed") for scenario in SCENARIOS),
        *(("recyclic/backup_metrics", name) for name in ("disk_space", "availability", "anomalies")),
        ("recyclic/expired_backups", "promises"),
    }
    repository = definitions.get_repository_def()
    jobs = {"daily_backup_job", "weekly_backup_job", "monthly_backup_job", "health_job"}
    jobs |= {"metric_verification_job", "retention_job", "retention_review_job"}
    jobs |= {f"drill_{scenario}_job" for scenario in SCENARIOS}
    assert set(repository.job_names) - {"__ASSET_JOB"} == jobs
    assert {each.name for each in repository.schedule_defs} == {
        f"{job.removesuffix('_job')}_schedule" for job in jobs
    }
    assert {each.name for each in repository.sensor_defs} == {
        "missed_backups",
        "catalog_sync",
        "alerts",
        "disk_space",
    }
    assert all((each.minimum_interval_seconds or 0) >= 60 for each in repository.sensor_defs)


@pytest.mark.parametrize("tier", TIERS)
def test_a_job_runs_the_asset_with_all_its_checks_and_a_time_limit(offline: Settings, tier: str) -> None:
    """A backup whose job leaves the checks out is one that nobody looks at."""
    job = loaded(offline).resolve_job_def(f"{tier}_backup_job")
    assert {key.name for key in job.asset_layer.asset_graph.asset_check_keys} == set(CHECKS)
    assert {key.path[-1] for key in job.asset_layer.executable_asset_keys} == {f"{tier}_backup"}
    assert job.executor_def is dg.in_process_executor
    assert int(job.tags["dagster/max_runtime"]) > offline.timeout_seconds


def test_the_daily_backup_leaves_the_queue_before_those_that_promote_it(offline: Settings) -> None:
    """Two ticks at one instant, as in the night without 02:00, must not promote Saturday's backup for Sunday's."""
    priorities = [
        int(loaded(offline).resolve_job_def(f"{tier}_backup_job").tags["dagster/priority"]) for tier in TIERS
    ]
    assert priorities == sorted(priorities, reverse=True)
    assert len(set(priorities)) == len(TIERS)


def test_weeks_and_months_come_from_the_days_inside_them(offline: Settings) -> None:
    """Lineage that points at another week would send an operator to the wrong backup."""
    graph = loaded(offline).resolve_asset_graph()
    daily = graph.get(dg.AssetKey(["recyclic", "daily_backup"]))
    for tier, key, first, last in (
        ("weekly", "2026-11-16", "2026-11-16", "2026-11-22"),
        ("monthly", "2026-11-01", "2026-11-01", "2026-11-30"),
    ):
        node = graph.get(dg.AssetKey(["recyclic", f"{tier}_backup"]))
        assert node.parent_keys == {daily.key}
        mapping = node.partition_mappings[daily.key]
        assert node.partitions_def
        assert daily.partitions_def
        with dg.partition_loading_context(effective_dt=datetime(2026, 12, 24, tzinfo=UTC)):
            days = mapping.get_upstream_mapped_partitions_result_for_partitions(
                downstream_partitions_subset=node.partitions_def.subset_with_partition_keys([key]),
                downstream_partitions_def=node.partitions_def,
                upstream_partitions_def=daily.partitions_def,
            ).partitions_subset.get_partition_keys()
        assert (min(days), max(days)) == (first, last)


@pytest.mark.parametrize("zone", ["Europe/Paris", "America/New_York", "Pacific/Auckland"])
@pytest.mark.parametrize(
    "moment",
    [
        "2026-03-29T02:00",  # clocks go forward in Paris
        "2026-10-25T02:30",  # and back: this time comes twice
        "2026-11-01T00:00",  # Sunday, first of the month, clocks go back in New York
        "2026-11-22T23:59",
        "2027-01-01T00:00",
    ],
)
def test_partition_keys_are_those_of_the_calendar(zone: str, moment: str) -> None:
    """The command line and Dagster would label the same night differently."""
    timezone = ZoneInfo(zone)
    now = datetime.fromisoformat(moment).replace(tzinfo=timezone)
    calendar = Calendar(timezone, date(2026, 1, 1), 2, 0)
    for tier in SCHEDULED_TIERS:
        theirs = partitions_of(calendar, tier)
        with dg.partition_loading_context(effective_dt=now):
            assert list(theirs.get_partition_keys()) == calendar.partitions(tier, now)


def test_any_database_and_host_make_valid_names() -> None:
    """A database called caf-é.prod is a database too."""
    settings = load_settings({"POSTGRES_DB": "café prod", "POSTGRES_HOST": "/var/run/postgresql"})
    dg.Definitions.validate_loadable(loaded(settings))
    assert Database(settings, Environment()).pool == "backup__var_run_postgresql_5432"


def test_schedules_and_sensors_are_on_by_themselves_in_production_only(offline: Settings) -> None:
    """Forgetting to switch a schedule on is how backups are never taken; a laptop needs none."""
    for environment, expected in (
        ("production", "RUNNING"),
        ("staging", "STOPPED"),
        ("development", "STOPPED"),
    ):
        settings = replace(offline, environment=environment)  # type: ignore[arg-type]
        repository = loaded(settings).get_repository_def()
        assert {each.default_status.value for each in repository.schedule_defs} == {expected}
        assert {each.default_status.value for each in repository.sensor_defs} == {expected}


def test_the_health_job_asks_every_tier_what_only_time_changes(offline: Settings) -> None:
    """Reading a whole backup again every hour would be a load; a tier left out one that grows old unseen."""
    job = loaded(offline).resolve_job_def("health_job")
    assert {(key.asset_key.path[-1], key.name) for key in job.asset_layer.asset_graph.asset_check_keys} == {
        *((f"{tier}_backup", name) for tier in TIERS for name in ("age", "proven")),
        *(("backup_metrics", name) for name in ("disk_space", "availability", "anomalies")),
    }
    assert job.partitions_def is None
    schedule = loaded(offline).resolve_schedule_def("health_schedule")
    assert schedule.cron_schedule == "10 * * * *"
    data = schedule.evaluate_tick(dg.build_schedule_context(scheduled_execution_time=datetime.now(UTC)))
    assert len(data.run_requests or []) == 1


def test_wrong_settings_are_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An operator who reads a stack trace instead fixes nothing."""
    from recyclic_backups.definitions import defs

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BACKUP_TIME", "25")
    monkeypatch.setenv("BACKUP_ENCRYPTION_KEY", "tooshort")
    with pytest.raises(ConfigurationError) as caught:
        defs()
    assert "BACKUP_TIME" in str(caught.value)
    assert "Hint:" in str(caught.value)
    assert "tooshort" not in str(caught.value)


def test_only_the_dagster_door_imports_dagster() -> None:
    """The command line must restore where Dagster is broken or not installed (invariant 3)."""
    package = Path(recyclic_backups.__file__).parent
    importing = {
        path.relative_to(package).parts[0]
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in _imported(node)
        if name.split(".")[0].startswith("dagster")
    }
    assert importing == {"defs", "definitions.py"}


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def test_every_calendar_tier_has_an_asset() -> None:
    """A tier added to the calendar alone would have no backups."""
    assert set(SCHEDULED_TIERS) == {tier for tier in Tier if tier.has_calendar}


def test_one_file_alone_uses_what_dagster_does_not_promise_to_keep() -> None:
    """Loss prevented: a new Dagster that breaks something in a file where nobody looks for it."""
    private = re.compile(r"^\s*(?:from|import) dagster(?:_shared)?\._", re.MULTILINE)
    package = Path(recyclic_backups.__file__).parent
    found = {path.name for path in package.rglob("*.py") if private.search(path.read_text())}
    assert found == {"facts.py"}


def test_the_report_is_linked_where_somebody_looks_first(offline: Settings) -> None:
    """Loss prevented: squares and checks, and nobody who finds the one page that says whether we are safe."""
    page = "/srv/a b/recyclic/report.html"
    for url, expected in (("https://b.example.org/", "https://b.example.org/report"), ("", page)):
        settings = replace(offline, dagster_url=url, storage_url="file:///srv/a%20b")
        definitions = loaded(settings)
        graph = definitions.resolve_asset_graph()
        for name in ("daily_backup", "weekly_backup", "monthly_backup", "backup_metrics"):
            description = graph.get(dg.AssetKey(["recyclic", name])).description or ""
            assert expected in description
            assert page in description
        for name in ("daily_backup_job", "health_job", "retention_job", "drill_simple_job"):
            assert definitions.resolve_job_def(name).metadata["report"].value == expected
