"""Survey: the figures of section 9, on the right side of every threshold, in JSON and as Prometheus reads them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recyclic_backups.catalog.catalog import Backup, Catalog, Damage
from recyclic_backups.catalog.documents import Check
from recyclic_backups.defs.history.drills import drills_of
from recyclic_backups.drill.scenarios import Scenario
from recyclic_backups.errors import StorageError
from recyclic_backups.health.drill_records import DrillRecord, drill_records
from recyclic_backups.health.exposition import PREFIX, registry_of, to_prometheus
from recyclic_backups.health.finding import Level, Status
from recyclic_backups.health.judge import Facts, HealthTerms
from recyclic_backups.health.survey import Survey, survey_of
from recyclic_backups.health.thresholds import Thresholds
from recyclic_backups.postgres.slots import SlotState
from recyclic_backups.retention.policy import Retention
from recyclic_backups.texts.metrics import HELP
from recyclic_backups_tests.health.catalogs import backup, calendar, catalog, check, days, nights, paris
from recyclic_backups_tests.health.wals import base, wal

NOW = datetime(2026, 11, 22, 5, 0, tzinfo=UTC)
PLENTY = 10**13
HOUR = timedelta(hours=1)

KEYS = {
    "basic": {"total_backups", "total_size_bytes", "available_space_bytes"},
    "backup": {"latest_backup", "backup_age_hours", "backup_size_bytes"},
    "retention": {
        "daily_backups_last_24h",
        "weekly_backups_last_7d",
        "monthly_backups_last_30d",
        "old_backups_to_clean",
    },
    "health": {"health_status", "health_issues_count"},
}


def measured(found: Catalog, now: datetime = NOW, **more: Any) -> Survey:
    """The survey of a catalog, with plenty of space and default thresholds."""
    free_bytes = more.pop("free_bytes", PLENTY)
    given = {"database": "recyclic", "retention": Retention(), "thresholds": Thresholds(), **more}
    terms = HealthTerms(calendar=calendar("2026-11-01"), **given)
    return survey_of(Facts(found, free_bytes), terms, now)


def proven(found: Catalog, at: datetime = NOW - 2 * HOUR) -> Catalog:
    """The same, its newest backup proven by a restore."""
    newest, *rest = found.backups
    proof = Check("restore", newest.backup_id, at, True, proves=True)
    return replace(found, backups=(replace(newest, checks=(*newest.checks, proof)), *rest))


def month() -> Catalog:
    """Every night of November so far, the newest proven."""
    return proven(
        nights(*days("2026-11-01", "2026-11-22"), weeks=["2026-11-02=2026-11-08", "2026-11-09=2026-11-15"])
    )


def issues(metrics: Survey, level: Level | None = None) -> set[str]:
    """Names of the issues."""
    return {str(each.code) for each in metrics.findings if level is None or each.level is level}


def old(hours: float, **more: Any) -> Survey:
    """The metrics with a newest backup that old."""
    return measured(catalog(backup(NOW - hours * HOUR, check("verify", NOW), check("restore", NOW))), **more)


def test_a_good_month_is_healthy_and_has_exactly_the_documented_keys() -> None:
    """Loss prevented: a monitoring script that looks for a key and finds none."""
    metrics = measured(month())
    assert issues(metrics) == {"data_loss"}
    document = metrics.to_json()
    assert {name: set(document[name]) for name in KEYS} == KEYS
    assert document["health"] == {"health_status": "healthy", "health_issues_count": 0}
    assert document["retention"]["daily_backups_last_24h"] == 1
    assert document["retention"]["old_backups_to_clean"] == len(metrics.plan.expiring) > 0
    assert document["backup"]["backup_age_hours"] == 4.0
    assert json.loads(json.dumps(document)) == document


@pytest.mark.parametrize(
    ("hours", "status"), [(6, "healthy"), (6.01, "degraded"), (25, "degraded"), (25.01, "unhealthy")]
)
def test_age_is_judged_beyond_its_thresholds(hours: float, status: str) -> None:
    """Loss prevented: a missed night, noticed one night later."""
    assert old(hours).status.value == status


@pytest.mark.parametrize(
    ("free_bytes", "status"),
    [
        (None, "healthy"),
        (5 * 10**9, "healthy"),
        (5 * 10**9 - 1, "degraded"),
        (10**9, "degraded"),
        (10**9 - 1, "unhealthy"),
        (0, "unhealthy"),
    ],
)
def test_space_is_judged_below_its_thresholds(free_bytes: int | None, status: str) -> None:
    """Loss prevented: a disk that is full in the night."""
    assert old(1, free_bytes=free_bytes).status.value == status


def test_the_age_is_that_of_the_newest_backup_that_verified() -> None:
    """Loss prevented: a fresh file that nobody can read, counted as a recovery point."""
    whole = backup(NOW - 30 * HOUR, check("verify", NOW - 29 * HOUR), check("restore", NOW))
    for fresh in (
        backup(NOW - HOUR, plain=2000),
        backup(NOW - HOUR, check("verify", NOW, passed=False), plain=2000),
    ):
        metrics = measured(catalog(whole, fresh))
        assert metrics.to_json()["backup"]["latest_backup"] == whole.backup_id
        assert metrics.age_seconds == 30 * 3600
        assert metrics.status is Status.UNHEALTHY


def test_a_backup_of_the_future_is_no_recovery_point_of_today() -> None:
    """Loss prevented: a wrong clock for one night, then an age of nothing, on every screen, while no backup comes."""
    past = backup(NOW - 30 * HOUR, check("verify", NOW - 29 * HOUR), check("restore", NOW))
    ahead = backup(NOW + 900 * HOUR, check("verify", NOW), check("restore", NOW), plain=2000)
    metrics = measured(catalog(past, ahead))
    assert (metrics.recovery_point.verified_id, metrics.recovery_point.proven_id) == (past.backup_id,) * 2
    assert metrics.age_seconds == 30 * 3600
    assert metrics.to_json()["retention"]["daily_backups_last_24h"] == 0
    assert {"old"} <= issues(metrics, Level.CRITICAL)
    assert {"future"} <= issues(metrics, Level.WARNING)
    found = exposed(to_prometheus(metrics))
    assert found[f"{PREFIX}backup_age_seconds"][0][1] == 30 * 3600
    assert found[f"{PREFIX}latest_backup_timestamp_seconds"][0][1] == past.as_of.timestamp()
    alone = measured(catalog(ahead))
    assert {"no_verified_backup"} <= issues(alone, Level.CRITICAL)
    assert "future" in issues(alone)


def test_without_any_backup_health_is_critical_and_every_figure_is_there() -> None:
    """Loss prevented: an empty storage that answers with an error, which monitoring takes for a hiccup."""
    metrics = measured(Catalog((), {}))
    assert metrics.status is Status.UNHEALTHY
    document = metrics.to_json()
    assert {name: set(document[name]) for name in KEYS} == KEYS
    assert document["backup"]["latest_backup"] is None


def test_damage_is_said_and_is_critical_where_nothing_replaces_it() -> None:
    """Loss prevented: bits that rot, seen on the day of the restore."""
    whole = month()
    (name, problem) = ("recyclic/backups/X/manifest.json", "it is no JSON")
    assert "damaged_document" in issues(
        measured(replace(whole, damage=(Damage(name, problem),))), Level.CRITICAL
    )
    older = measured(nights(*days("2026-11-01", "2026-11-22"), damaged=["2026-11-10"]))
    assert "damaged_backup" in issues(older, Level.WARNING)
    newest = measured(nights(*days("2026-11-01", "2026-11-22"), damaged=["2026-11-22"]))
    assert "damaged_backup" in issues(newest, Level.CRITICAL)


def test_a_failed_restore_and_one_that_was_never_tried_are_said() -> None:
    """Loss prevented: backups that were believed in."""
    untried = measured(nights(*days("2026-11-01", "2026-11-22")))
    assert "never_proven" in issues(untried, Level.WARNING)
    failed = old(1)
    assert not issues(failed, Level.CRITICAL)
    broken = backup(NOW - HOUR, check("verify", NOW - HOUR), check("drill", NOW, passed=False))
    assert "restore_failed" in issues(measured(catalog(broken)), Level.CRITICAL)


def test_objectives_that_are_missed_are_warnings() -> None:
    """Loss prevented: a backup that runs into the working day, a disk filled by what no longer compresses."""

    def with_newest(**numbers: Any) -> set[str]:
        found = backup(NOW - HOUR, check("verify", NOW), check("restore", NOW))
        manifest = replace(found.manifest, **numbers)
        return issues(measured(catalog(replace(found, manifest=manifest))), Level.WARNING)

    assert with_newest() == set()
    assert with_newest(duration_seconds=1800) == {"duration"}
    stored = backup(NOW, stored=300).manifest.objects
    assert with_newest(objects=stored) == {"compression"}
    assert with_newest(compression="none") == {"not_compressed"}


def test_a_backup_without_encryption_is_critical_where_encryption_was_asked_for() -> None:
    """Loss prevented: members' data in clear, believed to be encrypted."""
    found = backup(NOW - HOUR, check("verify", NOW), check("restore", NOW))
    open_ = catalog(replace(found, manifest=replace(found.manifest, encryption=None)))
    assert issues(measured(open_), Level.CRITICAL) == {"not_encrypted"}
    relaxed = measured(open_, thresholds=Thresholds(encryption=False))
    assert issues(relaxed, Level.WARNING) == {"not_encrypted"}


