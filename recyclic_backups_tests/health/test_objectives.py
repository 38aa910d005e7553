"""Objectives: every verdict is the right one, on the right side of its threshold, with a reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from recyclic_backups.health.answers import WORDS, Answer
from recyclic_backups.health.objectives import Verdict

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Check, Label
from recyclic_backups.catalog.manifest import BackupObject, Encryption, Manifest, ServerFacts
from recyclic_backups.errors import DamagedData, NoUsableKey
from recyclic_backups.health import objectives

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = 3600.0
DAY = timedelta(days=1)


def manifest(as_of: datetime = NOW, *, plain: int = 1000, stored: int = 100, seconds: float = 60) -> Manifest:
    """A manifest whose numbers matter and whose rest does not."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    token = "".join(letters[(as_of.microsecond + plain) >> shift & 31] for shift in range(0, 30, 5))
    return Manifest(
        backup_id=f"{as_of.astimezone(UTC):%Y%m%dT%H%M%SZ}-{token}",
        database="recyclic",
        tier=Tier.DAILY,
        partition=f"{as_of:%Y-%m-%d}",
        source="scheduled",
        scheduled_for=as_of,
        as_of=as_of,
        taken_at=as_of,
        duration_seconds=seconds,
        late=False,
        server=ServerFacts("1", "15.18", "0/1", "UTF8", {}, "postgres"),
        programs={},
        objects=(BackupObject("main.dump", "main", plain, stored, "0" * 64),),
        compression="zstd:2",
        encryption=Encryption(1, "0123456789abcdef"),
        fingerprint=None,
    )


def backup(as_of: datetime = NOW, *checks: Check, **numbers: int) -> Backup:
    """A daily backup of that moment with those checks."""
    content = manifest(as_of, **numbers)
    label = Label(Tier.DAILY, content.partition, content.backup_id, as_of, late=False)
    return Backup(content, (label,), checks)


def check(kind: str, at: datetime, *, passed: bool = True, of: str = "X") -> Check:
    """A check with a reason if it failed."""
    reasons = () if passed else ("members: 3 rows missing",)
    proves = passed and kind != "verify"
    return Check(kind, of, at, passed, reasons, proves)  # type: ignore[arg-type]


def catalog(*backups: Backup) -> Catalog:
    """A catalog of those, newest first."""
    newest_first = sorted(backups, key=lambda each: each.as_of, reverse=True)
    labels = {(label.tier, label.partition): label for each in backups for label in each.labels}
    return Catalog(tuple(newest_first), labels)


def outcome(verdict: Verdict) -> str:
    """``ok``, ``warning`` or ``error``; whatever it is, it has a reason."""
    english, french = verdict.text(), verdict.text("fr")
    assert english != french
    assert "{" not in english + french
    return "ok" if verdict.passed else verdict.severity.value


def age_of(old: timedelta, now: datetime = NOW) -> Verdict:
    """The verdict on a newest verified backup that old, with the default thresholds."""
    return objectives.age(
        catalog(backup(now - old, check("verify", now))),
        now,
        warning_seconds=6 * HOUR,
        critical_seconds=25 * HOUR,
    )


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
    verdict = objectives.age(
        catalog(backup(before, check("verify", after))),
        after,
        warning_seconds=6 * HOUR,
        critical_seconds=25 * HOUR,
    )
    assert outcome(verdict) == "warning"
    assert verdict.figures["age_h"] == 25


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
    verdict = objectives.age(found, NOW, warning_seconds=6 * HOUR, critical_seconds=25 * HOUR)
    assert outcome(verdict) == expected
    assert verdict.figures["age_h"] == hours
    assert words in verdict.text()
    assert "a clock is wrong" in verdict.text()


