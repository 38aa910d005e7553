"""A copy of production that was promoted where it stood hours ago is no failover, though its bytes look like one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from recyclic_backups.archive.accept import accept_timeline
from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.documents import (
    SETTLED,
    Followed,
    Position,
    read_position,
    store_followed,
    store_position,
)
from recyclic_backups.archive.settled import Settled
from recyclic_backups.errors import Refused
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.archive.conftest import (
    Running,
    archive_of,
    copied,
    promote,
    put_in_its_place,
    receiving,
    to_accept,
)
from recyclic_backups_tests.memory_store import MemoryStore

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def let_it_settle(archive: WalArchive) -> None:
    """As if what is stored had been stored five minutes ago."""
    position = read_position(archive)
    assert position is not None
    key = archive.repository.key_for_backups(datetime.now(UTC))
    store_position(archive, replace(position, settled_lsn=position.lsn), key)


def test_a_copy_that_was_promoted_where_it_stood_before_is_refused_until_somebody_says_that_it_is_production(
    server_of_its_own: ScratchCluster, memory: MemoryStore
) -> None:
    """Attack, or mistake: staging with our settings becomes the line that recoveries follow; production is refused."""
    archive = archive_of(memory, server_of_its_own)
    with receiving(server_of_its_own, memory) as running:
        running.write_and_store(server_of_its_own, archive)
    copy = copied(server_of_its_own)
    with receiving(server_of_its_own, memory) as running:
        running.write_and_store(server_of_its_own, archive, 20)
    let_it_settle(archive)
    (copy / "standby.signal").touch()
    put_in_its_place(server_of_its_own, copy)
    promote(server_of_its_own)
    before = {each.name: each.version for each in memory.list("server.")}
    error = Running(server_of_its_own, memory).join()
    assert isinstance(error, Refused), error
    assert "no failover" in error.message
    assert {each.name: each.version for each in memory.list("server.")} == before

    timeline, left, lsn = to_accept(error)
    accept_timeline(archive, timeline, left, lsn - 8, datetime.now(UTC))
    assert isinstance(Running(server_of_its_own, memory).join(), Refused), "that was said of another place"
    key = archive.repository.key_for_backups(datetime.now(UTC))
    store_followed(archive, Followed(timeline, left, lsn, datetime.now(UTC), archive_id="0" * 32), key)
    assert isinstance(Running(server_of_its_own, memory).join(), Refused), "that was said of another archive"
    accept_timeline(archive, timeline, left, lsn, datetime.now(UTC))
    with receiving(server_of_its_own, memory) as running:
        running.write_and_store(server_of_its_own, archive)
    assert archive.listing().timelines == [1, 2]


def test_settled_is_what_was_stored_five_minutes_ago_by_the_servers_clock() -> None:
    """Loss prevented: a failover of seconds is refused, or a copy of an hour ago is followed."""
    settled = Settled(None)
    assert settled.reached(100, NOON) == 0
    assert settled.reached(200, NOON + timedelta(minutes=4)) == 0
    assert settled.reached(300, NOON + timedelta(minutes=6)) == 100
    assert settled.reached(400, NOON + timedelta(minutes=9)) == 200
    assert settled.reached(400, NOON + timedelta(hours=1)) == 400, "an idle server"
    # A new process goes on from the position; a branch that gave up the rest begins anew.
    kept = Position(1, 400, NOON, NOON, 1, 150000, "1", settled_lsn=300)
    assert Settled(kept).reached(500, NOON + timedelta(seconds=1)) == 300
    assert Settled(kept).reached(500, NOON + SETTLED) == 400
    assert Settled(kept).reached(350, NOON + SETTLED) == 0
