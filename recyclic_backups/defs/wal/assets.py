"""Base backups in Dagster, and the archive of WAL as it is now. The receiver itself is a service, never a run."""

# Without the future import of annotations: Dagster compares the context's annotation with its classes.

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from recyclic_backups import wiring
from recyclic_backups.base_backup.back_up import BasedUp, back_up_server
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.strangers import tell_strangers
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.defs.backups.assets import source_of
from recyclic_backups.defs.backups.metadata import ANSWERED_AT, SEVERITIES
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.runs import OWNERS, LoggedProgress, dagster_errors, door_of
from recyclic_backups.errors import ConfigurationError
from recyclic_backups.foreign_text import markdown
from recyclic_backups.health.assess import read_wal
from recyclic_backups.health.finding import Finding, answer_of
from recyclic_backups.health.wal import WalFacts, bases, continuous, held, recent, wal_findings
from recyclic_backups.postgres.process import lower_priority

GROUP = "wal"
BASE = "base_backup"
ARCHIVE = "wal_archive"

_BASE_DESCRIPTION = """The files of the whole server, all its databases, from which WAL is replayed.

**When?** Once a week, full; where the server can, what changed, in between (PostgreSQL 17 with `summarize_wal`). Each
is verified file by file, and exists only once the archive holds the WAL that belongs to it.

**How does it come back?** `recyclic-backups recover --to-time … --data-directory DIR`."""

_ARCHIVE_DESCRIPTION = """Up to when everything that the server did is stored, and whether any of it is missing.

**Who receives it?** The service `recyclic-backups wal receive`, which is no run of Dagster's. This asset looks at what
it has stored, every quarter of an hour."""

_ENOUGH = timedelta(hours=1)
"""Several databases of a server ask for the same: one that is younger is not taken again by a schedule or sensor."""

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


def base_asset(database: Database) -> dg.AssetsDefinition:
    """The asset: its newest materialization is the newest base backup."""

    @dg.asset(
        key=database.key(BASE),
        description=_BASE_DESCRIPTION,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"postgres"},
        tags={"environment": database.settings.environment},
        # Not the pool of dumps: one of a large server takes hours, and the backup of the night has to be taken too.
        pool=f"base_{database.pool}",
    )
    def base_backup(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        with dagster_errors(context, database.environment):
            settings = database.settings_now(door_of(context.run))
            lower_priority()
            repository = wiring.open_repository(settings)
            tell_strangers(repository.store, context.log.warning)
            by_itself = source_of(context.run) == "scheduled"
            done = back_up_server(
                settings.server,
                repository,
                None,
                wiring.base_backup_terms(settings),
                clock=database.now,
                progress=LoggedProgress(context.log),
                enough_since=database.now() - _ENOUGH if by_itself else None,
            )
        for note in done.notes:
            context.log.info(note)
        return dg.MaterializeResult(
            metadata=base_metadata(done), data_version=dg.DataVersion(done.base.base_id)
        )

    return base_backup


def base_metadata(done: BasedUp) -> dict[str, Any]:
    """What the asset's page shows: sizes and times for the plots, and how to recover from it."""
    manifest = done.base.manifest
    notes = dg.MetadataValue.md("\n".join(f"- {markdown(each)}" for each in done.notes))
    return {
        "base_id": manifest.base_id,
        "kind": "incremental" if manifest.is_incremental else "full",
        **({} if manifest.parent is None else {"builds_on": manifest.parent}),
        "new": done.fresh,
        "as_of": to_text(manifest.as_of),
        "plain_mb": round(manifest.plain_bytes / 1e6, 3),
        "stored_mb": round(manifest.stored_bytes / 1e6, 3),
        "duration_s": round(manifest.duration_seconds, 2),
        "recover": dg.MetadataValue.md(
            "`recyclic-backups recover --latest --data-directory DIR`; `--to-time '2026-11-20 14:31:07'` for a moment"
        ),
        **({"notes": notes} if done.notes else {}),
    }


def archive_asset(database: Database) -> dg.AssetsDefinition:
    """The asset: its newest materialization is the state of the archive."""
    key = database.key(ARCHIVE)

    @dg.asset(
        key=key,
        description=_ARCHIVE_DESCRIPTION,
        deps=[dg.AssetDep(database.key(BASE))],
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
        with dagster_errors(context, database.environment):
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
