"""The page: surveys as one HTML file that loads nothing, for a second screen, a phone and paper. Pure.

No state is told by colour alone: every cell has a sign, and words for whoever hears the page. What others have written
(names, reasons) is escaped, and the page's own policy forbids it to load or send anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from importlib import resources

from recyclic_backups import __version__
from recyclic_backups.drill.scenarios import OBJECTIVES
from recyclic_backups.health.availability import OBJECTIVE as AVAILABILITY_OBJECTIVE
from recyclic_backups.health.issues import Issue, Level, Status
from recyclic_backups.health.objectives import COMPRESSION_PERCENT, DURATION_SECONDS
from recyclic_backups.languages import Bytes, Locale, Seconds, Share
from recyclic_backups.report.charts import svg
from recyclic_backups.report.coverage import coverage
from recyclic_backups.report.grid import grid
from recyclic_backups.report.survey import Survey
from recyclic_backups.report.trends import trends
from recyclic_backups.report.words import say, say_day, say_moment

_MARKS = {
    Status.HEALTHY: '<circle class="shape" cx="16" cy="16" r="15"/><path class="sign" d="M9 17l5 5 9-11"/>',
    Status.DEGRADED: '<path class="shape" d="M16 1L31.5 29H.5z"/><path class="sign" d="M16 12v7m0 5v.1"/>',
    Status.UNHEALTHY: '<path class="shape" d="M10 1h12l9 9v12l-9 9H10l-9-9V10z"/>'
    '<path class="sign" d="M11 11l10 10m0-10L11 21"/>',
}
_ORDER = [Status.HEALTHY, Status.DEGRADED, Status.UNHEALTHY]

_STALE_HOURS = 2
_SHOWN_DEPARTURES = 10
_FORECAST_DAYS = 31
_SHOWN_ISSUES = 30

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
# A page that nobody writes any more would show green for ever: it says so itself, and asks for the newer one.
_SCRIPT = """
(function () {
  var banner = document.getElementById('stale'), at = Date.parse(banner.dataset.measured);
  function look() {
    var hours = (Date.now() - at) / 3600000;
    banner.classList.toggle('shown', hours > %d);
    banner.textContent = banner.dataset.text.replace('HOURS', Math.floor(hours));
  }
  look(); setInterval(look, 60000);
})();
"""


def page(surveys: Sequence[Survey], *, incidents: Iterable[Issue] = ()) -> str:
    """The whole file, in the language of the first survey. ``incidents`` are open ones, said before all else."""
    first = surveys[0]
    locale = first.terms.locale
    worst = max((each.metrics.status for each in surveys), key=_ORDER.index)
    one = len(surveys) == 1
    title = say("title", locale, database=first.terms.database) if one else say("titles", locale)
    moment = say_moment(first.measured_at, first.terms.calendar.timezone, locale)
    measured = say("measured", locale, moment=moment, timezone=first.terms.calendar.timezone.key)
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    bodies = "".join(_Section(survey, heading=not one).html() for survey in surveys)
    return f"""<!DOCTYPE html>
