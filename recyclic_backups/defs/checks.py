"""The checks of every tier: eight questions, answered by the house, shown beside the backups.

None of them blocks: what must stop a backup from counting raises inside the asset. All eight are answered by
one step, so that the storage is asked once; any of them can be run alone.
"""

# Without the future import of annotations: Dagster compares the context's annotation with its classes.

import warnings
from collections.abc import Iterator

import dagster as dg

from recyclic_backups.defs.backups import asset_key
from recyclic_backups.defs.partitions import partitions_of
from recyclic_backups.defs.resources import Environment, LoggedProgress, dagster_errors
from recyclic_backups.health.assess import QUESTIONS, Demands, assess
from recyclic_backups.health.objectives import Severity
from recyclic_backups.settings import Settings
from recyclic_backups.tiers import Tier

_SEVERITIES = {Severity.WARNING: dg.AssetCheckSeverity.WARN, Severity.ERROR: dg.AssetCheckSeverity.ERROR}


def backup_checks(settings: Settings, tier: Tier) -> dg.AssetChecksDefinition:
    """The checks of one tier's asset, partitioned as it is."""
    key = asset_key(settings, tier)
    with warnings.catch_warnings():
        # Partitions of checks are in preview; without them one red day would hide among green ones.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        specs = [
            dg.AssetCheckSpec(
                name, asset=key, description=question, partitions_def=partitions_of(settings.calendar, tier)
            )
            for name, question in QUESTIONS.items()
        ]

    @dg.multi_asset_check(name=f"{'__'.join(key.path)}__checks", specs=specs, can_subset=True)
    def checks(
        context: dg.AssetCheckExecutionContext, environment: dg.ResourceParam[Environment]
    ) -> Iterator[dg.AssetCheckResult]:
        wanted = {check.name for check in context.selected_asset_check_keys}
        with dagster_errors(context, environment):
            now_settings = environment.settings()
            verdicts = assess(
                now_settings.open_repository(create=False),
                tier,
                context.partition_key,
                wanted,
                demands_of(now_settings),
                clock=environment.now,
                progress=LoggedProgress(context.log),
            )
        for name, verdict in verdicts.items():
            yield dg.AssetCheckResult(
                check_name=name,
                asset_key=key,
                passed=verdict.passed,
                severity=_SEVERITIES[verdict.severity],
                description="; ".join(verdict.reasons),
                metadata=dict(verdict.figures),
            )

    return checks


def demands_of(settings: Settings) -> Demands:
    """What the settings ask of backups."""
    return Demands(
        encryption=settings.encryption,
        age_warning_seconds=settings.alerts.age_warning_seconds,
        age_critical_seconds=settings.alerts.age_critical_seconds,
        installations=settings.installations(),
        timeout_seconds=settings.timeout_seconds,
    )
