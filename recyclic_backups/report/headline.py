"""The headline: how it stands in one word, what that means for recovery, and what is left of it on an old page. Pure.

On a page that nobody writes any more the script of the page (:mod:`recyclic_backups.report.page`) sets the class
``is-stale``: what is of the class ``fresh`` disappears then, and what is ``gone`` is shown instead.
"""

from __future__ import annotations

from collections.abc import Sequence

from recyclic_backups.health.finding import Finding, Level, Status, status_of
from recyclic_backups.health.survey import Survey
from recyclic_backups.languages import Seconds
from recyclic_backups.report.markup import plain, prose
from recyclic_backups.report.words import say, say_moment

_MARKS = {
    Status.HEALTHY: '<circle class="shape" cx="16" cy="16" r="15"/><path class="sign" d="M9 17l5 5 9-11"/>',
    Status.DEGRADED: '<path class="shape" d="M16 1L31.5 29H.5z"/><path class="sign" d="M16 12v7m0 5v.1"/>',
    Status.UNHEALTHY: '<path class="shape" d="M10 1h12l9 9v12l-9 9H10l-9-9V10z"/>'
    '<path class="sign" d="M11 11l10 10m0-10L11 21"/>',
}
_UNKNOWN_MARK = (
    '<circle class="shape" cx="16" cy="16" r="15"/>'
    '<path class="sign" d="M11.5 12.5a4.5 4.5 0 1 1 6.6 4q-2.1 1.2-2.1 3.2m0 4v.1"/>'
)
_ORDER = [Status.HEALTHY, Status.DEGRADED, Status.UNHEALTHY]


def overall(surveys: Sequence[Survey], incidents: Sequence[Finding]) -> Status:
    """The worst of every survey's health and of what is open."""
    return max([*(each.status for each in surveys), status_of(incidents)], key=_ORDER.index)


def recoverable_sentence(survey: Survey) -> str:
    """From when the database comes back, and what would be missing."""
    terms, as_of, age_seconds = survey.terms, survey.recovery_point.verified_as_of, survey.age_seconds
    if as_of is None or age_seconds is None:
        return say("no recovery point", terms.locale)
    moment = say_moment(as_of, terms.calendar.timezone, terms.locale)
    return say("recovery point", terms.locale, moment=moment, age=Seconds(age_seconds).text(terms.locale))


def proven_sentence(survey: Survey) -> str:
    """Which backup was proven by a restore, and when."""
    terms, point = survey.terms, survey.recovery_point
    if point.proven_as_of is None or point.proven_at is None:
        return say("nothing proven", terms.locale)
    moment, at = (
        say_moment(each, terms.calendar.timezone, terms.locale)
        for each in (point.proven_as_of, point.proven_at)
    )
    return say("proven point", terms.locale, moment=moment, at=at)


def headline(survey: Survey, incidents: Sequence[Finding]) -> str:
    """The card that comes first. ``incidents`` are the open ones of this database."""
    locale, timezone = survey.terms.locale, survey.terms.calendar.timezone
    status = overall([survey], incidents)
    measured = say_moment(survey.measured_at, timezone, locale)
    word = say(status.value, locale)
    point, proof = recoverable_sentence(survey), proven_sentence(survey)
    as_of = survey.recovery_point.verified_as_of
    then = point if as_of is None else say("newest then", locale, moment=say_moment(as_of, timezone, locale))
    return (
        f'<section class="card status {status.value}">'
        f'<svg class="mark fresh" viewBox="0 0 32 32" aria-hidden="true">{_MARKS[status]}</svg>'
        f'<svg class="mark gone" viewBox="0 0 32 32" aria-hidden="true">{_UNKNOWN_MARK}</svg>'
        f'<div class="fresh"><p class="word">{plain(word)}</p>{_open(survey, incidents)}'
        f'<p>{prose(point)}</p><p class="soft">{prose(proof)}</p></div>'
        f'<div class="gone"><p class="word">{plain(say("nothing known", locale, moment=measured))}</p>'
        f"<p>{prose(say('then', locale, word=word))} {prose(then)}</p>"
        f'<p class="soft">{prose(proof)}</p></div></section>'
    )


def _open(survey: Survey, incidents: Sequence[Finding]) -> str:
    """How many incidents are open; nothing when none is."""
    if not incidents:
        return ""
    critical = sum(each.level is Level.CRITICAL for each in incidents)
    name = "one incident" if len(incidents) == 1 else "open incidents"
    text = say(name, survey.terms.locale, count=len(incidents), critical=critical)
    return f'<p class="open"><a href="#incidents">{prose(text)}</a></p>'
