"""What is said of the archive of WAL: when it is silent, torn, without a base, or a burden to production."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from recyclic_backups.health.finding import Level, answer_of
from recyclic_backups.health.judge import Facts, HealthTerms
from recyclic_backups.health.survey import Survey, survey_of
from recyclic_backups.health.thresholds import Thresholds
from recyclic_backups.health.wal import WalFacts, wal_findings
from recyclic_backups.notify.findings import key_of
from recyclic_backups.postgres.slots import SlotState
from recyclic_backups.retention.policy import Retention
from recyclic_backups_tests.health.catalogs import backup, calendar, catalog, check, nights
from recyclic_backups_tests.health.wals import MIB, base, wal

NOW = datetime(2026, 11, 29, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)
GIB = 1 << 30


def said(facts: WalFacts) -> dict[str, Level]:
    """Codes and levels of what is wrong; both languages have a sentence for each."""
    found = [each for each in wal_findings(facts, NOW) if each.level is not Level.FINE]
    answer = answer_of(found)
    assert answer.text() != answer.text("fr") or not found
    return {each.code: each.level for each in found}


def slot(held: int, left: int | None, status: str = "reserved") -> SlotState:
    """A slot for which so much is kept."""
    return SlotState(True, 0, status, held, left)


def test_an_archive_that_reaches_until_now_is_fine() -> None:
    """Loss prevented: mails that nobody reads any more, since they always say something."""
    assert said(wal(NOW - timedelta(seconds=20), base(NOW - DAY), slot=slot(16 * MIB, GIB))) == {}


@pytest.mark.parametrize(
    ("minutes", "expected"), [(6, Level.WARNING), (16, Level.CRITICAL), (60 * 24, Level.CRITICAL)]
)
def test_a_receiver_that_says_nothing_is_an_alarm(minutes: int, expected: Level) -> None:
    """Loss prevented: a day of sales, because the receiver died and nobody heard of it."""
    assert said(wal(NOW - timedelta(minutes=minutes), base(NOW - DAY))) == {"wal_silent": expected}


def test_a_server_whose_clock_is_ahead_does_not_hide_that_its_receiver_is_silent() -> None:
    """Loss prevented: a clock that is a year ahead, a receiver that died, and "recoverable until now" all that year."""
    facts = wal(NOW - timedelta(minutes=20), base(NOW - DAY))
    assert facts.status is not None
    assert facts.status.position is not None
    ahead = replace(facts.status.position, server_time=NOW + 365 * DAY)
    facts = replace(facts, status=replace(facts.status, position=ahead))
    assert said(facts) == {"wal_silent": Level.CRITICAL}


def test_wal_that_was_never_received_or_has_nothing_to_be_replayed_on_is_an_alarm() -> None:
    """Loss prevented: WAL_ARCHIVE=true in a file, and nothing behind it."""
    assert said(WalFacts()) == {"wal_absent": Level.CRITICAL}
    assert said(wal(NOW)) == {"base_absent": Level.CRITICAL}
    assert said(wal(NOW, base(NOW - DAY, passed=None))) == {"base_absent": Level.CRITICAL}
    damaged = said(wal(NOW, base(NOW - DAY, passed=False), base(NOW - 2 * DAY)))
    assert damaged == {"base_damaged": Level.WARNING}
    assert said(wal(NOW, base(NOW - 10 * DAY))) == {
        "base_old": Level.WARNING,
        "pitr_never_proven": Level.WARNING,
    }


def test_one_that_a_wrong_clock_dated_in_the_future_hides_no_old_one() -> None:
    """Loss prevented: a clock is wrong for an hour, and for years nobody hears that base backups have stopped."""
    facts = wal(NOW, base(NOW + 800 * DAY), base(NOW - 10 * DAY))
    assert said(facts)["base_old"] is Level.WARNING
    assert facts.to_json(NOW)["newest_base_as_of"].startswith("2026-11-19")
    assert said(wal(NOW, base(NOW + 800 * DAY))) == {}


def test_a_hole_is_an_alarm_until_a_base_backup_begins_behind_it() -> None:
    """Loss prevented: a recovery that stops at a hole of last week."""
    hole = (20 * MIB, 40 * MIB)
    assert said(wal(NOW, base(NOW - DAY), hole=hole)) == {"wal_gap": Level.CRITICAL}
    assert said(wal(NOW, base(NOW - DAY, start=50 * MIB), hole=hole)) == {"wal_old_gap": Level.NOTE}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (slot(3 * GIB, None), {"wal_held_without_limit": Level.WARNING}),
        (slot(11 * GIB, None), {"wal_held_without_limit": Level.CRITICAL}),
        (slot(6 * GIB, 4 * GIB), {"wal_held": Level.WARNING}),
        (slot(9 * GIB, GIB), {"wal_held": Level.CRITICAL}),
        (slot(0, None, "lost"), {"wal_slot_lost": Level.CRITICAL}),
    ],
)
def test_production_s_disk_is_watched(state: SlotState, expected: dict[str, Level]) -> None:
    """Loss prevented: a till that stands still, since WAL for a dead receiver filled its disk."""
    assert said(wal(NOW, base(NOW - DAY), slot=state)) == expected


def surveyed(facts: WalFacts) -> Survey:
    """Health with a backup of the night, nine hours old."""
    old = backup(NOW - timedelta(hours=9), check("verify", NOW))
    terms = HealthTerms("recyclic", calendar("2026-10-01"), Retention(), Thresholds())
    return survey_of(Facts(catalog(old), wal=facts), terms, NOW)


def test_the_recovery_point_is_the_newest_moment_of_both_ways() -> None:
    """Loss prevented: a page that says nine hours would be lost, or seconds, and is wrong."""
    found = surveyed(wal(NOW - timedelta(seconds=20), base(NOW - DAY)))
    assert found.age_seconds == 20
    assert found.find("old", "data_loss") is None
    assert found.to_json()["wal"]["age_seconds"] == 20
    without_base = surveyed(wal(NOW - timedelta(seconds=20)))
    assert without_base.age_seconds == 9 * 3600
    assert without_base.find("old") is not None
    torn = surveyed(wal(NOW, base(NOW - DAY), hole=(20 * MIB, 40 * MIB)))
    assert torn.age_seconds == 9 * 3600


def test_a_missed_day_that_wal_reaches_is_told_as_one_that_can_be_rebuilt() -> None:
    """Loss prevented: "nobody can dump the past", where WAL has it."""
    terms = HealthTerms("recyclic", calendar("2026-11-20"), Retention(), Thresholds())
    archive = wal(NOW, base(NOW - timedelta(days=3)))
    found = survey_of(Facts(nights("2026-11-24", "2026-11-28", "2026-11-29"), wal=archive), terms, NOW)
    gaps = {each.subject: each.code for each in found.gaps if each.subject.startswith("daily/")}
    assert gaps == {
        "daily/2026-11-25": "missing",
        "daily/2026-11-26": "missing",  # 02:00 was before the base backup
        "daily/2026-11-27": "missing_in_wal",
    }
    assert {key_of(each) for each in found.gaps} >= {"missed/daily/2026-11-27", "missed/daily/2026-11-26"}
