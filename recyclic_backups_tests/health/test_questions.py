"""Questions about one backup: every answer is the right one, on the right side of its threshold, with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.recovery_point import recovery_point
from recyclic_backups.health import questions
from recyclic_backups.health.finding import CheckAnswer, Finding, Level, answer_of
from recyclic_backups.health.thresholds import COMPRESSION_PERCENT, HISTORY_COUNT, Thresholds
from recyclic_backups.texts.language import Bytes, Seconds
from recyclic_backups_tests.health.catalogs import NOON, backup, catalog, check, manifest

NOW = NOON
HOUR = 3600.0
DAY = timedelta(days=1)


def outcome(found: Finding | CheckAnswer) -> str:
    """``ok``, ``warning`` or ``error``; whatever it is, it is said."""
    answer = found if isinstance(found, CheckAnswer) else answer_of([found])
    english, french = answer.text(), answer.text("fr")
    assert english != french
    assert "{" not in english + french
    return {Level.FINE: "ok", Level.CRITICAL: "error"}.get(answer.level, "warning")


def age(whole: Catalog, now: datetime = NOW) -> CheckAnswer:
    """What the check ``age`` says, with the default thresholds."""
    return answer_of([*questions.age(recovery_point(whole, now), whole, Thresholds(), now)])


def age_of(old: timedelta, now: datetime = NOW) -> CheckAnswer:
    """The same of a newest verified backup that old."""
    return age(catalog(backup(now - old, check("verify", now))), now)


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        (timedelta(0), "ok"),
        (timedelta(hours=6), "ok"),
        (timedelta(hours=6, seconds=1), "warning"),
        (timedelta(hours=25), "warning"),
        (timedelta(hours=25, seconds=1), "error"),
        (timedelta(days=400), "error"),
        (timedelta(minutes=-2), "ok"),
        (timedelta(hours=-2), "error"),
    ],
)
def test_age_is_judged_strictly_beyond_its_thresholds(old: timedelta, expected: str) -> None:
    """An alarm at the threshold itself rings on healthy nights; one later hides a missed night."""
    assert outcome(age_of(old)) == expected


def test_the_night_of_25_hours_is_no_alarm() -> None:
    """An alarm every autumn teaches people to ignore alarms."""
    paris = ZoneInfo("Europe/Paris")
    before = datetime(2026, 10, 24, 2, 0, tzinfo=paris)
    after = datetime(2026, 10, 25, 2, 0, fold=1, tzinfo=paris)  # the second 02:00
    answer = age(catalog(backup(before, check("verify", after))), after)
    assert outcome(answer) == "warning"
    assert answer.figures["age_s"] == 25 * HOUR


@pytest.mark.parametrize(
    ("hours", "expected", "words"),
    [(1, "warning", "1 h"), (7, "warning", "more than 6 h"), (26, "error", "more than 25 h")],
)
def test_a_backup_of_the_future_is_said_and_hides_no_age(hours: int, expected: str, words: str) -> None:
    """Loss prevented: one night with a wrong clock, and no alarm about any night until that date."""
    past, ahead = NOW - timedelta(hours=hours), NOW + 90 * DAY
    found = catalog(
        backup(past, check("verify", past)), backup(ahead, check("verify", ahead), check("drill", ahead))
    )
    answer = age(found)
    assert outcome(answer) == expected
    assert answer.figures["age_s"] == hours * HOUR
    assert words in answer.text()
    assert "a clock is wrong" in answer.text()


def test_no_verified_backup_at_all_is_an_error() -> None:
    """Nothing to judge is the worst case, not an absent one."""
    assert outcome(age(catalog())) == "error"


@given(st.floats(0, 1e7), st.floats(0, 1e7))
def test_an_older_backup_is_never_judged_better(one: float, other: float) -> None:
    """A threshold the wrong way round would call the oldest backups fine."""
    ranks = ["ok", "warning", "error"]
    younger, older = sorted((one, other))
    assert ranks.index(outcome(age_of(timedelta(seconds=younger)))) <= ranks.index(
        outcome(age_of(timedelta(seconds=older)))
    )


def test_encryption_that_is_demanded_and_missing_is_an_error() -> None:
    """Members' data lying readable although somebody believes they are not."""
    plain = replace(manifest(), encryption=None)
    assert outcome(questions.encrypted(manifest(), required=True)) == "ok"
    assert outcome(questions.encrypted(manifest(), required=False)) == "ok"
    assert outcome(questions.encrypted(plain, required=True)) == "error"
    assert outcome(questions.encrypted(plain, required=False)) == "warning"


