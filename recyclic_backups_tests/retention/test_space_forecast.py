"""How much the storage will hold: the forecast is what happens, with WAL and base backups in it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

import pytest

from recyclic_backups.archive.documents import Position
from recyclic_backups.archive.listing import Listing
from recyclic_backups.archive.wal import segment_name
from recyclic_backups.base_backup.catalog import BaseBackup
from recyclic_backups.base_backup.manifest import BaseObject
from recyclic_backups.retention.policy import plan
from recyclic_backups.retention.review import review
from recyclic_backups.retention.space_forecast import SpaceForecast, StoredWal, forecast_space
from recyclic_backups.retention.wal_policy import plan_wal
from recyclic_backups_tests.health.wals import MIB, base
from recyclic_backups_tests.retention.histories import CALENDAR, DAY, DEFAULTS, History, ids, paris

SEGMENT_BYTES = 16 * MIB
SEGMENTS_A_DAY = 24
STORED_BYTES = 3 * MIB
BASE_BYTES = 700 * MIB


@dataclass
class Installation:
    """A storage that lives from day to day: dumps each night, WAL, a base backup each Sunday, then retention."""

    history: History = field(default_factory=History)
    listing: Listing = field(default_factory=lambda: Listing({}, defaultdict(list), {}))
    bases: list[BaseBackup] = field(default_factory=list)
    lsn: int = 64 * SEGMENT_BYTES
    highest_bytes: int = 0
    """What was there at most on the last day: between a backup and retention."""

    def live(self, day: date) -> None:
        """A day up to four in the morning, after the backup and retention of that night."""
        moment = paris(f"{day.isoformat()}T04:00")
        for _ in range(SEGMENTS_A_DAY):
            name = segment_name(1, self.lsn, SEGMENT_BYTES)
            self.listing.segments[name] = f"wal/{name}"
            self.listing.sizes[f"wal/{name}"] = STORED_BYTES
            self.lsn += SEGMENT_BYTES
        self.history.nights(day.isoformat(), day.isoformat())
        if day.weekday() == 6:
            made = base(moment - timedelta(hours=1), start=self.lsn)
            objects = (BaseObject("base.tar.zst", "data", BASE_BYTES, BASE_BYTES, "0" * 64),)
            self.bases.insert(0, replace(made, manifest=replace(made.manifest, objects=objects)))
        self.highest_bytes = self.stored_bytes
        self.history = self.history.without(
            ids(plan(self.history.catalog(), DEFAULTS, CALENDAR, moment).expiring)
        )
        decided = plan_wal(self.bases, self.listing, {1: ()}, (), DEFAULTS.base, moment)
        gone = {each.base_id for each in decided.leaving}
        self.bases = [each for each in self.bases if each.base_id not in gone]
        for name in decided.wal:
            del self.listing.segments[name.removeprefix("wal/")]
            del self.listing.sizes[name]

    @property
    def stored_bytes(self) -> int:
        """All of it."""
        dumps = sum(each.manifest.stored_bytes for each in self.history.catalog())
        bases = sum(each.manifest.stored_bytes for each in self.bases)
        return dumps + bases + sum(self.listing.sizes.values())

    def wal(self, now: datetime) -> StoredWal:
        """What a look at it shows."""
        listing = replace(self.listing, stored_bytes=sum(self.listing.sizes.values()))
        position = Position(1, self.lsn, now, now, SEGMENT_BYTES, 150018, "7")
        return StoredWal(tuple(self.bases), listing, position, {1: ()})

    def forecast(self, now: datetime, free_bytes: int | None = None) -> SpaceForecast:
        """What is foretold."""
        return forecast_space(
            self.history.catalog(), self.wal(now), DEFAULTS, CALENDAR, now, free_bytes=free_bytes
        )


@pytest.fixture(scope="module")
def year() -> Installation:
    """After a year, at noon on Wednesday 18 November 2026."""
    installation = Installation()
    for number in range(365):
        installation.live(date(2025, 11, 19) + number * DAY)
    return installation


NOW = paris("2026-11-18T12:00")


def test_after_a_year_the_forecast_is_what_a_month_of_life_then_makes(year: Installation) -> None:
    """Loss prevented: a full disk in three weeks, where the forecast knew dumps only."""
    forecast = year.forecast(NOW)
    assert forecast.wal_bytes_a_day == pytest.approx(SEGMENTS_A_DAY * STORED_BYTES, rel=0.05)
    lived = replace(
        year,
        listing=replace(year.listing, segments=dict(year.listing.segments), sizes=dict(year.listing.sizes)),
        bases=list(year.bases),
    )
    free_bytes = BASE_BYTES + 2 * SEGMENTS_A_DAY * STORED_BYTES
    room, full_on = year.stored_bytes + free_bytes, None
    for day, foretold in forecast.days[1:]:
        lived.live(day)
        assert foretold == pytest.approx(lived.stored_bytes, rel=0.03), day
        if full_on is None and lived.highest_bytes > room:
            full_on = day
    assert full_on is not None
    assert year.forecast(NOW, free_bytes).full_on == full_on
    assert year.forecast(NOW, 20 * BASE_BYTES).full_on is None
    # Two chains stay: after a month there is neither more WAL nor less than after a year.
    assert forecast.days[-1][1] < 1.5 * year.stored_bytes


def test_what_retention_lets_go_is_counted_and_fewer_chains_let_go_of_more(year: Installation) -> None:
    """Loss prevented: advice to free space that leaves out what takes most of it."""
    wal = year.wal(NOW)
    assert wal.leaving_bytes(DEFAULTS.base, NOW) == 0
    assert wal.leaving_bytes(1, NOW) == BASE_BYTES + 7 * SEGMENTS_A_DAY * STORED_BYTES


def test_the_first_days_are_foretold_from_what_there_is() -> None:
    """Loss prevented: a page that fails, or says that nothing grows, before the first base backup is there."""
    installation = Installation()
    assert installation.forecast(NOW).wal_bytes_a_day is None
    assert {size for _, size in installation.forecast(NOW).days} == {0}
    installation.live(date(2026, 11, 15))  # a Sunday
    before = installation.stored_bytes
    for number in (16, 17, 18):
        installation.live(date(2026, 11, number))
    forecast = installation.forecast(NOW)
    assert forecast.wal_bytes_a_day == pytest.approx(SEGMENTS_A_DAY * STORED_BYTES, rel=0.2)
    assert forecast.days[-1][1] > before + 2 * BASE_BYTES


@pytest.mark.parametrize(
    ("locale", "sentences"),
    [
        (
            "en",
            [
                "## Base backups and WAL of the server",
                "and WAL of",
                "| stays |",
                "WAL takes 7",
                "The storage is full on 2026-11-22",
            ],
        ),
        (
            "fr",
            ["## Sauvegardes de base et WAL du serveur", "| reste |", "Le stockage est plein le 2026-11-22"],
        ),
    ],
)
def test_the_review_lists_base_backups_and_says_when_the_storage_is_full(
    year: Installation, locale: str, sentences: list[str]
) -> None:
    """Loss prevented: a yearly review of personal data that leaves out the copies of the whole server."""
    text = review(
        year.history.catalog(),
        DEFAULTS,
        CALENDAR,
        NOW,
        database="recyclic",
        locale=locale,  # type: ignore[arg-type]
        wal=year.wal(NOW),
        free_bytes=BASE_BYTES // 2,
    )
    for sentence in (*sentences, *(each.base_id for each in year.bases)):
        assert sentence in text, text