<html lang="{locale}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta http-equiv="refresh" content="300">
<meta name="color-scheme" content="light dark">
<title>{_text(say(worst.value, locale))} · {_text(title)}</title>
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#issues">{_text(say("skip", locale))}</a>
<header class="top"><h1>{_text(title)}</h1>
<span class="where">{_text(say(first.terms.environment, locale))}</span>
<span class="when">{_text(measured)}</span></header>
<main>
<p class="stale" id="stale" role="alert" data-measured="{first.measured_at.isoformat()}" \
data-text="{_text(say("stale", locale, hours="HOURS"))}"></p>
{_incidents(tuple(incidents), locale)}{bodies}</main>
<footer>{_text(say("made by", locale, version=__version__))}</footer>
<script>{_SCRIPT % _STALE_HOURS}</script>
</body>
</html>
"""


def _text(value: object) -> str:
    return escape(str(value))


def _incidents(incidents: Sequence[Issue], locale: Locale) -> str:
    if not incidents:
        return ""
    return (
        f'<div class="page"><section class="card wide"><h2>{_text(say("incidents", locale))}</h2>'
        f"{_issues(incidents, locale)}</section></div>"
    )


def _issues(issues: Sequence[Issue], locale: Locale) -> str:
    signs = {Level.CRITICAL: "✕", Level.WARNING: "▲", Level.NOTE: "i"}
    lines = [
        f'<li><span class="tag {issue.level.value}">{signs[issue.level]} {_text(say(issue.level.value, locale))}</span>'
        f"<span>{_text(issue.sentence.text(locale))}"
        + (f' <span class="odd">({_text(say("anomaly", locale))})</span>' if issue.anomaly else "")
        + "</span></li>"
        for issue in issues[:_SHOWN_ISSUES]
    ]
    left = len(issues) - _SHOWN_ISSUES
    more = f'<li><span></span><span class="quiet">… (+{left})</span></li>' if left > 0 else ""
    return f'<ul class="issues">{"".join(lines)}{more}</ul>'


class _Section:
    """One database."""

    def __init__(self, survey: Survey, *, heading: bool) -> None:
        self.survey, self.heading = survey, heading
        self.metrics = survey.metrics
        self.locale: Locale = survey.terms.locale
        self.timezone = survey.terms.calendar.timezone

    def html(self) -> str:
        """Its cards, in the order in which somebody reads who has been woken up."""
        name = f"<h1>{_text(self.survey.terms.database)}</h1>" if self.heading else ""
        cards = [
            self.status(),
            self.figures(),
            self.card("issues", self.issues(), "wide", anchor="issues"),
            self.card("coverage", self.coverage(), "wide"),
            self.card("trends", self.trends(), "wide"),
            self.card("objectives", self.objectives(), "half"),
            self.card("departures", self.departures(), "half"),
        ]
        if self.survey.metrics.free_bytes is not None and self.is_short_of_space():
            cards.insert(3, self.card("space", self.space(), "wide"))
        return f'{name}<div class="page">{"".join(cards)}</div>'

    def say(self, name: str, **values: object) -> str:
        """A fixed text, escaped."""
        return _text(say(name, self.locale, **values))

    def card(self, title: str, content: str, width: str, *, anchor: str = "") -> str:
        """A card with a heading."""
        name = f' id="{anchor}"' if anchor else ""
        return f'<section class="card {width}"{name}><h2>{self.say(title)}</h2>{content}</section>'

    def moment(self, at: datetime) -> str:
        """On the operator's clock."""
        return say_moment(at, self.timezone, self.locale)

    def quantity(self, value: Bytes | Seconds | Share) -> str:
        """In the reader's language."""
        return value.text(self.locale).replace(" ", "\u00a0")  # a number stays with its unit

    def status(self) -> str:
        """One word, and what it means for recovery."""
        metrics, newest = self.metrics, self.metrics.newest
        if newest is None or metrics.age_seconds is None:
            point = self.say("no recovery point")
        else:
            age = self.quantity(Seconds(metrics.age_seconds))
            point = self.say("recovery point", moment=self.moment(newest.as_of), age=age)
        proven = metrics.newest_proven
        proof = (
            self.say("nothing proven")
            if proven is None
            else self.say("proven point", moment=self.moment(proven.as_of))
        )
        return (
            f'<section class="card wide status {metrics.status.value}">'
            f'<svg class="mark" viewBox="0 0 32 32" aria-hidden="true">{_MARKS[metrics.status]}</svg>'
            f'<div><p class="word">{self.say(metrics.status.value)}</p><p>{point}</p><p>{proof}</p></div></section>'
        )

    def figures(self) -> str:
        """What there is, beside what was asked."""
        metrics, thresholds = self.metrics, self.survey.terms.thresholds
        newest = None if metrics.newest is None else metrics.newest.manifest
        tiles: list[tuple[str, str, str, bool | None]] = []
        age = metrics.age_seconds
        limit = self.quantity(Seconds(thresholds.age_critical_seconds))
        tiles.append(
            (
                "age",
                "–" if age is None else self.quantity(Seconds(age)),
                self.say("alarm over", limit=limit),
                age is not None and age <= thresholds.age_critical_seconds,
            )
        )
        free, limit = metrics.free_bytes, self.quantity(Bytes(thresholds.disk_critical_bytes))
        tiles.append(
            (
                "free",
                self.say("not told") if free is None else self.quantity(Bytes(free)),
                "" if free is None else self.say("alarm under", limit=limit),
                None if free is None else free >= thresholds.disk_warning_bytes,
            )
        )
        held = sum(each.is_held(metrics.measured_at) for each in metrics.catalog)
        number = len(metrics.catalog)
        count = self.say("one backup") if number == 1 else self.say("backups", count=number)
        count += f", {self.say('held count', count=held)}" if held else ""
        tiles.append(("stored", self.quantity(Bytes(metrics.total_size_bytes)), count, None))
        if newest is not None:
            dumped = self.quantity(Bytes(newest.plain_bytes))
            share = newest.compression_percent / 100
            tiles += [
                ("size", self.quantity(Bytes(newest.stored_bytes)), self.say("of dumped", size=dumped), None),
                (
                    "smaller",
                    self.quantity(Share(share)),
                    self.say("objective over", limit=self.quantity(Share(COMPRESSION_PERCENT / 100))),
                    100 * share > COMPRESSION_PERCENT,
                ),
                (
                    "duration",
                    self.quantity(Seconds(newest.duration_seconds)),
                    self.say("objective under", limit=self.quantity(Seconds(DURATION_SECONDS))),
                    newest.duration_seconds < DURATION_SECONDS,
                ),
            ]
        if metrics.availability is not None:
            tiles.append(
                (
                    "availability",
                    self.quantity(Share(metrics.availability.share)),
                    self.say("objective over", limit=self.quantity(Share(AVAILABILITY_OBJECTIVE)))
                    + ", "
                    + self.say(
                        "days window", window=self.quantity(Seconds(metrics.availability.total_seconds))
                    ),
                    metrics.availability.met,
                )
            )
        leaving = sum(
            each.backup.manifest.stored_bytes for each in self.survey.plan.expiring if each.backup is not None
        )
        tiles.append(("expiring", str(metrics.expiring), self.quantity(Bytes(leaving)), None))
        items = "".join(self.tile(*tile) for tile in tiles)
        heading = f'<h2 class="hidden">{self.say("figures")}</h2>'
        return f'<section class="card wide">{heading}<dl class="figures">{items}</dl></section>'

    def tile(self, name: str, value: str, aside: str, met: bool | None) -> str:
        """One figure; met or not is said with a sign."""
        sign = "" if met is None else f"{self.verdict(met)} "
        return (
            f'<div><dt>{self.say(name)}</dt><dd class="value">{_text(value)}</dd>'
            f'<dd class="aside">{sign}{aside}</dd></div>'
        )

    def verdict(self, met: bool) -> str:
        """A tick or a cross, with its word for whoever hears it."""
        sign, look, word = ("✓", "good", "met") if met else ("✕", "bad-text", "not met")
        return f'<span class="{look}" aria-hidden="true">{sign}</span><span class="hidden">{self.say(word)}</span>'

    def issues(self) -> str:
        """The worst first."""
        if not self.metrics.issues:
            return f'<p class="quiet">{self.say("all well")}</p>'
        return _issues(self.metrics.issues, self.locale)

    def is_short_of_space(self) -> bool:
        """Whether what could be freed is of interest."""
        free = self.metrics.free_bytes
        return free is not None and free < self.survey.terms.thresholds.disk_warning_bytes

    def space(self) -> str:
        """What could be freed."""
        lines = [f"<li>{_text(each.text(self.locale))}</li>" for each in self.survey.savings()[:8]]
        return f"<ul>{''.join(lines)}</ul>" if lines else f"<p>{self.say('no saving')}</p>"

    def coverage(self) -> str:
        """What each day, week and month has."""
        found = coverage(self.survey.catalog, self.survey.terms.calendar, self.survey.measured_at)
        return grid(found, self.locale)

    def trends(self) -> str:
        """A chart for each figure that has values."""
        charts = trends(self.survey)
        if not charts:
            return f'<p class="quiet">{self.say("no trend")}</p>'
        figures = "".join(
            f"<figure><figcaption><span>{_text(chart.title)}</span>"
            f"<b>{_text(chart.text(max(chart.points, key=lambda point: point.at).value))}</b></figcaption>"
            f"{svg(chart)}</figure>"
            for chart in charts
        )
        return f'<div class="charts">{figures}</div>'

    def objectives(self) -> str:
        """What drills have measured beside what was asked of them."""
        rows = []
        for scenario, objective in OBJECTIVES.items():
            drill = self.metrics.drills.get(scenario.value)
            limits = (
                self.quantity(Seconds(objective.restore_seconds)),
                self.quantity(Seconds(objective.data_loss_seconds)),
            )
            if drill is None:
                cells = [
                    self.say("never"),
                    "–",
                    *(f"– {self.say('of limit', limit=limit)}" for limit in limits),
                ]
            else:
                restored, lost = drill.restore_seconds, drill.data_loss_seconds
                look = "good" if drill.passed else "bad-text"
                word = self.say("passed" if drill.passed else "failed")
                cells = [
                    _text(self.moment(drill.checked_at)),
                    f'<span class="{look} line">{"✓" if drill.passed else "✕"} {word}</span>',
                    self.measured(restored, limits[0], restored <= objective.restore_seconds),
                    self.measured(lost, limits[1], lost <= objective.data_loss_seconds),
                ]
            rows.append([self.say(scenario.value), *cells])
        heads = ("scenario", "last drill", "verdict", "restored in", "lost")
        return self.table([self.say(head) for head in heads], rows, stack=True)

    def measured(self, seconds: float, limit: str, met: bool) -> str:
        """``3.7 s of 30 min ✓``."""
        shown = self.quantity(Seconds(seconds))
        return f"{self.verdict(met)} {shown} <span class=odd>{self.say('of limit', limit=limit)}</span>"

    def departures(self) -> str:
        """What leaves, the next first."""
        coming = self.survey.departures(days=_FORECAST_DAYS)
        if not coming:
            return f'<p class="quiet">{self.say("none leaves", days=_FORECAST_DAYS)}</p>'
        rows = [
            [
                f'<span class="line">{_text(say_day(each.day, self.locale))}</span>',
                f"<code>{_text(each.backup_id)}</code>",
                _text("; ".join(reason.text(self.locale) for reason in each.reasons)),
            ]
            for each in coming[:_SHOWN_DEPARTURES]
        ]
        left = len(coming) - len(rows)
        more = (
            f'<p class="quiet">{self.say("and more", count=left, days=_FORECAST_DAYS)}</p>'
            if left > 0
            else ""
        )
        heads = [self.say(head) for head in ("leaves", "backup", "why")]
        return f'<p class="quiet">{self.say("if good")}</p>{self.table(heads, rows, stack=True)}{more}'

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[str]], *, stack: bool) -> str:
        """A table; on a phone each row becomes a list, with the heads beside. Cells are HTML."""
        head = "".join(f'<th scope="col">{name}</th>' for name in heads)
        body = "".join(
            "<tr>"
            + "".join(
                f'<td data-head="{name}"><span>{cell}</span></td>'
                for name, cell in zip(heads, row, strict=True)
            )
            + "</tr>"
            for row in rows
        )
        look = "plain stack" if stack else "plain"
        return f'<table class="{look}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
