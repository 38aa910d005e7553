"""Problems that the catalog tells of: the findings of the one judge, as alerts tell them. Pure.

Nothing is judged here. A finding becomes a problem with a key that stays what it is over years, since what people were
told is remembered by it. What is told when is decided here: not before somebody can do something about it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from recyclic_backups.backup_calendar import Calendar
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.recovery_point import newest_verified
from recyclic_backups.health.finding import RETENTION, Code, Finding, Level
from recyclic_backups.health.gaps import before_the_first, missing_partitions
from recyclic_backups.health.judge import HealthTerms
from recyclic_backups.languages import Moment, Phrase, Seconds, Untranslated, listed
from recyclic_backups.notify.harmless import shortened
from recyclic_backups.notify.incidents import Observation, Problem
from recyclic_backups.notify.severity import Severity
from recyclic_backups.notify.wording import Kind
from recyclic_backups.quantities import human_seconds

MOST_TOLD = 100
"""So many damaged documents, and so many damaged backups, are told one by one."""

SOURCES = frozenset({"missed", "backups", "age", "clock", "drills", "damage", "rescue"})
"""Beginnings of the keys of these problems: what cannot be seen while the storage cannot be read."""

_KINDS = {
    Code.MISSING: Kind.MISSED_DAY,
    Code.MISSING_LABEL: Kind.MISSED_PERIOD,
    Code.LOST_PARTITION: Kind.MISSED_FOR_EVER,
    Code.FUTURE: Kind.CLOCK,
    Code.UNPROVEN: Kind.DRILL_STALE,
    Code.NEVER_PROVEN: Kind.DRILL_NEVER,
    Code.RESCUE_CHANGED: Kind.RESCUE,
}
_KEYS = {Code.FUTURE: "clock", Code.UNPROVEN: "drills", Code.NEVER_PROVEN: "drills"}
_DAMAGED = {
    Code.DAMAGED_DOCUMENT: ("damage/", "problem"),
    Code.UNKNOWN_DOCUMENT: ("damage/", "problem"),
    Code.DAMAGED_BACKUP: ("damage/backup/", "why"),
}
"""Beginnings of the keys of damage, and the value of the finding that says what is damaged."""

_CHECKS: Mapping[str, str] = {
    Code.SPACE: "backup_metrics/disk_space",
    Code.AVAILABILITY: "backup_metrics/availability",
    Code.NOT_ENCRYPTED: "daily_backup/encrypted",
    Code.COMPRESSION: "daily_backup/compression",
    Code.NOT_COMPRESSED: "daily_backup/compression",
    Code.DURATION: "daily_backup/duration",
    Code.RESTORE_FAILED: "daily_backup/proven",
}
"""The asset and the check that tell of a finding where there is Dagster."""

_CHECK_KINDS = {
    "proven": Kind.NOT_PROVEN,
    "anomalies": Kind.ANOMALY,
    "disk_space": Kind.SPACE,
    "availability": Kind.AVAILABILITY,
    "promises": Kind.PROMISE,
}

_TOLD_ONCE = frozenset({Code.MISSING, Code.MISSING_LABEL, Code.LOST_PARTITION, Code.FUTURE})
"""Nobody is reminded of these: nobody can dump the past, and while clocks are wrong the age is what reminds."""


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


def look_at_catalog(
    findings: Sequence[Finding],
    catalog: Catalog,
    terms: HealthTerms,
    given: Circumstances,
    known: Collection[str],
    now: datetime,
) -> Observation:
    """What alerts say of these findings about this catalog; ``known`` are the keys of open incidents."""
    problems = [_problem(each, terms.calendar, now) for each in findings if each.code in _KINDS]
    return (
        _age(findings, catalog, terms, given, now)
        + Observation(tuple(problems), lapsed=_lapsed(catalog, terms.calendar, problems, known, now))
        + _damage(findings, known, now)
        + _unseen(findings, catalog, now)
    )


def look_at_answers(findings: Sequence[Finding], now: datetime) -> Observation:
    """What Dagster's checks tell where there is Dagster, under the keys that it has there.

    One problem for each check, however many findings it has: the worst decides how bad it is.
    """
    told: dict[str, list[Finding]] = {}
    for each in findings:
        check = "backup_metrics/anomalies" if each.is_anomaly else _CHECKS.get(each.code)
        if each.code.startswith(RETENTION):
            check = "expired_backups/promises"
        if check is not None:
            told.setdefault(check, []).append(each)
    return Observation(tuple(_answer(check, found, now) for check, found in told.items()))


def is_bare(catalog: Catalog) -> bool:
    """Whether not even anything damaged is there: where backups were, another disk may be mounted in its place."""
    return len(catalog) == 0 and not catalog.damage


def _problem(finding: Finding, calendar: Calendar, now: datetime) -> Problem:
    code, values = Code(finding.code), finding.values
    key = _KEYS.get(code) or f"{'rescue' if code is Code.RESCUE_CHANGED else 'missed'}/{finding.subject}"
    facts: dict[str, str] = {}
    since = now if finding.since is None else finding.since
    match code:
        case Code.RESCUE_CHANGED:
            facts = {"name": finding.subject}
        case Code.FUTURE:
            facts = {"name": str(values["backup_id"]), "as_of": _minute(values["as_of"], calendar)}
        case Code.UNPROVEN | Code.NEVER_PROVEN:
            facts = dict.fromkeys(("last", "first"), _minute(values["last"], calendar))
        case _:
            tier, partition = finding.subject.split("/")
            facts = {"tier": tier, "tier_name": tier, "partition": partition}
    return Problem(key, _KINDS[code], _severity(finding), since, facts, nags=code not in _TOLD_ONCE)


def _answer(check: str, findings: Sequence[Finding], now: datetime) -> Problem:
    asset, name = check.split("/")
    facts = {
        "check": name,
        "asset": asset,
        "reason": shortened(listed((each.sentence.text() for each in findings), "en")),
        "reason_fr": shortened(listed((each.sentence.text("fr") for each in findings), "fr")),
    }
    severity = _severity(findings[0])  # the worst is the first
    since = min((each.since for each in findings if each.since is not None), default=now)
    kind = _CHECK_KINDS.get(name, Kind.CHECK_FAILED)
    return Problem(f"check/{check}", kind, severity, since, facts, nags=severity is Severity.CRITICAL)


def _lapsed(
    catalog: Catalog, calendar: Calendar, problems: Sequence[Problem], known: Collection[str], now: datetime
) -> frozenset[str]:
    """Keys of partitions that still have no backup, though it would not be kept any more.

    A storage that is empty now knows of none: what people were told of it is neither over nor too old.
    """
    _, since = before_the_first(missing_partitions(catalog, calendar, now), catalog, calendar)
    gaps = {f"missed/{gap.tier.value}/{gap.partition}" for gap in since}
    return frozenset((gaps - {each.key for each in problems}).intersection(known))


def _age(
    findings: Sequence[Finding],
    catalog: Catalog,
    terms: HealthTerms,
    given: Circumstances,
    now: datetime,
) -> Observation:
    """The age of the recovery point, and that there is none. The first backup, and one that runs, are waited for."""
    found = next((each for each in findings if each.code in (Code.NO_VERIFIED, Code.OLD)), None)
    if found is None:
        return Observation()
    if found.code == Code.NO_VERIFIED:
        # Worse than any age, and news to whoever was told of one; that is not over as long as there is nothing.
        gone = Kind.BACKUPS_GONE if given.had_backups and is_bare(catalog) else Kind.NO_BACKUP
        problem = Problem("backups", gone, Severity.CRITICAL, now)
        patience = timedelta(seconds=terms.thresholds.age_critical_seconds)
        if given.had_backups or (now - given.began_at > patience and not given.working):
            return Observation((problem,), unseen=frozenset({"age"}))
        waited = now - given.began_at > patience
        return Observation(unseen=frozenset({"backups", "age"})) if waited else Observation()
    if found.level is not Level.CRITICAL and not given.wal_archived:
        return Observation()
    if given.working:
        # The one that runs may end well at any moment; if it does not, its time limit ends this patience.
        return Observation(unseen=frozenset({"age"}))
    limit = found.values["limit"]
    assert isinstance(limit, Seconds)
    facts = {"as_of": _minute(found.values["as_of"], terms.calendar), "limit": human_seconds(limit.seconds)}
    problem = Problem("age", Kind.TOO_OLD, _severity(found), found.since or now, facts)
    return Observation((problem,))


def _damage(findings: Sequence[Finding], known: Collection[str], now: datetime) -> Observation:
    """Every damaged backup, and the first of the damaged documents, one by one, and that there are more.

    Somebody who can write to the storage can put a million there. What people were told is kept in Dagster's cursor,
    with what tells that the storage went back to an older state: one too long to be read again would lose all of that.
    """
    problems: list[Problem] = []
    unseen: set[str] = set()
    for what, codes in (
        ("documents", (Code.DAMAGED_DOCUMENT, Code.UNKNOWN_DOCUMENT)),
        ("backups", (Code.DAMAGED_BACKUP,)),
    ):
        found = [each for each in findings if each.code in codes]
        problems += [_damaged(each, now) for each in found[:MOST_TOLD]]
        hidden = [_damaged(each, now) for each in found[MOST_TOLD:]]
        # One that was told before others came in front of it is not over.
        unseen |= {each.key for each in hidden}.intersection(known)
        if hidden:
            reason = (
                f"it and more {what} than the {MOST_TOLD} that are told one by one; verify --all names them"
            )
            facts = {"name": hidden[0].facts["name"], "reason": reason}
            more = Problem("damage/more", Kind.DAMAGE, Severity.CRITICAL, now, facts)
            problems.append(more)
    return Observation(tuple(problems), unseen=frozenset(unseen))


def _damaged(finding: Finding, now: datetime) -> Problem:
    beginning, name = _DAMAGED[Code(finding.code)]
    said = finding.values[name]
    reason = said.english if isinstance(said, Untranslated) else str(said)
    facts = {"name": shortened(finding.subject), "reason": shortened(reason)}
    if isinstance(said, Phrase):
        facts = {**facts, "reason": said.text(), "reason_fr": said.text("fr")}
    return Problem(
        f"{beginning}{finding.subject}", Kind.DAMAGE, _severity(finding), finding.since or now, facts
    )


def _unseen(findings: Sequence[Finding], catalog: Catalog, now: datetime) -> Observation:
    """That nobody rehearses is neither new nor over while there is nothing to rehearse with, or the last one failed."""
    failed = any(each.code == Code.RESTORE_FAILED for each in findings)
    hidden = {"drills"} if failed or newest_verified(catalog, now) is None else set()
    return Observation(unseen=frozenset(hidden))


def _severity(finding: Finding) -> Severity:
    return Severity.CRITICAL if finding.level is Level.CRITICAL else Severity.WARNING


def _minute(moment: object, calendar: Calendar) -> str:
    assert isinstance(moment, Moment)
    return f"{moment.at.astimezone(calendar.timezone):%Y-%m-%d %H:%M}"
