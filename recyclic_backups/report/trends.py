"""Trends: the curves of a survey. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from recyclic_backups.drill.scenarios import OBJECTIVES
from recyclic_backups.errors import DamagedData
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.health.drill_records import drill_records, scenario_name
from recyclic_backups.health.survey import Survey
from recyclic_backups.health.thresholds import DURATION_SECONDS
from recyclic_backups.languages import Bytes, Locale, Seconds, Share
from recyclic_backups.report.charts import Chart, Point
from recyclic_backups.report.words import say, say_day

_SHOWN_BACKUPS = 60
_SHOWN_DRILLS = 60
_FINGERPRINTS = 30  # parsing one takes a millisecond for each hundred tables


def trends(survey: Survey) -> list[Chart]:
    """Size, rows, duration and compression of the newest backups; restore time of each scenario that was drilled."""
    return _Trends(survey).charts()


class _Trends:
    """The charts of one survey in its language."""

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        self.locale: Locale = survey.terms.locale
        self.backups = [each for each in survey.catalog if each.good][:_SHOWN_BACKUPS]

    def charts(self) -> list[Chart]:
        """Those with values."""

        def size(value: float) -> str:
            return Bytes(value).text(self.locale)

        def time(value: float) -> str:
            return Seconds(value).text(self.locale)

        def percent(value: float) -> str:
            return Share(value / 100).text(self.locale)

        def number(value: float) -> str:
            return f"{value:,.0f}".replace(",", "\u202f")

        found = [
            self.chart("trend stored", self.stored(size), size),
            self.chart("trend rows", self.rows(number), number),
            self.chart(
                "trend duration",
                self.of_backups(lambda each: each.duration_seconds, time),
                time,
                limit=DURATION_SECONDS,
            ),
            self.chart(
                "trend compression",
                self.of_backups(lambda each: each.compression_percent, percent),
                percent,
                limit=self.survey.compression_objective_percent,
            ),
        ]
        drills = drill_records(self.survey.catalog)
        for scenario, objective in OBJECTIVES.items():
            points = [
                Point(
                    each.checked_at,
                    each.restore_seconds,
                    f"{self.day(each.checked_at)}: {time(each.restore_seconds)}"
                    + ("" if each.passed else f", {say('failed', self.locale)}"),
                    not each.passed,
                )
                for each in drills
                if each.scenario == scenario
            ]
            found.append(
                self.chart(
                    "trend restore",
                    points[-_SHOWN_DRILLS:],
                    time,
                    limit=objective.restore_seconds,
                    scenario=scenario_name(scenario.value).text(self.locale),
                )
            )
        return [chart for chart in found if chart is not None]

    def of_backups(self, figure: Callable[..., float], text: Callable[[float], str]) -> list[Point]:
        """A figure of each manifest."""
        return [
            Point(each.as_of, figure(each.manifest), f"{self.day(each.as_of)}: {text(figure(each.manifest))}")
            for each in self.backups
        ]

    def stored(self, text: Callable[[float], str]) -> list[Point]:
        """What each backup takes, or took before it expired: its tombstone remembers."""
        points = self.of_backups(lambda each: each.stored_bytes, text)
        points += [
            Point(each.as_of, each.stored_bytes, f"{self.day(each.as_of)}: {text(each.stored_bytes)}")
            for each in self.survey.catalog.expired
            if each.as_of is not None and each.stored_bytes
        ]
        return sorted(points, key=lambda point: point.at)[-_SHOWN_BACKUPS:]

    def rows(self, text: Callable[[float], str]) -> list[Point]:
        """Rows of all tables of those backups that have a fingerprint."""
        points = []
        for each in self.backups[:_FINGERPRINTS]:
            try:
                document = None if each.manifest.is_closed else each.manifest.fingerprint
                if document is None or document.get("level") == "off":
                    continue
                rows = Fingerprint.from_json(document).rows
            except DamagedData:
                continue  # health says so
            points.append(Point(each.as_of, rows, f"{self.day(each.as_of)}: {text(rows)}"))
        return points

    def chart(
        self,
        name: str,
        points: Sequence[Point],
        text: Callable[[float], str],
        *,
        limit: float | None = None,
        **values: object,
    ) -> Chart | None:
        """A chart in words and points; None without any."""
        if not points:
            return None
        title = say(name, self.locale, **values)
        in_order = sorted(points, key=lambda point: point.at)
        figures = [point.value for point in in_order]
        description = say(
            "described",
            self.locale,
            title=title,
            count=len(figures),
            first=self.day(in_order[0].at),
            last=self.day(in_order[-1].at),
            lowest=text(min(figures)),
            highest=text(max(figures)),
            newest=text(figures[-1]),
        )
        limit_text = "" if limit is None else f"{say('objective', self.locale)} {text(limit)}"
        return Chart(title, description, tuple(in_order), text, self.day, limit, limit_text)

    def day(self, moment: datetime) -> str:
        """On the operator's calendar."""
        return say_day(moment.astimezone(self.survey.terms.calendar.timezone).date(), self.locale)