def test_days_of_this_week_without_a_backup_are_missing_and_older_ones_history() -> None:
    """Loss prevented: a gap that nobody fills while it still can be; one that keeps health orange for ever."""
    there = [day for day in days("2026-11-01", "2026-11-22") if day not in ("2026-11-05", "2026-11-18")]
    metrics = measured(proven(nights(*there)))
    assert [each for each in metrics.missing_partitions if "daily" in each] == ["daily/2026-11-18"]
    assert "missing" in issues(metrics, Level.WARNING)


def test_a_drill_slower_than_its_objective_is_a_warning_and_its_figures_are_there() -> None:
    """Loss prevented: an objective that was met once, years ago, when the database was small."""
    metrics = measured(catalog(drilled(seconds=2000)))
    assert "restore_slow" in issues(metrics, Level.WARNING)
    drill = metrics.to_json()["objectives"]["drills"]["simple"]
    assert (drill["restore_seconds"], drill["restore_objective_seconds"]) == (2000, 1800)
    assert "restore_slow" not in issues(measured(catalog(drilled(seconds=1799))))


def test_a_drill_dated_ahead_hides_no_failed_one_of_today() -> None:
    """Loss prevented: a restore that fails every week, under "passed" until the date that a wrong clock once gave."""
    found = drilled(seconds=20)
    (*others, drill) = found.checks
    failed = replace(drill, passed=False, proves=False, reasons=("differs",))

    def shown(*drills: Check) -> DrillRecord:
        return measured(catalog(replace(found, checks=(*others, *drills)))).drills["simple"]

    ahead = NOW + 900 * 24 * HOUR
    assert not shown(failed, replace(drill, checked_at=ahead)).passed
    assert shown(drill, replace(failed, checked_at=ahead)).checked_at == ahead
    assert shown(failed, replace(drill, checked_at=NOW + HOUR / 60)).passed


