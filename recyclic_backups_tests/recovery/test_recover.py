"""A server comes back as it was at a moment, or the command says why not: never something else in silence."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path

import pytest

from recyclic_backups.errors import ArchiveError, DamagedData, RecoveryError
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.postgres.reader import reading_login
from recyclic_backups.recovery.into_scratch import recovered
from recyclic_backups.recovery.target import LATEST, Target, at_lsn, at_time
from recyclic_backups_tests.recovery.conftest import History, one

COUNT = "SELECT count(*) FROM public.member"
IS_THERE = "SELECT to_regclass('public.member') IS NOT NULL"


@pytest.mark.parametrize("kind", ["time", "lsn", "lsn exclusive", "xid", "xid exclusive", "name"])
def test_each_kind_of_target_stops_where_it_says(history: History, kind: str) -> None:
    """Loss: a recovery that stops a transaction too late brings back the accident, one too early loses work."""
    targets = {
        "time": (at_time(history.deleted), 200),
        "lsn": (at_lsn(history.deleted_lsn), 200),
        "lsn exclusive": (at_lsn(history.deleted_lsn, exclusive=True), 200),
        "xid": (Target("xid", xid=history.deleting_xid), 200),
        "xid exclusive": (Target("xid", xid=history.deleting_xid, exclusive=True), 300),
        "name": (Target("name", name="before the accident"), 300),
    }
    target, rows = targets[kind]
    with history.site.recovered(target) as cluster:
        assert cluster.reached is not None
        assert cluster.reached.paused
        assert one(cluster, COUNT) == rows


def test_deleted_rows_come_back_and_nothing_after_the_target_is_there(history: History) -> None:
    """Loss: the 100 members that somebody deleted; the state is that of the moment, its last commit tells it."""
    with history.site.recovered(at_time(history.before)) as cluster:
        assert one(cluster, COUNT) == 300
        assert cluster.reached is not None
        assert cluster.reached.last_commit_at is not None
        assert cluster.reached.last_commit_at <= history.before
        assert f"transaction {history.deleting_xid}" in cluster.reached.stopped
        with reading_login(cluster.server, "postgres") as reader:
            assert reader.user != cluster.server.user, (
                "its owner's code would run as a superuser when it is read"
            )


def test_the_newest_state_and_a_moment_after_the_last_commit_are_the_end_of_the_wal(history: History) -> None:
    """Loss: PostgreSQL itself ends with an error where nothing was committed after the target."""
    for target in (LATEST, at_time(history.idle)):
        with history.site.recovered(target) as cluster:
            assert cluster.reached is not None
            assert not cluster.reached.paused
            assert one(cluster, IS_THERE) is False
            assert cluster.reached.lsn >= history.deleted_lsn


def test_a_target_outside_names_the_nearest_moments(history: History) -> None:
    """Loss: a server that is asked for a moment before its base backup shows a later one, and says nothing."""
    windows = history.site.survey().windows()
    first, last = windows[0].starts_at, windows[-1].ends_at
    assert last is not None
    with pytest.raises(RecoveryError, match=re.escape(first.isoformat(timespec="seconds")[:10])) as before:
        history.site.plan(at_time(first - timedelta(seconds=1)))
    assert f"--to-time {first.strftime('%Y-%m-%dT%H:%M:%S.%f')}Z" in before.value.message
    with pytest.raises(RecoveryError, match="before it") as after:
        history.site.plan(at_time(last + timedelta(hours=1)))
    assert f"--to-time {last.strftime('%Y-%m-%dT%H:%M:%S.%f')}Z" in after.value.message
    with pytest.raises(RecoveryError, match="cannot be reached"):
        history.site.plan(at_lsn(windows[0].start_lsn - 1))
    with pytest.raises(RecoveryError, match="no place where transaction 4 ended"):
        history.site.plan(Target("xid", xid=4))


def test_a_flipped_byte_of_a_segment_is_named_and_no_recovery_ends_early(
    history: History, tmp_path: Path
) -> None:
    """Loss: a damaged segment taken for the end of the archive gives up everything after it, in silence."""
    site = history.copy(tmp_path / "copy")
    plan = site.plan(LATEST)
    segment = plan.window.segments(plan.base.stop_lsn, plan.window.end_lsn)[1]
    file = site.file_of(segment)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)
    with pytest.raises(DamagedData, match=segment), site.recovered(LATEST):
        pass


def test_junk_under_the_name_of_the_running_segment_does_not_take_its_tails_away(
    history: History, tmp_path: Path
) -> None:
    """Attack: bytes under a name, and the last minutes before the server was lost do not come back."""
    site = history.copy(tmp_path / "copy")
    found = site.survey()
    last = max({*found.listing.segments, *found.listing.tails})
    assert last not in found.listing.segments
    for name in (f"{last}.zst.sealed", f"{last}.00000000-000fffff.zst.sealed"):
        (site.directory / found.archive.wal / last[:8] / name).write_bytes(b"whatever")
    end = found.position
    assert end is not None
    with site.recovered(LATEST) as cluster:
        assert one(cluster, IS_THERE) is False
        assert cluster.reached is not None
        assert cluster.reached.lsn >= end.lsn
    for tail in found.listing.tails[last]:
        (site.directory / tail.name).unlink()
    with pytest.raises(DamagedData, match=last), site.recovered(LATEST):
        pass


def test_a_missing_segment_is_named_before_anything_is_done_and_what_is_before_it_can_be_had(
    history: History, tmp_path: Path
) -> None:
    """Loss: a hole in the archive taken for its end."""
    site = history.copy(tmp_path / "copy")
    whole = site.plan(LATEST)
    segment = whole.window.segments(whole.base.stop_lsn, whole.window.end_lsn)[1]
    site.file_of(segment).unlink()
    for target in (LATEST, at_time(history.deleted), at_lsn(history.deleted_lsn)):
        with pytest.raises(ArchiveError, match=segment) as missing:
            site.plan(target)
    end = site.survey().windows()[-1].end_lsn
    assert f"--to-lsn {lsn_text(end)}" in missing.value.hint
    with site.recovered(at_lsn(end - 1)) as cluster:
        assert one(cluster, COUNT) == 0


def test_a_segment_that_goes_while_it_recovers_is_named(history: History, tmp_path: Path) -> None:
    """Loss: somebody prunes the archive during a recovery, which then takes the hole for the end."""
    site = history.copy(tmp_path / "copy")
    plan, source = site.plan(LATEST), site.survey().source
    segment = plan.window.segments(plan.base.stop_lsn, plan.window.end_lsn)[1]
    site.file_of(segment).unlink()

    with (
        pytest.raises(ArchiveError, match=segment),
        recovered(source, plan, [site.installation], site.scratch),
    ):
        pass
    assert not [each for each in os.listdir(site.scratch) if each.startswith("recyclic-") and "tests" in each]


@pytest.mark.parametrize("timeline", [2, 0xAA])
def test_junk_under_the_name_of_a_history_ends_no_recovery(
    history: History, tmp_path: Path, timeline: int
) -> None:
    """Attack: forty bytes in the storage, and whatever anybody recovers ends with damage, after it was unpacked."""
    site = history.copy(tmp_path / "copy")
    wal = site.directory / f"server.{site.system_identifier}" / "wal"
    (wal / f"{timeline:08X}.history.zst.sealed").write_bytes(b"junk" * 10)
    with site.recovered(LATEST) as recovered:
        assert one(recovered, "SELECT count(*) FROM public.kept") == 2
        # The number is taken, as far as anybody knows.
        promoted_to = one(recovered, "SELECT timeline_id FROM pg_control_checkpoint()")
        assert promoted_to == (3 if timeline == 2 else 2)
