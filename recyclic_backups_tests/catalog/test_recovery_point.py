"""The recovery point: the newest moment from which the database can come back, and nothing newer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.proof import last_proof, unproven_since
from recyclic_backups.catalog.recovery_point import recovery_point
from recyclic_backups_tests.health.catalogs import days, nights, paris


def test_the_newest_verified_and_the_newest_proven_backup_are_found() -> None:
    """Loss prevented: a promise in a message that a restore does not keep."""
    now = paris("2026-11-03T12:00")
    catalog = nights(*days("2026-11-01", "2026-11-03"), damaged=["2026-11-03"])
    assert recovery_point(catalog, now).verified_as_of == paris("2026-11-02T02:00")
    assert recovery_point(catalog, now).proven_as_of is None
    oldest = catalog.backups[-1]
    proof = Check("drill", oldest.backup_id, paris("2026-11-01T05:00"), passed=True, proves=True)
    proven = replace(
        catalog, backups=(*catalog.backups[:-1], replace(oldest, checks=(*oldest.checks, proof)))
    )
    assert recovery_point(proven, now).proven_as_of == paris("2026-11-01T02:00")
    assert recovery_point(proven, paris("2026-11-01T04:00")).proven_as_of is None  # by a clock that was ahead
    assert recovery_point(Catalog((), {}), now).verified_as_of is None
    assert recovery_point(catalog, paris("2026-11-01T12:00")).verified_as_of == paris("2026-11-01T02:00")


def test_a_proof_dated_ahead_proves_nothing_and_hides_no_true_one() -> None:
    """Loss prevented: one drill under a wrong clock, and "proven" for 300 days; or no proof at all after a true one."""
    now = paris("2026-11-03T12:00")
    catalog = nights(*days("2026-11-01", "2026-11-03"))
    newest, middle, oldest = catalog.backups

    def proved(at: str, backup_id: str) -> Check:
        return Check("drill", backup_id, paris(at), passed=True, proves=True)

    ahead = proved("2027-08-30T05:00", newest.backup_id)
    true = proved("2026-11-02T05:00", middle.backup_id)
    later = proved("2027-08-30T05:00", middle.backup_id)
    alone = replace(newest, checks=(*newest.checks, ahead))
    found = replace(catalog, backups=(alone, middle, oldest))
    assert recovery_point(found, now).proven_id == ""
    assert last_proof(found, now) is None
    assert unproven_since(found, now) == oldest.manifest.taken_at
    found = replace(catalog, backups=(alone, replace(middle, checks=(*middle.checks, true, later)), oldest))
    point = recovery_point(found, now)
    assert (point.proven_id, point.proven_at) == (middle.backup_id, true.checked_at)
    assert point.age_seconds(now) == timedelta(hours=10).total_seconds()
