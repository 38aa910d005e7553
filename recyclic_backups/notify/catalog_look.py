"""Problems that the catalog tells of: what is missing, too old, never rehearsed or damaged. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Catalog, is_of_the_future
from recyclic_backups.catalog.why import why_text
from recyclic_backups.health.gaps import Gap, Remedy, before_the_first, missing_partitions
from recyclic_backups.notify.harmless import shortened
from recyclic_backups.notify.incidents import Observation, Problem
from recyclic_backups.notify.outbox import Recovery
from recyclic_backups.notify.severity import Severity
from recyclic_backups.notify.wording import Kind
from recyclic_backups.quantities import human_seconds
from recyclic_backups.retention.policy import Retention

DRILL_EVERY = timedelta(days=8)
"""A drill a week, and a day for the one that is late."""

MOST_TOLD = 100
"""So many damaged documents are told one by one."""

SOURCES = frozenset({"missed", "backups", "age", "clock", "drills", "damage", "rescue"})
"""Beginnings of the keys of these problems: what cannot be seen while the storage cannot be read."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the catalog does not know. Ages in seconds.

    ``working`` is true while a backup runs inside its time limit; ``began_at`` is the first look of all, and
    ``had_backups`` whether an earlier one saw a verified backup. ``wal_archived`` is true once the archive of WAL
    makes an age of hours something that can be helped. ``changed_rescue_files`` are those that somebody changed.
    """

    age_warning_seconds: float
    age_critical_seconds: float
    retention: Retention
    working: bool
    began_at: datetime
    had_backups: bool
    wal_archived: bool = False
    changed_rescue_files: tuple[str, ...] = ()


def look_at_catalog(
    catalog: Catalog, calendar: Calendar, given: Circumstances, known: Collection[str], now: datetime
) -> Observation:
    """Every problem of the catalog; ``known`` are the keys of open incidents."""
    return (
        _missed(catalog, calendar, given, known, now)
        + _age(catalog, calendar, given, now)
        + _clock(catalog, calendar, now)
        + _drills(catalog, calendar, given, now)
        + _damage(catalog, known, now)
        + _rescue(given, now)
    )


def is_bare(catalog: Catalog) -> bool:
    """Whether not even anything damaged is there: where backups were, another disk may be mounted in its place."""
    return len(catalog) == 0 and not catalog.damage


def recovery_of(catalog: Catalog, now: datetime) -> Recovery:
    """What could be recovered now. Not by what is dated in the future: its moment would be no news of today."""
    catalog = catalog.until(now)
    verified = catalog.newest_good()
    proven = max(
        (
            each
            for each in catalog
            if each.proven_at is not None and not is_of_the_future(each.proven_at, now)
        ),
        key=lambda each: each.as_of,
        default=None,
    )
    return Recovery(
        verified_id="" if verified is None else verified.backup_id,
        verified_as_of=None if verified is None else verified.as_of,
        proven_id="" if proven is None else proven.backup_id,
        proven_as_of=None if proven is None else proven.as_of,
        proven_at=None if proven is None else proven.proven_at,
    )


def _missed(
    catalog: Catalog, calendar: Calendar, given: Circumstances, known: Collection[str], now: datetime
) -> Observation:
    """Partitions that are over without a backup, as far back as one would still be kept."""
    _, since = before_the_first(missing_partitions(catalog, calendar, now), catalog, calendar)
    reach = {
        Tier.DAILY: given.retention.daily,
        Tier.WEEKLY: given.retention.weekly,
        Tier.MONTHLY: given.retention.monthly,
    }
    # One more than are kept: the running one has not ended.
    recent = {tier: calendar.partitions(tier, now)[-count - 1 :] for tier, count in reach.items()}
    matters = [gap for gap in since if gap.partition in recent[gap.tier]]
    names = {_key(gap) for gap in since} - {_key(gap) for gap in matters}
    return Observation(
        tuple(_gap(gap, calendar) for gap in matters), lapsed=frozenset(names.intersection(known))
    )


def _key(gap: Gap) -> str:
    return f"missed/{gap.tier.value}/{gap.partition}"


def _gap(gap: Gap, calendar: Calendar) -> Problem:
    kind = {
        Remedy.LATE_DUMP: Kind.MISSED_DAY,
        Remedy.PROMOTE: Kind.MISSED_PERIOD,
        Remedy.NOTHING: Kind.MISSED_FOR_EVER,
    }[gap.remedy]
    return Problem(
        key=_key(gap),
        kind=kind,
        severity=Severity.WARNING,
        since=calendar.window(gap.tier, gap.partition).end_at,
        facts={"tier": gap.tier.value, "tier_name": gap.tier.value, "partition": gap.partition},
        # Nobody can dump the past. That backups do not come is reminded of by their age.
        nags=False,
    )


def _age(catalog: Catalog, calendar: Calendar, given: Circumstances, now: datetime) -> Observation:
    """How old the newest of the backups up to ``now`` is: one of the future would silence this until its date."""
    newest = catalog.until(now).newest_good()
    if newest is None:
        if given.had_backups:
            return _none(Kind.BACKUPS_GONE if is_bare(catalog) else Kind.NO_BACKUP, now)
        if now - given.began_at <= timedelta(seconds=given.age_critical_seconds):
            return Observation()
        if given.working:
            return Observation(unseen=frozenset({"backups", "age"}))
        return _none(Kind.NO_BACKUP, now)
    age = now - newest.as_of
    limit_seconds, severity = given.age_critical_seconds, Severity.CRITICAL
    if given.wal_archived and age <= timedelta(seconds=limit_seconds):
        limit_seconds, severity = given.age_warning_seconds, Severity.WARNING
    limit = timedelta(seconds=limit_seconds)
    if age <= limit:
        return Observation()
    if given.working:
        # The one that runs may end well at any moment; if it does not, its time limit ends this patience.
        return Observation(unseen=frozenset({"age"}))
    facts = {"as_of": _moment(newest.as_of, calendar), "limit": human_seconds(limit_seconds)}
    return Observation((Problem("age", Kind.TOO_OLD, severity, newest.as_of + limit, facts),))


def _none(kind: Kind, now: datetime) -> Observation:
    """Worse than any age, and news to whoever was told of one; that is not over as long as there is nothing."""
    return Observation((Problem("backups", kind, Severity.CRITICAL, now),), unseen=frozenset({"age"}))


def _clock(catalog: Catalog, calendar: Calendar, now: datetime) -> Observation:
    """A backup of the future, told once: while clocks stay wrong the age is what reminds, where it does not count."""
    ahead = catalog.newest_of_the_future(now)
    if ahead is None:
        return Observation()
    facts = {"name": ahead.backup_id, "as_of": _moment(ahead.as_of, calendar)}
    return Observation((Problem("clock", Kind.CLOCK, Severity.WARNING, now, facts, nags=False),))


def _drills(catalog: Catalog, calendar: Calendar, given: Circumstances, now: datetime) -> Observation:
    """Whether anybody rehearses restoring. A failed drill is a drill: that it failed is told elsewhere."""
    present = catalog.until(now)
    if present.newest_good() is None:
        # Nothing to rehearse with: what was told of drills is neither new nor over.
        return Observation(unseen=frozenset({"drills"}))
    # One that a wrong clock dated ahead would silence this until its date.
    drills = [
        check.checked_at
        for backup in catalog
        for check in backup.checks
        if check.kind == "drill" and not is_of_the_future(check.checked_at, now)
    ]
    first = min(backup.as_of for backup in present)
    # Adopted backups may be years old on the first day.
    last = max(drills) if drills else max(first, given.began_at)
    if now - last <= DRILL_EVERY:
        return Observation()
    kind = Kind.DRILL_STALE if drills else Kind.DRILL_NEVER
    facts = {"last": _moment(last, calendar), "first": _moment(first, calendar)}
    return Observation((Problem("drills", kind, Severity.WARNING, last + DRILL_EVERY, facts),))


def _damage(catalog: Catalog, known: Collection[str], now: datetime) -> Observation:
    """The first of the damaged documents, one by one, and that there are more.

    Whoever can write to the storage can put a million there. What people were told is kept in Dagster's cursor, with
    what tells that the storage went back to an older state: were it too long to be read again, all of that was lost.
    """
    told = [(f"damage/{each.name}", each.name, each.problem) for each in catalog.damage[:MOST_TOLD]]
    if len(catalog.damage) > MOST_TOLD:
        reason = (
            f"it and more documents than the {MOST_TOLD} that are told one by one; verify --all names them"
        )
        told.append(("damage/more", catalog.damage[MOST_TOLD].name, reason))
    # Also those that no tier's checks speak of. Once a newer one is whole, what they held before is what is lost.
    for backup in catalog.passed_over[:MOST_TOLD]:
        last = max(
            (each for each in backup.checks if each.kind == "verify"), key=lambda each: each.checked_at
        )
        told.append((f"damage/backup/{backup.backup_id}", backup.backup_id, why_text(last)))
    # One that was told before others came in front of it is not over.
    hidden = {f"damage/{each.name}" for each in catalog.damage[MOST_TOLD:]}.intersection(known)
    return Observation(
        tuple(
            Problem(
                key=key,
                kind=Kind.DAMAGE,
                severity=Severity.CRITICAL,
                since=now,
                facts={"name": shortened(name), "reason": shortened(reason)},
            )
            for key, name, reason in told
        ),
        unseen=frozenset(hidden),
    )


def _rescue(given: Circumstances, now: datetime) -> Observation:
    """What is run with the key at hand on the day on which this software is gone, and was changed."""
    return Observation(
        tuple(
            Problem(f"rescue/{name}", Kind.RESCUE, Severity.CRITICAL, now, {"name": name})
            for name in given.changed_rescue_files
        )
    )


def _moment(moment: datetime, calendar: Calendar) -> str:
    return f"{moment.astimezone(calendar.timezone):%Y-%m-%d %H:%M}"
