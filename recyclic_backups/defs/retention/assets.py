"""Retention in Dagster: expiry after the backup of the night, and the monthly review of what is kept and why."""

# Without the future import of annotations: Dagster compares the context's annotation with its classes.

from collections.abc import Iterator
from typing import Any

import dagster as dg

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.defs.backups.metadata import table
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.health.assets import space_note, space_texts
from recyclic_backups.defs.runs import OWNERS, LoggedProgress, dagster_errors
from recyclic_backups.foreign_text import markdown
from recyclic_backups.health.assess import read_facts
from recyclic_backups.health.judge import Facts
from recyclic_backups.health.survey import Survey, survey_of
from recyclic_backups.retention.expire import ExpiryReport, expire_under_lock
from recyclic_backups.retention.review import review
from recyclic_backups.texts.language import Bytes, Locale, listed
from recyclic_backups.texts.report import report_text

GROUP = "retention"
EXPIRED = "expired_backups"
REVIEW = "retention_review"
PROMISES = "promises"
"""The check that is red when retention could not keep a promise, orange when somebody should know something."""

_SHOWN = 200

_DESCRIPTION = """What expired, with every reason. Each deletion was announced, done, and proven by listing the storage.

**What never leaves?** The newest good backups, what is held, and the newest proven one up to `RETENTION_MAX_DAYS`;
nothing at all while backups fail. `recyclic-backups expire` shows the plan without touching anything.

**When does it run?** After the backup of the night, and before its time when the disk is nearly full."""


def expired_asset(database: Database) -> dg.AssetsDefinition:
    """The asset: its newest materialization is the newest run of retention."""
    key = database.key(EXPIRED)

    @dg.asset(
        key=key,
        description=_DESCRIPTION,
        deps=database.newest(Tier.DAILY, Tier.WEEKLY, Tier.MONTHLY),
        group_name=GROUP,
        owners=OWNERS,
        tags={"environment": database.settings.environment},
        pool=database.pool,
        check_specs=[
            dg.AssetCheckSpec(
                PROMISES,
                asset=key,
                description="Is the newest good backup young enough, and does nothing leave that somebody may miss?",
            )
        ],
    )
    def expired_backups(
        context: dg.AssetExecutionContext,
        # With a check beside it, Dagster (1.13) knows the bare class only.
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        with dagster_errors(context, database.environment):
            now_settings = database.settings_now()
            repository = wiring.open_repository(now_settings, create=False)
            report = expire_under_lock(
                now_settings.server.answering_within(now_settings.timeout_seconds),
                repository,
                now_settings.retention,
                now_settings.calendar,
                clock=database.now,
                lock_wait_seconds=now_settings.lock_wait_seconds,
                progress=LoggedProgress(context.log),
            )
            left = Facts(load_catalog(repository), repository.store.free_bytes())
            found = survey_of(left, wiring.health_terms(now_settings), database.now())
        for text in space_texts(found):
            context.log.warning(f"free space is still critical; {text}")
        return dg.MaterializeResult(
            metadata=metadata_of(report, found), check_results=[_promises(report, found)]
        )

    return expired_backups


def metadata_of(report: ExpiryReport, found: Survey) -> dict[str, Any]:
    """What left and what is left; on a disk that is still nearly full, what else could be freed."""
    locale = found.terms.locale
    free_bytes = found.free_bytes
    lines = [
        report_text(
            "run expired",
            locale,
            gone=len(report.removed),
            freed=Bytes(report.freed_bytes).text(locale),
            kept=len(found.catalog),
            size=Bytes(found.total_size_bytes).text(locale),
        ),
        "",
        *(f"- {markdown(each.text(locale))}" for each in report.plan.what_matters),
        *(f"- {markdown(report_text('run spared', locale, what=backup_id))}" for backup_id in report.spared),
        *(f"- {markdown(each)}" for each in _of_servers(report, locale)),
    ]
    return {
        "expired": len(report.removed),
        "freed_mb": round(report.freed_bytes / 1e6, 3),
        "kept": len(found.catalog),
        "kept_mb": round(found.total_size_bytes / 1e6, 3),
        "swept": len(report.swept),
        **({} if free_bytes is None else {"free_mb": round(free_bytes / 1e6, 1)}),
        "summary": dg.MetadataValue.md("\n".join([*lines, *space_note(found)])),
        "what_left": table(
            [
                dg.TableColumn("backup", "string"),
                dg.TableColumn("freed_mb", "float"),
                dg.TableColumn("why", "string"),
            ],
            [
                (
                    removal.backup_id,
                    round(removal.freed_bytes / 1e6, 3),
                    listed((reason.text(locale) for reason in removal.reasons), locale),
                )
                for removal in report.removed[:_SHOWN]
            ],
        ),
    }


def _of_servers(report: ExpiryReport, locale: Locale) -> Iterator[str]:
    """What left of the base backups and the WAL of the database's servers."""
    for each in report.servers:
        if each.what_left is not None:
            yield each.what_left.text(locale)


def _promises(report: ExpiryReport, found: Survey) -> dg.AssetCheckResult:
    """Judged by what is left: a backup that has just gone needs no warning any more."""
    incidents, warnings = found.plan.incidents, found.plan.warnings
    return dg.AssetCheckResult(
        check_name=PROMISES,
        passed=not incidents and not warnings,
        severity=dg.AssetCheckSeverity.ERROR if incidents else dg.AssetCheckSeverity.WARN,
        description="; ".join(each.text() for each in (*incidents, *warnings)) or "every promise is kept",
        metadata={"expired": len(report.removed)},
    )


def review_asset(database: Database) -> dg.AssetsDefinition:
    """The asset: its newest materialization is the newest review, to be read by a person."""

    @dg.asset(
        key=database.key(REVIEW),
        description="What is kept and why, what left last month, what leaves in the next, and what the GDPR says.",
        deps=[dg.AssetDep(database.key(EXPIRED))],
        group_name=GROUP,
        owners=OWNERS,
        tags={"environment": database.settings.environment},
    )
    def retention_review(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        with dagster_errors(context, database.environment):
            now_settings = database.settings_now()
            repository = wiring.open_repository(now_settings, create=False)
            now = database.now()
            facts = read_facts(repository, wiring.wal_source(now_settings), now)
            catalog, wal = facts.catalog, facts.wal
            text = review(
                catalog,
                now_settings.retention,
                now_settings.calendar,
                now,
                wal=None if wal is None else wal.stored,
                free_bytes=facts.free_bytes,
                database=now_settings.database,
                locale=now_settings.locale,
            )
        stored_bytes = sum(each.manifest.stored_bytes for each in catalog)
        return dg.MaterializeResult(
            metadata={
                "review": dg.MetadataValue.md(text),
                "backups": len(catalog),
                "stored_mb": round(stored_bytes / 1e6, 3),
                **({} if wal is None else {"wal_mb": round(wal.stored_bytes / 1e6, 3)}),
            }
        )

    return retention_review
