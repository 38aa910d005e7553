"""The monthly review and its forecast: complete, readable, in two languages, and true."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta

import pytest

from recyclic_backups.catalog.documents import Tombstone
from recyclic_backups.retention.forecast import departures
from recyclic_backups.retention.policy import plan
from recyclic_backups.retention.review import review
from recyclic_backups.texts.language import Locale
from recyclic_backups_tests.retention.histories import CALENDAR, DAY, DEFAULTS, History, ids, paris

NOW = paris("2026-11-22T12:00")


def _settled() -> History:
    history = History()
    history.nights("2026-03-01", "2026-11-22")
    return history.without(ids(plan(history.catalog(), DEFAULTS, CALENDAR, NOW).expiring))


def test_the_forecast_is_what_happens_if_all_goes_well() -> None:
    """Loss prevented: a date in a report on which something else leaves."""
    history = _settled()
    told = {
        each.backup_id: each.day for each in departures(history.catalog(), DEFAULTS, CALENDAR, NOW, days=40)
    }
    happened: dict[str, date] = {}
    there = {backup.backup_id for backup in history.backups}
    for number in range(1, 41):
        day = (NOW + number * DAY).date()
        history.nights(day.isoformat(), day.isoformat())
        moment = paris(f"{day.isoformat()}T12:00")
        gone = ids(plan(history.catalog(), DEFAULTS, CALENDAR, moment).expiring)
        happened |= dict.fromkeys(gone & there, day)
        history = history.without(gone)
    assert told == happened
    assert len(told) == 9  # seven days but two that stay as Sundays, three Sundays, a month
    assert min(told.values()) == date(2026, 11, 23)


def test_before_tonights_backup_the_forecast_counts_with_it() -> None:
    """Loss prevented: a backup that is gone by breakfast, and was said to stay until tomorrow."""
    history = History()
    history.nights("2026-11-09", "2026-11-20")
    catalog = history.without(
        ids(plan(history.catalog(), DEFAULTS, CALENDAR, paris("2026-11-20T12:00")).expiring)
    ).catalog()
    for time in ("01:00", "02:01", "03:30"):  # before it is due, while it runs, while it is late
        (first, *_) = departures(catalog, DEFAULTS, CALENDAR, paris(f"2026-11-21T{time}"))
        assert first.day == date(2026, 11, 21)
    (first, *_) = departures(catalog, DEFAULTS, CALENDAR, paris("2026-11-20T12:00"))
    assert first.day == date(2026, 11, 21)


def test_nothing_leaves_an_empty_storage() -> None:
    """Loss prevented: a report that fails on the first day."""
    assert departures(History().catalog(), DEFAULTS, CALENDAR, NOW) == []
    assert "There is no backup." in review(History().catalog(), DEFAULTS, CALENDAR, NOW, database="recyclic")


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        (
            "en",
            [
                "# Retention review: recyclic",
                "article 5(1)(e)",
                "article 17",
                "article 32",
                "daily 2026-11-22",
            ],
        ),
        (
            "fr",
            [
                "# Revue de conservation\u00a0: recyclic",
                "article 5, paragraphe 1, point e",
                "quotidienne 2026-11-22",
            ],
        ),
    ],
)
def test_the_review_has_everything_in_both_languages(locale: Locale, expected: list[str]) -> None:
    """Loss prevented: the person who answers for the data reads a report that leaves something out."""
    history = _settled()
    held = history.catalog().backups[-1]
    history.hold(held, NOW + 5 * DAY, "case | 7 *now*")
    left = replace(
        history.expired[-1], expired_at=NOW - 3 * DAY, reasons=("daily: replaced",), stored_bytes=5_000_000
    )
    long_ago = Tombstone("20260101T010000Z-AAAAAA", NOW - 60 * DAY, paris("2026-01-01T02:00"))
    catalog = replace(history.catalog(), expired=(long_ago, left))
    text = review(catalog, DEFAULTS, CALENDAR, NOW, database="recyclic", locale=locale)
    for piece in expected:
        assert piece in text
    for backup in catalog:
        assert backup.backup_id in text
    assert left.backup_id in text
    assert {"en": "5.0 MB", "fr": "5,0 Mo"}[locale] in text
    assert long_ago.backup_id not in text
    assert "case \\| 7 \\*now\\*" in text
    # Every row has as many cells as its table's head.
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1, table


def test_the_review_says_first_what_needs_somebody() -> None:
    """Loss prevented: an incident on page three."""
    history = History()
    history.nights("2025-06-04", "2025-06-10")
    text = review(history.catalog(), DEFAULTS, CALENDAR, NOW, database="recyclic")
    assert text.index("## Needs somebody") < text.index("## What is kept")
    assert "backups have stopped" in text


def test_what_is_promised_to_end_does_end() -> None:
    """Loss prevented: "not beyond" a date that the policy then goes beyond."""
    history = _settled()
    catalog = history.catalog()
    text = review(catalog, DEFAULTS, CALENDAR, NOW, database="recyclic")
    newest = catalog.backups[0]
    assert _last_day(text, newest.backup_id) == (newest.as_of + timedelta(days=400)).date().isoformat()
    for until, expected in ((paris("2029-01-01T00:00"), "2029-01-01"), (None, "-")):
        history.hold(newest, until)
        text = review(history.catalog(), DEFAULTS, CALENDAR, NOW, database="recyclic")
        assert _last_day(text, newest.backup_id) == expected


def _last_day(text: str, backup_id: str) -> str:
    row = next(line for line in text.splitlines() if backup_id in line)
    return row.rstrip(" |").rpartition("| ")[2]
