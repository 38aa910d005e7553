"""The page: surveys as one HTML file that loads nothing, for a second screen, a phone and paper. Pure.

No state is told by colour alone: every cell has a sign, and words for whoever hears the page. What others have written
(names, reasons) is escaped, and the page's own policy forbids it to load or send anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from importlib import resources

from recyclic_backups import __version__
from recyclic_backups.drill.scenarios import OBJECTIVES
from recyclic_backups.health.finding import Finding, worst_first
from recyclic_backups.health.survey import Survey
from recyclic_backups.languages import Bytes, Locale, Seconds, Share
from recyclic_backups.report.charts import Chart, svg
from recyclic_backups.report.coverage import coverage
from recyclic_backups.report.figures import figures, quantity, verdict
from recyclic_backups.report.grid import grid
from recyclic_backups.report.headline import headline, overall
from recyclic_backups.report.markup import finding_list, plain, prose, table
from recyclic_backups.report.space import savings
from recyclic_backups.report.trends import trends
from recyclic_backups.report.upcoming_expiry import leaving
from recyclic_backups.report.words import say, say_moment
from recyclic_backups.retention.forecast import departures

_STALE_HOURS = 2
_SHOWN_DEPARTURES = 6
_FORECAST_DAYS = 31
_SHOWN_INCIDENTS = 6
_SHOWN_ISSUES = 30
_CURVE_POINTS = 3
"""Of fewer a drawing shows nothing that the values themselves do not say better."""

_POLICY = (
    "default-src 'none'; style-src {style}; script-src {script}; "
    "connect-src 'none'; base-uri 'none'; form-action 'none'"
)
# A page that nobody writes any more would show green for ever: it takes that back itself, and asks for the newer one.
_SCRIPT = """
(function () {
  var banner = document.getElementById('stale'), told = banner.dataset, title = document.title;
  function look() {
    var hours = (Date.now() - Date.parse(told.measured)) / 3600000, old = hours > %d;
    var count = Math.floor(hours < 48 ? hours : hours / 24);
    var age = (hours < 48 ? told.hours : told.days).replace('COUNT', count);
    var text = old ? told.text.replace('AGE', age) : '';
    document.documentElement.classList.toggle('is-stale', old);
    document.title = old ? told.title : title;
    if (banner.textContent !== text) banner.textContent = text;
  }
  look(); setInterval(look, 60000);
})();
"""


def _hash_source(text: str) -> str:
    """What a policy says of an element's text: no other text is run or applied (Content Security Policy 3, 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


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
    title = say("title", locale, database=first.terms.database) if one else say("titles", locale)
    moment = say_moment(first.measured_at, timezone, locale)
    measured = say("measured", locale, moment=moment, timezone=timezone.key)
    word = say(overall(surveys, still).value, locale)
    style = "\n" + resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    script = _SCRIPT % _STALE_HOURS
    policy = _POLICY.format(style=_hash_source(style), script=_hash_source(script))
    bodies = "".join(
        _Section(survey, () if number else still, leads=not number, named=not one).html()
        for number, survey in enumerate(surveys)
    )
    return f"""<!DOCTYPE html>
<html lang="{locale}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta http-equiv="refresh" content="300">
<meta name="color-scheme" content="light dark">
<title>{plain(word)} · {plain(title)}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#issues">{plain(say("skip", locale))}</a>
<header class="top"><h1>{plain(title)}</h1>
<span class="where">{plain(say(first.terms.environment, locale))}</span>
<span class="when">{plain(measured)}</span></header>
<main>
<p class="stale" id="stale" role="alert" data-measured="{first.measured_at.isoformat()}" \
data-hours="{plain(say("hours", locale, count="COUNT"))}" data-days="{plain(say("days", locale, count="COUNT"))}" \
data-title="{plain(say("nothing known", locale, moment=moment))} · {plain(title)}" \
data-text="{plain(say("stale", locale, age="AGE"))}"></p>
{bodies}</main>
<footer>{plain(say("made by", locale, version=__version__))}</footer>
<script>{script}</script>
</body>
</html>
"""


