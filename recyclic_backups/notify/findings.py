"""What is mailed of what the one judge finds: which findings, under which key, and how they are said. Pure.

Nothing is judged here, and no check of Dagster's is asked: whatever turns one orange or red is a finding of
:mod:`recyclic_backups.health.judge`, and :data:`TOLD` lists those that people hear of. What people were told is
remembered by the key, so a key stays what it is over years.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.recovery_point import newest_verified
from recyclic_backups.health.finding import Finding, Level
from recyclic_backups.health.gaps import before_the_first, missing_partitions
from recyclic_backups.health.judge import HealthTerms
from recyclic_backups.notify.harmless import shortened
from recyclic_backups.notify.incidents import Observation, Problem, in_both
from recyclic_backups.notify.severity import Severity
from recyclic_backups.texts.findings import ANOMALIES
from recyclic_backups.texts.language import Moment, Untranslated
from recyclic_backups.texts.text import say

MOST_TOLD = 100
"""So many damaged documents, and so many damaged backups, are told one by one."""


@dataclass(frozen=True, slots=True)
class Told:
    """How a finding is told: as what ``kind``, under a key that begins with ``source`` and ends with its subject.

    What is critical is reminded of, with ``remind`` also a warning.
    """

    kind: str
    source: str
    remind: bool = False


TOLD: Mapping[str, Told] = {
    # Nobody is reminded of a gap: nobody can dump the past. One that nothing can fill is a note, and told all the same.
    "missing": Told("missed day", "missed"),
    "missing_in_wal": Told("missed day in wal", "missed"),
    "missing_label": Told("missed period", "missed"),
    "lost_partition": Told("missed for ever", "missed"),
    # While clocks are wrong, the age is what reminds.
    "future": Told("clock", "clock"),
    "unproven": Told("drill stale", "drills", remind=True),
    "never_proven": Told("drill never", "drills", remind=True),
    "rescue_changed": Told("rescue", "rescue"),
    "no_verified_backup": Told("no backup", "backups"),  # see _age
    "old": Told("too old", "age", remind=True),  # see _age
    "damaged_document": Told("damage", "damage", remind=True),
    "unknown_document": Told("damage", "damage", remind=True),
    "damaged_backup": Told("damage", "damage/backup", remind=True),
    "restore_failed": Told("not proven", "check/daily_backup/proven"),
    "space": Told("space", "check/backup_metrics/disk_space"),
    "availability": Told("availability", "check/backup_metrics/availability"),
    **{
        code: Told("wal", f"wal/{code}", remind=True)
        for code in ("wal_absent", "wal_silent", "wal_gap", "wal_damaged", "wal_slot_lost")
    },
    "wal_held": Told("wal held", "wal/held"),
    "wal_held_without_limit": Told("wal held", "wal/held"),
    "base_absent": Told("base backup", "wal/base", remind=True),
    "base_old": Told("base backup", "wal/base"),
    "base_damaged": Told("base backup", "wal/base_damaged"),
    "pitr_failed": Told("wal proof", "wal/proof", remind=True),
    "pitr_unproven": Told("wal proof", "wal/proof"),
    "pitr_never_proven": Told("wal proof", "wal/proof"),
    "not_encrypted": Told("check failed", "check/daily_backup/encrypted"),
    "compression": Told("check failed", "check/daily_backup/compression"),
    "not_compressed": Told("check failed", "check/daily_backup/compression"),
    "duration": Told("check failed", "check/daily_backup/duration"),
    **{code: Told("anomaly", f"check/backup_metrics/anomalies/{code}") for code in ANOMALIES},
}
"""By code; and all that begins with ``retention_``, as promises that are not kept.

The others are shown only: notes, whose level says that nobody can act on them, and drills that were slow, which failed.
"""

SILENT = frozenset({"wal/wal_absent", "wal/wal_silent"})
"""Keys of the problems that say that nobody hears of the receiver of WAL."""

WAL = "wal/"
"""How the keys of problems with WAL and base backups begin. These are the server's, whichever database tells them."""

