"""The asset ``wal_archive``: how the archive of WAL is now. The receiver itself is a service, never a run."""

# Without the future import of annotations: Dagster compares the context's annotation with its classes.

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import dagster as dg

from recyclic_backups import wiring
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.defs.backups.metadata import ANSWERED_AT, SEVERITIES
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.runs import OWNERS, dagster_errors
from recyclic_backups.defs.wal.base_backup import BASE_BACKUP, GROUP
from recyclic_backups.errors import ConfigurationError
from recyclic_backups.health.assess import read_wal
from recyclic_backups.health.finding import Finding, answer_of
from recyclic_backups.health.wal import WalFacts, bases, continuous, held, recent, wal_findings

ARCHIVE = "wal_archive"

_ARCHIVE_DESCRIPTION = """Up to when everything that the server did is stored, and whether any of it is missing.

**Who receives it?** The service `recyclic-backups wal receive`, which is no run of Dagster's. This asset looks at what
it has stored, every hour. Alerts look at how far it reaches every few minutes."""

CHECKS: dict[str, tuple[str, Callable[[WalFacts, datetime], Iterable[Finding]]]] = {
    "continuous": (
        "Is the WAL whole, without a hole since the newest base backup?",
        lambda facts, _: continuous(facts),
    ),
    "recent": ("Did the end of the WAL come in within the last minutes?", recent),
    "base": ("Is there a verified base backup young enough to begin with?", bases),
    "burden": ("Does the server keep little enough WAL for the receiver?", lambda facts, _: held(facts)),
}
"""Name of each check, the question it answers, and what answers it."""


def archive_asset(database: Database) -> dg.AssetsDefinition:
    """The asset: its newest materialization is the state of the archive."""
    key = database.key(ARCHIVE)

    @dg.asset(
        key=key,
        description=_ARCHIVE_DESCRIPTION,
        deps=[dg.AssetDep(database.key(BASE_BACKUP))],
        group_name=GROUP,
        owners=OWNERS,
        tags={"environment": database.settings.environment},
        check_specs=[
            dg.AssetCheckSpec(name, asset=key, description=question) for name, (question, _) in CHECKS.items()
        ],
    )
    def wal_archive(
        context: dg.AssetExecutionContext,
        # With a check beside it, Dagster (1.13) knows the bare class only.
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        with dagster_errors(context, database.environment), database.looking():
            settings = database.settings_now()
            source = wiring.wal_source(settings)
            if source is None:
                raise ConfigurationError(
                    "WAL_ARCHIVE is off, and was on when these definitions were made",
                    "reload the code location",
                )
            repository = wiring.open_repository(settings, create=False)
            now = database.now()
            facts = read_wal(repository, load_catalog(repository), source, now)
        for finding in wal_findings(facts, now):
            if finding.level.value in ("warning", "critical"):
                context.log.warning(f"{finding.level.value}: {finding.sentence.text(settings.locale)}")
        return dg.MaterializeResult(
            metadata=archive_metadata(facts, now), check_results=list(_answers(facts, now, settings.locale))
        )

    return wal_archive


def archive_metadata(facts: WalFacts, now: datetime) -> dict[str, Any]:
    """The figures, with their unit in the key; what is not known is left out."""
    document = facts.to_json(now)
    window = document["window_seconds"]
    figures = {
        "lag_s": document["age_seconds"],
        "gaps": document["gaps"],
        "window_h": None if window is None else round(window / 3600, 2),
        "stored_mb": round(document["stored_bytes"] / 1e6, 3),
        "held_mb": None if document["held_bytes"] is None else round(document["held_bytes"] / 1e6, 3),
        "reaches_until": document["reaches_until"],
        "newest_base": document["newest_base"],
    }
    return {name: value for name, value in figures.items() if value is not None}


def _answers(facts: WalFacts, now: datetime, locale: Any) -> Iterator[dg.AssetCheckResult]:
    for name, (_, ask) in CHECKS.items():
        answer = answer_of(tuple(ask(facts, now)))
        yield dg.AssetCheckResult(
            check_name=name,
            passed=answer.passed or answer.level.value == "note",
            severity=SEVERITIES[answer.level],
            description=answer.text(locale) or "nothing is wrong",
            metadata={**answer.figures, ANSWERED_AT: to_text(now)},
        )
