"""Drills run by the command line or elsewhere, reported into the history of the drill assets, each once.

What Dagster already knows is told by the data version of an asset's newest materialization: when that drill began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import dagster as dg

from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.why import why_text
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.drills.assets import VERDICT, comparison_table
from recyclic_backups.defs.runs import is_in_work
from recyclic_backups.drill.scenarios import Scenario
from recyclic_backups.foreign_text import in_a_sentence, markdown
from recyclic_backups.health.drill_records import HasChecks, is_about, tells_of_a_drill

_DATA_VERSION_TAG = "dagster/data_version"


def drills_elsewhere(
    backups: Sequence[HasChecks], instance: dg.DagsterInstance, database: Database
) -> Iterator[Sequence[dg.AssetMaterialization | dg.AssetCheckEvaluation]]:
    """Events for every drill that is newer than what the history of its scenario ends with, oldest first.

    ``backups`` are those of the database, and base backups of its server: beside them lies what ``drill pitr`` found.

    A scenario with a run under way is left for later: that run will tell of its drill itself.
    """
    for scenario in Scenario:
        name = f"drill_{scenario}"
        key = database.key(name)
        if is_in_work(instance, database, name):
            continue
        known = _known(instance, key)
        for check in drills_of(backups, scenario, database.settings.database):
            if str(check.figures["started_at"]) > known:
                yield _events(key, check)


def drills_of(backups: Iterable[HasChecks], scenario: Scenario, database: str) -> list[Check]:
    """The drills of a scenario as their newest backup tells of them, oldest first. Pure."""
    found = [
        check
        for backup in backups
        for check in backup.checks
        if tells_of_a_drill(check)
        and is_about(check, database)
        and check.figures.get("scenario") == scenario
        and isinstance(check.figures.get("started_at"), str)
    ]
    return sorted(found, key=lambda check: str(check.figures["started_at"]))


def _known(instance: dg.DagsterInstance, key: dg.AssetKey) -> str:
    event = instance.get_latest_materialization_event(key)
    materialization = None if event is None else event.asset_materialization
    return "" if materialization is None else (materialization.tags or {}).get(_DATA_VERSION_TAG, "")


def _events(key: dg.AssetKey, check: Check) -> list[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    figures, details = check.figures, {} if check.is_closed else check.details
    verdict = "passed" if check.passed else "FAILED: " + in_a_sentence(why_text(check))
    numbers = {
        "restore_s": check.duration_seconds,
        "data_loss_h": round(float(figures.get("data_loss_seconds", 0)) / 3600, 2),
    }
    tables = details.get("tables")
    ground = "a server whose name is sealed: no key is at hand" if check.is_closed else "a server"
    return [
        dg.AssetMaterialization(
            asset_key=key,
            description="found in the storage",
            metadata={
                "backup_id": str(details.get("compared_with", check.backup_id)),
                **({"base_id": str(details["base_id"])} if "base_id" in details else {}),
                "passed": check.passed,
                "report": dg.MetadataValue.md(
                    f"**{markdown(verdict)}** on {markdown(str(details.get('ground', ground)))}."
                ),
                "comparison": comparison_table(tables if isinstance(tables, list) else []),
                **numbers,
            },
            tags={_DATA_VERSION_TAG: str(figures["started_at"])},
        ),
        dg.AssetCheckEvaluation(
            asset_key=key,
            check_name=VERDICT,
            passed=check.passed,
            severity=dg.AssetCheckSeverity.ERROR,
            description=verdict,
            metadata=numbers,
        ),
    ]
