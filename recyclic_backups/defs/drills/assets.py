"""Restore drills: asset, job and schedule per scenario. One that fails turns its run red, and keeps its report."""

# Without the future import of annotations: Dagster compares the context's annotation with its classes.

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.defs.backups.metadata import table
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.runs import LoggedProgress, dagster_errors, door_of
from recyclic_backups.drill.report import DrillReport
from recyclic_backups.drill.run import drill
from recyclic_backups.drill.scenarios import Scenario
from recyclic_backups.foreign_text import in_a_sentence, markdown, markdown_code, visible
from recyclic_backups.postgres.process import lower_priority
from recyclic_backups.quantities import human_seconds

GROUP = "drills"
POOL = "drills"
VERDICT = "passed"
"""The check that every drill asset has: red when the drill failed, and its run with it."""

_SHOWN_TABLES = 200

_DESCRIPTIONS = {
    Scenario.SIMPLE: """The newest backup of each tier, restored on a throwaway server and compared, table by table.

**What does it prove?** That what lies in the storage becomes the database again: rows, values, sequences, roles,
grants and definitions are those of the backup's own snapshot, and the probes get the answers an application expects.

**Can it harm production?** No: it never connects there. Without `DRILL_SERVER_URL` it starts a server of its own and
removes it afterwards.""",
    Scenario.PARTIAL: """A copy is damaged on purpose; `diagnose` has to find it; the tables are put back.

**What does it prove?** That an accident with some tables is found without being told, and put right while the other
tables keep their newer rows. A newer row that would lose its parent stops it, and is named.""",
    Scenario.FULL: """Everything is gone but the storage and the key.

**What does it prove?** That a new machine gets the database back with our command line alone, without Dagster, and
again without this software, by the commands that `recover.py` prints; and that the application can log in.""",
    Scenario.PITR: """The server, recovered from a base backup and WAL to the moment of a dump, and compared with that.

**What does it prove?** That the archive of WAL brings the server back as it was: the dump of that moment was taken
another way, and has the same rows, table by table. A second recovery goes to a moment drawn by lot.

**Can it harm production?** No: it never connects there, and archives nothing.""",
}


def drill_asset(database: Database, scenario: Scenario) -> dg.AssetsDefinition:
    """The asset of one scenario: its newest materialization is the newest report."""
    key = database.key(f"drill_{scenario}")

    @dg.asset(
        key=key,
        description=_DESCRIPTIONS[scenario],
        deps=database.newest(Tier.DAILY),
        group_name=GROUP,
        kinds={"postgres"},
        tags={"environment": database.settings.environment},
        pool=POOL,
        check_specs=[
            dg.AssetCheckSpec(
                VERDICT,
                asset=key,
                blocking=True,
                description="Content, probes and restore time are as they have to be.",
            )
        ],
    )
    def drill_it(
        context: dg.AssetExecutionContext,
        # With a check beside it, Dagster (1.13) knows the bare class only.
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        with dagster_errors(context, database.environment):
            now_settings = database.settings_now(door_of(context.run))
            lower_priority()
            report = drill(
                scenario,
                wiring.open_repository(now_settings, create=False),
                wiring.drill_plan(now_settings),
                clock=database.now,
                progress=LoggedProgress(context.log),
            )
        for reason in report.reasons:
            context.log.error(visible(reason))
        return dg.MaterializeResult(
            metadata=metadata_of(report),
            data_version=dg.DataVersion(to_text(report.started_at)),
            check_results=[
                dg.AssetCheckResult(
                    check_name=VERDICT,
                    passed=report.passed,
                    severity=dg.AssetCheckSeverity.ERROR,
                    description=in_a_sentence("; ".join(report.reasons))
                    or f"restored and equal in {report.restore_seconds:.0f} s",
                )
            ],
        )

    return drill_it


def metadata_of(report: DrillReport) -> dict[str, Any]:
    """The report, as the asset's page shows it: numbers for the plots, the tables, and what was found."""
    document = report.to_json()
    return {
        "backup_id": report.newest.backup_id,
        "passed": report.passed,
        "restore_s": report.restore_seconds,
        "data_loss_h": round(report.data_loss_seconds / 3600, 2),
        "objectives_met": document["objectives_met"],
        "ground": report.ground,
        **({"base_id": document["base_id"]} if "base_id" in document else {}),
        **{
            f"{name.replace(' ', '_')}_s": round(seconds, 3) for name, seconds in report.newest.phases.items()
        },
        "report": dg.MetadataValue.md(markdown_of(report)),
        "comparison": comparison_table(document["tables"]),
        "details": dg.MetadataValue.json(
            {name: value for name, value in document.items() if name != "tables"}
        ),
    }


def comparison_table(tables: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows of each table in the backup and in the restored database."""

    def rows(number: int | None) -> int:
        return -1 if number is None else number

    return table(
        [
            dg.TableColumn("table", "string"),
            dg.TableColumn("backup", "int", description="rows; -1: not there"),
            dg.TableColumn("restored", "int", description="rows; -1: not there"),
            dg.TableColumn("content", "string"),
        ],
        [
            (
                each["name"],
                rows(each["rows_expected"]),
                rows(each["rows_actual"]),
                "equal" if each["equal"] else "; ".join(each["differences"]),
            )
            for each in tables[:_SHOWN_TABLES]
        ],
    )


def markdown_of(report: DrillReport) -> str:
    """The report in words, verdict first."""
    objective = report.objective
    lines = [
        f"**{'Passed' if report.passed else 'FAILED'}** on {markdown(report.ground)}.",
        "",
        f"- back in {human_seconds(report.restore_seconds)} (objective {human_seconds(objective.restore_seconds)})",
        f"- what would be lost: {human_seconds(report.data_loss_seconds)} of work"
        f" (objective {human_seconds(objective.data_loss_seconds)})",
        *(f"- **failed:** {markdown(reason)}" for reason in report.reasons),
        *(f"- {each.backup_id}: {each.verdict}" for each in report.results),
    ]
    for answer in report.newest.details.get("probes", ()):
        verdict = {True: "ok", False: "**FAILED**", None: "passed over"}[answer["passed"]]
        lines.append(f"- probe “{markdown(str(answer['probe']))}”: {verdict}")
    for each in report.newest.details.get("wounds", ()):
        lines.append(
            f"- damage done: {markdown_code(str(each['table']))}, {markdown(str(each['what']))} ({each['rows']})"
        )
    for command in report.newest.details.get("commands", ()):
        lines.append(f"- diagnose proposed: {markdown_code(str(command))}")
    return "\n".join(lines)