class _Section:
    """One database. The one that leads is what links of the page lead to."""

    def __init__(self, survey: Survey, incidents: Sequence[Finding], *, leads: bool, named: bool) -> None:
        self.incidents, self.leads, self.named = incidents, leads, named
        self.survey = survey
        self.locale: Locale = survey.terms.locale
        self.timezone = survey.terms.calendar.timezone

    def html(self) -> str:
        """Its cards, in the order in which somebody reads who has been woken up."""
        name = f"<h1>{plain(self.survey.terms.database)}</h1>" if self.named else ""
        cards = [headline(self.survey, self.incidents), figures(self.survey)]
        if self.incidents:
            still = finding_list(self.incidents, self.locale, shown=_SHOWN_INCIDENTS)
            cards.append(self.card("incidents", still))
        cards.append(self.card("issues", self.issues()))
        if self.survey.space_is_low:
            cards.append(self.card("space", self.space()))
        cards += [
            self.card("coverage", self.coverage()),
            self.card("objectives", self.objectives()),
            self.card("departures", self.departures()),
            self.card("trends", self.trends()),
        ]
        return f'{name}<div class="page">{"".join(cards)}</div>'

    def say(self, name: str, **values: object) -> str:
        """A fixed text, escaped."""
        return plain(say(name, self.locale, **values))

    def card(self, name: str, content: str) -> str:
        """A card with a heading."""
        anchor = f' id="{name}"' if self.leads else ""
        return f'<section class="card of-{name}"{anchor}><h2>{self.say(name)}</h2>{content}</section>'

    def moment(self, at: datetime) -> str:
        """On the operator's clock."""
        return say_moment(at, self.timezone, self.locale)

    def quantity(self, value: Bytes | Seconds | Share) -> str:
        """In the reader's language."""
        return quantity(value, self.locale)

    def issues(self) -> str:
        """The worst first."""
        if not self.survey.findings:
            nothing = "nothing besides" if self.incidents else "all well"
            return f'<p class="quiet">{self.say(nothing)}</p>'
        return finding_list(self.survey.findings, self.locale, shown=_SHOWN_ISSUES)

    def space(self) -> str:
        """What could be freed."""
        lines = [f"<li>{prose(each.text(self.locale))}</li>" for each in savings(self.survey)[:8]]
        return f"<ul>{''.join(lines)}</ul>" if lines else f"<p>{self.say('no saving')}</p>"

    def coverage(self) -> str:
        """What each day, week and month has."""
        calendar, now = self.survey.terms.calendar, self.survey.measured_at
        return grid(
            coverage(self.survey.catalog, calendar, now, gaps=[each.subject for each in self.survey.gaps]),
            self.locale,
        )

    def trends(self) -> str:
        """A chart for each figure that has values."""
        charts = trends(self.survey)
        if not charts:
            return f'<p class="quiet">{self.say("no trend")}</p>'
        drawn = "".join(
            f"<figure><figcaption><span>{plain(chart.title)}</span>"
            f"<b>{plain(chart.text(max(chart.points, key=lambda point: point.at).value))}</b></figcaption>"
            f"{svg(chart) if len(chart.points) >= _CURVE_POINTS else self.values(chart)}</figure>"
            for chart in charts
        )
        return f'<div class="charts">{drawn}</div>'

    def values(self, chart: Chart) -> str:
        """The values where there are too few for a curve."""
        items = "".join(f"<li>{prose(point.note)}</li>" for point in chart.points)
        return f'<ul class="few">{items}<li class="odd">{self.say("too few")}</li></ul>'

    def objectives(self) -> str:
        """What drills have measured beside what was asked of them."""
        rows = []
        for scenario, objective in OBJECTIVES.items():
            drill = self.survey.drills.get(scenario.value)
            if drill is None:
                asked = (objective.restore_seconds, objective.data_loss_seconds)
                limits = [self.quantity(Seconds(each)) for each in asked]
                cells = [
                    self.say("never"),
                    "–",
                    *(f"– {self.say('of limit', limit=limit)}" for limit in limits),
                ]
            else:
                look = "good" if drill.passed else "bad-text"
                word = self.say(
                    "failed" if not drill.passed else "passed" if drill.compared else "nothing to compare"
                )
                cells = [
                    plain(self.moment(drill.checked_at)),
                    f'<span class="{look} line">{"✓" if drill.passed else "✕"} {word}</span>',
                    # By what it was held against, as in the issues; objectives may have changed since.
                    self.measured(drill.restore_seconds, drill.restore_objective_seconds, drill.in_time),
                    self.measured(
                        drill.data_loss_seconds, drill.data_loss_objective_seconds, drill.lost_little
                    ),
                ]
            rows.append([self.say(scenario.value), *cells])
        heads = ("scenario", "last drill", "verdict", "restored in", "lost")
        return table([self.say(head) for head in heads], rows)

    def measured(self, seconds: float, limit_seconds: float | None, met: bool) -> str:
        """``✓ 3.7 s of 30 min``; only how long where nobody wrote down what was asked."""
        shown = self.quantity(Seconds(seconds))
        if limit_seconds is None:
            return f'<span class="line">{shown}</span>'
        limit_text = self.say("of limit", limit=self.quantity(Seconds(limit_seconds)))
        return f'<span class="line">{verdict(met, self.locale)} {shown}</span> <span class="odd">{limit_text}</span>'

    def departures(self) -> str:
        """What leaves, the next first."""
        coming = departures(
            self.survey.catalog,
            self.survey.terms.retention,
            self.survey.terms.calendar,
            self.survey.measured_at,
            days=_FORECAST_DAYS,
        )
        if not coming:
            return f'<p class="quiet">{self.say("none leaves", days=_FORECAST_DAYS)}</p>'
        groups = leaving(coming, self.locale)
        rows = [group.cells(self.locale) for group in groups[:_SHOWN_DEPARTURES]]
        left = sum(len(group.departures) for group in groups[_SHOWN_DEPARTURES:])
        more = (
            f'<p class="quiet">{self.say("and more", count=left, days=_FORECAST_DAYS)}</p>'
            if left > 0
            else ""
        )
        heads = [self.say(head) for head in ("leaves", "backup", "why")]
        return f'<p class="quiet">{self.say("if good")}</p>{table(heads, rows)}{more}'