@pytest.mark.parametrize(("leading", "counts"), [({"leading": True}, 1), ({}, 1), ({"leading": False}, 0)])
def test_health_and_dagster_know_the_same_drills(leading: dict[str, bool], counts: int) -> None:
    """Loss prevented: a drill in the figures that the history never shows, or the other way round."""
    found = drilled(seconds=20)
    (*others, drill) = found.checks
    kept = {name: value for name, value in drill.details.items() if name != "leading"}
    told = replace(drill, details={**kept, **leading, "started_at": "2026-11-22T04:00:00Z"})
    whole = catalog(replace(found, checks=(*others, told)))
    assert len(drill_records(whole)) == counts
    assert len(drills_of(whole, Scenario.SIMPLE, "recyclic")) == counts


def drilled(*, seconds: float) -> Backup:
    """A backup with a drill of it."""
    found = backup(NOW - HOUR, check("verify", NOW - HOUR))
    drill = Check(
        "drill",
        found.backup_id,
        NOW,
        True,
        proves=True,
        duration_seconds=seconds,
        details={
            "scenario": "simple",
            "leading": True,
            "restore_seconds": seconds,
            "data_loss_seconds": 7200,
            "objective": {"restore_seconds": 1800, "data_loss_seconds": 3600},
        },
    )
    return replace(found, checks=(*found.checks, drill))