def size_of(dumped: int, earlier: Sequence[int]) -> Finding:
    """What is said of a dump after others, the last of which was the night before."""
    before = [
        backup(NOW - number * DAY, check("verify", NOW), plain=plain)
        for number, plain in enumerate(reversed(earlier), 1)
    ]
    newest = backup(NOW, check("verify", NOW), plain=dumped)
    return questions.size(newest, catalog(newest, *before))


@pytest.mark.parametrize(
    ("dumped", "earlier", "expected"),
    [
        (1, [1000] * 4, "ok"),  # too few to judge by
        (1000, [1000] * 5, "ok"),
        (1090, [1000] * 5, "ok"),
        (1200, [1000] * 5, "warning"),
        (880, [1000] * 5, "warning"),
        (499, [1000] * 5, "error"),
        (0, [1000] * 30, "error"),
        (1300, [700, 1000, 1300, 900, 1100], "ok"),  # varies that much anyway
        (1000, [1000, 1000, 1000, 1000, 1], "ok"),  # one bad night in the history does not count
        (1000, [1, 1000, 1000, 1000, 10**9], "ok"),
        (5, [0] * 5, "warning"),
    ],
)
def test_a_size_is_judged_by_the_nights_before_it(dumped: int, earlier: list[int], expected: str) -> None:
    """A database emptied by mistake gives small, perfectly valid dumps: only their size tells."""
    assert outcome(size_of(dumped, earlier)) == expected