SOURCES = frozenset({each.source.partition("/")[0] for each in TOLD.values()})
"""Beginnings of the keys of these problems: what cannot be seen while the storage cannot be read."""

_CHECKS = frozenset(each.source for each in TOLD.values() if each.source.count("/") == 2)
"""Keys that stand for the answer of a check."""

_OF_ONE_BACKUP = frozenset({"drills", "check/daily_backup", "check/backup_metrics/anomalies"})
"""Of these nobody knows anything as long as there is no verified backup: what was told is neither new nor over."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the storage does not know.

    ``working`` is true while a backup runs inside its time limit; ``began_at`` is the first look of all, and
    ``had_backups`` whether an earlier one saw a verified backup. ``wal_archived`` is true once the archive of WAL
    makes an age of hours something that can be helped.
    """

    working: bool
    began_at: datetime
    had_backups: bool
    wal_archived: bool = False


def told_findings(
    findings: Sequence[Finding],
    catalog: Catalog,
    terms: HealthTerms,
    given: Circumstances,
    known: Collection[str],
    now: datetime,
) -> Observation:
    """What alerts say of these findings about this catalog; ``known`` are the keys of open incidents."""
    problems = [
        problem for each in findings if (problem := _problem(each, terms, given, catalog, now)) is not None
    ]
    unseen = _OF_ONE_BACKUP if newest_verified(catalog, now) is None else frozenset()
    if any(each.code == "restore_failed" for each in findings):
        unseen |= {
            "drills"
        }  # whether restores are rehearsed is neither new nor over while the last one failed
    kept, hidden = _bounded(problems, known, now)
    return Observation(tuple(kept), unseen | hidden, _lapsed(catalog, terms, kept, known, now)) + _waited_for(
        findings, terms, given, now
    )


def is_bare(catalog: Catalog) -> bool:
    """Whether not even anything damaged is there: where backups were, another disk may be mounted in its place."""
    return len(catalog) == 0 and not catalog.damage


def told_as(finding: Finding) -> Told | None:
    """How a finding is told; None if it is not."""
    home, _, name = finding.code.partition("_")
    if home == "retention":
        return Told("promise", f"check/expired_backups/promises/{name}")
    return TOLD.get(finding.code)


def is_of_the_server(finding: Finding) -> bool:
    """Whether it is about the WAL or the base backups of a server, and not about one of its databases."""
    told = told_as(finding)
    return told is not None and told.source.startswith(WAL)


def key_of(finding: Finding) -> str | None:
    """The key of its problem, None if it is not told. That of a check is the same whichever backup it is about."""
    told = told_as(finding)
    if told is None:
        return None
    parts = (told.source, "" if told.source in _CHECKS else finding.subject)
    return "/".join(each for each in parts if each)


def _problem(
    finding: Finding, terms: HealthTerms, given: Circumstances, catalog: Catalog, now: datetime
) -> Problem | None:
    told, key = told_as(finding), key_of(finding)
    if told is None or key is None:
        return None
    values, kind = finding.values, told.kind
    facts: Mapping[str, object] = {"reason": finding.sentence}
    match finding.code:
        case "missing" | "missing_in_wal" | "missing_label" | "lost_partition":
            tier, partition = finding.subject.split("/")
            facts = {"tier": Tier(tier), "tier_name": tier, "partition": partition}
        case "future":
            facts = {"name": values["backup_id"], "as_of": _minute(values["as_of"], terms)}
        case "unproven" | "never_proven":
            facts = dict.fromkeys(("last", "first"), _minute(values["last"], terms))
        case "rescue_changed":
            facts = {"name": finding.subject}
        case "damaged_document" | "unknown_document" | "damaged_backup":
            said = values["why" if finding.code == "damaged_backup" else "problem"]
            facts = {
                "name": shortened(finding.subject),
                "reason": Untranslated(said) if isinstance(said, str) else said,
            }
        case "no_verified_backup":
            if _is_waited_for(finding, terms, given, now):
                return None
            kind = "backups gone" if given.had_backups and is_bare(catalog) else kind
            facts = {}
        case "old":
            if _is_waited_for(finding, terms, given, now):
                return None
            facts = {"as_of": _minute(values["as_of"], terms), "limit": values["limit"]}
    is_critical = finding.level is Level.CRITICAL
    return Problem(
        key,
        kind,
        Severity.CRITICAL if is_critical else Severity.WARNING,
        finding.since or now,
        in_both(**facts),
        remind=is_critical or told.remind,
    )


