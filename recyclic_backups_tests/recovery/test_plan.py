"""Which base backup, along which timeline, up to where: decided from names and documents alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from recyclic_backups.archive.documents import Gap, Position
from recyclic_backups.archive.listing import Listing, Tail
from recyclic_backups.archive.wal import segment_name
from recyclic_backups.base_backup.manifest import BaseManifest
from recyclic_backups.errors import ArchiveError, RecoveryError, UsageError
from recyclic_backups.recovery.plan import Plan, Questions, plan_recovery
from recyclic_backups.recovery.target import LATEST, Target, at_lsn, at_time, moment
from recyclic_backups.recovery.windows import Line, Part, Window, windows_of

MB = 1 << 20
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")


def at(minutes: float) -> datetime:
    """So long after noon. In these tests a minute is a megabyte of WAL."""
    return NOON + timedelta(minutes=minutes)


def base(minutes: int, timeline: int = 1) -> BaseManifest:
    """A base backup that began at a moment, and took a minute."""
    return BaseManifest(
        base_id=f"base-{minutes}",
        system_identifier="1",
        parent=None,
        server_version=150000,
        segment_bytes=MB,
        timeline=timeline,
        start_lsn=minutes * MB,
        stop_lsn=(minutes + 1) * MB,
        as_of=at(minutes),
        taken_at=at(minutes + 1),
        duration_seconds=60,
        superuser="postgres",
        data_checksums=True,
        objects=(),
        key_id=None,
    )


def listing(segments: Sequence[int], timeline: int = 1, tail: int | None = None) -> Listing:
    """An archive with these segments; of ``tail`` it has the first half."""
    name = None if tail is None else segment_name(timeline, tail * MB, MB)
    return Listing(
        {segment_name(timeline, number * MB, MB): "" for number in segments},
        {} if name is None else {name: [Tail(0, MB // 2, "")]},
        {},
    )


def position(megabytes: float) -> Position:
    """The server was last heard of there."""
    moment = at(megabytes)
    return Position(1, int(megabytes * MB), moment, moment, MB, 150000, "1")


ONE = Line((Part(1, 0, None),))


def windows(
    found: Listing, bases: Sequence[BaseManifest], end: Position | None, gaps: Sequence[Gap] = ()
) -> list[Window]:
    """What timeline 1 reaches."""
    return windows_of(ONE, bases, found, end, gaps, MB)


def plan(found: Sequence[Window], target: Target, last_commit: datetime | None = None) -> Plan:
    """The plan, where the WAL would tell that its last commit was then."""
    asked = Questions(lambda _: last_commit, lambda *_: None)
    return plan_recovery("1", found, target, lambda each: [each], asked, now=at(100), timezone=PARIS)


def test_the_newest_base_backup_before_the_target_is_taken() -> None:
    """Loss: hours of replay for want of a better beginning; or one that is after the target."""
    found = windows(listing(range(1, 20), tail=20), [base(2), base(10)], position(20.5))
    assert [each.ending for each in found] == ["position"]
    assert plan(found, LATEST).base.base_id == "base-10"
    assert plan(found, at_time(at(10.5))).base.base_id == "base-2"
    assert plan(found, at_time(at(11))).base.base_id == "base-10"
    assert plan(found, at_lsn(11 * MB)).base.base_id == "base-10"
    assert plan(found, at_lsn(11 * MB - 1)).base.base_id == "base-2"
    assert plan(found, LATEST).lost_seconds == (at(100) - at(20.5)).total_seconds()


def test_after_a_loss_that_is_known_only_a_later_base_backup_reaches_on() -> None:
    """Loss: a recovery across a hole; a moment in it that seems to be reached."""
    gap = Gap(1, 8 * MB, 12 * MB, at(12), "the slot was gone")
    segments = [*range(1, 8), *range(12, 20)]
    found = windows(listing(segments), [base(2), base(14)], position(20), [gap])
    assert [(each.ending, each.end_lsn // MB) for each in found] == [("gap", 8), ("position", 20)]
    assert plan(found, at_time(at(5)), at(7.9)).base.base_id == "base-2"
    assert plan(found, at_time(at(16))).base.base_id == "base-14"
    with pytest.raises(RecoveryError, match=r"before it.*12:07:54.*after it.*12:15:00") as outside:
        plan(found, at_time(at(13)), at(7.9))
    assert outside.value.exit_code == 60
    with pytest.raises(RecoveryError, match=r"0/800000 before it and 0/F00000 after it"):
        plan(found, at_lsn(9 * MB))
    # Without the later base backup the newest state is that before the loss, and the plan says so.
    newest = plan(windows(listing(segments), [base(2)], position(20), [gap]), LATEST, at(7.9))
    assert newest.at == at(7.9)
    assert "WAL is lost from 0/800000 on" in newest.notes[0]


def test_a_segment_that_is_missing_without_a_word_is_named() -> None:
    """Loss: a hole that nobody noticed, taken for the end."""
    found = windows(listing([*range(1, 8), *range(9, 20)]), [base(2)], position(20))
    for target in (LATEST, at_time(at(9)), at_lsn(10 * MB)):
        with pytest.raises(ArchiveError, match=segment_name(1, 8 * MB, MB)):
            plan(found, target, at(7.5))
    assert plan(found, at_time(at(7)), at(7.5)).through_lsn == 8 * MB


def test_the_end_of_the_archive_is_missing_where_the_server_was_further() -> None:
    """Loss: the last segment deleted: the newest state seems to be older than it is."""
    found = windows(listing(range(1, 10)), [base(2)], position(12))
    with pytest.raises(ArchiveError, match=segment_name(1, 10 * MB, MB)):
        plan(found, LATEST, at(9))


def test_a_descendant_s_segment_goes_before_its_ancestor_s_tail() -> None:
    """Loss: what was given up, replayed up to the end of the tail, instead of what followed."""
    line = Line((Part(1, 0, 8 * MB + 100), Part(2, 8 * MB + 100, None)))
    segments = {segment_name(1, number * MB, MB): "" for number in range(1, 11)}
    segments |= {segment_name(2, number * MB, MB): "" for number in range(8, 12)}
    [window] = windows_of(line, [base(2)], Listing(segments, {}, {}), None, [], MB)
    assert window.end_lsn == 12 * MB
    assert window.segments(7 * MB, 9 * MB) == [
        segment_name(1, 7 * MB, MB),
        segment_name(2, 8 * MB, MB),
    ]
    assert not windows_of(line, [base(9)], Listing(segments, {}, {}), None, [], MB), (
        "it is of the other branch"
    )


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-22 13:00:07", NOON + timedelta(seconds=7)),
        ("2026-11-22T12:00:07Z", NOON + timedelta(seconds=7)),
        ("2026-11-22 07:00:07.5-05:00", NOON + timedelta(seconds=7.5)),
    ],
)
def test_a_moment_is_of_the_operator_s_zone_unless_it_names_one(text: str, meant: datetime) -> None:
    """Loss: an hour, in the wrong direction."""
    assert moment(text, PARIS) == meant


@pytest.mark.parametrize("text", ["2026-10-25 02:30", "2026-03-29 02:30", "2026-11-22", "noon"])
def test_a_moment_that_happens_twice_or_never_is_asked_for_again(text: str) -> None:
    """Loss: the accident, which happened in the other one of the two hours."""
    with pytest.raises(UsageError):
        moment(text, PARIS)
