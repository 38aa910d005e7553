"""Reports of drills: verdict, objectives, and what is recorded beside each backup."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.documents import Check
from recyclic_backups.drill.report import DrillReport, ScenarioResult
from recyclic_backups.drill.scenarios import Scenario
from recyclic_backups.fingerprint.compare import Comparison
from recyclic_backups.health.drill_records import drill_records
from recyclic_backups_tests.health.catalogs import manifest

BEGAN = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
EQUAL = Comparison()
GOOD = ScenarioResult("NEWEST", BEGAN - timedelta(hours=3), {"data": 60.0, "compare": 2.5}, comparison=EQUAL)


def report(*results: ScenarioResult) -> DrillReport:
    """Of the simple scenario."""
    return DrillReport(Scenario.SIMPLE, BEGAN, "somewhere", results)


def test_data_loss_is_reported_beside_and_never_fails_a_drill() -> None:
    """Prevents a nightly dump, which cannot lose less than a day, from keeping every drill red."""
    old = replace(GOOD, as_of=BEGAN - timedelta(days=2))
    assert report(old).passed
    assert not report(old).loss_in_bounds
    assert report(old).data_loss_seconds == 2 * 86400
    assert report(old).to_json()["objectives_met"] is False
    assert report(replace(GOOD, as_of=BEGAN - timedelta(minutes=50))).to_json()["objectives_met"] is True


def test_with_wal_the_loss_is_seconds_and_one_hour_is_met() -> None:
    """Loss prevented: an objective that is called missed each week, by a dump, where WAL keeps it."""
    old = replace(GOOD, as_of=BEGAN - timedelta(hours=20))
    with_wal = replace(report(old), wal_as_of=BEGAN - timedelta(seconds=12))
    document = with_wal.to_json()
    assert document["data_loss_seconds"] == 12
    assert document["objectives_met"] is True
    (record,) = drill_records([Backup(manifest(old.as_of), (), (with_wal.check_of(old, BEGAN),))])
    assert (record.data_loss_seconds, record.data_loss_objective_seconds, record.lost_little) == (
        12,
        3600,
        True,
    )


def test_a_restore_that_takes_too_long_fails_the_drill_and_proves_nothing() -> None:
    """Prevents a recovery that would take all day from being called rehearsed."""
    slow = replace(GOOD, phases={"data": 1801.0})
    assert not report(slow).passed
    check = report(slow).check_of(slow, BEGAN)
    assert not check.passed
    assert not check.proves


def test_one_bad_tier_fails_the_drill_and_is_recorded_beside_that_backup_alone() -> None:
    """Prevents a broken monthly backup from hiding behind a good daily one, and the good one from being blamed."""
    bad = replace(GOOD, backup_id="OLD", reasons=("public.sale: 1 row missing",))
    both = report(GOOD, bad)
    assert not both.passed
    assert both.exit_code == 80
    assert both.reasons == ("OLD: public.sale: 1 row missing",)
    assert both.check_of(GOOD, BEGAN).proves
    assert not both.check_of(bad, BEGAN).passed


def test_a_backup_without_fingerprint_may_pass_and_does_not_prove() -> None:
    """Prevents an adopted file, of which nobody knows what it held, from counting as proven."""
    unknown = replace(GOOD, comparison=Comparison(comparable=False))
    check = report(unknown).check_of(unknown, BEGAN)
    assert check.passed
    assert not check.proves


def test_damage_decides_the_exit_code() -> None:
    """Prevents damaged bytes from being reported like a slow restore."""
    assert report(replace(GOOD, reasons=("hash differs",), damaged=True)).exit_code == 40


def test_what_is_recorded_can_be_read_again() -> None:
    """Prevents drills whose record is damage to the catalog."""
    check = report(GOOD).check_of(GOOD, BEGAN)
    assert Check.from_json(check.to_json()) == check