def test_issues_are_said_in_french_too() -> None:
    """Loss prevented: a message that those who are woken up do not understand."""
    document = old(30, free_bytes=10**8, locale="fr").to_json()
    texts = " ".join(each["message"] for each in document["issues"])
    assert "30 h" in texts
    assert "100,0 Mo" in texts
    assert "la sauvegarde vérifiée la plus récente" in texts


def exposed(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """What Prometheus reads."""
    return {
        family.name: [(sample.labels, sample.value) for sample in family.samples]
        for family in text_string_to_metric_families(text)
    }


def test_prometheus_reads_the_same_figures() -> None:
    """Loss prevented: a dashboard that shows other figures than the command line."""
    metrics = measured(month())
    found = exposed(to_prometheus(metrics))
    assert set(found) <= {f"{PREFIX}{name}" for name in HELP}
    assert found[f"{PREFIX}old_backups_to_clean"] == [({"database": "recyclic"}, len(metrics.plan.expiring))]
    assert found[f"{PREFIX}backup_age_seconds"][0][1] == metrics.age_seconds
    assert found[f"{PREFIX}available_space_bytes"][0][1] == PLENTY
    states = {labels["status"]: value for labels, value in found[f"{PREFIX}health_status"]}
    assert states == {"healthy": 1.0, "degraded": 0.0, "unhealthy": 0.0}
    drill = exposed(to_prometheus(measured(catalog(drilled(seconds=20)))))
    assert drill[f"{PREFIX}drill_restore_seconds"] == [({"database": "recyclic", "scenario": "simple"}, 20.0)]


def test_every_metric_has_help_and_type_and_a_base_unit() -> None:
    """Loss prevented: a figure in minutes on an axis of seconds."""
    found = measured(catalog(drilled(seconds=20)))
    slot = SlotState(active=True, restart_lsn=0, wal_status="reserved", held_bytes=1, left_bytes=None)
    archived = wal(found.measured_at, base(found.measured_at - timedelta(days=1)), slot=slot)
    text = to_prometheus(replace(found, facts=replace(found.facts, wal=archived)))
    names = set(exposed(text))
    for name in names:
        assert f"# HELP {name} " in text
        assert f"# TYPE {name} gauge" in text
        assert not name.endswith(("_ms", "_minutes", "_hours", "_mb", "_percent", "_total"))
    assert names == {f"{PREFIX}{name}" for name in HELP}


def test_a_database_with_a_strange_name_does_not_break_the_format() -> None:
    """Loss prevented: one quotation mark, and no metrics at all."""
    metrics = measured(month(), database='a"b\\c\nd')
    assert exposed(to_prometheus(metrics))[f"{PREFIX}total_backups"][0][0] == {"database": 'a"b\\c\\nd'}


def test_a_storage_that_does_not_answer_is_zero_and_said() -> None:
    """Loss prevented: a dashboard that is merely empty, or a server that ends."""
    from prometheus_client import generate_latest

    told: list[str] = []

    def fail() -> Survey:
        raise StorageError("the disk is gone")

    registry = registry_of(fail, complain=lambda error: told.append(error.message))
    assert exposed(generate_latest(registry).decode()) == {f"{PREFIX}up": [({}, 0.0)]}
    assert told == ["the disk is gone"]


def test_a_moment_of_another_time_zone_measures_the_same() -> None:
    """Loss prevented: an age that is an hour off in summer."""
    here, there = measured(month(), NOW), measured(month(), paris("2026-11-22T06:00"))
    assert here.to_json() == there.to_json()