@given(st.lists(st.integers(1, 10**12), min_size=5, max_size=HISTORY_COUNT), st.integers(0, 10**12))
def test_the_median_itself_is_always_usual_and_half_of_it_never_below_warning(
    earlier: list[int], dumped: int
) -> None:
    """A rule that fails its own middle cries every night."""
    middle = sorted(earlier)[len(earlier) // 2]
    assume(len(earlier) % 2)
    assert outcome(size_of(middle, earlier)) == "ok"
    assert (outcome(size_of(dumped, earlier)) == "error") <= (dumped < middle / 2)


@given(st.integers(1, 50), st.floats(0.001, 0.02))
def test_steady_growth_is_no_alarm(start: int, rate: float) -> None:
    """A growing database must not be reported for growing."""
    sizes: Sequence[int] = [int(start * 1e6 * (1 + rate * night)) for night in range(31)]
    assert outcome(size_of(sizes[-1], sizes[:-1])) == "ok"


def test_a_size_is_compared_with_the_good_dumps_before_it() -> None:
    """A backup compared with itself always passes; a damaged or an adopted one says nothing about usual nights."""
    good = [backup(NOW - number * DAY, check("verify", NOW), plain=1000 + number) for number in range(40)]
    odd = backup(NOW - 1.5 * DAY, check("verify", NOW, passed=False), plain=7)
    adopted = backup(NOW - 2.5 * DAY, check("verify", NOW), plain=8)
    adopted = replace(adopted, manifest=replace(adopted.manifest, source="adopted"))
    for number in (0, 5):
        found = questions.size(good[number], catalog(*good, odd, adopted))
        assert found.values["count"] == HISTORY_COUNT
        assert found.values["usual"] == Bytes(number + median(range(1001, 1001 + HISTORY_COUNT)))
    assert questions.size(adopted, catalog(*good, adopted)).code == "no_history"


def test_compression_and_duration_meet_their_objectives_strictly() -> None:
    """The objectives are above 70 % and under 30 minutes."""
    assert outcome(questions.compression(manifest(stored=299))) == "ok"
    assert outcome(questions.compression(manifest(stored=300))) == "warning"
    off = questions.compression(replace(manifest(stored=1000), compression="none"))
    assert outcome(off) == "warning"
    assert "BACKUP_COMPRESSION" in off.sentence.text()
    assert outcome(questions.duration(manifest(seconds=1799.9))) == "ok"
    assert outcome(questions.duration(manifest(seconds=1800))) == "warning"


def test_a_late_backup_says_so() -> None:
    """A dump of Thursday in Monday's partition must not pass for Monday's."""
    held = backup()
    assert outcome(questions.timeliness(held.labels[0], held)) == "ok"
    assert outcome(questions.timeliness(replace(held.labels[0], late=True), held)) == "warning"


def test_integrity_repeats_what_was_found() -> None:
    """Damage says why, and is red where nothing newer is whole."""
    whole, spoilt = (backup(NOW, check("verify", NOW, passed=passed)) for passed in (True, False))
    assert outcome(questions.integrity(whole, whole)) == "ok"
    found = questions.integrity(spoilt, None)
    assert outcome(found) == "error"
    assert "members: 3 rows missing" in found.sentence.text()
    newer = backup(NOW + DAY, check("verify", NOW))
    assert outcome(questions.integrity(spoilt, newer)) == "warning"


@pytest.mark.parametrize(
    ("proofs", "first_days_ago", "expected"),
    [
        ([], 0, "ok"),  # just installed
        ([], 8, "ok"),
        ([], 9, "warning"),  # a week of backups nobody ever restored
        ([(8, True)], 100, "ok"),
        ([(9, True)], 100, "warning"),
        ([(1, False)], 100, "error"),
        ([(3, True), (1, False)], 100, "error"),
        ([(3, False), (1, True)], 100, "ok"),
    ],
)
def test_proof_is_asked_for_every_week_and_a_day_later(
    proofs: list[tuple[int, bool]], first_days_ago: int, expected: str
) -> None:
    """Backups nobody restores are hopes; a failed restore must be seen until one succeeds."""
    checks = [check("drill", NOW - days * DAY, passed=passed) for days, passed in proofs]
    first = backup(NOW - first_days_ago * DAY, *checks, plain=2000)
    newest = backup(NOW)
    assert outcome(questions.proven(newest, catalog(first, newest), NOW)) == expected


def test_a_backup_that_failed_its_own_restore_stays_red_whatever_others_did() -> None:
    """Another backup's success says nothing about the one somebody is about to restore."""
    bad = backup(NOW - DAY, check("restore", NOW - 2 * HOUR * timedelta(seconds=1), passed=False))
    good = backup(NOW, check("drill", NOW), plain=2000)
    whole = catalog(bad, good)
    assert outcome(questions.proven(bad, whole, NOW)) == "error"
    assert outcome(questions.proven(good, whole, NOW)) == "ok"


def test_a_proof_of_the_backup_itself_does_not_last_longer_than_others() -> None:
    """Loss prevented: drills that stop, and a monthly backup that is green until the next one."""
    monthly = backup(NOW - 21 * DAY, check("drill", NOW - 14 * DAY))
    newest = backup(NOW, plain=2000)
    stopped = questions.proven(monthly, catalog(monthly, newest), NOW)
    assert outcome(stopped) == "warning"
    assert stopped.values["unproven"] == Seconds(14 * 24 * HOUR)
    lately = replace(newest, checks=(check("drill", NOW - DAY),))
    assert outcome(questions.proven(monthly, catalog(monthly, lately), NOW)) == "ok"


def test_a_proof_of_the_future_is_none_and_hides_no_failure() -> None:
    """Loss prevented: a drill on a machine with a wrong clock, and no proof asked for until that date."""
    ahead = check("drill", NOW + 90 * DAY)
    old = backup(NOW - 9 * DAY, ahead)
    assert outcome(questions.proven(old, catalog(old), NOW)) == "warning"
    broken = backup(NOW, check("drill", NOW, passed=False), plain=2000)
    assert outcome(questions.proven(old, catalog(old, broken), NOW)) == "error"


def test_verifying_is_no_proof() -> None:
    """Bytes that can be read say nothing about what a restore contains."""
    read = backup(NOW - 30 * DAY, check("verify", NOW - DAY))
    assert outcome(questions.proven(read, catalog(read), NOW)) == "warning"


@given(
    usual=st.lists(st.floats(0.0, 1.0), min_size=0, max_size=40),
    now=st.floats(0.0, 1.2),
    other=st.lists(st.floats(0.0, 1.0), max_size=8),
)
def test_compression_is_held_against_the_database_s_own_history(
    usual: list[float], now: float, other: list[float]
) -> None:
    """Loss prevented: a warning every night about a database of photographs, and none when it gets worse."""

    def of(share: float, hours: int, compression: str = "zstd:2") -> Backup:
        made = manifest(NOW - timedelta(hours=hours), plain=10**9, stored=round(share * 10**9))
        made = replace(made, compression=compression)
        return Backup(made, (), (Check("verify", made.backup_id, made.taken_at, passed=True),))

    newest = of(now, 0)
    before = [of(share, 24 * number) for number, share in enumerate(usual, 1)]
    unlike = [of(share, 24 * number + 1, "zstd:9") for number, share in enumerate(other, 1)]
    ordered = sorted((newest, *before, *unlike), key=lambda each: each.as_of, reverse=True)
    objective = questions.compression_objective(Catalog(tuple(ordered), {}), newest)
    counted = usual[:HISTORY_COUNT]
    if len(counted) < 5:
        assert objective == COMPRESSION_PERCENT
    else:
        assert 0 <= objective <= COMPRESSION_PERCENT
        # As usual is good enough, whatever is usual; a tenth more of it stored is not, where 70 % is out of reach.
        middle = median(counted)
        if 0.01 < middle < 0.9:
            assert outcome(questions.compression(of(middle, 0).manifest, objective)) == "ok"
        if 0.35 < middle < 0.9:
            assert outcome(questions.compression(of(1.1 * middle, 0).manifest, objective)) == "warning"
