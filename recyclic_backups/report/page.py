"""The page: surveys as one HTML file that loads nothing, for a second screen, a phone and paper. Pure.

The template is ``page.html.jinja`` beside this file. What others have written (names, reasons) is escaped there, and
the page's own policy forbids it to load or send anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import date
from functools import partial
from importlib import resources
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from recyclic_backups import __version__
from recyclic_backups.drill.scenarios import OBJECTIVES, Scenario
from recyclic_backups.health.finding import Finding, Level, worst_first
from recyclic_backups.health.survey import Survey
from recyclic_backups.report.charts import svg
from recyclic_backups.report.coverage import SIGNS, coverage
from recyclic_backups.report.figures import quantity, tiles
from recyclic_backups.report.headline import (
    overall,
    proven_sentence,
    recoverable_sentence,
    space_sentence,
    window_sentence,
)
from recyclic_backups.report.markup import plain, prose, sentence
from recyclic_backups.report.space import savings
from recyclic_backups.report.trends import trends
from recyclic_backups.report.upcoming_expiry import leaving
from recyclic_backups.retention.forecast import departures
from recyclic_backups.texts.language import Locale, Seconds
from recyclic_backups.texts.report import day_text, moment_text, month_text, report_text, tier_text

_SHOWN_SAVINGS = 8
_FORECAST_DAYS = 31

_POLICY = (
    "default-src 'none'; style-src {style}; script-src {script}; "
    "connect-src 'none'; base-uri 'none'; form-action 'none'"
)

_TEMPLATES = Environment(
    loader=PackageLoader("recyclic_backups.report", "."),
    undefined=StrictUndefined,
    autoescape=True,
    finalize=plain,
)
_TEMPLATES.filters |= {"prose": prose, "svg": lambda chart: Markup(svg(chart))}  # noqa: S704 - escaped by `plain` there


def page(surveys: Sequence[Survey], *, incidents: Iterable[Finding] = ()) -> str:
    """The whole file, in the language of the first survey.

    ``incidents`` are the open ones of the first survey's database, the oldest first, as
    :func:`recyclic_backups.notify.stored_state.open_incidents` gives them. They count in what the page says first.
    """
    first = surveys[0]
    locale, timezone = first.terms.locale, first.terms.calendar.timezone
    # The newest first: what has been open for long is known to whoever looks here.
    still = worst_first(reversed(tuple(incidents)))
    one = len(surveys) == 1
    style, script = "\n" + _file("page.css"), _file("page.js")
    return _TEMPLATES.get_template("page.html.jinja").render(
        locale=locale,
        first=first,
        timezone=timezone.key,
        parts=[
            _part(each, () if number else still, locale) | {"leads": not number}
            for number, each in enumerate(surveys)
        ],
        title=report_text("title", locale, database=first.terms.database)
        if one
        else report_text("titles", locale),
        word=report_text(overall(surveys, still).value, locale),
        moment=moment_text(first.measured_at, timezone, locale),
        version=__version__,
        style=Markup(style),  # noqa: S704 - ours
        script=Markup(script),  # noqa: S704 - ours
        policy=Markup(_POLICY.format(style=_hash_source(style), script=_hash_source(script))),  # noqa: S704
        signs=SIGNS,
        say=lambda name, **values: report_text(name, locale, **values),
        texts=lambda *names: ", ".join(report_text(name, locale) for name in names),
        sentence=lambda finding: sentence(finding, locale),
        time=lambda seconds: quantity(Seconds(seconds), locale),
        months=lambda days: _months(days, locale),
        day_text=lambda day: day_text(day, locale),
        tier_text=lambda tier: tier_text(tier, locale),
    )


def _part(survey: Survey, incidents: Sequence[Finding], locale: Locale) -> dict[str, Any]:
    """What the page shows of one database."""
    terms, now, as_of = survey.terms, survey.measured_at, survey.recovery_point.verified_as_of
    moment = partial(moment_text, timezone=terms.calendar.timezone, locale=locale)
    point = recoverable_sentence(survey)
    coming = departures(survey.catalog, terms.retention, terms.calendar, now, days=_FORECAST_DAYS)
    return {
        "survey": survey,
        "moment": moment,
        "status": overall([survey], incidents),
        "incidents": incidents,
        "criticals": sum(each.level is Level.CRITICAL for each in incidents),
        "point": point,
        "then": point if as_of is None else report_text("newest then", locale, moment=moment(as_of)),
        "proof": proven_sentence(survey),
        "window": window_sentence(survey),
        "space": space_sentence(survey),
        "tiles": list(tiles(survey)),
        "savings": savings(survey)[:_SHOWN_SAVINGS] if survey.space_is_low else [],
        "coverage": coverage(
            survey.catalog, terms.calendar, now, gaps={each.subject for each in survey.gaps}
        ),
        "drills": [
            (each.value, asked, survey.drills.get(each.value))
            for each, asked in OBJECTIVES.items()
            if each is not Scenario.PITR or survey.facts.wal is not None
        ],
        "leaving": leaving(coming, locale),
        "forecast_days": _FORECAST_DAYS,
        "charts": trends(survey),
    }


def _months(days: Sequence[date], locale: Locale) -> list[tuple[str, int]]:
    """The months that these days are in, and how many days of each."""
    return [(name, len([*own])) for name, own in groupby(days, lambda day: month_text(day, locale))]


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash_source(text: str) -> str:
    """What a policy says of an element's text: no other text is run or applied (Content Security Policy 3, 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