def test_no_verified_backup_at_all_is_an_error() -> None:
    """Nothing to judge is the worst case, not an absent one."""
    verdict = objectives.age(catalog(), NOW, warning_seconds=1, critical_seconds=2)
    assert outcome(verdict) == "error"


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
    assert outcome(objectives.encrypted(manifest(), required=True)) == "ok"
    assert outcome(objectives.encrypted(manifest(), required=False)) == "ok"
    assert outcome(objectives.encrypted(plain, required=True)) == "error"
    assert outcome(objectives.encrypted(plain, required=False)) == "warning"


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
    assert outcome(objectives.size(manifest(plain=dumped), earlier)) == expected


@given(st.lists(st.integers(1, 10**12), min_size=5, max_size=30), st.integers(0, 10**12))
def test_the_median_itself_is_always_usual_and_half_of_it_never_below_warning(
    earlier: list[int], dumped: int
) -> None:
    """A rule that fails its own middle cries every night."""
    middle = sorted(earlier)[len(earlier) // 2]
    assume(len(earlier) % 2)
    assert outcome(objectives.size(manifest(plain=middle), earlier)) == "ok"
    verdict = objectives.size(manifest(plain=dumped), earlier)
    assert (outcome(verdict) == "error") <= (dumped < middle / 2)


@given(st.integers(1, 50), st.floats(0.001, 0.02))
def test_steady_growth_is_no_alarm(start: int, rate: float) -> None:
    """A growing database must not be reported for growing."""
    sizes: Sequence[int] = [int(start * 1e6 * (1 + rate * night)) for night in range(31)]
    assert outcome(objectives.size(manifest(plain=sizes[-1]), sizes[:-1])) == "ok"


def test_a_size_is_compared_with_earlier_backups_of_its_own_tier_only() -> None:
    """A backup compared with itself always passes."""
    nights = [backup(NOW - timedelta(days=number), plain=1000 + number) for number in range(40)]
    weekly = Label(Tier.WEEKLY, "2026-11-16", nights[2].backup_id, NOW, late=False)
    nights[2] = replace(nights[2], labels=(*nights[2].labels, weekly))
    whole = catalog(*nights)
    assert objectives.sizes_before(whole, Tier.DAILY, nights[0]) == [1000 + number for number in range(1, 31)]
    assert objectives.sizes_before(whole, Tier.WEEKLY, nights[0]) == [1002]
    assert objectives.sizes_before(whole, Tier.MONTHLY, nights[0]) == []


def test_compression_and_duration_meet_their_objectives_strictly() -> None:
    """The objectives are above 70 % and under 30 minutes."""
    assert outcome(objectives.compression(manifest(stored=299))) == "ok"
    assert outcome(objectives.compression(manifest(stored=300))) == "warning"
    off = objectives.compression(replace(manifest(stored=1000), compression="none"))
    assert outcome(off) == "warning"
    assert "BACKUP_COMPRESSION" in off.text()
    assert outcome(objectives.duration(manifest(seconds=1799.9))) == "ok"
    assert outcome(objectives.duration(manifest(seconds=1800))) == "warning"


def test_a_late_backup_says_so() -> None:
    """A dump of Thursday in Monday's partition must not pass for Monday's."""
    held = backup()
    assert outcome(objectives.timeliness(held.labels[0], held)) == "ok"
    assert outcome(objectives.timeliness(replace(held.labels[0], late=True), held)) == "warning"


def test_integrity_repeats_what_was_found() -> None:
    """Damage and a missing key are both red, and not the same sentence."""
    assert outcome(objectives.integrity(backup(), None, 1.5)) == "ok"
    for error in (DamagedData("main.dump: 3 bytes differ"), NoUsableKey("no configured key opens it")):
        verdict = objectives.integrity(backup(), error, 1.5)
        assert outcome(verdict) == "error"
        assert error.message in verdict.text()


def test_a_partition_without_backup_fails_every_question_about_it() -> None:
    """An empty partition is no reason to be satisfied with it."""
    assert outcome(objectives.absent(Tier.DAILY, "2026-11-21")) == "error"


@pytest.mark.parametrize(
    ("proofs", "first_days_ago", "expected"),
    [
        ([], 0, "ok"),  # just installed
        ([], 7, "ok"),
        ([], 8, "warning"),  # a week of backups nobody ever restored
        ([(7, True)], 100, "ok"),
        ([(8, True)], 100, "warning"),
        ([(1, False)], 100, "error"),
        ([(3, True), (1, False)], 100, "error"),
        ([(3, False), (1, True)], 100, "ok"),
    ],
)
def test_proof_is_asked_for_every_seven_days(
    proofs: list[tuple[int, bool]], first_days_ago: int, expected: str
) -> None:
    """Backups nobody restores are hopes; a failed restore must be seen until one succeeds."""
    checks = [check("drill", NOW - days * DAY, passed=passed) for days, passed in proofs]
    first = backup(NOW - first_days_ago * DAY, *checks, plain=2000)
    newest = backup(NOW)
    assert outcome(objectives.proven(newest, catalog(first, newest), NOW)) == expected


def test_a_backup_that_failed_its_own_restore_stays_red_whatever_others_did() -> None:
    """Another backup's success says nothing about the one somebody is about to restore."""
    bad = backup(NOW - DAY, check("restore", NOW - 2 * HOUR * timedelta(seconds=1), passed=False))
    good = backup(NOW, check("drill", NOW), plain=2000)
    whole = catalog(bad, good)
    assert outcome(objectives.proven(bad, whole, NOW)) == "error"
    assert outcome(objectives.proven(good, whole, NOW)) == "ok"


def test_a_proof_of_the_backup_itself_does_not_last_longer_than_others() -> None:
    """Loss prevented: drills that stop, and a monthly backup that is green until the next one."""
    monthly = backup(NOW - 21 * DAY, check("drill", NOW - 14 * DAY))
    newest = backup(NOW, plain=2000)
    stopped = objectives.proven(monthly, catalog(monthly, newest), NOW)
    assert outcome(stopped) == "warning"
    assert stopped.figures["unproven_d"] == 14
    lately = replace(newest, checks=(check("drill", NOW - DAY),))
    assert outcome(objectives.proven(monthly, catalog(monthly, lately), NOW)) == "ok"


def test_a_proof_of_the_future_is_none_and_hides_no_failure() -> None:
    """Loss prevented: a drill on a machine with a wrong clock, and no proof asked for until that date."""
    ahead = check("drill", NOW + 90 * DAY)
    old = backup(NOW - 8 * DAY, ahead)
    assert outcome(objectives.proven(old, catalog(old), NOW)) == "warning"
    broken = backup(NOW, check("drill", NOW, passed=False), plain=2000)
    assert outcome(objectives.proven(old, catalog(old, broken), NOW)) == "error"


def test_verifying_is_no_proof() -> None:
    """Bytes that can be read say nothing about what a restore contains."""
    read = backup(NOW - 30 * DAY, check("verify", NOW - DAY))
    assert outcome(objectives.proven(read, catalog(read), NOW)) == "warning"


@pytest.mark.parametrize("answer", Answer)
def test_both_languages_of_an_answer_say_the_same(answer: Answer) -> None:
    """Loss prevented: a figure that only one language tells, or a sentence with a hole."""
    english, french = (set(re.findall(r"{(\w+)}", text)) for text in WORDS[answer])
    assert english == french


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
    objective = objectives.compression_objective(Catalog(tuple(ordered), {}), newest)
    counted = usual[: objectives.HISTORY_COUNT]
    if len(counted) < 5:
        assert objective == objectives.COMPRESSION_PERCENT
    else:
        assert 0 <= objective <= objectives.COMPRESSION_PERCENT
        # As usual is good enough, whatever is usual; a tenth more of it stored is not, where 70 % is out of reach.
        middle = median(counted)
        if 0.01 < middle < 0.9:
            assert outcome(objectives.compression(of(middle, 0).manifest, objective)) == "ok"
        if 0.35 < middle < 0.9:
            assert outcome(objectives.compression(of(1.1 * middle, 0).manifest, objective)) == "warning"