def _is_waited_for(finding: Finding, terms: HealthTerms, given: Circumstances, now: datetime) -> bool:
    """Whether the first backup of all is not due yet, or one runs that may end well at any moment.

    If it does not, its time limit ends this patience. That backups are gone is told at once.
    """
    if finding.code == "no_verified_backup":
        patience = timedelta(seconds=terms.thresholds.age_critical_seconds)
        return not given.had_backups and (given.working or now - given.began_at <= patience)
    return given.working or (finding.level is not Level.CRITICAL and not given.wal_archived)


def _waited_for(
    findings: Iterable[Finding], terms: HealthTerms, given: Circumstances, now: datetime
) -> Observation:
    """What was told of the age is neither new nor over while a backup runs, or where there is none at all."""
    for each in findings:
        waits = given.working and _is_waited_for(each, terms, given, now)
        if each.code == "no_verified_backup":
            return Observation(unseen=frozenset({"age", "backups"} if waits else {"age"}))
        if each.code == "old" and waits and (each.level is Level.CRITICAL or given.wal_archived):
            return Observation(unseen=frozenset({"age"}))
    return Observation()


def _lapsed(
    catalog: Catalog, terms: HealthTerms, problems: Sequence[Problem], known: Collection[str], now: datetime
) -> frozenset[str]:
    """Keys of partitions that still have no backup, though it would not be kept any more; those of older versions.

    A storage that is empty now knows of no gap: what people were told of it is neither over nor too old. Older versions
    had an incident for each check of each tier, and one for all anomalies and all promises.
    """
    untold = set(known) - {each.key for each in problems}
    old = {key for key in untold if key.startswith("check/") and key.count("/") == 2 and key not in _CHECKS}
    if any(key.startswith("missed/") for key in untold):
        _, since = before_the_first(missing_partitions(catalog, terms.calendar, now), catalog, terms.calendar)
        old |= {f"missed/{gap.tier.value}/{gap.partition}" for gap in since}
    return frozenset(old & untold)


def _bounded(
    problems: Sequence[Problem], known: Collection[str], now: datetime
) -> tuple[list[Problem], frozenset[str]]:
    """Of damaged documents and damaged backups the first, one by one, and that there are more.

    Somebody who can write to the storage can put a million there. What people were told is kept with what tells that
    the storage went back to an older state: one too long to be read again would lose all of that. What was told before
    others came in front of it is not over: the keys of those.
    """
    kept = [each for each in problems if each.kind != "damage"]
    hidden: list[Problem] = []
    for is_backup in (False, True):
        damaged = [
            each
            for each in problems
            if each.kind == "damage" and each.key.startswith("damage/backup/") is is_backup
        ]
        kept += damaged[:MOST_TOLD]
        hidden += damaged[MOST_TOLD:]
    if hidden:
        facts = in_both(name=hidden[0].facts["name"], reason=say("alerts.more_damage", count=MOST_TOLD))
        kept.append(Problem("damage/more", "damage", Severity.CRITICAL, now, facts))
    return kept, frozenset({each.key for each in hidden}.intersection(known))


def _minute(moment: object, terms: HealthTerms) -> str:
    assert isinstance(moment, Moment)
    return f"{moment.at.astimezone(terms.calendar.timezone):%Y-%m-%d %H:%M}"
