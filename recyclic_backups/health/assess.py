"""Ask the questions of one tier's partition: read what there is, let the one judge answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.dump.verify import recent_verification, verify
from recyclic_backups.health.finding import Code, Finding, Level, critical, worst_first
from recyclic_backups.health.questions import QUESTIONS, age, answer
from recyclic_backups.health.thresholds import Thresholds
from recyclic_backups.languages import Bytes, Locale, Seconds, Share, Untranslated, listed
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.progress import SILENT, Progress


@dataclass(frozen=True, slots=True)
class CheckAnswer:
    """Findings as the answer of one check, the worst first; none, or fine ones, if it passed."""

    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return self.level is Level.FINE

    @property
    def level(self) -> Level:
        """The worst."""
        return self.findings[0].level if self.findings else Level.FINE

    @property
    def figures(self) -> dict[str, float]:
        """The numbers behind it, with their unit in the name, so that Dagster's plots read well."""
        found: dict[str, float] = {}
        for each in self.findings:
            for name, value in each.values.items():
                match value:
                    case Seconds():
                        found[f"{name}_s"] = round(value.seconds, 2)
                    case Bytes():
                        found[f"{name}_mb"] = round(value.size_bytes / 1e6, 3)
                    case Share():
                        found[f"{name}_pct"] = round(100 * value.of_one, 2)
                    case int():
                        found[name] = value
        return found

    def text(self, locale: Locale = "en") -> str:
        """Why, in a language."""
        return listed((each.sentence.text(locale) for each in self.findings), locale)


def answer_of(findings: Collection[Finding]) -> CheckAnswer:
    """What a check says that shows these findings."""
    return CheckAnswer(worst_first(findings))


@dataclass(frozen=True, slots=True)
class Demands:
    """What the settings ask of backups, and what reads one again within ``timeout_seconds``."""

    thresholds: Thresholds
    installations: Sequence[Installation]
    timeout_seconds: float
    verify_interval_seconds: float = 0.0


def assess(
    repository: Repository,
    tier: Tier,
    partition: str,
    wanted: Collection[str],
    demands: Demands,
    *,
    clock: Callable[[], datetime],
    progress: Progress = SILENT,
) -> dict[str, CheckAnswer]:
    """The answer to each wanted question (names of :data:`QUESTIONS`), in their order.

    ``integrity`` reads the whole backup again and records what it found beside it, unless a recent verification answers
    it; the others read the catalog.
    Raises StorageError when the catalog cannot be read.
    """
    catalog = load_catalog(repository)
    backup = catalog.labelled(tier, partition)
    error = None
    if "integrity" in wanted and backup is not None:
        within = demands.verify_interval_seconds
        if recent_verification(repository, backup, "parsed", clock(), within_seconds=within) is None:
            error = verify(
                repository,
                backup,
                "parsed",
                demands.installations,
                clock=clock,
                timeout_seconds=demands.timeout_seconds,
                progress=progress,
            ).error
        catalog = load_catalog(repository)  # which knows that verdict now
        backup = catalog.labelled(tier, partition)
    label = catalog.labels.get((tier, partition))
    answers: dict[str, CheckAnswer] = {}
    for name in QUESTIONS:
        if name not in wanted:
            continue
        if name == "age":
            found = tuple(age(catalog, demands.thresholds, clock()))
        elif label is None or backup is None:
            found = (critical(Code.ABSENT, f"{tier.value}/{partition}", tier=tier, partition=partition),)
        elif name == "integrity" and error is not None and not backup.known_damaged:
            # Not of the bytes, or not recorded: no key, a storage that does not answer, pg_restore that was killed.
            problem = Untranslated(error.message)
            found = (
                critical(Code.UNREADABLE, backup.backup_id, backup_id=backup.backup_id, problem=problem),
            )
        else:
            found = (answer(name, label, backup, catalog, demands.thresholds, clock()),)
        answers[name] = answer_of(found)
    return answers
