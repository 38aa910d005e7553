"""Figures: what there is now, beside what was asked, as a row of tiles. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from recyclic_backups.health.finding import Level
from recyclic_backups.health.survey import Survey
from recyclic_backups.health.thresholds import AVAILABILITY_OBJECTIVE, DURATION_SECONDS
from recyclic_backups.texts.language import Bytes, Locale, Seconds, Share
from recyclic_backups.texts.report import moment_text, report_text

_ENOUGH_SECONDS = 86400.0
"""A share of less time than this says nothing: two minutes without a gap are no availability of 100 %."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure. ``met`` says whether what was asked is met, None where nothing was."""

    name: str
    value: str
    aside: str = ""
    met: bool | None = None
    passes: bool = False
    """Whether it is wrong as soon as the page is old."""


def quantity(value: Bytes | Seconds | Share, locale: Locale) -> str:
    """In the reader's language; a number stays with its unit."""
    return value.text(locale).replace(" ", "\u00a0")


def tiles(survey: Survey) -> Iterator[Tile]:
    """The tiles, the most pressing first."""
    thresholds, locale = survey.terms.thresholds, survey.terms.locale

    def shown(value: Bytes | Seconds | Share) -> str:
        return quantity(value, locale)

    age, too_old = survey.age_seconds, survey.find("old", "no_verified_backup")
    yield Tile(
        "age",
        "–" if age is None else shown(Seconds(age)),
        report_text("alarm over", locale, limit=shown(Seconds(thresholds.age_critical_seconds))),
        too_old is None or too_old.level is not Level.CRITICAL,
        passes=True,
    )
    free, limit = survey.free_bytes, shown(Bytes(thresholds.disk_critical_bytes))
    if free is None:
        yield Tile("free", report_text("not told", locale))
    else:
        alarm = report_text("alarm under", locale, limit=limit)
        # As the age: the tick answers what stands beside it. That it is near is among the issues.
        yield Tile("free", shown(Bytes(free)), alarm, not survey.space_is_critical)
    yield Tile("stored", shown(Bytes(survey.total_size_bytes)), _count(survey))
    if survey.facts.wal is not None:
        pace = survey.space_forecast.wal_bytes_a_day
        aside = "" if pace is None else report_text("a day", locale, size=shown(Bytes(pace)))
        yield Tile("wal stored", shown(Bytes(survey.facts.wal.stored_bytes)), aside)
    if survey.newest is not None:
        newest = survey.newest.manifest
        share = newest.compression_percent / 100
        dumped = report_text("of dumped", locale, size=shown(Bytes(newest.plain_bytes)))
        yield Tile("size", shown(Bytes(newest.stored_bytes)), dumped)
        yield Tile(
            "smaller",
            shown(Share(share)),
            report_text(
                "objective over", locale, limit=shown(Share(survey.compression_objective_percent / 100))
            ),
            survey.find("compression", "not_compressed") is None,
        )
        yield Tile(
            "duration",
            shown(Seconds(newest.duration_seconds)),
            report_text("objective under", locale, limit=shown(Seconds(DURATION_SECONDS))),
            survey.find("duration") is None,
        )
    yield from _availability(survey)
    leaving = sum(
        each.backup.manifest.stored_bytes for each in survey.plan.expiring if each.backup is not None
    )
    yield Tile("expiring", str(len(survey.plan.expiring)), shown(Bytes(leaving)))


def _count(survey: Survey) -> str:
    locale = survey.terms.locale
    number = len(survey.catalog)
    held = sum(each.is_held(survey.measured_at) for each in survey.catalog)
    count = report_text("backups", locale, count=number)
    return f"{count}, {report_text('held count', locale, count=held)}" if held else count


def _availability(survey: Survey) -> Iterator[Tile]:
    available, locale = survey.availability, survey.terms.locale
    if available is None:
        return
    if available.total_seconds < _ENOUGH_SECONDS:
        since = moment_text(available.since, survey.terms.calendar.timezone, locale)
        yield Tile("availability", "–", report_text("too young", locale, moment=since))
        return
    objective = report_text("objective over", locale, limit=quantity(Share(AVAILABILITY_OBJECTIVE), locale))
    window = report_text("days window", locale, window=quantity(Seconds(available.total_seconds), locale))
    yield Tile(
        "availability",
        quantity(Share(available.share), locale),
        f"{objective}, {window}",
        survey.find("availability") is None,
    )
