"""Trends: the curves of a survey. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime

from recyclic_backups.drill.scenarios import OBJECTIVES
from recyclic_backups.errors import DamagedData
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.health.drill_records import drill_records
from recyclic_backups.health.survey import Survey
from recyclic_backups.health.thresholds import DURATION_SECONDS
from recyclic_backups.report.charts import Chart, Point
from recyclic_backups.texts.language import Bytes, Locale, Seconds, Share
from recyclic_backups.texts.report import day_text, report_text
from recyclic_backups.texts.text import say

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

        manifests = [(each.as_of, each.manifest) for each in self.backups]
        durations = [(at, each.duration_seconds) for at, each in manifests]
        shares = [(at, each.compression_percent) for at, each in manifests]
        objective = self.survey.compression_objective_percent
        found = [
            self.chart("trend stored", self.stored(), size),
            self.chart("trend rows", self.rows(), number),
            self.chart("trend duration", durations, time, limit=DURATION_SECONDS),
            self.chart("trend compression", shares, percent, limit=objective),
        ]
        for scenario, asked in OBJECTIVES.items():
            named = say(f"scenario.{scenario.value}").text(self.locale)
            drills = [each for each in drill_records(self.survey.catalog) if each.scenario == scenario]
            times = [(each.checked_at, each.restore_seconds) for each in drills[-_SHOWN_DRILLS:]]
            failed = {each.checked_at for each in drills if not each.passed}
            limit = asked.restore_seconds
            found.append(self.chart("trend restore", times, time, limit=limit, failed=failed, scenario=named))
        return [chart for chart in found if chart is not None]

    def stored(self) -> list[tuple[datetime, float]]:
        """What each backup takes, or took before it expired: its tombstone remembers."""
        there = [(each.as_of, float(each.manifest.stored_bytes)) for each in self.backups]
        gone = [
            (each.as_of, float(each.stored_bytes))
            for each in self.survey.catalog.expired
            if each.as_of is not None and each.stored_bytes
        ]
        return sorted([*there, *gone])[-_SHOWN_BACKUPS:]

    def rows(self) -> list[tuple[datetime, float]]:
        """Rows of all tables of those backups that have a fingerprint."""
        found = []
        for each in self.backups[:_FINGERPRINTS]:
            with suppress(DamagedData):  # health says so
                document = None if each.manifest.is_closed else each.manifest.fingerprint
                if document is not None and document.get("level") != "off":
                    found.append((each.as_of, float(Fingerprint.from_json(document).rows)))
        return found

    def chart(
        self,
        name: str,
        values: Sequence[tuple[datetime, float]],
        text: Callable[[float], str],
        *,
        limit: float | None = None,
        failed: Collection[datetime] = (),
        **named: object,
    ) -> Chart | None:
        """A chart of values in words and points; None without any. ``failed`` are the moments of those to be marked."""
        if not values:
            return None
        title, mark = report_text(name, self.locale, **named), f", {report_text('failed', self.locale)}"
        points = [
            Point(at, value, f"{self.day(at)}: {text(value)}{mark if at in failed else ''}", at in failed)
            for at, value in sorted(values)
        ]
        figures = [point.value for point in points]
        description = report_text(
            "described",
            self.locale,
            title=title,
            count=len(points),
            first=self.day(points[0].at),
            last=self.day(points[-1].at),
            lowest=text(min(figures)),
            highest=text(max(figures)),
            newest=text(figures[-1]),
        )
        limit_text = "" if limit is None else f"{report_text('objective', self.locale)} {text(limit)}"
        return Chart(title, description, tuple(points), text, self.day, limit, limit_text)

    def day(self, moment: datetime) -> str:
        """On the operator's calendar."""
        return day_text(moment.astimezone(self.survey.terms.calendar.timezone).date(), self.locale)
