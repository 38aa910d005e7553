"""The headline: how it stands in one word, and what that means for recovery. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from recyclic_backups.health.finding import Finding, Status, status_of
from recyclic_backups.health.survey import Survey
from recyclic_backups.texts.language import Bytes, Seconds
from recyclic_backups.texts.report import day_text, moment_text, report_text

_ORDER = [Status.HEALTHY, Status.DEGRADED, Status.UNHEALTHY]


def overall(surveys: Sequence[Survey], incidents: Sequence[Finding]) -> Status:
    """The worst of every survey's health and of what is open."""
    return max([*(each.status for each in surveys), status_of(incidents)], key=_ORDER.index)


def recoverable_sentence(survey: Survey) -> str:
    """From when the database comes back, and what would be missing."""
    terms, as_of, age_seconds = survey.terms, survey.recovery_point.as_of, survey.age_seconds
    if as_of is None or age_seconds is None:
        return report_text("no recovery point", terms.locale)
    moment = moment_text(as_of, terms.calendar.timezone, terms.locale)
    return report_text(
        "recovery point", terms.locale, moment=moment, age=Seconds(age_seconds).text(terms.locale)
    )


def proven_sentence(survey: Survey) -> str:
    """Which backup was proven by a restore, and when."""
    terms, point = survey.terms, survey.recovery_point
    if point.proven_as_of is None or point.proven_at is None:
        return report_text("nothing proven", terms.locale)
    moment, at = (
        moment_text(each, terms.calendar.timezone, terms.locale)
        for each in (point.proven_as_of, point.proven_at)
    )
    return report_text("proven point", terms.locale, moment=moment, at=at)


def window_sentence(survey: Survey) -> str:
    """Between which moments WAL brings back any; empty where it is not archived."""
    wal, terms = survey.facts.wal, survey.terms
    if wal is None:
        return ""
    until, since = wal.reaches_until, wal.reaches_since
    if until is None or since is None:
        return report_text("no window", terms.locale)
    first, last = (moment_text(each, terms.calendar.timezone, terms.locale) for each in (since, until))
    size = Bytes(wal.stored_bytes).text(terms.locale)
    return report_text("window", terms.locale, first=first, last=last, size=size)


def space_sentence(survey: Survey) -> str:
    """How the storage grows, and when it is full; empty where WAL is not archived and there is room for long enough."""
    found, locale = survey.space_forecast, survey.terms.locale
    if found.full_on is None and (survey.facts.wal is None or found.wal_bytes_a_day is None):
        return ""
    return " ".join(each.text(locale) for each in found.sentences(lambda day: day_text(day, locale)))
