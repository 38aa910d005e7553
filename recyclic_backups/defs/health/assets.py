"""Metrics: how healthy the backups are, every hour, and the page about it. A disk nearly full starts retention."""

# Without the future import of annotations: Dagster compares the context's annotation with its classes.

from collections.abc import Iterator
from typing import Any

import dagster as dg

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.defs.backups.metadata import ANSWERED_AT, SEVERITIES
from recyclic_backups.defs.database import Database, path_of
from recyclic_backups.defs.runs import OWNERS, dagster_errors
from recyclic_backups.errors import StorageError
from recyclic_backups.foreign_text import markdown
from recyclic_backups.health.assess import survey
from recyclic_backups.health.finding import Level
from recyclic_backups.health.survey import Survey
from recyclic_backups.notify.stored_state import open_incidents
from recyclic_backups.report.page import page
from recyclic_backups.report.publish import keep_in_storage
from recyclic_backups.report.space import savings
from recyclic_backups.texts.language import Bilingual
from recyclic_backups.texts.report import report_text
from recyclic_backups.texts.text import say

GROUP = "health"
METRICS = "backup_metrics"

CHECKS = {
    "disk_space": "Is there more free space than ALERT_DISK_SPACE_WARNING and ALERT_DISK_SPACE_CRITICAL ask for?",
    "availability": "Was a young enough verified backup there 99.9 % of the last 30 days?",
    "anomalies": "Is the newest backup like those before it, and is everything asked that used to be asked?",
}
"""What is asked of all backups together. Of a single one the checks of its tier ask."""

_CODES = {"disk_space": "space", "availability": "availability"}

_DESCRIPTION = """How healthy the backups are: age of the newest verified one, space, availability, drills, anomalies.

**What is red or orange?** The checks of this asset and those of the tiers. What needs somebody is listed in the
metadata, worst first.

**Where is the page?** Each materialization writes `report.html` beside the backups."""

_NAMED_SAVINGS = 3


def metrics_asset(database: Database) -> dg.AssetsDefinition:
    """The asset: its newest materialization is the state of health."""
    key = database.key(METRICS)

    @dg.asset(
        key=key,
        description=_DESCRIPTION + database.report_note,
        deps=database.newest(Tier.DAILY),
        group_name=GROUP,
        owners=OWNERS,
        tags={"environment": database.settings.environment},
        check_specs=[
            dg.AssetCheckSpec(name, asset=key, description=question) for name, question in CHECKS.items()
        ],
    )
    def backup_metrics(
        context: dg.AssetExecutionContext,
        # With a check beside it, Dagster (1.13) knows the bare class only.
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        with dagster_errors(context, database.environment), database.looking():
            now_settings = database.settings_now()
            repository = wiring.open_repository(now_settings, create=False)
            found = survey(repository, wiring.health_terms(now_settings), clock=database.now)
        for each in found.counted_findings:
            context.log.warning(f"{each.level.value}: {each.sentence.text(now_settings.locale)}")
        return dg.MaterializeResult(
            metadata={
                "health": health_note(found),
                **_publish(context, repository, found),
                **metadata_of(found),
            },
            check_results=list(_answers(found)),
        )

    return backup_metrics


def metadata_of(found: Survey) -> dict[str, Any]:
    """The figures, with their unit in the key, so that the plots read well. What there is none of is left out."""
    newest, available = found.newest, found.availability
    figures: dict[str, float | int | None] = {
        "backups": len(found.catalog),
        "age_h": None if found.age_seconds is None else round(found.age_seconds / 3600, 2),
        "stored_mb": round(found.total_size_bytes / 1e6, 3),
        "free_mb": None if found.free_bytes is None else round(found.free_bytes / 1e6, 1),
        "newest_mb": None if newest is None else round(newest.manifest.stored_bytes / 1e6, 3),
        "compression_pct": None if newest is None else newest.manifest.compression_percent,
        "duration_s": None if newest is None else round(newest.manifest.duration_seconds, 2),
        "availability_pct": None if available is None else round(100 * available.share, 3),
        "to_expire": len(found.plan.expiring),
        "issues": len(found.counted_findings),
        "anomalies": len(found.anomalies),
        **{f"drill_{name}_restore_s": each.restore_seconds for name, each in sorted(found.drills.items())},
    }
    return {
        "health_status": found.status.value,
        **{name: value for name, value in figures.items() if value is not None},
        "metrics": dg.MetadataValue.json(found.to_json()),
    }


def health_note(found: Survey) -> dg.MarkdownMetadataValue:
    """What is wrong, the worst first; on a disk that is nearly full, what could be freed."""
    locale = found.terms.locale
    lines = [f"**{report_text(found.status.value, locale)}**", ""]
    lines += [
        f"- {report_text(each.level.value, locale)}: {markdown(each.sentence.text(locale))}"
        for each in found.findings
    ]
    return dg.MetadataValue.md("\n".join([*lines, *space_note(found)]))


def space_note(found: Survey) -> list[str]:
    """What could be freed besides, as lines of Markdown; nothing where there is space enough."""
    texts, title = space_texts(found), report_text("space", found.terms.locale)
    return ["", f"**{title}**", "", *(f"- {markdown(text)}" for text in texts)] if texts else []


def space_texts(found: Survey) -> list[str]:
    """The same, a sentence each."""
    locale = found.terms.locale
    if not found.space_is_critical:
        return []
    return [each.text(locale) for each in savings(found)] or [report_text("no saving", locale)]


def _publish(
    context: dg.AssetExecutionContext, repository: Repository, found: Survey
) -> dict[str, dg.MetadataValue[Any]]:
    """Put the page beside the backups. A disk too full for it must not hide the figures that say so."""
    try:
        url = keep_in_storage(repository, page([found], incidents=open_incidents(repository)))
    except StorageError as error:
        context.log.warning(f"the page could not be written: {error.message}")
        return {"report": dg.MetadataValue.text(f"not written: {error.message}")}
    return {"report": dg.MetadataValue.path(path_of(url))}


def _answers(found: Survey) -> Iterator[dg.AssetCheckResult]:
    for name in CHECKS:
        wrong = [each for each in found.findings if each.code == _CODES.get(name)]
        if name == "anomalies":
            wrong = [each for each in found.findings if each.is_anomaly]
        worst = wrong[0].level if wrong else Level.FINE  # the worst is the first
        figures: dict[str, Any] = {"found": len(wrong)}
        if name == "disk_space" and found.free_bytes is not None:
            figures["free_mb"] = round(found.free_bytes / 1e6, 1)
        if name == "availability" and found.availability is not None:
            figures["availability_pct"] = round(100 * found.availability.share, 3)
        sentences: list[Bilingual] = [each.sentence for each in wrong]
        if name == "disk_space" and wrong:
            sentences.append(_freeable(found))
        yield dg.AssetCheckResult(
            check_name=name,
            passed=not wrong,
            severity=SEVERITIES[worst],
            description="; ".join(each.text() for each in sentences) or "nothing is wrong",
            metadata={**figures, ANSWERED_AT: to_text(found.measured_at)},
        )


def _freeable(found: Survey) -> Bilingual:
    """The largest of what could go."""
    largest = tuple(savings(found)[:_NAMED_SAVINGS])
    return say("report.freeable", what=largest) if largest else say("report.nothing_freeable")
