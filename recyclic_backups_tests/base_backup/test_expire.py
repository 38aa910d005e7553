"""Base backups and WAL leave together, the oldest first, and what is held stays whole."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from recyclic_backups.archive.documents import KeptFrom, read_kept_from, read_position, store_kept_from
from recyclic_backups.archive.status import wal_status
from recyclic_backups.archive.wal import segment_name
from recyclic_backups.base_backup.wal_reach import reached_lsn
from recyclic_backups.errors import Refused
from recyclic_backups.retention.holds import hold_base, release_base
from recyclic_backups.retention.wal_expire import ServerExpiry, expire_servers, plan_servers
from recyclic_backups_tests.archive.conftest import SEGMENT_BYTES, write_rows
from recyclic_backups_tests.base_backup.conftest import Premises


@pytest.fixture
def three(premises: Premises) -> Premises:
    """Three base backups with some WAL after each."""
    for _ in range(3):
        premises.take("full")
        write_rows(premises.cluster, 3000)
    return premises


def _expire(premises: Premises) -> ServerExpiry:
    archive = premises.archive
    [done] = expire_servers(archive.repository, [archive.system_identifier], 2, now=datetime.now(UTC))
    return done


def test_the_oldest_leaves_with_its_wal(three: Premises) -> None:
    """Loss prevented: a storage that fills up; WAL that leaves while a base backup needs it."""
    newest, second, oldest = (each.manifest for each in three.bases.bases)
    before = sum(each.size_bytes for each in three.store.list(three.archive.root))
    [planned] = plan_servers(
        three.archive.repository, [three.archive.system_identifier], 2, datetime.now(UTC)
    )
    assert len(three.bases.bases) == 3
    done = _expire(three)
    assert [each.base_id for each in three.bases.bases] == [newest.base_id, second.base_id]
    assert not any(oldest.base_id in name for name in three.base_objects)
    listing = three.archive.listing()
    assert min(listing.segments) == segment_name(1, second.start_lsn, SEGMENT_BYTES)
    assert reached_lsn(listing, 1, second.start_lsn, newest.stop_lsn, SEGMENT_BYTES) == newest.stop_lsn
    after = sum(each.size_bytes for each in three.store.list(three.archive.root))
    assert planned.freed_bytes == done.freed_bytes
    assert 0 < done.freed_bytes - (before - after) < 4096 * 64  # the receiver stores on meanwhile
    assert three.verify(second.base_id).passed
    again = _expire(three)
    assert (again.freed_bytes, again.plan.wal, again.plan.leaving) == (0, (), [])


def test_a_held_one_keeps_its_own_wal_and_that_is_no_hole(three: Premises) -> None:
    """Loss prevented: a base backup held for a dispute that cannot be made consistent; an alarm for what was meant."""
    archive = three.archive
    oldest = three.bases.bases[-1]
    hold_base(archive, oldest, "a dispute", datetime.now(UTC) + timedelta(days=30), datetime.now(UTC))
    done = _expire(three)
    assert done.plan.wal
    manifest = three.bases.find(oldest.base_id, datetime.now(UTC)).manifest
    listing = archive.listing()
    assert reached_lsn(listing, 1, manifest.start_lsn, manifest.stop_lsn, SEGMENT_BYTES) == manifest.stop_lsn
    assert three.verify(oldest.base_id).passed
    assert wal_status(archive, None).live_holes == ()
    three.store.delete(f"{archive.wal}/kept_from.json")
    assert wal_status(archive, None).live_holes != ()
    held = three.bases.bases[-1]
    assert release_base(archive, held, datetime.now(UTC))
    _expire(three)
    assert len(three.bases.bases) == 2
    assert not list(three.store.list(f"{archive.root}/holds/"))


def test_what_was_taken_from_an_archive_that_was_moved_away_hides_no_hole_in_this_one(
    three: Premises,
) -> None:
    """Attack: he takes WAL away and lays what retention once said of an older archive of this server there."""
    archive, key = three.archive, three.archive.repository.key_for_backups(datetime.now(UTC))
    _expire(three)
    kept = read_kept_from(archive)
    assert kept is not None
    position = read_position(archive)
    assert position is not None
    assert kept.archive_id == position.archive_id != ""
    segments = archive.listing().segments
    three.store.delete(segments[sorted(segments)[2]])
    assert wal_status(archive, None).live_holes != ()
    store_kept_from(archive, KeptFrom(1, position.lsn + (1 << 40), archive_id="0" * 32), key)
    seen = wal_status(archive, None)
    assert seen.live_holes != ()
    assert "of another archive" in seen.damage


def test_a_hold_that_nobody_signed_keeps_for_ever(three: Premises) -> None:
    """Attack: a hold that is spoilt, so that what somebody holds leaves."""
    archive, oldest = three.archive, three.bases.bases[-1]
    three.store.create(f"{archive.root}/holds/{oldest.base_id}.json", b"{}")
    _expire(three)
    assert len(three.bases.bases) == 3


def test_one_that_is_held_while_it_is_deleted_is_put_back(
    three: Premises, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: somebody is told that it is held, and it is gone a moment later."""
    archive, oldest = three.archive, three.bases.bases[-1]
    real = three.store.delete

    def delete(name: str) -> None:
        if name.endswith("/manifest.json"):
            monkeypatch.setattr(three.store, "delete", real)
            hold_base(archive, oldest, "now", datetime.now(UTC) + timedelta(days=30), datetime.now(UTC))
        real(name)

    monkeypatch.setattr(three.store, "delete", delete)
    done = _expire(three)
    assert done.spared == (oldest.base_id,)
    assert done.freed_bytes == 0
    assert oldest.base_id in {each.base_id for each in three.bases.bases}
    assert three.verify(oldest.base_id).passed


def test_one_that_is_gone_is_not_held(three: Premises) -> None:
    """Loss prevented: the promise to keep what is not there any more."""
    oldest = three.bases.bases[-1]
    _expire(three)
    with pytest.raises(Refused, match="is expiring at this moment"):
        hold_base(three.archive, oldest, "late", datetime.now(UTC) + timedelta(days=30), datetime.now(UTC))


def test_a_deletion_that_was_stopped_leaves_nothing_half(three: Premises) -> None:
    """Loss prevented: a base backup that is listed, and whose objects are gone."""
    names = [each for each in three.base_objects if three.bases.bases[-1].base_id in each]
    for step in range(len(names)):
        count = 0

        def stop(verb: str, name: str, step: int = step) -> None:
            nonlocal count
            if verb == "delete" and "/base/" in name:
                count += 1
                if count > step:
                    raise KeyboardInterrupt

        three.store.before = stop  # type: ignore[attr-defined]
        with suppress(KeyboardInterrupt):
            _expire(three)
        three.store.before = lambda _verb, _name: None  # type: ignore[attr-defined]
        for base in three.bases.bases:
            assert {
                f"{three.archive.root}/base/{base.base_id}/{each.name}" for each in base.manifest.objects
            }.issubset(three.base_objects)
    three.take("full")  # sweeps
    listed = {each.base_id for each in three.bases.bases}
    assert all(
        name.removeprefix(f"{three.archive.root}/base/").split("/")[0] in listed
        for name in three.base_objects
    )
