"""Run a drill from beginning to end: find a place, bring backups back, judge, and write it down beside them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from recyclic_backups.audit.log import audited
from recyclic_backups.base_backup.verify import record_base_check
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.record import record_check
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.drill.full import run_full
from recyclic_backups.drill.partial import run_partial
from recyclic_backups.drill.pitr import PointInTime, choose_backup, run_pitr
from recyclic_backups.drill.plan import DrillPlan
from recyclic_backups.drill.probes import load_probes
from recyclic_backups.drill.report import DrillReport, ScenarioResult
from recyclic_backups.drill.scenarios import Scenario
from recyclic_backups.drill.server import drill_server
from recyclic_backups.drill.simple import DrillContext, newest_of_each_tier, run_simple
from recyclic_backups.dump.verify import record_damage
from recyclic_backups.errors import DamagedData
from recyclic_backups.health.assess import read_wal
from recyclic_backups.progress import SILENT, Progress


def drill(
    scenario: Scenario,
    repository: Repository,
    plan: DrillPlan,
    *,
    clock: Callable[[], datetime],
    backup_id: str | None = None,
    progress: Progress = SILENT,
) -> DrillReport:
    """Rehearse a scenario with the newest backup (``simple``: of every tier), or with the one that is named.

    The verdict is recorded in each backup's ``checks/``. Raises what kept the drill from running, which is no verdict:
    RecoveryError without backups, ProgramMissing, Refused, DatabaseError, StorageError, NoUsableKey.
    """
    with audited(repository, "drill", clock, details={"scenario": str(scenario)}, required=False) as entry:
        started_at = clock()
        catalog = load_catalog(repository)
        catalog = catalog.for_latest(started_at) if backup_id is None else catalog
        if scenario is Scenario.PITR:
            report = _point_in_time(repository, plan, catalog, backup_id, clock, progress)
            entry.backup_id = report.newest.backup_id
            entry.outcome = "passed" if report.passed else "not passed"
            return report
        newest = catalog.find("latest" if backup_id is None else backup_id)
        wal_as_of = (
            None if plan.wal is None else read_wal(repository, catalog, plan.wal, started_at).reaches_until
        )
        backups = [newest]
        if scenario is Scenario.SIMPLE and backup_id is None:
            backups = _newest_first(newest_of_each_tier(catalog.sound), newest)
        probes = load_probes(plan.probes)
        with drill_server(plan.placement, [backup.manifest for backup in backups]) as place:
            options = replace(plan.options, disarm_roles=not place.throwaway)
            context = DrillContext(repository, place, options, probes, clock, progress)
            results = tuple(_rehearse(scenario, context, plan, backup) for backup in backups)
            unloaded = f"the drill's server: {place.unloaded}" if place.unloaded else ""
            for note in (place.lacking, unloaded):
                if note:
                    results = tuple(replace(each, notes=(*each.notes, note)) for each in results)
            if backup_id is None and catalog.passed_over:
                over = ", ".join(each.backup_id for each in catalog.passed_over)
                note = f"passed over, for the last check found them damaged: {over}"
                results = (replace(results[0], notes=(*results[0].notes, note)), *results[1:])
            report = DrillReport(scenario, started_at, place.label, results, wal_as_of)
        for backup, result in zip(backups, results, strict=True):
            if result.damaged:
                record_damage(repository, backup, DamagedData(result.reasons[0]), "drill", clock())
            record_check(repository, report.check_of(result, clock()), backup.manifest)
        entry.backup_id = report.newest.backup_id
        entry.outcome = "passed" if report.passed else "not passed"
    return report


def _point_in_time(
    repository: Repository,
    plan: DrillPlan,
    catalog: Catalog,
    backup_id: str | None,
    clock: Callable[[], datetime],
    progress: Progress,
) -> DrillReport:
    """Recover from WAL. The verdict is the base backup's: of the dump it says nothing, since nobody restored that."""
    started_at = clock()
    scratch = plan.placement.scratch or Path(tempfile.gettempdir())
    context = PointInTime(repository, plan.options, scratch, clock, progress)
    backup, found, windows = choose_backup(context, catalog, backup_id)
    progress.stage(f"drill pitr: {backup.backup_id}")
    result = run_pitr(context, backup, found, windows)
    reached = windows[-1].ends_at
    report = DrillReport(Scenario.PITR, started_at, "a throwaway server of this machine", (result,), reached)
    base = found.bases.by_id.get(str(result.details.get("base_id", ""))) or windows[-1].bases[-1]
    check = replace(report.check_of(result, clock()), backup_id=base.base_id)
    record_base_check(found.archive, check, base)
    return report


def _rehearse(scenario: Scenario, context: DrillContext, plan: DrillPlan, backup: Backup) -> ScenarioResult:
    context.progress.stage(f"drill {scenario}: {backup.backup_id}")
    if scenario is Scenario.SIMPLE:
        return run_simple(context, backup)
    if scenario is Scenario.PARTIAL:
        return run_partial(context, backup)
    return run_full(context, plan.placement, backup, plan.access)


def _newest_first(chosen: Sequence[Backup], newest: Backup) -> list[Backup]:
    """The newest backup first, also where it is of no tier."""
    return [newest, *(backup for backup in chosen if backup.backup_id != newest.backup_id)]
