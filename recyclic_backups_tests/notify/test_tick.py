"""One look over plain facts: nothing here needs a storage, a clock or Dagster."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from recyclic_backups.catalog.documents import Check
from recyclic_backups.health.judge import Facts as HealthFacts
from recyclic_backups.notify.facts import (
    AlertTerms,
    AutomationFact,
    DagsterFacts,
    Facts,
    RunFact,
    StorageFacts,
    Target,
    TickFact,
)
from recyclic_backups.notify.rollback import Rollback
from recyclic_backups.notify.state import AlertState
from recyclic_backups.notify.tick import DAGSTER_GONE_AFTER, tick
from recyclic_backups.texts.language import Untranslated
from recyclic_backups_tests.health.catalogs import nights, paris
from recyclic_backups_tests.health.wals import base, wal
from recyclic_backups_tests.notify.test_findings import TERMS
from recyclic_backups_tests.notify.test_message import FRAME

NOW = paris("2026-11-01T03:00")
STORAGE = StorageFacts(health=HealthFacts(nights("2026-11-01")), rollback=Rollback())
FACTS = Facts(AlertTerms(TERMS, 3600.0, (), FRAME), STORAGE)


def failed(job: str, partition: str | None = None) -> RunFact:
    """A run of Dagster that failed an hour ago."""
    at = NOW - timedelta(hours=1)
    target = Target(job, partition)
    return RunFact((target,), "failed", at, at, run_id="r1", page="runs/r1", reason=Untranslated("no"))


BROKEN = AutomationFact("backups", "schedule", (TickFact(NOW, Untranslated("no")),))
WITH_DAGSTER = replace(
    FACTS,
    dagster=DagsterFacts(
        runs=(failed("health_job"), failed("daily_backup_job", "2026-10-31")), automation=(BROKEN,)
    ),
)
THEIRS = {"run/health_job", "tick/backups"}
OURS = "run/daily_backup_job/2026-10-31"


def keys(state: AlertState) -> set[str]:
    """What is open, of runs and ticks."""
    return {key for key in state.open.incidents if key.startswith(("run/", "tick/"))}


def test_who_looks_without_dagster_neither_resolves_nor_repeats_what_only_dagster_sees() -> None:
    """Loss prevented: 'resolved' from cron of what the sensor told, and the same told again a minute later."""
    told = tick(WITH_DAGSTER, AlertState(), NOW).state
    assert keys(told) == THEIRS | {OURS}
    for minutes in (1, 20, 40):
        by_cron = tick(FACTS, told, NOW + timedelta(minutes=minutes))
        assert by_cron.news == ()
        assert keys(by_cron.state) == THEIRS | {OURS}
    # A backup that failed is reminded of by whoever looks, until the storage has it; what Dagster sees is not.
    later = tick(FACTS, told, NOW + timedelta(hours=24))
    reminded = {each.key for one in later.news if one.change == "reminded" for each in one.incidents}
    assert reminded & {*THEIRS, OURS} == {OURS}
    # Dagster was given up.
    gone = tick(FACTS, told, NOW + DAGSTER_GONE_AFTER + timedelta(minutes=1))
    assert keys(gone.state) == {OURS}


@pytest.mark.parametrize("part", ["runs", "automation"])
def test_what_cannot_be_read_of_a_new_dagster_is_told_and_takes_nothing_back(part: str) -> None:
    """Loss prevented: silence about everything, or 'resolved', because a question cannot be asked any more."""
    told = tick(WITH_DAGSTER, AlertState(), NOW).state
    dagster = WITH_DAGSTER.dagster
    assert dagster is not None
    unread = DagsterFacts(
        runs=None if part == "runs" else dagster.runs,
        automation=None if part == "automation" else dagster.automation,
        broken={part: "KeyError"},
    )
    after = tick(replace(FACTS, dagster=unread), told, NOW + timedelta(minutes=20))
    assert keys(after.state) == keys(told)
    assert [each.change for each in after.news] == ["opened"]
    (incident,) = after.news[0].incidents
    assert incident.key.startswith("look/")
    assert "unexpected error, KeyError" in incident.problem.facts["reason"]


def test_a_base_backup_and_a_drill_of_wal_that_failed_are_told_until_the_storage_has_them() -> None:
    """Loss prevented: "resolved" that never comes, as their work lies beside base backups; or by another's drill."""

    def drilled(database: str) -> HealthFacts:
        details = {"scenario": "pitr", "started_at": "x", "database": database}
        taken = base(NOW + timedelta(minutes=10))
        check = Check("drill", taken.base_id, NOW + timedelta(minutes=20), True, proves=True, details=details)
        archive = wal(NOW + timedelta(minutes=30), replace(taken, checks=(*taken.checks, check)))
        return HealthFacts(nights("2026-11-01"), wal=archive)

    runs = (failed("base_backup_job"), failed("drill_pitr_job"))
    state = tick(replace(FACTS, dagster=DagsterFacts(runs=runs)), AlertState(), NOW).state
    told = {key: each.problem for key, each in state.open.incidents.items() if key.endswith(("job", "pitr"))}
    assert {key: (each.kind, each.severity.value) for key, each in told.items()} == {
        "run/base_backup_job": ("base backup failed", "warning"),
        "drill/pitr": ("drill failed", "critical"),
    }

    def by_cron(health: HealthFacts) -> set[str]:
        found = state
        for minutes in (30, 45):
            facts = replace(FACTS, storage=StorageFacts(health=health, rollback=Rollback()))
            found = tick(facts, found, NOW + timedelta(minutes=minutes)).state
        return told.keys() & found.open.incidents.keys()

    assert by_cron(HealthFacts(nights("2026-11-01"))) == told.keys()
    assert by_cron(drilled("other")) == {"drill/pitr"}
    assert by_cron(drilled(TERMS.database)) == set()
