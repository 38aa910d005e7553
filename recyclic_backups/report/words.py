"""The words of the report in the reader's language, and dates as it writes them. Pure."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.languages import Locale, column
from recyclic_backups.own_command import as_called
from recyclic_backups.texts.report import MONTHS, TIERS, WEEKDAYS, WORDS


def say(name: str, locale: Locale, /, **values: object) -> str:
    """One of the fixed texts."""
    return as_called(WORDS[name][column(locale)].format(**values))


def say_tier(tier: Tier, locale: Locale) -> str:
    """The name of a row of the coverage."""
    return TIERS[tier][column(locale)]


def say_month(day: date, locale: Locale) -> str:
    """``Nov 2026``, ``nov. 2026``."""
    return f"{MONTHS[locale][day.month - 1]} {day.year}"


def say_day(day: date, locale: Locale) -> str:
    """``Sun 22 Nov``, ``dim. 22 nov.``."""
    return f"{WEEKDAYS[locale][day.weekday()]} {day.day} {MONTHS[locale][day.month - 1]}"


def say_moment(moment: datetime, timezone: ZoneInfo, locale: Locale) -> str:
    """``Sun 22 Nov, 02:00`` on the operator's clock, with the year where it is another one than needs saying."""
    local = moment.astimezone(timezone)
    return f"{say_day(local.date(), locale)} {local.year}, {local:%H:%M}"
